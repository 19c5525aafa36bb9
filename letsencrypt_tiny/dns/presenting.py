"""The challenges that somebody wants presented, and the threads that see to them.

A challenge is wanted as long as a door holds it.  Whoever finds it otherwise than it is wanted
works on it until it is so: then it is published at every name server, or gone.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from ..common import log
from ..common.errors import Error
from ..common.wire.responder import Answered, Challenge, Failed, Ready, Waits
from . import propagation
from .journal import Journal
from .places import Places
from .records import Record, checked, value
from .updates.update import Refused, Update

MAX_WORKERS = 32
STACK = 1 << 20     # bytes of each
REMIND = 20         # seconds after which ``remind`` is to be called again
STUCK = 120         # seconds beyond an update's and those of propagation in which nothing ends

Say = Callable[[int, Answered], None]


class _Entry:
    """A challenge, and how far it is."""

    def __init__(self, about: Challenge) -> None:
        self.about = about
        self.doors: set[int] = set()         # that want it
        self.record: Record | None = None    # in the zone, perhaps
        self.zone = ""                       # the record's
        self.why = "to be published"         # it isn't ready
        self.ready = False
        self.busy = False                    # somebody works on it, or will


class Presenter:
    """Publishes what is wanted, and takes back what isn't any more.  Any thread may call."""

    def __init__(self, places: Places, update: Update, journal: Journal, timeout: int,
                 propagation_timeout: int, say: Say) -> None:
        self._places = places
        self._update = update
        self._journal = journal
        self._timeout = timeout
        self._propagation_timeout = propagation_timeout
        self._say = say
        self._changed = threading.Condition()
        self._entries: dict[Challenge, _Entry] = {}
        self._queue: deque[Callable[[], None]] = deque()
        self._idle = self._workers = 0
        self._ended = False
        self._moved = time.monotonic()
        threading.stack_size(STACK)

    # --- what doors say ---

    def present(self, door: int, about: Challenge) -> None:
        """A door wants it; it will hear of it."""
        with self._changed:
            entry = self._entries.setdefault(about, _Entry(about))
            entry.doors.add(door)
            if entry.ready:
                self._say(door, Ready(about))
                return
            self._say(door, Waits(about, self._timeout + 2 * REMIND, entry.why))
            self._see_to(entry)

    def clean(self, door: int, about: Challenge) -> None:
        """A door does not want it any more."""
        with self._changed:
            entry = self._entries.get(about)
            if entry is not None and door in entry.doors:
                entry.doors.discard(door)
                self._see_to(entry)

    def leave(self, door: int) -> None:
        """A door has closed: it wants nothing any more."""
        with self._changed:
            for entry in self._entries.values():
                if door in entry.doors:
                    entry.doors.discard(door)
                    self._see_to(entry)

    def remind(self) -> None:
        """Let clients know that what they wait for is not forgotten: now and then.

        A server, or a hoster's interface, that answers a byte at a time may hold threads up for
        ever, but not clients.  What it published is taken back when it lets go, or by the next run.
        """
        with self._changed:
            silence = time.monotonic() - self._moved
            lost = silence > self._timeout + self._propagation_timeout + STUCK
            for entry in self._entries.values():
                if entry.ready:
                    continue
                for door in entry.doors:
                    self._say(door, Failed(entry.about, f"{entry.why}: nothing comes of it for "
                                           f"{silence:.0f} seconds") if lost else
                              Waits(entry.about, self._timeout + 2 * REMIND, entry.why))
                if lost:
                    entry.doors.clear()

    def recover(self, seconds: float) -> None:
        """Take back what an earlier run left, for ``seconds`` at most."""
        with self._changed:
            for record, zone in list(self._journal.left.items()):
                self._put(partial(self._take_back, record, zone))
        self._wait(seconds, lambda: not self._queue and self._idle == self._workers)

    def finish(self, seconds: float) -> bool:
        """Take everything back, for ``seconds`` at most; True if nothing is left."""
        with self._changed:
            for entry in self._entries.values():
                entry.doors.clear()
                self._see_to(entry)
        self._wait(seconds, lambda: not self._entries)
        with self._changed:
            left = [entry.record.name for entry in self._entries.values() if entry.record]
            if left:
                log.warning(f"{len(left)} records are left, the next run will try to take them "
                            f"back: {', '.join(left[:5])}")
            self._ended = True
            self._changed.notify_all()
        return not self._journal.left

    def _wait(self, seconds: float, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not done() and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    # --- threads ---

    def _see_to(self, entry: _Entry) -> None:
        if not entry.busy:
            entry.busy = True
            self._put(partial(self._work, entry))

    def _put(self, job: Callable[[], None]) -> None:
        self._queue.append(job)
        self._moved = time.monotonic()
        if self._idle < len(self._queue) and self._workers < MAX_WORKERS:
            self._start()
        self._changed.notify_all()

    def _start(self) -> None:
        self._workers += 1
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError as exc:
            self._workers -= 1
            if not self._workers:   # else they will do it
                raise Error(f"no thread can be started: {exc}") from exc

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.notify_all()
                while not self._queue and not self._ended:
                    self._changed.wait()
                self._idle -= 1
                if not self._queue:
                    self._workers -= 1
                    return
                job = self._queue.popleft()
            job()
            self._moved = time.monotonic()

    def _work(self, entry: _Entry) -> None:
        """Make it as it is wanted."""
        while True:
            with self._changed:
                wanted = bool(entry.doors)
                if wanted == entry.ready and (wanted or entry.record is None):
                    entry.busy = False
                    if not wanted:
                        del self._entries[entry.about]
                        self._changed.notify_all()
                    return
            if wanted:
                self._publish(entry)
            else:
                self._remove(entry)

    def _publish(self, entry: _Entry) -> None:
        try:
            self._try_to_publish(entry)
        except propagation.Unwanted:
            pass
        except Error as exc:
            self._fail(entry, str(exc))
        except Exception as exc:   # a thread's end is nobody's to catch
            log.error(f"{entry.about.identifier[1]}: {type(exc).__name__}: {exc}")
            self._fail(entry, f"an error of the program: {type(exc).__name__}")

    def _try_to_publish(self, entry: _Entry) -> None:
        about = entry.about
        place = self._places.find(about.identifier[1])
        record = checked(place.name, value(about))
        self._tell(entry, self._timeout + 2 * REMIND, f"{place.name} is being published")
        if not entry.doors:   # to find out may have taken long
            raise propagation.Unwanted("not published")
        entry.record, entry.zone = record, place.authority.zone
        self._journal.publishing(record, entry.zone, self._update.how)
        try:
            self._update.add(record, entry.zone)
        except Refused:
            entry.record = None
            self._journal.removed(record)
            raise
        log.debug(f"{record.name} TXT {record.value} is published")
        propagation.wait(place, record.value, self._propagation_timeout,
                         lambda seconds, why: self._tell(entry, seconds, why),
                         lambda: bool(entry.doors))
        with self._changed:
            entry.ready = True
            for door in entry.doors:
                self._say(door, Ready(about))

    def _tell(self, entry: _Entry, seconds: int, why: str) -> None:
        log.debug(f"{entry.about.identifier[1]}: {why}")
        with self._changed:
            self._moved = time.monotonic()
            entry.why = why
            for door in entry.doors:
                self._say(door, Waits(entry.about, seconds, why))

    def _fail(self, entry: _Entry, why: str) -> None:
        """Nothing of it is left when it is said."""
        if entry.record is not None:
            self._tell(entry, self._timeout + 2 * REMIND, why)
            self._remove(entry)
        with self._changed:
            for door in entry.doors:
                self._say(door, Failed(entry.about, why))
            entry.doors.clear()

    def _remove(self, entry: _Entry) -> None:
        with self._changed:
            entry.ready = False
            record, entry.record = entry.record, None
        if record is not None:
            self._take_back(record, entry.zone)

    def _take_back(self, record: Record, zone: str) -> None:
        try:
            self._update.remove(record, zone)
            self._journal.removed(record)
            log.debug(f"{record.name} TXT {record.value} is taken back")
        except Error as exc:
            log.warning(f"{record.name} TXT {record.value} is left, the next run will try to "
                        f"take it back: {exc}")
        except Exception as exc:   # as above
            log.error(f"{record.name} is left: {type(exc).__name__}: {exc}")
