"""Which CAs are passed over for a while, where a section has another: ``pauses.json``.

A pause that can't be read or written costs a request that fails once more.
"""

from typing import NamedTuple

from ...common import log
from ...common.errors import ProtocolError
from ...common.wire.failed import ELSEWHERE
from ...common.wire.jsonfields import JsonObject, get_int, get_str
from .journal import MAX_MOMENT, MAX_SIZE
from .statefile import Remembered, StateFile

LONGEST = 7 * 86400       # seconds


class Pause(NamedTuple):
    """A CA is not asked before a moment, as long as there is another."""

    kind: str          # of ELSEWHERE: why
    until: int         # Unix time
    seconds: int       # how long it is
    wish: str = ""     # what was refused: it holds for nothing else

    def holds(self, now: float) -> bool:
        """True until it is over; one that is longer than any was begun by a clock gone wrong."""
        return now < self.until <= now + LONGEST


class Pauses(Remembered):
    """Those of all CAs, by their directories' URLs, and of the sections that they are about."""

    def __init__(self, directory: str) -> None:
        super().__init__(StateFile(directory, "pauses.json", MAX_SIZE))

    def of(self, directory: str, section: str = "") -> Pause | None:
        """Return the last one of a section, or with "" of the CA as such; None if there is none."""
        known = self._all().get(directory)
        found = known.get(section) if isinstance(known, dict) else None
        try:
            if isinstance(found, dict) and get_str(found, "kind", 16) in ELSEWHERE[1:]:
                return Pause(found["kind"], get_int(found, "until", 0, MAX_MOMENT),
                             get_int(found, "seconds", 0, LONGEST),
                             get_str(found, "wish", 64) if found.get("wish") else "")
        except ProtocolError as exc:
            log.debug(f"{self._file.path}: ignored: {exc}")
        return None

    def begin(self, directory: str, section: str, pause: Pause, now: float) -> None:
        """Remember a pause, and forget those of long ago."""
        known: JsonObject = {}
        for url, sections in self._all().items():
            left = {name: value for name, value in sections.items()
                    if isinstance(value, dict) and isinstance(value.get("until"), int)
                    and value["until"] > now - LONGEST} if isinstance(sections, dict) else {}
            if left:
                known[url] = left
        known.setdefault(directory, {})[section] = pause._asdict()
        self._remember(known)

    def end(self, directory: str, section: str) -> None:
        """The CA has issued something for a section: it is well, and willing."""
        known = self._all()
        sections = known.get(directory)
        if isinstance(sections, dict) and {"", section} & sections.keys():
            left = {name: value for name, value in sections.items() if name not in ("", section)}
            others = {url: value for url, value in known.items() if url != directory}
            self._remember({**others, **({directory: left} if left else {})})
