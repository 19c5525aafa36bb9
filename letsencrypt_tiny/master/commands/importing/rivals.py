"""Two that renew one name: told by “check”, as the one undoes what the other does, and both count
for the CA's limits."""

import os
from collections.abc import Iterable, Iterator, Mapping

from ....common import log
from ....common.errors import Error
from ...settings import identifiers
from ...settings.certificates import Section
from ...settings.main import Config
from . import reading
from .accounts import servers
from .model import Found
from .table import CLIENTS, Client

_TIMERS = "/etc/systemd/system/timers.target.wants"
_SYSTEMD = "/run/systemd/system"
_TABLES = ("/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily",
           "/etc/cron.weekly", "/etc/cron.monthly", "/var/spool/cron/crontabs")
SHOWN = 5   # names in a line


def warn(config: Config, sections: Iterable[Section]) -> None:
    """Tell which names of ``sections`` another client renews, too."""
    for line in found(sections, servers(config)):
        log.warning(line)


def found(sections: Iterable[Section], known: Mapping[str, str], root: str = "",
          clients: Iterable[Client] = tuple(CLIENTS.values())) -> Iterator[str]:
    """Yield a line for each other client that renews names of ``sections``.

    ``known`` are the directories of CAs by host; ``root`` is put before all paths but those in
    the clients' own files.
    """
    ours = {value for section in sections for _, value in section.identifiers}
    for client in clients:
        where = _active(client, root)
        if not where:
            continue
        for place in client.places:
            try:
                estate = client.read(f"{root}{place}", known)
            except Error:   # nothing there, or nothing for us to read
                continue
            both = {name: one.source for one in estate.certificates for name in _names(one)
                    if name in ours}
            if both:
                names = ", ".join(sorted(both)[:SHOWN])
                more = f" and {len(both) - SHOWN} more" if len(both) > SHOWN else ""
                yield (f"{client.name}, which {where} starts, renews {names}{more}, too "
                       f"({next(iter(both.values()))}): let one of both do it; {client.name} is "
                       f"stopped so: {client.stop}")
                break


def _names(one: Found) -> Iterator[str]:
    """Yield the names of a certificate, as sections have them; what is none is passed over."""
    words = one.names or [
        word.partition(":")[2] for word in one.settings.get("subjectAltName", "").split(",")] + [
        word.removeprefix("CN=") for word in one.settings.get("subject", "").split("/")
        if word.startswith("CN=")]
    for word in words:
        try:
            yield identifiers.parse_identifier(word, public=False)[1]
        except ValueError:
            continue


def _active(client: Client, root: str) -> str:
    """Return what starts a client regularly, "" if nothing is known to."""
    for timer in client.timers:
        if os.path.lexists(f"{root}{_TIMERS}/{timer}"):
            return timer
    for path in _tables(root):
        try:
            text = reading.text(path)
        except Error:
            continue
        if os.path.isdir(f"{root}{_SYSTEMD}") and _SYSTEMD in text:
            continue   # which does nothing where systemd runs
        if any(client.name in line and not line.lstrip().startswith("#")
               for line in text.splitlines()):
            return path
    return ""


def _tables(root: str) -> Iterator[str]:
    """Yield the files that cron(8) reads."""
    for path in _TABLES:
        if not os.path.isdir(f"{root}{path}"):
            yield f"{root}{path}"
            continue
        try:
            yield from (f"{root}{path}/{name}" for name in reading.listing(f"{root}{path}"))
        except Error:
            continue
