"""[ca NAME]: the CAs that certificates can be of, besides the one of [client]."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...common.errors import ConfigError, did_you_mean
from ...common.inifile import Settings
from ...common.wire.access import Access
from . import network, values
from .identifiers import is_public
from .presets import PRESETS, of_directory
from .rows import Setting, Table, Values, record

if TYPE_CHECKING:
    from .main import Config

DEFAULT = "default"    # what “ca” says for the CA of [client]
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")
# What is the host's, and no CA's, holds for all unless they say otherwise
_OF_THE_HOST = ("timeout", "answer_timeout", "jobs", "proxy", "ciphers")


class Authority(NamedTuple):
    """A CA: [ca NAME], [client], or one that needs no section, a preset or a URL."""

    name: str                      # "" is the one of [client]; a URL's is the URL
    where: str                     # FILE, [SECTION]: for messages
    access: Access
    socket: str = ""               # of a signer of its own, before %-expansion; "": the common one
    eab_kid: str = ""              # what it calls us for external binding (RFC 8555 §7.3.4)
    contact: tuple[str, ...] = ()  # URLs for a new account (§7.1.2)


def table(rows: Sequence[Setting]) -> Table:
    """Return the table of [ca NAME], of which [client] has these ``rows``, too."""
    return Table(*(row._replace(default="") if row.name == "server" else row for row in rows),
                 Setting("socket", "socket", str, "", "of a signer of its own"))


def read(sections: Iterable[Settings], rows: Table, access: Access) -> dict[str, Authority]:
    """Return those that [ca NAME] among ``sections`` are for; ``access`` is that of [client].

    Raises ConfigError.
    """
    found: dict[str, Authority] = {}
    for settings in sections:
        if settings.name != "ca" and not settings.name.startswith("ca "):
            continue
        name = settings.name.removeprefix("ca").strip()
        if not _NAME.match(name) or name == DEFAULT:
            raise ConfigError(f"{settings.where}: “{name}” can't name a CA: choose a word of "
                              f"letters, digits, dots and hyphens, which isn't “{DEFAULT}”")
        if name in found:
            raise ConfigError(f"{settings.where}: the CA has a section already")
        found[name] = _authority(name, settings, rows, access)
    return found


def _authority(name: str, settings: Settings, rows: Table, access: Access) -> Authority:
    inherited: Values = {**rows.defaults(), "tls": (access.tls_minimum, access.tls_maximum),
                         **{field: getattr(access, field) for field in _OF_THE_HOST}}
    given = rows.read(settings, inherited)
    if not given["server"]:
        if name not in PRESETS:
            raise settings.bad("server", f"must be set: the URL of its directory ({name} is none "
                               f"of {', '.join(PRESETS)}, which have one)")
        given["server"] = PRESETS[name].directory
    given["tls_minimum"], given["tls_maximum"] = given["tls"]
    return record(Authority, {**given, "name": name, "where": settings.where,
                              "access": record(Access, given)})


def find(config: "Config", name: str) -> Authority:
    """Return the CA that a Section calls ``name``; raises KeyError for what ``resolve`` would not
    return."""
    client = config.client
    if not name:
        return Authority("", f"{config.file}, [client]", client.access, "", client.eab_kid,
                         client.contact)
    if name in config.authorities:
        return config.authorities[name]
    url = PRESETS[name].directory if name in PRESETS else name
    if "://" not in url:
        raise KeyError(name)
    return Authority(name, f"{config.file}, [ca {name}]" if name in PRESETS else config.file,
                     client.access._replace(server=url, origins=(), verify=True, ca_file=""))


def resolve(config: "Config", word: str) -> str:
    """Return the name of the CA that a word of the setting “ca” means: [ca WORD], a preset, a
    URL, or “default”.  Raises ValueError.

    One that is configured, under whatever name, is meant by its preset and its URL, too.
    """
    if word == DEFAULT:
        return ""
    if word in config.authorities:
        return word
    if word not in PRESETS and "://" not in word:
        known = [DEFAULT, *config.authorities, *PRESETS]
        raise ValueError(f"there is no CA “{word}”: no section [ca {word}] in {config.file}, and "
                         f"none of {', '.join(PRESETS)}{did_you_mean(word, known)}")
    url = network.server(word)
    for name, access in (("", config.client.access),
                         *((item.name, item.access) for item in config.authorities.values())):
        if access.server == url:
            return name
    preset = of_directory(url)
    return preset.name if preset is not None and preset.directory == url else url


def meant(config: "Config", settings: Settings, words: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the CAs that ``words`` of the setting “ca” mean, each once.

    ``settings`` are those of the section.  Raises ConfigError.
    """
    if tuple(words) == (DEFAULT,):   # the most
        return ("",)
    try:
        return tuple(dict.fromkeys(resolve(config, word) for word in words))
    except ValueError as exc:
        raise ConfigError(f"{settings.where}: ca = {', '.join(words)}: {exc}") from exc


def is_private(config: "Config", settings: Settings, inherited: Sequence[str]) -> bool:
    """True if a CA of a section may certify what no public one does; ``inherited`` is its “ca”
    where ``settings`` have none.  Raises ConfigError."""
    names = meant(config, settings, values.words(settings.text("ca")) or inherited)
    return not all(is_public(find(config, name).access.server) for name in names)
