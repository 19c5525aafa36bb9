"""Sections whose files are each other's."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Placed(Protocol):
    """A section, as far as its files are concerned."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def where(self) -> str:
        """FILE, [SECTION]: for messages."""

    @property
    def key(self) -> str:
        """Where its key is."""

    @property
    def outputs(self) -> Sequence[str]:
        """The paths of the files that are replaced."""


def found(sections: Mapping[str, Placed]) -> dict[str, str]:
    """Return the names of sections that would undo each other's work at each run, and why.

    Whichever of two was meant: neither may replace the other's files.  A key may be shared, but
    no certificate may take its place.
    """
    seen: dict[str, Placed] = {}
    faults: dict[str, str] = {}
    by_key = {section.key: section for section in sections.values()}
    for section in sections.values():
        for path in section.outputs:
            if path in by_key:
                faults.setdefault(section.name, f"{section.where}: {path} is the certificate-key "
                                                f"of {by_key[path].where}")
            if path in seen:
                other = seen[path]
                faults.setdefault(section.name, f"{section.where}: {path} is already the file of "
                                                f"{other.where}")
                faults.setdefault(other.name, f"{other.where}: {path} is also the file of "
                                              f"{section.where}")
            seen[path] = section
    return faults
