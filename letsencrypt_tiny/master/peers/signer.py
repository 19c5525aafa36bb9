"""The master's end of the signer: spawn one, or connect to one that is there; hear it greet.

The socket is passed on to the client; the master itself says nothing on it (but for ``check``).
One that is spawned is told what it may sign: plan/signing.py.
"""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ...common import acl, log, paths, specifiers, trusted
from ...common.environment import TERMINAL
from ...common.errors import ConfigError, Error, ProtocolError
from ...common.wire import signer as wire
from ...common.wire.policy import Policy, format_policy
from ..settings.main import Accountd, Config
from . import spawn
from .child import Child
from .identity import identity

GREETING_SECONDS = 300   # a passphrase may have to be typed
MANAGE_SECONDS = 300     # so does a large RSA key


class Heard(NamedTuple):
    """The signer has greeted, or failed: there is no more to hear."""

    signer: "Signer"


class Signer:
    """A connection to the signer; a source of the loop's until it has greeted."""

    def __init__(self, sock: socket.socket, child: Child | None) -> None:
        """``child`` is the signer if the master spawned it."""
        self.socket = sock
        self.child = child
        self.greeting: wire.Greeting | None = None
        self.error: Error | None = None
        self._deadline = time.monotonic() + GREETING_SECONDS

    @property
    def awaited(self) -> bool:
        """True as long as it has neither greeted nor failed."""
        return self.greeting is None and self.error is None

    def fileno(self) -> int:
        return self.socket.fileno()

    def deadline(self) -> float:
        return self._deadline if self.awaited else float("inf")

    def expire(self) -> Iterator[object]:
        self.error = Error("the account key manager (letsencrypt-tiny-accountd) does not answer")
        yield Heard(self)

    def receive(self) -> Iterator[object]:
        """Look at the greeting and leave it there: the client, whose word for it would be worth
        nothing, reads the same later."""
        try:
            self.greeting = _peek(self.socket)
            if self.greeting is None:
                time.sleep(0.02)   # half of it is there
        except Error as exc:
            self.error = exc
        if not self.awaited:
            yield Heard(self)

    def close(self) -> None:
        """Close our end of the connection."""
        self.socket.close()


