"""Which CAs were out of order when they were asked last: ``outages.json``.

One that can't be read or written costs a few requests to a CA that is still down.
"""

import os
from typing import NamedTuple

from ...common import log
from ...common.errors import ProtocolError
from ...common.wire.jsonfields import get_int, get_optional_str, get_str
from .journal import MAX_MOMENT, MAX_SIZE
from .statefile import Remembered, StateFile

MAX_FAILURES = 1000
MAX_WHY = 500      # characters


class Outage(NamedTuple):
    """A CA is out of order."""

    since: int         # Unix time: when that was seen first …
    last: int          # … and last
    failures: int      # runs, or rounds of a run, that have seen it
    why: str
    document: str = ""    # what its directory was (JSON), if known


class Outages(Remembered):
    """Those of all CAs, by their directories' URLs."""

    def __init__(self, directory: str) -> None:
        super().__init__(StateFile(directory, "outages.json", MAX_SIZE))

    def of(self, directory: str) -> Outage | None:
        """Return the outage of a CA; None if it was well when it was asked last."""
        found = self._all().get(directory)
        try:
            if isinstance(found, dict):
                # with all that an order is, which a run with nothing to order loads not
                from ...common.wire.order import MAX_DIRECTORY
                return Outage(get_int(found, "since", 0, MAX_MOMENT),
                              get_int(found, "last", 0, MAX_MOMENT),
                              get_int(found, "failures", 1, MAX_FAILURES),
                              get_str(found, "why", 12 * MAX_WHY),   # escapes are longer
                              get_optional_str(found, "document", MAX_DIRECTORY) or "")
        except ProtocolError as exc:
            log.debug(f"{self._file.path}: ignored: {exc}")
        return None

    def failed(self, directory: str, why: str, now: int, document: str = "") -> Outage:
        """A run has found that the CA is out of order; its directory is in ``document``, if it
        was had."""
        before = self.of(directory)
        if before is None or before.last > now:
            before = Outage(now, now, 0, "")
        made = before._replace(last=now, failures=min(before.failures + 1, MAX_FAILURES),
                               why=log.printable(why, MAX_WHY),
                               document=document or before.document)
        self._remember({**self._all(), directory: made._asdict()})
        return made

    def well(self, directory: str) -> None:
        """The CA works."""
        known = self._all()
        if directory in known:
            self._remember({url: value for url, value in known.items() if url != directory})


def seed(directory: str) -> str:
    """Return what tells this host's waits for a CA from others'."""
    return f"{os.uname().nodename} {directory}"
