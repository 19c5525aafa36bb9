"""Two that renew one name: told by “check”, as the one undoes what the other does, and both count
for the CA's limits."""

import os
from collections.abc import Iterable, Iterator, Mapping

from ....common import log
from ....common.errors import Error
from ...settings.certificates import Section
from ...settings.main import Config
from . import reading
from .accounts import servers
from .sections import names_of
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
    ours = {name for section in sections for name in section.identifiers}
    for client in clients:
        where = _active(client, root)
        if not where:
            continue
        for place in client.places:
            try:
                estate = client.read(f"{root}{place}", known)
            except Error:   # nothing there, or nothing for us to read
                continue
            both = {name: one.source for one in estate.certificates for name in names_of(one)
                    if name in ours}
            if both:
                names = ", ".join(value for _, value in sorted(both)[:SHOWN])
                more = f" and {len(both) - SHOWN} more" if len(both) > SHOWN else ""
                yield (f"{client.name}, which {where} starts, renews {names}{more}, too "
                       f"({next(iter(both.values()))}): let one of both do it; {client.name} is "
                       f"stopped so: {client.stop}")
                break


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