def _peek(sock: socket.socket) -> wire.Greeting | None:
    buffer = wire.LineBuffer(wire.MAX_ANSWER)
    try:
        data = sock.recv(3 * wire.MAX_ANSWER, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        if not data:
            raise Error("the account key manager (letsencrypt-tiny-accountd) failed: it closed "
                        "the connection")
        buffer.feed(data)
        first, second = buffer.next_line(), buffer.next_line()
        if first is None or second is None:
            return None
        return wire.parse_greeting(first, second)
    except BlockingIOError:
        return None
    except OSError as exc:
        raise Error("the account key manager (letsencrypt-tiny-accountd) failed: "
                    f"{exc.strerror}") from exc
    except ProtocolError as exc:
        raise Error(f"the account key manager does not greet as it should: {exc}") from exc


def connect(config: Config, stderr: Callable[[str], int], policy: Policy,
            key: int | None = None, place: str = "") -> Signer:
    """Spawn the signer, or connect to the one that is there; ``place`` is the socket of another
    one than the common.

    ``stderr(name)`` gives the descriptor for its messages.  One of ours signs what ``policy``
    allows.  ``key`` is the descriptor of a private key to sign with instead of the account's, for
    revocation by the certificate's key (RFC 8555 §7.6); it needs [accountd].
    Raises Error, ConfigError.
    """
    if config.accountd is not None and (not place or key is not None):
        return _spawn(config.accountd, stderr, policy, key)
    if key is not None:
        raise ConfigError(f"{config.file}: --certificate-key needs [accountd]; or start an account "
                          "key manager with --privkey=file:KEY and name its socket with --socket")
    return Signer(_existing(config, place or config.client.socket), None)


def _spawn(settings: Accountd, stderr: Callable[[str], int], policy: Policy,
           key: int | None) -> Signer:
    ours = takes_policy(settings)
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptors = [theirs.fileno(), theirs.fileno(), stderr("accountd")]
    lent = len(descriptors) + (key is not None)
    try:
        arguments = _arguments(settings, key)
        if key is not None:
            descriptors.append(key)
        if ours:
            arguments.append(f"--policy=fd:{lent}")
            descriptors.append(spawn.sealed(format_policy(policy)))
        child = spawn.spawn(
            settings.program, identity(settings.program), arguments, descriptors, signer=True,
            network=not ours or settings.program.confine == "no",
            extra=spawn.inherited(TERMINAL))
    except BaseException:
        own.close()
        raise
    finally:
        theirs.close()
        for descriptor in (descriptors[2], *descriptors[lent:]):
            os.close(descriptor)
    return Signer(own, child)


def _arguments(settings: Accountd, key: int | None) -> list[str]:
    arguments = ["--stdio"]
    if key is not None:
        arguments.append("--privkey=fd:3")
    elif settings.privkey:
        arguments.append(f"--privkey={settings.privkey}")
    if settings.config:
        arguments.append(f"--config={settings.config}")
    if settings.quiet and log.level < log.DEBUG:
        arguments.append("--quiet")
    if log.level >= log.DEBUG:
        arguments.append("--debug")
    if settings.program.confine != "auto":
        arguments.append(f"--confine={settings.program.confine}")
    return arguments


def manage(settings: Accountd, stderr: Callable[[str], int], *options: str,
           stdout: int | None = None, key: int | None = None) -> int:
    """Have the signer's program do something with its key files instead; return its status.

    Nobody speaks with it but through ``stderr``; what it prints goes to the descriptor ``stdout``,
    if there is one.  A ``key`` is lent to it as descriptor 3.  Raises Error.
    """
    nothing = os.open("/dev/null", os.O_RDWR)
    descriptors = [nothing, nothing if stdout is None else stdout, stderr("accountd")]
    arguments = [word for word in _arguments(settings, None) if word != "--stdio"]
    try:
        child = spawn.spawn(settings.program, identity(settings.program), [*arguments, *options],
                            [*descriptors, *([] if key is None else [key])], signer=True,
                            network=False, extra=spawn.inherited(TERMINAL))
    finally:
        for descriptor in (nothing, descriptors[2]):
            os.close(descriptor)
    status = child.wait(MANAGE_SECONDS)
    if status is None:
        child.stop()
        raise Error(f"{settings.program.command[0]} {' '.join(options)} takes longer than "
                    f"{MANAGE_SECONDS} seconds")
    return status


def takes_policy(settings: Accountd) -> bool:
    """True if the command is to be given a policy: it must be our own signer, on this host.

    Another program would not know the option, and ssh(1) passes no descriptor on.
    """
    if settings.policy == "auto":
        return is_ours(settings)
    return settings.policy == "required"


def is_ours(settings: Accountd) -> bool:
    """True if the command is our own signer, on this host."""
    return os.path.basename(settings.program.command[0]) == os.path.basename(paths.ACCOUNTD)


def _existing(config: Config, name: str) -> socket.socket:
    """Connect to the signer's socket, if nobody else could have put it there or use it.

    Whoever answers there has the CA certify this host's names for an account, so it must be one
    of those who may: by the socket's owner, and by who listens on it.
    """
    from .connecting import connected
    path = trusted.absolute(specifiers.expand(name))
    users = {0, os.geteuid(), *_signers(config)}
    try:
        parent = os.path.dirname(path)
        if os.stat(parent).st_mode & 0o022:
            raise Error(f"{parent}: writable by others, so the socket in it can't be trusted "
                        "(chmod go-w it)")
        place = trusted.open_place(path, *users)
    except OSError as exc:
        raise Error(f"{path}: {exc.strerror} (is letsencrypt-tiny-accountd running? "
                    "Or set up [accountd] to have it started)") from exc
    try:
        info = os.fstat(place)
        if not stat.S_ISSOCK(info.st_mode):
            raise Error(f"{path}: not a socket")
        if info.st_uid not in users:
            raise _stranger(f"{path}: belongs to {acl.name(('user', info.st_uid))}", config)
        if info.st_mode & 0o066:
            raise Error(f"{path}: others may use this socket (chmod 0600 it)")
        sock = connected(place, path)
    finally:
        os.close(place)
    listener = _listener(sock)
    if listener not in users:
        sock.close()
        raise _stranger(f"{path}: {acl.name(('user', listener))} listens there", config)
    return sock


def _listener(sock: socket.socket) -> int:
    """Return the uid of who listens at the other end (unix(7))."""
    import struct
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _signers(config: Config) -> set[int]:
    """Return who may run a signer, besides root: the user that is configured, and whoever logged
    in and has become root since (pam_loginuid(8)), with a signer of their own."""
    import pwd
    found = set()
    try:
        if config.signer_user:
            found.add(pwd.getpwnam(config.signer_user).pw_uid)
    except KeyError:
        pass   # with a signer of root's it need not exist
    try:
        with open("/proc/self/loginuid", encoding="ascii") as file:
            found.add(int(file.read()))   # 2**32 - 1 for none
    except (OSError, ValueError):
        pass
    return found


def _stranger(fault: str, config: Config) -> Error:
    user = config.signer_user or "root"
    return Error(f"{fault}, whom it could make answer for this host's names (run "
                 f"letsencrypt-tiny-accountd as {user}; or name who runs it, as “user” of "
                 "[accountd], and the socket, by --socket)")
