"""What fails, since when, and when that was told last: ``told.json``.

One that can't be read or written costs no more than a message that somebody has had already.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ...common import log
from ...common.clock import DAY
from ...common.errors import ProtocolError
from ...common.wire.jsonfields import JsonObject, get_int, get_str
from .journal import MAX_MOMENT
from .statefile import Remembered, StateFile

MAX_SIZE = 64 << 20    # bytes
MAX_WHY = 2000         # characters
# Seconds between two messages of what lasts: a day, but for what runs begin, and take, later
AGAIN = DAY - 3600

RUN = ""               # what stands for the run itself, among names of sections


class Failure(NamedTuple):
    """A section that fails; moments are Unix time."""

    since: int             # when that was seen first
    why: str
    told: int = 0          # when it was told last; 0: never
    expires: int = 0       # when the certificate that is installed ends; 0: there is none, …
    known: bool = False    # … if that is known
    again: int = 0         # when it is tried again; 0: by the next run


class Failing(Remembered):
    """Those of all sections, and lines of other matters that were told."""

    def __init__(self, directory: str) -> None:
        """``directory`` is the state directory."""
        super().__init__(StateFile(directory, "told.json", MAX_SIZE))

    def all(self) -> dict[str, Failure]:
        """Return what fails, by section; RUN is for what has failed the whole run."""
        found = {}
        for name, value in self._part("sections").items():
            try:
                found[name] = _parse(value)
            except ProtocolError as exc:
                log.debug(f"{self._file.path}: ignored: {exc}")
        return found

    def settle(self, failed: Mapping[str, Failure], lasting: Collection[str],
               covered: Collection[str] | None) -> None:
        """A run is over, in which those in ``failed`` did; those ``lasting`` were not tried.

        ``covered`` are the sections that it was about, None for all: what else is remembered of
        these is over.
        """
        before = self.all()
        left = {name: failure for name, failure in before.items()
                if name in lasting or covered is not None and name not in covered and name != RUN}
        for name, failure in failed.items():
            old = before.get(name, failure)
            left[name] = failure._replace(since=min(old.since, failure.since), told=old.told)
        if left != before:
            self._write(left, self._part("lines"))

    def run_failed(self, why: str, now: int) -> None:
        """A run has failed as a whole, for what it says."""
        before = self.all()
        old = before.get(RUN, Failure(now, why))
        self._write({**before, RUN: old._replace(why=why)}, self._part("lines"))

    def untold(self, now: float) -> bool:
        """Say whether something fails that nobody was told of for a day."""
        return any(not now - AGAIN < failure.told <= now for failure in self.all().values())

    def told(self, now: float) -> None:
        """All of it was told."""
        self._write({name: failure._replace(told=int(now))
                     for name, failure in self.all().items()}, self._part("lines"))

    def fresh(self, lines: Iterable[str], now: float) -> list[str]:
        """Return those of ``lines`` that were not told for a day, numbers in them aside; they are
        taken to be told now."""
        known = {line: moment for line, moment in self._part("lines").items()
                 if isinstance(moment, int) and now - AGAIN < moment <= now}
        found = []
        for line in lines:
            kind = re.sub("[0-9a-fA-F]*[0-9][0-9a-fA-F]*", "#", line)
            if kind not in known:
                known[kind] = int(now)
                found.append(line)
        if found:
            self._write(self.all(), known)
        return found

    def _part(self, name: str) -> JsonObject:
        found = self._all().get(name)
        return found if isinstance(found, dict) else {}

    def _write(self, sections: Mapping[str, Failure], lines: Mapping[str, object]) -> None:
        if not sections and not lines:    # as where nothing has ever failed
            self._forget()
            return
        self._remember({"sections": {name: failure._asdict() for name, failure in sections.items()},
                        "lines": dict(lines)})


def _parse(value: object) -> Failure:
    obj = value if isinstance(value, dict) else {}
    return Failure(get_int(obj, "since", 0, MAX_MOMENT), get_str(obj, "why", 12 * MAX_WHY),
                   get_int(obj, "told", 0, MAX_MOMENT), get_int(obj, "expires", 0, MAX_MOMENT),
                   obj.get("known") is True, get_int(obj, "again", 0, MAX_MOMENT))
