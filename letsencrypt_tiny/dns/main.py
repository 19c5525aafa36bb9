"""The updater of DNS records: answers dns-01 challenges (RFC 8555 §8.4) of one zone's names.

    dns [--debug] [--confine=auto|required|no] --task=FD --journal=FD [--secret=FD] [--door=FD …]

Started by the master as the user _letsencrypt-dns, or any other without privilege; a process for
each [dns] or [dns ZONE] of which a run needs names.

* --task: what to do and for whom (common/wire/dns.py).
* --secret: the key or credentials, read and closed before anybody is heard.  No other process but
  the master's could open the file.
* --journal: where published records are remembered, to read, write and truncate.
* --door: sockets by which clients ask (common/wire/responder.py).  Names and keys that they may
  ask for are the task's, never theirs.
* Working directory: any.  Standard error: messages.
* It ends when all doors have closed, and on SIGTERM, after it has taken back what it published;
  without any --door when it has taken back what an earlier run left.  When the master is killed
  the kernel sends SIGTERM.
* Status 0; 1 if records are left, or it can't confine itself as required; 2: the arguments or
  settings make no sense.

Of the network it needs TCP alone: port 53 of name servers (those that ``nameservers`` name, and
that of ``server``), and for a hoster's interface 443.
"""

import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..common import log
from ..common.errors import Error, UsageError
from ..common.sandbox import confine
from ..common.wire import dns as wire
from . import doors, resolving
from .asking import PORT, Server, host_port, load_types
from .journal import MAX_FILE, Journal
from .places import Places
from .presenting import MAX_WORKERS, Presenter
from .updates import table
from .updates.update import Update

MEMORY = 384 << 20      # bytes; some providers' libraries are large
MAX_SECRET = 64 << 10   # bytes
MAX_FILES = 512         # descriptors: each thread asks all servers of a zone at once
RECOVERY = 20           # seconds for what an earlier run left, if anybody waits


class Arguments(NamedTuple):
    """The command line."""

    debug: bool
    confine: str               # auto | required | no
    task: int                  # descriptors
    journal: int
    secret: int                # -1: none
    doors: tuple[int, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)   # the master's business
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        log.level = log.DEBUG if arguments.debug else log.NORMAL
        return _run(arguments)
    except Error as exc:
        log.error(exc)
        return exc.exit_status


def _run(arguments: Arguments) -> int:
    task = wire.parse_task(_read(arguments.task, wire.MAX_TASK))
    secret = _read(arguments.secret, MAX_SECRET) if arguments.secret >= 0 else b""
    sockets = doors.opened(arguments.doors, UsageError)
    at_doors = doors.Doors(sockets, task.duty)
    signal.signal(signal.SIGTERM, lambda *_: at_doors.stop())
    journal = Journal(arguments.journal, task.update_timeout)
    resolver = resolving.Resolver(resolving.resolvers(resolving.read("/etc/resolv.conf")),
                                  resolving.hosts(resolving.read("/etc/hosts")))
    update = table.make(task, secret, resolver)   # loads, and forks, what it needs
    nameservers = [Server(*host_port(word)) for word in task.nameservers]
    load_types()
    confine.warm_up()
    plan = confinement(arguments.confine, update, nameservers)
    log.debug(f"confined: {', '.join(confine.enter(plan))}")
    presenter = Presenter(Places(resolver, task.zone, nameservers, update.servers), update, journal,
                          task.update_timeout, task.propagation_timeout, at_doors.say)
    presenter.recover(min(RECOVERY, task.update_timeout) if sockets else task.update_timeout)
    at_doors.serve(presenter)
    return 0 if presenter.finish(task.update_timeout) else 1


def confinement(mode: str, update: Update, nameservers: Sequence[Server]) -> confine.Plan:
    """What is left to it: ports, the sockets and the journal that it has, and threads."""
    ports = {PORT, *update.ports, *(server.port for server in nameservers)}
    return confine.Plan(name="dns", mode=mode, modules=update.modules, connect=tuple(sorted(ports)),
                        rewrite=True, files=MAX_FILES, file_size=MAX_FILE,
                        processes=16 * MAX_WORKERS, memory=MEMORY)


def _read(descriptor: int, limit: int) -> bytes:
    """Read all of a file, and close it; raises UsageError."""
    try:
        with open(descriptor, "rb", 0) as file:
            file.seek(0)
            text = b"".join(iter(lambda: file.read(65536), b""))
    except (OSError, ValueError, OverflowError) as exc:
        raise UsageError(f"descriptor {descriptor} can't be read: {exc}") from exc
    if len(text) > limit:
        raise UsageError(f"descriptor {descriptor} has more than {limit} bytes")
    return text


def parse(argv: Sequence[str]) -> Arguments:
    """Read the command line; raises UsageError."""
    debug, mode = False, "auto"
    found: dict[str, list[int]] = {"--task": [], "--journal": [], "--secret": [], "--door": []}
    for argument in argv:
        name, _, value = argument.partition("=")
        if argument == "--debug":
            debug = True
        elif name == "--confine" and value in confine.MODES:
            mode = value
        elif name in found and value.isascii() and value.isdigit():
            found[name].append(int(value))
        else:
            raise UsageError(f"{log.printable(argument)}: not an argument that makes sense")
    if len(found["--task"]) != 1 or len(found["--journal"]) != 1 or len(found["--secret"]) > 1:
        raise UsageError("usage: dns [--debug] [--confine=auto|required|no] --task=FD "
                         "--journal=FD [--secret=FD] [--door=FD …]")
    return Arguments(debug, mode, found["--task"][0], found["--journal"][0],
                     (found["--secret"] or [-1])[0], tuple(found["--door"]))
