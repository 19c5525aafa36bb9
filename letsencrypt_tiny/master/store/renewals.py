"""What CAs have said of when to renew (RFC 9773), and what we made of it: ``renewals.json``.

One file for all sections: a night with nothing due reads it once, and what was heard of a thousand
certificates is written once.  Lost, it costs a few questions; so no write of it is a row of a
section's life (plan/lifecycle.py).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from ...common import log
from ...common.clock import DAY
from ...common.wire.jsonfields import JsonObject
from .statefile import StateFile

MAX_SIZE = 32 << 20    # bytes
KEPT = 30 * DAY        # how long after a certificate's end what was said of it is kept

_FILE = "renewals.json"
_NUMBER = re.compile(r"[0-9]{1,13}\Z")


class Renewal(NamedTuple):
    """What is known of the renewal of one certificate; moments are Unix time."""

    certificate: str = ""    # certID; "" is none
    expires: int = 0
    start: int = 0           # the window that was suggested last; 0: none
    end: int = 0
    moment: int = 0          # chosen inside
    again: int = 0           # when the CA is to be asked again
    failures: int = 0        # to ask, one after another, that may pass
    # The window for which this certificate took the place of the one before; 0: none
    used_start: int = 0
    used_end: int = 0
    explanation: str = ""    # a URL


NOTHING = Renewal()


class Renewals:
    """The file, read once it is needed."""

    def __init__(self, directory: str) -> None:
        self._file = StateFile(directory, _FILE, MAX_SIZE)
        self._content: JsonObject | None = None

    def of(self, section: str) -> Renewal:
        """Return what is known of the certificate that a section had when that was written."""
        found = self._all().get(section)
        return _parse(found) if isinstance(found, str) else NOTHING

    def remember(self, known: Mapping[str, Renewal], now: float) -> None:
        """Remember what is known, by section; a failure is a warning.

        What is known of certificates of long ago is forgotten.
        """
        sections = self._all()
        for name in [name for name in sections if self.of(name).expires + KEPT < now]:
            del sections[name]
        sections.update((name, " ".join(map(str, renewal))) for name, renewal in known.items())
        self._file.try_to_write(sections)

    def _all(self) -> JsonObject:
        if self._content is None:
            self._content = self._file.read()
        return self._content


def _parse(text: str) -> Renewal:
    """A section's is one text of words, which are read in no time; NOTHING for another text."""
    certificate, *numbers = text.split(" ")
    explanation = numbers.pop() if numbers else ""
    if len(numbers) != len(Renewal._fields) - 2 or not all(map(_NUMBER.match, numbers)):
        log.debug(f"{_FILE}: ignored: “{log.printable(text, 100)}”")
        return NOTHING
    return Renewal._make([certificate, *map(int, numbers), explanation])
