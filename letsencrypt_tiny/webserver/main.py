"""The challenge web server: answers http-01 validations (RFC 8555 §8.3), nothing else.

    webserver [--debug] [--confine=auto|required|no] [--rooms=N] [--thumbprint=KEY …] FD [FD …]

Started by the master as the user _letsencrypt-www, or any other without privilege.

* FD …: descriptors of stream sockets (TCP or UNIX) that listen already.
* Working directory: the challenge directory.  A file's name is the token, its content the
  key authorization.  The directory needs to be searchable (x), not readable.
* N: with it, the files are in the directories 0, 1 … N-1 of that one, which several clients write.
* KEY: the thumbprint (RFC 7638) of an account's key; several, where CAs have accounts of
  different keys.  Key authorizations of other keys (§8.1) are not given out: who can write in
  the directory can't have names validated for an account of his own.  Without any KEY those of
  every key are.
* Standard output: which requests for challenges came (common/wire/visits.py), if it is a pipe.
* Standard error: messages, and with --debug a line for each request.
* SIGTERM ends it with status 0, and so does nothing else; SIGINT is the master's business.
  Status 2: the arguments make no sense; 1: it can't confine itself as required.
"""

import os
import signal
import socket
import stat
import sys
from collections.abc import Sequence

from ..common import log
from ..common.errors import Error, UsageError
from ..common.record import NamedTuple
from ..common.sandbox import confine
from ..common.serving import listening_socket
from ..common.wire.challenge import is_thumbprint
from ..common.wire.visits import MAX_VISITS, Visit, format_visit
from .challenges import Challenges
from .server import Server

TYPE_CHECKING = False   # see common/record.py
if TYPE_CHECKING:
    from typing import NoReturn

MEMORY = 64 << 20      # bytes; it takes 8 MB when it is busiest


class Arguments(NamedTuple):
    """The command line."""

    debug: bool
    confine: str                           # auto | required | no
    thumbprints: tuple[str, ...]           # of the account keys; none: any
    listeners: tuple[socket.socket, ...]
    rooms: int = 0                         # 0: the directory itself


class Visits:
    """Who listens is told of each kind of request once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._told: set[Visit] = set()
        try:
            self._heard = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        except OSError:   # it is closed
            self._heard = False

    def tell(self, visit: Visit) -> None:
        """Never waits: what the pipe doesn't take is told when it is seen again."""
        # who asks in vain, for name after name, leaves room for those that don't
        room = MAX_VISITS if visit.status != 200 else 2 * MAX_VISITS
        if not self._heard or visit in self._told or len(self._told) >= room:
            return
        try:
            os.write(self._descriptor, format_visit(visit))
            self._told.add(visit)
        except OSError:
            pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status, and ends the process on SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        log.level = log.DEBUG if arguments.debug else log.NORMAL
        # privileges were dropped by whoever executed us
        confine.die_with_parent(os.getppid())
        server = Server(arguments.listeners, Challenges(arguments.thumbprints,
                                                        arguments.rooms).find,
                        Visits(1).tell)
        confine.warm_up()
        plan = confinement(arguments.confine, len(arguments.listeners) + server.MAX_CONNECTIONS)
        log.debug(f"confined: {', '.join(confine.enter(plan))}")
        server.serve()
    except Error as exc:
        log.error(exc)
        return exc.exit_status


def _terminate(*_: object) -> "NoReturn":
    os._exit(0)   # there is nothing to take down


def confinement(mode: str, sockets: int) -> confine.Plan:
    """What is left to the web server: the challenges, read, and its sockets."""
    return confine.Plan(name="webserver", mode=mode, read=(".",), network=False, listen=True,
                        files=sockets + 16, processes=0, memory=MEMORY)


def parse(argv: Sequence[str]) -> Arguments:
    """Read the command line; raises UsageError."""
    debug, mode, rooms = False, "auto", 0
    thumbprints: list[str] = []
    listeners: list[socket.socket] = []
    for argument in argv:
        value = argument.partition("=")[2]
        if argument == "--debug":
            debug = True
        elif argument.startswith("--confine="):
            mode = _checked(argument, value, value in confine.MODES,
                            f"must be one of {', '.join(confine.MODES)}")
        elif argument.startswith("--rooms="):
            rooms = int(_checked(argument, value, value.isascii() and value.isdigit()
                                 and len(value) < 4, "not a small number"))
        elif argument.startswith("--thumbprint="):
            thumbprints.append(_checked(argument, value, is_thumbprint(value),
                                        "not a base64url SHA-256"))
        else:
            listeners.append(listening_socket(argument))
    if not listeners:
        raise UsageError("usage: webserver [--debug] [--confine=auto|required|no] [--rooms=N] "
                         "[--thumbprint=KEY …] FD [FD …]")
    return Arguments(debug, mode, tuple(thumbprints), tuple(listeners), rooms)


def _checked(argument: str, value: str, good: bool, why: str) -> str:
    if not good:
        raise UsageError(f"{log.printable(argument)}: {why}")
    return value
