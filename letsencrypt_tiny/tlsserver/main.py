"""The TLS server for challenges: answers tls-alpn-01 validations (RFC 8737), nothing else.

    tlsserver [--debug] [--confine=auto|required|no] --duty=FD [--door=FD …] FD [FD …]

Started by the master as the user _letsencrypt-tls, or any other without privilege.

* FD …: descriptors of stream sockets (TCP or UNIX) that listen already.
* --duty=FD: a file that says for which names and account keys it answers (wire/responder.py).
* --door=FD …: stream sockets, one a client, by which clients ask it to present challenges.
  Key authorizations (RFC 8555 §8.1) are made here, of names and keys in the duty only: who has
  taken over a client can't have names validated for an account of his own.
* Working directory: none of its business.
* Standard error: messages, and with --debug a line for each connection.
* SIGTERM ends it with status 0, and so does nothing else; SIGINT is the master's business.
  Status 2: the arguments make no sense; 1: it can't confine itself as required.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from ..common import log
from ..common.errors import Error, UsageError
from ..common.sandbox import confine
from ..common.serving import inherited_socket, listening_socket
from ..common.wire.jsonfields import parse_object
from ..common.wire.responder import Duty, parse_duty
from .presented import Presented
from .server import Server

MEMORY = 128 << 20     # bytes; 1024 contexts take 25 MB
MAX_DUTY = 32 << 20    # bytes

_USAGE = ("usage: tlsserver [--debug] [--confine=auto|required|no] --duty=FD [--door=FD …] "
          "FD [FD …]")


class Arguments(NamedTuple):
    """The command line."""

    debug: bool
    confine: str                           # auto | required | no
    duty: Duty
    doors: tuple[socket.socket, ...]
    listeners: tuple[socket.socket, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status.  Raises SystemExit(0) on SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        log.level = log.DEBUG if arguments.debug else log.NORMAL
        # privileges were dropped by whoever executed us
        confine.die_with_parent(os.getppid())
        server = make(arguments)
        confine.warm_up()
        sockets = len(arguments.listeners) + len(arguments.doors) + server.MAX_CONNECTIONS
        log.debug(f"confined: {', '.join(confine.enter(confinement(arguments.confine, sockets)))}")
        server.serve()
    except Error as exc:
        log.error(exc)
        return exc.exit_status


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(0)


def make(arguments: Arguments) -> Server:
    """Make the key and what answers with it.  Raises Error."""
    from .handshake import Contexts   # of which pycryptodome may be missing
    contexts = Contexts()
    __import__("ipaddress")   # a client may ask for one, and once confined it is too late
    return Server(arguments.listeners, arguments.doors,
                  Presented(arguments.duty, time.monotonic),
                  lambda challenge: contexts.handshake(challenge).feed)


def confinement(mode: str, sockets: int) -> confine.Plan:
    """What is left to the TLS server: its sockets, and the file that OpenSSL reads its
    certificates from, which is nowhere."""
    return confine.Plan(name="tlsserver", mode=mode, reopen=True, network=False, listen=True,
                        files=sockets + 16, processes=0, memory=MEMORY)


def parse(argv: Sequence[str]) -> Arguments:
    """Read the command line, and the duty; raises UsageError, ProtocolError."""
    debug, mode = False, "auto"
    duty: Duty | None = None
    doors: list[socket.socket] = []
    listeners: list[socket.socket] = []
    for argument in argv:
        value = argument.partition("=")[2]
        if argument == "--debug":
            debug = True
        elif argument.startswith("--confine="):
            if value not in confine.MODES:
                raise UsageError(f"{log.printable(argument)}: must be one of "
                                 f"{', '.join(confine.MODES)}")
            mode = value
        elif argument.startswith("--duty="):
            duty = _read_duty(value)
        elif argument.startswith("--door="):
            doors.append(inherited_socket(value))
        else:
            listeners.append(listening_socket(argument))
    if duty is None or not listeners:
        raise UsageError(_USAGE)
    return Arguments(debug, mode, duty, tuple(doors), tuple(listeners))


def _read_duty(value: str) -> Duty:
    """Read the file with that descriptor to its end, and close it."""
    try:
        with open(int(value), "rb") as file:
            data = file.read(MAX_DUTY + 1)
    except (OSError, ValueError, OverflowError) as exc:
        raise UsageError(f"--duty={log.printable(value)}: {exc}") from None
    return parse_duty(parse_object(data, "the duty", MAX_DUTY))
