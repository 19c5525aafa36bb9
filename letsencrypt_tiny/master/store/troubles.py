"""What has failed of each section, and since when, until it is mended: ``troubles.json``.

One file for all sections: a night in which all is well finds none, and writes none.  Lost, it is
learnt again by the next failure.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ...common import log
from ...common.clock import DAY
from ...common.errors import ProtocolError
from ...common.wire.jsonfields import get_int, get_str
from .journal import MAX_MOMENT
from .statefile import Remembered, StateFile

MAX_SIZE = 32 << 20    # bytes
MAX_WHY = 500          # characters
MAX_RUNS = 1_000_000   # more are not counted
KEPT = 30 * DAY        # how long it is remembered of a section that no run has looked at since

FILE = "troubles.json"


class Trouble(NamedTuple):
    """A section fails; moments are Unix time."""

    since: int      # the first of the runs in a row that have failed
    last: int       # the last one
    runs: int       # how many there were
    why: str        # as the last one said


class Troubles(Remembered):
    """Those of all sections."""

    def __init__(self, directory: str) -> None:
        super().__init__(StateFile(directory, FILE, MAX_SIZE))

    def of(self, section: str) -> Trouble | None:
        """Return what has failed of a section, None if nothing is known to have."""
        found = self._all().get(section)
        try:
            if isinstance(found, dict):
                return Trouble(get_int(found, "since", 0, MAX_MOMENT),
                               get_int(found, "last", 0, MAX_MOMENT),
                               get_int(found, "runs", 1, MAX_RUNS),
                               get_str(found, "why", 12 * MAX_WHY))   # escapes are longer
        except ProtocolError as exc:
            log.debug(f"{self._file.path}: ignored: {exc}")
        return None

    def known(self) -> set[str]:
        """Return the sections that something is known of."""
        return set(self._all())

    def learn(self, failed: Mapping[str, str], well: Collection[str], now: float) -> None:
        """A run has found what ``failed``, by section, and why, and which are ``well``; the others
        are as they were.

        That it can't be written is told by whatever else can't be.
        """
        before = self._all()
        content = {name: value for name, value in before.items() if name not in well
                   and (known := self.of(name)) is not None and known.last + KEPT > now}
        for name, why in failed.items():
            old = self.of(name)
            if old is None or old.since > now:
                old = Trouble(int(now), 0, 0, "")
            content[name] = old._replace(last=int(now), runs=min(old.runs + 1, MAX_RUNS),
                                         why=log.printable(why, MAX_WHY))._asdict()
        if content and content != before:
            self._remember(content, quiet=True)
        elif before and not content:
            self._forget()
