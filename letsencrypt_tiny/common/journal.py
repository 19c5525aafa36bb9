"""The system's log: the journal by its native protocol, syslog(3) where there is no journal.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL: a datagram an entry, of fields.  Each value comes with
its size, so that none, whoever wrote it, can end its field and begin another one.

A datagram leaves by write(2) on a socket that is connected: so a process that opened it before it
was confined can still log.
"""

import os
import time

from .record import NamedTuple

TYPE_CHECKING = False   # see record.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SOCKET = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"

# Priorities, of syslog(3)
ERROR, WARNING, NOTICE, INFO, DEBUG = range(3, 8)

MOST_SECTIONS = 100   # fields of one entry; the journal has room for 1024
MAX_VALUE = 1024      # characters of a field that is no message
_PATIENCE = 1.0       # seconds to wait for whoever takes entries


class About(NamedTuple):
    """What a message is about: fields by which journalctl(1) finds it."""

    sections: "Sequence[str]" = ()
    ca: str = ""
    problem: str = ""    # its type (RFC 8555 §6.7)

    def fields(self) -> "list[tuple[str, str]]":
        """Return name and value of each."""
        found = [("ACME_SECTION", name) for name in self.sections[:MOST_SECTIONS]]
        found += [("ACME_CA", self.ca), ("ACME_PROBLEM", self.problem)]
        return [(name, value[:MAX_VALUE]) for name, value in found if value]


NOTHING = About()


def entry(fields: "Iterable[tuple[str, str]]") -> bytes:
    """Return the datagram of an entry with these fields, whose names are ours."""
    found = b""
    for name, text in fields:
        value = text.encode("utf-8", "backslashreplace")
        found += name.encode("ascii") + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return found


def reads(descriptor: int) -> bool:
    """Say whether the journal reads what is written to ``descriptor``: see JOURNAL_STREAM in
    systemd.exec(5)."""
    try:
        info = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"


class Journal:
    """A connection to the journal."""

    def __init__(self, identifier: str) -> None:
        """Raises OSError if there is none."""
        import errno    # only where something is to be logged; and before we are confined
        import select
        import socket
        self._select = select
        self._too_long = errno.EMSGSIZE
        self._identifier = identifier
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setblocking(False)
            self._socket.connect(SOCKET)
        except OSError:
            self._socket.close()
            raise

    def send(self, priority: int, line: str, about: About) -> bool:
        """Make an entry of one ``line``; False if it could not be delivered."""
        fields = [("PRIORITY", str(priority)), ("SYSLOG_IDENTIFIER", self._identifier),
                  ("MESSAGE", line), *about.fields()]
        try:
            return self._write(entry(fields))
        except OSError as exc:
            return exc.errno == self._too_long and about != NOTHING \
                and self.send(priority, line, NOTHING)

    def _write(self, datagram: bytes) -> bool:
        """Write it as soon as there is room; raises OSError."""
        poll = self._select.poll()   # one for each thread
        poll.register(self._socket, self._select.POLLOUT)
        end = time.monotonic() + _PATIENCE
        while True:
            poll.poll(max(0.0, end - time.monotonic()) * 1000)
            try:
                os.write(self._socket.fileno(), datagram)
                return True
            except BlockingIOError:   # another thread was faster
                if time.monotonic() >= end:
                    raise


class Syslog:
    """The daemon behind syslog(3): priority and line only."""

    def __init__(self, identifier: str) -> None:
        """Raises OSError if there is none."""
        import syslog
        os.stat(SYSLOG)
        syslog.openlog(identifier, syslog.LOG_PID, syslog.LOG_DAEMON)
        self._syslog = syslog.syslog

    def send(self, priority: int, line: str, _about: About) -> bool:
        """Hand over one ``line``; whether it was delivered nobody knows."""
        self._syslog(priority, line)
        return True


class System:
    """The system's log: the first of them that there is, looked for when there is something to
    tell."""

    def __init__(self, identifier: str) -> None:
        """``identifier`` is what it calls this program."""
        self._identifier = identifier
        self._found: "Journal | Syslog | None" = None
        self._looked = False

    def connect(self) -> None:
        """Look for it now."""
        if self._looked:
            return
        kinds: "Sequence[Callable[[str], Journal | Syslog]]" = (Journal, Syslog)
        for kind in kinds:
            try:
                self._found = kind(self._identifier)
                break
            except OSError:
                pass
        self._looked = True   # last: another thread that is as early looks, too

    def send(self, priority: int, line: str, about: About) -> bool:
        """Make an entry of one ``line``; False if it could not be delivered."""
        self.connect()
        return self._found is not None and self._found.send(priority, line, about)
