"""What the settings say of a section's private key: does it stay, and is the next one at hand?

The short form gets a new key with each certificate: nobody else knows the file.  What stands in
``certificate-key`` was chosen, may be pinned or shared, and stays.
"""

from collections.abc import Mapping
from typing import Protocol

from ...common.errors import ConfigError
from ...common.inifile import Settings
from .rows import Values


class Keyed(Protocol):
    """A section, as far as its key is concerned."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def where(self) -> str:
        """FILE, [SECTION]: for messages."""

    @property
    def key(self) -> str:
        """Where the key is."""

    @property
    def reuse_key(self) -> bool | None:
        """Whether it stays; None: unless something else is said."""

    @property
    def next_key(self) -> bool:
        """Whether the next one is made ahead."""


def complete(settings: Settings, found: Values) -> None:
    """Fill in whether the key stays, as far as a section says by itself; raises ConfigError.

    None is left where it does not, unless another section has the same key.
    """
    if found["next_key"]:
        if found["reuse_key"]:
            raise ConfigError(f"{settings.where}: next-key = yes and reuse-key = yes exclude each "
                              "other: the next certificate has another key, or it has not")
        found["reuse_key"] = False
    elif found["reuse_key"] is None and found["key"]:
        found["reuse_key"] = True


def share(sections: Mapping[str, Keyed]) -> tuple[list[str], dict[str, str]]:
    """Return the names of sections whose key stays because it is another's, too, and by name what
    is wrong with those that would have it replaced under the other's certificate."""
    by_key: dict[str, list[Keyed]] = {}
    for section in sections.values():
        by_key.setdefault(section.key, []).append(section)
    stays: list[str] = []
    faults: dict[str, str] = {}
    for members in by_key.values():
        for section in members if len(members) > 1 else ():
            if section.reuse_key is None:
                stays.append(section.name)
            elif not section.reuse_key:
                other = next(item for item in members if item is not section)
                faults[section.name] = (
                    f"{section.where}: {'next-key = yes' if section.next_key else 'reuse-key = no'}"
                    f": {section.key} is the certificate-key of {other.where}, too; give each a "
                    "key of its own, or let it stay (reuse-key = yes)")
    return stays, faults
