"""What another client's certificate becomes: a section, in a file of its own as “add” writes it.

The file is tried before it is written, as if it were there: what would be wrong with it, or in the
way of others, is not taken over.  What stands in it are names that are names, and settings of one
line; a command of the other client's is a comment, for whoever reads it to decide.
"""

import os
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ....common.errors import Error
from ....common.log import printable
from ...settings import certificates, choice, identifiers
from ...settings.authorities import DEFAULT
from ...settings.certificates import SECTION, Certificates, Section
from ...settings.keys import KEY_TYPES
from ...settings.main import Config
from ...store import sectionfile
from .model import Found
from .pairs import Pair

_HEADER = """\
# Written by “letsencrypt-tiny import {client}”, and yours to change: see
# letsencrypt-tiny-certs.conf(5).  “letsencrypt-tiny remove {name}” takes it away.
"""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,199}\Z")
_ORDER = tuple(row.name for row in SECTION.rows)


class Planned(NamedTuple):
    """A section that is to be written."""

    section: Section
    path: str                   # of its file
    text: str
    left: tuple[str, ...] = ()  # settings that it has not, and why


class Present(Error):
    """There is a section for these names already: nothing is to be done."""


def plan(config: Config, client: str, loaded: Certificates, found: Found, pair: Pair | None,
         taken: Collection[str]) -> Planned:
    """Return what is to be written for what was ``found``, whose key and certificate are the
    ``pair``; ``taken`` are the names of sections that are to be written, too.

    Raises Present, and Error, which says why it can't be taken over.
    """
    name = _name(found)
    _check_present(loaded, found, name)
    if name in taken:
        raise Error(f"another certificate is called [{name}], too: take it over by hand")
    settings, left = _settings(config, found, pair)
    path = f"{sectionfile.place(loaded)}/{name}.conf"
    if os.path.lexists(path):
        raise Error(f"{path} is there, and not replaced")
    text = _HEADER.format(client=client, name=name) + "".join(
        f"{line}\n" for line in [f"[{name}]", *_lines(settings), *_comments(client, found)])
    tried = certificates.load(config, new=(path, text))
    if name in tried.faults:
        raise Error(str(tried.faults[name]).removeprefix(f"{path}, [{name}]: "))
    for other, fault in tried.faults.items():
        if other not in loaded.faults:
            raise Error(str(fault))
    return Planned(tried.sections[name], path, text, tuple(left))


def _name(found: Found) -> str:
    """Return what the section is called: as there, if that may name a directory; else after its
    first name."""
    if _NAME.match(found.name):
        return found.name
    name = sectionfile.name_for(found.names[0]) if found.names else ""
    if not _NAME.match(name):
        raise Error(f"“{printable(found.name, 100)}” can't be the name of a section here: take it "
                    "over by hand")
    return name


def _check_present(loaded: Certificates, found: Found, name: str) -> None:
    """Raise Present, or Error, if there is such a section, or one for the same names."""
    names = set(_identifiers(found))
    for section in loaded.sections.values():
        if names and set(section.identifiers) == names or not names and section.name == name:
            raise Present(f"{section.where} is there already")
    if name in loaded.sections:
        more = names - set(loaded.sections[name].identifiers)
        what = f"add {', '.join(value for _, value in sorted(more))} to its names" if more else \
            "it has more names"
        raise Error(f"{loaded.sections[name].where} is yours, and not changed: {what}")
    if name in loaded.faults:
        raise Error(f"there is such a section, and it is wrong: {loaded.faults[name]}")


def _identifiers(found: Found) -> Iterator[tuple[str, str]]:
    for word in found.names:
        try:
            yield identifiers.parse_identifier(word, public=False)
        except ValueError as exc:
            raise Error(str(exc)) from exc


def _settings(config: Config, found: Found, pair: Pair | None
              ) -> tuple[dict[str, str], list[str]]:
    """Return the settings to write, and what there is to be told of others."""
    settings = {name: value for name, value in found.settings.items() if value}
    left: list[str] = []
    if found.names:
        settings["names"] = ", ".join(dict.fromkeys(value for _, value in _identifiers(found)))
    if found.challenge:
        settings["challenge"] = found.challenge
    if found.server:
        try:
            word = choice.resolve(config, found.server)
        except ValueError as exc:
            raise Error(f"its CA, {printable(found.server, 300)}: {exc}") from exc
        if word:
            settings["ca"] = word
    if "key-type" not in settings and pair is not None:
        settings["key-type"] = pair.key_type
    kind = settings.get("key-type", "")
    if "certificate-key" not in settings and kind in (*KEY_TYPES[:1], ""):
        settings.pop("key-type", None)    # what there would be, anyhow
    elif kind not in KEY_TYPES and " " not in kind and "," not in kind and kind:
        left.append(f"key-type = {settings.pop('key-type')}: not one of {', '.join(KEY_TYPES)}: "
                    f"new keys are {KEY_TYPES[0]}")
    for name, value in settings.items():
        if not value.isprintable():
            raise Error(f"its {name} is not of one line")
    return settings, left


def _lines(settings: dict[str, str]) -> Iterator[str]:
    for name in _ORDER:
        value = settings.get(name, "")
        if value and not (name == "ca" and value == DEFAULT):
            yield f"{name} = {value}"


def _comments(client: str, found: Found) -> Iterator[str]:
    for hook in found.hooks:
        yield f"# {client} runs this {hook.when}; " \
            f"if it shall be run after each renewal here, take the # away:"
        yield f"# notify = {printable(hook.command.replace(chr(10), '; '), 1000)}"
