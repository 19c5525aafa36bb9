"""An account key in a token (PKCS #11): openssl signs with it there, in a process of its own.

Who confines itself can neither execute openssl nor open what a token's module needs.  So there
are two of us: this one hears nobody but the signer, and from that one nothing but digests; it
does without a terminal, and is the user's it was, with what that user may do.  It ends with the
signer.
"""

import os
import signal
import socket
import stat
from typing import NoReturn

from ..common import paths, pkcs11
from ..common.complaint import complaint
from ..common.errors import Error
from ..common.pkcs11 import Token, Use
from .account_key import AccountKey, of_token

TIMEOUT = 60    # seconds; a token may be busy with others
MAX_ANSWER = 64 << 10
_HASHES = {32: "sha256", 48: "sha384"}   # by the length of their digests
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "OPENSSL_CONF": "/dev/null", "LANG": "C.UTF-8"}


def load(where: str) -> AccountKey:
    """Return the account key at a PKCS #11 URI, ready to sign.

    From here on there is a process beside this one.  Raises Error.
    """
    token = pkcs11.parse(where)
    if token.pin:
        _check_pin(token.pin, where)
    try:
        spki = _openssl(["pkey", "-pubout", "-outform", "DER"],
                        pkcs11.use(token, "-inform", "-in"), b"")
        process = _Process(token)
    except Error as exc:
        raise Error(f"{where}: the account key cannot be used: {exc}") from exc
    return of_token(spki, where, process.sign)


def _check_pin(path: str, where: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as exc:
        raise Error(f"{where}: pin-source: {path}: {exc.strerror}") from exc
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Error(f"{where}: pin-source: {path}: others than its owner can read the PIN "
                    f"(chmod 0600 {path})")


class _Process:
    """The process that signs, as the signer sees it."""

    def __init__(self, token: Token) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        if os.fork() == 0:
            try:
                os.dup2(theirs.fileno(), 3)
                _run(token, parent)
            finally:
                os._exit(1)
        theirs.close()
        self._descriptor = ours.detach()

    def sign(self, digest: bytes) -> bytes:
        """Return what openssl has signed.  Raises Error."""
        try:
            os.write(self._descriptor, digest)
            answer = os.read(self._descriptor, MAX_ANSWER)
        except OSError as exc:
            raise Error(f"whoever uses the token has ended ({exc.strerror})") from exc
        if answer[:1] != b"+":
            raise Error(answer[1:].decode("utf-8", "replace") or "whoever uses the token has ended")
        return answer[1:]


def _run(token: Token, parent: int) -> NoReturn:
    """Sign digests that come on descriptor 3, until there is nobody left to send any."""
    from ..common.sandbox import confine
    os.closerange(4, 65536)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    try:
        os.setsid()   # nobody is asked for a PIN on a terminal
    except PermissionError:
        pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    confine.die_with_parent(parent)
    confine.enter(confine.Plan("token", mode="no"))
    while digest := os.read(3, max(_HASHES) + 1):
        try:
            answer = b"+" + _sign(token, digest)
        except Error as exc:
            answer = b"-" + str(exc).encode("utf-8", "replace")
        os.write(3, answer)
    os._exit(0)


def _sign(token: Token, digest: bytes) -> bytes:
    name = _HASHES.get(len(digest))
    if name is None:
        raise Error("not a digest")
    return _openssl(["pkeyutl", "-sign", "-pkeyopt", f"digest:{name}"],
                    pkcs11.use(token, "-keyform", "-inkey"), digest)


def _openssl(arguments: list[str], use: Use, data: bytes) -> bytes:
    """Return what openssl makes of ``data``.  Raises Error."""
    import subprocess
    configuration = os.memfd_create("configuration", os.MFD_CLOEXEC)
    try:
        os.write(configuration, use.configuration)
        os.lseek(configuration, 0, os.SEEK_SET)
        done = subprocess.run(
            [paths.OPENSSL, *arguments, *use.arguments], input=data, capture_output=True, cwd="/",
            env={**_ENVIRONMENT, **use.environment, "OPENSSL_CONF": f"/dev/fd/{configuration}"},
            pass_fds=(configuration,), timeout=TIMEOUT, check=False)
    except OSError as exc:
        raise Error(f"{paths.OPENSSL}: cannot run it: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise Error(f"openssl {arguments[0]} took longer than {TIMEOUT} seconds") from exc
    finally:
        os.close(configuration)
    if done.returncode != 0:
        raise Error(f"openssl {arguments[0]} failed: {complaint(done.stderr)}")
    return done.stdout
