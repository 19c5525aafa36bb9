"""[ca NAME]: the CAs that certificates can be of, besides the one of [client]."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...common.errors import ConfigError
from ...common.inifile import Settings
from ...common.wire.access import Access
from .presets import PRESETS
from .rows import Setting, Table, Values, record

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
                 Setting("socket", "socket", str, "", "of an account key manager of its own"))


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
