"""What another client's certificate becomes: a section, in a file of its own as “add” writes it.

The file is tried before it is written, as if it were there: what would be wrong with it, or in the
way of others, is not taken over.  What stands in it are names that are names, and settings of one
line; a command of the other client's is a comment, for whoever reads it to decide.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ....common.errors import Error
from ....common.log import printable
from ....common.names import Identifier
from ...settings import certificates, choice, identifiers
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


class Draft(NamedTuple):
    """A section that may be written."""

    name: str
    path: str                   # of its file
    text: str
    left: tuple[str, ...] = ()  # settings that it has not, and why


class Present(Error):
    """There is a section for these names already: nothing is to be done."""


def draft(config: Config, client: str, loaded: Certificates, found: Found, pair: Pair | None,
          taken: Collection[str]) -> Draft:
    """Return what would be written for what was ``found``, whose key and certificate are the
    ``pair``; ``taken`` are the names of sections that are to be written, too.

    Raises Present, and Error, which says why it can't be taken over.
    """
    name = _free_name(loaded, found, taken)
    settings, left = _settings(config, found, pair)
    path = f"{sectionfile.place(loaded)}/{name}.conf"
    if os.path.lexists(path):
        raise Error(f"{path} is there, and not replaced")
    text = _HEADER.format(client=client, name=name) + "".join(
        f"{line}\n" for line in [f"[{name}]", *_lines(settings), *_comments(client, found)])
    return Draft(name, path, text, tuple(left))


def tried(config: Config, loaded: Certificates, drafts: Sequence[Draft]
          ) -> dict[str, Section | Error]:
    """Return by name what each section is once its file is there, or what would be wrong with it,
    or with others.

    All are tried in one file, which is one look at all that there are; where that goes wrong, each
    by itself.
    """
    if not drafts:
        return {}
    try:
        if len(drafts) > 1:
            whole = _tried(config, loaded, drafts[0].path, "".join(one.text for one in drafts))
            if all(one.name in whole for one in drafts):
                return {one.name: _at(whole[one.name], one.path) for one in drafts}
    except Error:
        pass
    found: dict[str, Section | Error] = {}
    for one in drafts:
        try:
            found.update({one.name: _tried(config, loaded, one.path, one.text)[one.name]})
        except Error as exc:
            found[one.name] = exc
    return found


def _at(tried: Section | Error, path: str) -> Section | Error:
    """Say where a section that nothing is wrong with will stand."""
    return tried._replace(source=path) if isinstance(tried, Section) else tried


def _tried(config: Config, loaded: Certificates, path: str, text: str
           ) -> dict[str, Section | Error]:
    """Return what sections and faults there are with a file; raises Error for what is wrong with
    others then."""
    all_of_them = certificates.load(config, new=(path, text))
    for other, fault in all_of_them.faults.items():
        if other not in loaded.faults and f"[{other}]\n" not in text:
            raise Error(str(fault))
    return {**all_of_them.sections, **{
        name: Error(str(fault).removeprefix(f"{path}, [{name}]: "))
        for name, fault in all_of_them.faults.items()}}


def _names(found: Found) -> Iterator[str]:
    """Yield what a section may be called: as there, if that may name a directory; or after its
    first name."""
    for name in (found.name, *map(sectionfile.name_for, found.names[:1])):
        if _NAME.match(name):
            yield name


def _free_name(loaded: Certificates, found: Found, taken: Collection[str]) -> str:
    """Return what the section is to be called.

    Raises Present, or Error, if there is one that is for its names already, or some of them.
    """
    names = set(names_of(found))
    for section in loaded.sections.values():
        if names == set(section.identifiers):
            raise Present(f"{section.where} is there already")
    if wrong := [word for word in found.names if _identifier(word) is None]:
        raise Error(f"“{printable(wrong[0], 100)}” is not a name that a certificate can be for")
    why = "that can't be the name of a section here"
    for name in _names(found):
        if name in loaded.sections and names & set(loaded.sections[name].identifiers):
            more = names - set(loaded.sections[name].identifiers)
            what = f"add {', '.join(value for _, value in sorted(more))} to its names" if more \
                else "it has more names"
            raise Error(f"{loaded.sections[name].where} is yours, and not changed: {what}")
        if name not in taken and name not in loaded.sections and name not in loaded.faults:
            return name
        why = f"there is another section [{name}]"
    raise Error(f"{why}: take it over by hand")


def names_of(found: Found) -> Iterator[Identifier]:
    """Yield the names of a certificate, as sections have them; what is none is passed over."""
    words = found.names or [
        word.strip().partition(":")[2]
        for word in found.settings.get("subjectAltName", "").split(",")] + [
        word.removeprefix("CN=") for word in found.settings.get("subject", "").split("/")
        if word.startswith("CN=")]
    yield from filter(None, map(_identifier, words))


def _identifier(word: str) -> Identifier | None:
    try:
        return identifiers.parse_identifier(word, public=False)
    except ValueError:
        return None


def _settings(config: Config, found: Found, pair: Pair | None
              ) -> tuple[dict[str, str], list[str]]:
    """Return the settings to write, and what there is to be told of others."""
    settings = {name: value for name, value in found.settings.items() if value}
    if found.names:
        settings["names"] = ", ".join(dict.fromkeys(value for _, value in names_of(found)))
    if found.challenge:
        settings["challenge"] = found.challenge
    if found.server and (word := _authority(config, found.server)):
        settings["ca"] = word
    left = _judge_key_type(settings, pair)
    for name, value in settings.items():
        if not value.isprintable():
            raise Error(f"its {name} is not of one line")
    return settings, left


def _authority(config: Config, server: str) -> str:
    """Return what the setting “ca” calls the CA with this directory; "" for that of [client]."""
    try:
        return choice.resolve(config, server)
    except ValueError as exc:
        raise Error(f"its CA, {printable(server, 300)}: {exc}") from exc


def _judge_key_type(settings: dict[str, str], pair: Pair | None) -> list[str]:
    """Set key-type, by the key that there is if nobody says it, and not to what it would be anyhow;
    return what is to be told of one that there is not here."""
    if "certificate-key" in settings:
        return []
    kind = settings.pop("key-type", "") or (pair.key_type if pair is not None else "")
    if kind in KEY_TYPES[1:]:
        settings["key-type"] = kind
    elif kind not in KEY_TYPES[:1] and kind:
        return [f"key-type = {printable(kind, 100)}: not one of {', '.join(KEY_TYPES)}: new keys "
                f"are {KEY_TYPES[0]}"]
    return []


def _lines(settings: dict[str, str]) -> Iterator[str]:
    for name in _ORDER:
        value = settings.get(name, "")
        if value:
            yield f"{name} = {value}"


def _comments(client: str, found: Found) -> Iterator[str]:
    for hook in found.hooks:
        yield f"# {client} runs this {hook.when}; " \
            f"if it shall be run after each renewal here, take the # away:"
        yield f"# notify = {printable(hook.command.replace(chr(10), '; '), 1000)}"
