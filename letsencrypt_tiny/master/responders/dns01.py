"""How dns-01 (RFC 8555 §8.4) is answered: by a process for each zone, which publishes records.

What it has published it writes down, before it does, in a file that the master opens for it: so
what a killed run left is taken back by the next.
"""

import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ...common import log
from ...common.errors import ConfigError, Error, LocalProtocolError
from ...common.names import Identifier
from ...common.wire import dns as wire
from ...common.wire.order import Door
from ...common.wire.responder import Duty
from ..peers import orphans
from ..peers.child import Child
from ..peers.identity import identity
from ..peers.spawn import sealed, spawn
from ..settings.challenges import Dns, zone_of
from ..settings.main import Config
from ..store import secrets
from ..store.records import Records
from .doors import Doors

GRACE = 5      # seconds to end in, beyond those of an update


class _Zone:
    """The process of one zone."""

    def __init__(self, settings: Dns, records: Records, stderr: Callable[[str], int]) -> None:
        self.settings = settings
        self.identifiers: set[Identifier] = set()
        self.doors = Doors()
        self._records = records
        self._stderr = stderr
        self._secret = -1
        self._journal = -1
        self._child: Child | None = None

    @property
    def where(self) -> str:
        """The section, for messages."""
        return self.settings.program.where

    @property
    def uid(self) -> int:
        """As whom the process runs."""
        return identity(self.settings.program).uid

    def open(self) -> None:
        """Open what the process is given; raises Error, ConfigError."""
        identity(self.settings.program)
        path = self.settings.secret
        if path and self._secret < 0:
            self._secret = secrets.open_secret(path, self.where)
        if self._journal < 0:
            self._journal = self._records.open(self.settings.zone)

    def start(self, thumbprints: Sequence[str]) -> None:
        """Start the process; raises Error."""
        program = self.settings.program
        task = wire.Task(self.settings.zone, self.settings.update, self.settings.server,
                         self.settings.nameservers, self.settings.propagation_timeout,
                         self.settings.update_timeout, self.settings.ttl,
                         Duty(frozenset(self.identifiers), frozenset(thumbprints)))
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        messages = self._stderr(f"dns {self.settings.zone}".rstrip())
        given = sealed(wire.format_task(task))
        descriptors = [null, messages, messages, given, self._journal]
        arguments = [f"--confine={program.confine}", "--task=3", "--journal=4"]
        if self._secret >= 0:
            arguments.append(f"--secret={len(descriptors)}")
            descriptors.append(self._secret)
        for end in self.doors.ends:
            arguments.append(f"--door={len(descriptors)}")
            descriptors.append(end.fileno())
        arguments += ["--debug"] if log.level >= log.DEBUG else []
        try:
            self._child = spawn(program, identity(program), arguments, descriptors)
        finally:
            for descriptor in (null, messages, given):
                os.close(descriptor)
            self.doors.close()

    def ended(self, seconds: float | None = 0) -> int | None:
        """Return the status of the process if it has ended, or does within ``seconds``."""
        return self._child.wait(seconds) if self._child is not None else None

    def end(self) -> None:
        """Let the process take back what it published, and end."""
        self.doors.close()
        if self._child is not None and self._child.status is None:
            os.kill(self._child.pid, signal.SIGTERM)

    def close(self) -> None:
        """End the process, which takes back what it published first; safe to call twice."""
        self.doors.close()
        if self._child is not None:
            self._child.stop(self.settings.update_timeout + GRACE)
            self._child = None
        for descriptor in (self._secret, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        if self._journal >= 0:
            self._records.close(self.settings.zone)
        self._secret = self._journal = -1


class Dns01:
    """The processes of all zones: see table.Responder."""

    types: tuple[str, ...] = ("dns-01",)
    directory = "/"

    def __init__(self, config: Config, stderr: Callable[[str], int]) -> None:
        self._config = config
        records = Records(config.state_directory)
        self._all = {zone: _Zone(settings, records, stderr)
                     for zone, settings in config.dns.items()}
        self._used: list[_Zone] = []
        self._served = False

    def faults(self) -> Iterator[Error]:
        """Yield what can be found wrong without starting anything."""
        for zone in self._all.values():
            try:
                identity(zone.settings.program)
                if zone.settings.secret:
                    os.close(secrets.open_secret(zone.settings.secret, zone.where))
            except Error as exc:
                yield exc

    def open(self, identifiers: Collection[Identifier]) -> Mapping[Identifier, Error]:
        """Find out whose the names are, and open what their processes are given.

        Returns the names of zones where that can't be, and why; raises Error, ConfigError if it
        is all zones.
        """
        for kind, name in sorted(identifiers):
            settings = zone_of(name, self._config.dns)
            if settings is not None:   # else the client will say that nobody does it
                self._all[settings.zone].identifiers.add((kind, name))
        if not self._config.dns:
            raise ConfigError(f"{self._config.file}: the challenge dns-01 needs a section [dns]")
        unable: dict[Identifier, Error] = {}
        for zone in self._all.values():
            if not zone.identifiers:
                continue
            try:
                zone.open()
                self._used.append(zone)
            except Error as exc:
                zone.close()
                unable.update(dict.fromkeys(zone.identifiers, exc))
        if unable and not self._used:
            raise next(iter(unable.values()))
        return unable

    def rooms(self, clients: int) -> list[str]:
        """Clients write no files for it."""
        return ["/"] * clients

    def doors(self) -> list[Door]:
        """Return one to each zone's process."""
        return [zone.doors.make("dns-01", zone.settings.zone) for zone in self._used]

    def serve(self, thumbprints: Sequence[str]) -> None:
        """Start the processes.  Raises Error."""
        if self._served:
            raise LocalProtocolError("dns-01: it has been served before")
        self._served = True
        for zone in self._used:
            zone.start(thumbprints)

    def check(self) -> None:
        """Raises Error if a process has ended; its end of the socket tells the client the same."""

    def told(self, identifiers: Sequence[Identifier]) -> str:
        """Nothing is known of who asked."""
        return ""

    def close(self) -> None:
        """End the processes: at once, for each may take its time to take back records."""
        for zone in self._used:
            zone.end()
        for zone in self._used:
            zone.close()
        for uid in {zone.uid for zone in self._used}:   # what commands left behind
            orphans.end(uid)
        self._used = []


def remove_stale(config: Config) -> None:
    """Take back what a killed run has published; warns of what stays."""
    records = Records(config.state_directory)
    for zone in records.left():
        if zone not in config.dns:
            log.warning(f"records of an earlier run may be left below {zone or 'some zone'}, which "
                        f"no section of {config.file} is for any more: see {records.path(zone)}")
            continue
        left = _Zone(config.dns[zone], records, lambda name: os.dup(2))
        try:
            left.open()
            left.start([])    # nobody asks it for anything: it ends when it has tidied up
            left.ended(config.dns[zone].update_timeout + GRACE)
            left.close()
            orphans.end(left.uid)
        except Error as exc:
            log.warning(f"records of an earlier run are left: {exc}")
        finally:
            left.close()
