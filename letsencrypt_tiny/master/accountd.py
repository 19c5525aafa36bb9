"""The master's end of the signer: spawn one, or connect to one that is there.

The socket is passed on to the client; the master itself never speaks on it, except to
read the greeting for the ``check`` command.
"""

import os
import socket
import stat
from typing import Callable, List, Optional, Tuple

from ..common import log, signer_protocol, specifiers
from ..common.errors import ConfigError, Error, ProtocolError
from . import children
from .config import Config

GREETING_SECONDS = 60   # a passphrase may have to be typed


def connect(config: Config, stderr: Callable[[str], int], key: Optional[int] = None
            ) -> Tuple[socket.socket, Optional[children.Child]]:
    """Return a socket connected to the signer, and the signer if it was spawned.

    ``stderr(name)`` gives the descriptor for its messages.  ``key`` is the descriptor of a
    private key to sign with instead of the account's, for revocation by the certificate's
    key (RFC 8555 §7.6); it needs [accountd].  Raises Error, ConfigError.
    """
    if config.accountd is None:
        if key is not None:
            raise ConfigError(f"{config.file}: --certificate-key needs [accountd]; or start a "
                              "signer with --privkey=file:KEY and name its socket with --socket")
        return _existing(config), None
    settings = config.accountd
    who = children.identity(settings.program)
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    arguments = ["--stdio"]
    descriptors = [theirs.fileno(), theirs.fileno(), stderr("accountd")]
    if key is not None:
        arguments.append("--privkey=fd:3")
        descriptors.append(key)
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
    try:
        child = children.spawn(settings.program, who, arguments, descriptors, signer=True,
                               extra=children.inherited(children.TERMINAL))
    except BaseException:
        own.close()
        raise
    finally:
        theirs.close()
        os.close(descriptors[2])
    return own, child


def _existing(config: Config) -> socket.socket:
    """Connect to the signer's socket, if nobody else could have put it there or use it."""
    path = specifiers.expand(config.client.socket)
    parent = os.path.dirname(path) or "."
    try:
        info = os.stat(parent)
        if info.st_mode & 0o022:
            raise Error(f"{parent}: writable by others, so the socket in it can't be trusted "
                        "(chmod go-w it)")
        info = os.stat(path)
    except OSError as exc:
        raise Error(f"{path}: {exc.strerror} (is letsencrypt-tiny-accountd running? "
                    "Or set up [accountd] to have it started)") from exc
    if not stat.S_ISSOCK(info.st_mode):
        raise Error(f"{path}: not a socket")
    if info.st_mode & 0o066:
        raise Error(f"{path}: others may use this socket (chmod 0600 it)")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as exc:
        sock.close()
        raise Error(f"{path}: cannot connect to the signer: {exc.strerror}") from exc
    return sock


def read_greeting(sock: socket.socket) -> signer_protocol.Greeting:
    """Read the signer's greeting; raises Error."""
    buffer = signer_protocol.LineBuffer(signer_protocol.MAX_ANSWER)
    lines: List[bytes] = []
    sock.settimeout(GREETING_SECONDS)
    try:
        while len(lines) < 2:
            data = sock.recv(4096)
            if not data:
                raise Error("the signer closed the connection before it greeted")
            buffer.feed(data)
            while (line := buffer.next_line()) is not None:
                lines.append(line)
        return signer_protocol.parse_greeting(lines[0], lines[1])
    except OSError as exc:
        raise Error(f"the signer does not answer: {exc}") from exc
    except ProtocolError as exc:
        raise Error(str(exc)) from exc
