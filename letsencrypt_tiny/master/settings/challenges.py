"""[dns], [dns ZONE] and [tlsserver]: who answers challenges that need a process of their own."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...common import inifile, paths
from ...common.errors import ConfigError
from ...common.inifile import Settings
from ...common.names import a_label, in_zone, is_dns
from . import network, values
from .network import Address
from .program import Program, program_rows
from .rows import Setting, Table, record

UPDATES = ("rfc2136", "lexicon", "command")


class Dns(NamedTuple):
    """[dns] or [dns ZONE]: how records of the names in a zone are published (dns-01)"""

    program: Program
    zone: str                      # "" for all names
    update: tuple[str, ...]        # one of UPDATES, and its arguments
    server: str                    # HOST[:PORT] that takes RFC 2136's updates
    key_file: str                  # its key, as tsig-keygen(8) writes it
    credentials: str               # what a provider wants to be told
    nameservers: tuple[str, ...]   # addresses to ask instead of the zone's own servers
    propagation_timeout: int       # seconds until all of them have it
    update_timeout: int            # seconds for one update
    ttl: int                       # seconds

    @property
    def secret(self) -> str:
        """The file that the process has to know the content of, "" if there is none."""
        return self.key_file if self.update[0] == "rfc2136" else self.credentials


class Tlsserver(NamedTuple):
    """[tlsserver]: who answers tls-alpn-01"""

    program: Program
    listen: tuple[Address, ...] | None      # None: auto
    firewall: bool


def _update(text: str) -> tuple[str, ...]:
    """Parse “rfc2136”, “lexicon PROVIDER” or “command PATH ARGUMENT…”."""
    words = tuple(text.split())
    kind = words[0] if words else ""
    if kind not in UPDATES:
        raise ValueError(f"not one of {', '.join(UPDATES)}")
    if kind == "rfc2136" and len(words) > 1:
        raise ValueError("rfc2136 takes no words: set server and key-file")
    if kind == "lexicon" and (len(words) != 2 or not re.match(r"[a-z0-9]{1,40}\Z", words[1])):
        raise ValueError("not “lexicon PROVIDER” (lexicon(1) has a list)")
    if kind == "command" and (len(words) < 2 or not words[1].startswith("/")):
        raise ValueError("not “command /PATH [ARGUMENT …]”")
    return words


def _server(text: str) -> str:
    """Parse HOST[:PORT], an IPv6 address in brackets."""
    if text:
        network.host_port(text, 53)
    return text


def _addresses(text: str) -> tuple[str, ...]:
    """Parse ADDRESS[:PORT] between commas or spaces, an IPv6 address in brackets if it has one."""
    words = tuple(values.split(text))
    for word in words:
        network.host_port(word, 53, name=False)
    return words


DNS = Table(
    Setting("update", "update", _update, "rfc2136", "how records are published"),
    Setting("server", "server", _server, "", "server that takes updates"),
    Setting("key-file", "key_file", values.expanded_absolute, "", "its TSIG key"),
    Setting("credentials", "credentials", values.expanded_absolute, "",
            "file of the provider's credentials and options"),
    Setting("nameservers", "nameservers", _addresses, "",
            "whom to ask whether a record is there"),
    Setting("propagation-timeout", "propagation_timeout", values.integer(0, 3600), "120",
            "seconds until every name server has a record"),
    Setting("update-timeout", "update_timeout", values.integer(1, 3600), "60",
            "seconds for one update"),
    Setting("ttl", "ttl", values.integer(0, 86400), "60", "of the records, in seconds"),
    *program_rows(paths.DNS_USER, paths.DNS))

TLSSERVER = Table(
    Setting("listen", "listen", network.listen_tls, "auto", "addresses to listen on"),
    Setting("iptables", "firewall", inifile.boolean, "yes", "whether to open the firewall"),
    *program_rows(paths.TLSSERVER_USER, paths.TLSSERVER))


def dns(settings: Settings) -> Dns:
    """Read [dns] or [dns ZONE]; raises ConfigError."""
    try:
        zone = a_label(settings.name.removeprefix("dns").strip()).lower().rstrip(".")
    except ValueError as exc:
        raise ConfigError(f"{settings.where}: {exc}") from exc
    if settings.name != "dns" and (not is_dns(zone) or zone.startswith("*.")):
        raise ConfigError(f"{settings.where}: “{zone}” is no name of a zone")
    found = DNS.read(settings)
    made = record(Dns, {**found, "zone": zone, "program": record(
        Program, {**found, "where": settings.where})})
    kind = made.update[0]
    if kind == "rfc2136" and not made.server:
        raise settings.bad("server", "must be set: which server takes updates")
    if kind == "lexicon" and not made.credentials:
        raise settings.bad("credentials", "must be set: the file with the provider's credentials")
    return made


def zones(sections: Iterable[Settings]) -> dict[str, Dns]:
    """Return those that [dns] and [dns ZONE] among ``sections`` are for; raises ConfigError."""
    found: dict[str, Dns] = {}
    for settings in sections:
        if settings.name == "dns" or settings.name.startswith("dns "):
            made = dns(settings)
            if made.zone in found:
                raise ConfigError(f"{settings.where}: the zone has a section already")
            found[made.zone] = made
    return found


def tlsserver(settings: Settings) -> Tlsserver:
    """Read [tlsserver]; raises ConfigError."""
    found = TLSSERVER.read(settings)
    return record(Tlsserver, {**found, "program": record(
        Program, {**found, "where": settings.where})})


def zone_of(name: str, zones: Mapping[str, Dns]) -> Dns | None:
    """Return how records of ``name`` are published: the longest zone that it is in wins."""
    found = [zone for zone in zones if in_zone(name.removeprefix("*."), zone)]
    return zones[max(found, key=len)] if found else None
