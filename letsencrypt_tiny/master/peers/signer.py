"""The master's end of the signer: spawn one, or connect to one that is there.

The socket is passed on to the client; the master itself never speaks on it, except to
read the greeting for the ``check`` command.

One that is spawned is told what it may sign, and that is what the task at hand needs.
"""

import os
import socket
import stat
from collections.abc import Callable, Sequence

from ...common import log, paths, specifiers
from ...common.wire import policy as signer_policy, signer as signer_protocol
from ...common.x509.certificate import parse_certificate
from ...common.errors import ConfigError, Error, ProtocolError
from ...common.wire.order import AccountUpdate, Order, Request, Revocation
from ...common.wire.policy import Policy
from . import spawn as children
from ..settings.main import Accountd, Config

GREETING_SECONDS = 300   # a passphrase may have to be typed


def connect(config: Config, stderr: Callable[[str], int], requests: Sequence[Request] = (),
            key: int | None = None) -> tuple[socket.socket, children.Child | None]:
    """Return a socket connected to the signer, and the signer if it was spawned.

    ``stderr(name)`` gives the descriptor for its messages.  The signer will sign what
    ``requests`` need.  ``key`` is the descriptor of a private key to sign with instead of the
    account's, for revocation by the certificate's key (RFC 8555 §7.6); it needs [accountd].
    Raises Error, ConfigError.
    """
    settings = config.accountd
    if settings is None:
        if key is not None:
            raise ConfigError(f"{config.file}: --certificate-key needs [accountd]; or start a "
                              "signer with --privkey=file:KEY and name its socket with --socket")
        return _existing(config), None
    ours = takes_policy(settings)
    policy = (signer_policy.format_policy(derive(config.client.access.server, requests))
              if ours else None)
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
    inherited = len(descriptors)
    if policy is not None:
        arguments.append(f"--policy=fd:{inherited}")
        descriptors.append(children.sealed(policy))
    try:
        child = children.spawn(settings.program, who, arguments, descriptors, signer=True,
                               network=not ours or settings.program.confine == "no",
                               extra=children.inherited(children.TERMINAL))
    except BaseException:
        own.close()
        raise
    finally:
        theirs.close()
        for descriptor in (descriptors[2], *descriptors[inherited:]):
            os.close(descriptor)
    return own, child


def takes_policy(settings: Accountd) -> bool:
    """True if the command is to be given a policy: it must be our own signer, on this host.

    Another program would not know the option, and ssh(1) passes no descriptor on.
    """
    if settings.policy == "auto":
        return os.path.basename(settings.program.command[0]) == os.path.basename(paths.ACCOUNTD)
    return settings.policy == "required"


def derive(server: str, requests: Sequence[Request]) -> Policy:
    """Return the policy that allows what ``requests`` to ``server`` need, and nothing else.

    Of CSRs and certificates those in ``requests`` alone: a client that has gone over to somebody
    else gets no certificate for a key of its own, not even for the configured names.
    """
    operations: set[str] = set()
    names: set[str] = set()
    profiles: set[str] = set()
    only: set[str] = set()
    for request in requests:
        if isinstance(request, Order):
            operations.update(signer_policy.ORDERING)
            names.update(value for _, value in request.identifiers)
            profiles.update([request.profile] if request.profile else [])
            only.add(signer_policy.digest(request.csr))
        elif isinstance(request, AccountUpdate):
            operations.update(("lookup", "read"))
            operations.update(["register"] if request.register else [])
            operations.update(["account-update"] if request.contact is not None else [])
            operations.update(["deactivate"] if request.deactivate else [])
        elif isinstance(request, Revocation):
            operations.update(["revoke"] if request.with_certificate_key
                              else ["revoke", "lookup"])
            names.update(value for _, value
                         in parse_certificate(request.certificate).names)
            only.add(signer_policy.digest(request.certificate))
    return Policy("auto", frozenset([signer_policy.origin_of(server)]),
                  frozenset(operations), frozenset(names), frozenset(profiles), 0,
                  frozenset(only))


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


def peek_greeting(sock: socket.socket) -> signer_protocol.Greeting | None:
    """Return the greeting that has arrived, and leave it for the client to read.

    None if it isn't complete yet.  Raises Error.
    """
    buffer = signer_protocol.LineBuffer(signer_protocol.MAX_ANSWER)
    try:
        data = sock.recv(3 * signer_protocol.MAX_ANSWER, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        if not data:
            raise Error("the signer (letsencrypt-tiny-accountd) failed: it closed the connection")
        buffer.feed(data)
        first, second = buffer.next_line(), buffer.next_line()
        if first is None or second is None:
            return None
        return signer_protocol.parse_greeting(first, second)
    except BlockingIOError:
        return None
    except OSError as exc:
        raise Error(f"the signer (letsencrypt-tiny-accountd) failed: {exc.strerror}") from exc
    except ProtocolError as exc:
        raise Error(f"the signer does not greet as it should: {exc}") from exc


def read_greeting(sock: socket.socket) -> signer_protocol.Greeting:
    """Read the signer's greeting; raises Error."""
    buffer = signer_protocol.LineBuffer(signer_protocol.MAX_ANSWER)
    lines: list[bytes] = []
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
