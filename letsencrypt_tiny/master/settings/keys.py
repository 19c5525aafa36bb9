"""What the settings say of a section's private key: does it stay, and is the next one at hand?

The short form gets a new key with each certificate: nobody else knows the file.  What stands in
``certificate-key`` was chosen, may be pinned or shared, and stays.
"""

import os
from collections.abc import Mapping
from typing import Protocol

from ...common import inifile, pkcs11
from ...common.errors import ConfigError
from ...common.inifile import Settings
from . import values
from .clashes import Placed
from .rows import Values

KEY_TYPES = ("ec:P-256", "ec:P-384", "rsa:2048", "rsa:3072", "rsa:4096")
_SECOND = " (rsa)"


class Keyed(Placed, Protocol):
    """A section, as far as its key is concerned."""

    @property
    def reuse_key(self) -> bool | None:
        """Whether it stays; None: unless something else is said."""

    @property
    def twin(self) -> str:
        """The name of the one for the other type of key; "" if there is none."""

    @property
    def next_key(self) -> bool:
        """Whether the next one is made ahead."""


def key_types(text: str) -> tuple[str, ...]:
    """Parse a type of key, or one of each kind, ec first; raises ValueError."""
    found = tuple(sorted({inifile.choice(word, KEY_TYPES) for word in values.split(text)}))
    if len(found) > 2 or len(found) == 2 and found[0][:2] == found[1][:2]:
        raise ValueError("more than one key of a kind: name one type, or an ec and an rsa one")
    return found


def location(text: str) -> str:
    """Parse where a key is: the absolute path of its file, a PKCS #11 URI, or nothing."""
    if not pkcs11.is_uri(text):
        return values.file(text)
    pkcs11.parse(text)
    return text


def second(name: str) -> str:
    """Return what the section for the RSA key of the section ``name`` is called."""
    return name + _SECOND


def beside(path: str) -> str:
    """Return where the file for the RSA key is that the other one has at ``path``."""
    start, ending = os.path.splitext(path)
    return f"{start}.rsa{ending}" if path else ""


def written(section: Keyed) -> str:
    """Return the name of a section as it stands in the file."""
    return section.twin if section.name == second(section.twin) else section.name


def complete(settings: Settings, found: Values) -> None:
    """Fill in whether the key stays, as far as a section says by itself; raises ConfigError.

    None is left where it does not, unless another section has the same key.
    """
    if pkcs11.is_uri(found["key"]):
        for setting, wrong in (("next-key = yes", found["next_key"]),
                               ("reuse-key = no", found["reuse_key"] is False),
                               ("key-type of two kinds", len(found["key_types"]) > 1)):
            if wrong:
                raise ConfigError(f"{settings.where}: {setting}: certificate-key names one key, "
                                  "in a token, where none is made")
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
