"""How tls-alpn-01 (RFC 8737) is answered: by a process on sockets that the master opens.

On the port of HTTPS if nothing listens there, else on a UNIX socket to which whoever does passes
the connections that ask for “acme-tls/1”.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ...common import log
from ...common.errors import Error, LocalProtocolError
from ...common.inifile import Settings
from ...common.names import Identifier
from ...common.wire.jsonfields import dump
from ...common.wire.order import Door
from ...common.wire.responder import Duty, format_duty
from ..peers.child import Child
from ..peers.identity import identity
from ..peers.spawn import sealed, spawn
from ..settings import challenges
from ..settings.main import Config
from ..settings.network import TLS_PORT
from . import listening
from .doors import Doors
from .firewall import Firewall


class TlsAlpn01:
    """A TLS server that speaks “acme-tls/1” and nothing else: see table.Responder."""

    types: tuple[str, ...] = ("tls-alpn-01",)
    directory = "/"

    def __init__(self, config: Config, stderr: Callable[[str], int]) -> None:
        self._config = config
        self._settings = config.tlsserver or challenges.tlsserver(
            Settings(config.file, "tlsserver", {}))
        self._stderr = stderr
        self._listener = listening.Listener(f"{config.file}, [tlsserver]", "set listen")
        self._firewall = Firewall(config.run_directory, "tlsserver")
        self._doors = Doors()
        self._identifiers: Collection[Identifier] = ()
        self._child: Child | None = None

    def faults(self) -> Iterator[Error]:
        """Yield what can be found wrong without starting anything."""
        yield from self._listener.faults(self._settings.listen or ())

    def open(self, identifiers: Collection[Identifier]) -> Mapping[Identifier, Error]:
        """Make the sockets and the way through the firewall.  Raises Error, ConfigError."""
        identity(self._settings.program)
        self._identifiers = identifiers
        addresses = self._settings.listen
        if addresses is not None:
            self._listener.bind(addresses)
        else:
            addresses = tuple(self._listener.automatic(
                TLS_PORT, f"{self._config.run_directory}/tls.socket"))
        log.debug(f"listening on {', '.join(map(str, addresses))}")
        if self._settings.firewall:
            self._firewall.open([opening for address in addresses
                                 for opening in listening.openings(address)])
        return {}

    def rooms(self, clients: int) -> list[str]:
        """Clients write no files for it."""
        return ["/"] * clients

    def doors(self) -> list[Door]:
        """Return one to the process."""
        return [self._doors.make("tls-alpn-01")]

    def serve(self, thumbprints: Sequence[str]) -> None:
        """Start the process, which answers for the names and keys of the run alone.  Raises Error.
        """
        if not self._listener.sockets:
            raise LocalProtocolError("tls-alpn-01: to be opened once before it serves")
        program = self._settings.program
        duty = sealed(dump(format_duty(Duty(frozenset(self._identifiers),
                                            frozenset(thumbprints)))))
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        messages = self._stderr("tlsserver")
        descriptors = [null, messages, messages, duty]
        arguments = [f"--confine={program.confine}", "--duty=3"]
        for end in self._doors.ends:
            arguments.append(f"--door={len(descriptors)}")
            descriptors.append(end.fileno())
        arguments += ["--debug"] if log.level >= log.DEBUG else []
        for sock in self._listener.sockets:
            arguments.append(str(len(descriptors)))
            descriptors.append(sock.fileno())
        try:
            self._child = spawn(program, identity(program), arguments, descriptors,
                                network=program.confine == "no")
        finally:
            for descriptor in (null, messages, duty):
                os.close(descriptor)
        self._doors.close()
        self._listener.hand_over()

    def check(self) -> None:
        """Raises Error if the process has ended: the server would ask in vain."""
        status = self._child.wait(0) if self._child is not None else None
        if status is not None:
            raise Error(f"the challenge TLS server ended with status {status}")

    def told(self, identifiers: Sequence[Identifier]) -> str:
        """Nothing is known of who asked."""
        return ""

    def close(self) -> None:
        """Take everything back, whatever of it was opened; safe to call twice."""
        self._firewall.close()
        self._doors.close()
        if self._child is not None:
            self._child.stop()
            self._child = None
        self._listener.close()
