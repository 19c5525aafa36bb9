"""What is wanted of a way to get records into a zone, whichever it is."""

from collections.abc import Sequence
from typing import Protocol

from ...common.errors import Error
from ..asking import Server
from ..records import Record


class Refused(Error):
    """Nothing was published, and that is certain."""


class Update(Protocol):
    """Puts records into a zone.  Any thread may call, for several records at once."""

    how: str                  # for people
    ports: tuple[int, ...]    # TCP ports that it connects to
    modules: tuple[str, ...]  # directories of Python modules that it may load late

    def add(self, record: Record, zone: str) -> None:
        """Publish one more value; values that the name has already stay.  Raises Error:
        it may be published then, unless it is Refused.

        ``zone`` is where the record's name was found to be, "" if that isn't known.
        """

    def servers(self) -> Sequence[Server]:
        """Return whom to ask about the zone if nobody else is found; raises Error."""

    def remove(self, record: Record, zone: str) -> None:
        """Remove this value, and no other; that it is not there is no error.  Raises Error."""
