"""How http-01 (RFC 8555 §8.3) is answered: with files, by a web server.

Either an administrator's serves ``challenge-directory``, or one of ours answers on listening
sockets that the master opens here: on the HTTP port if nothing listens there, else on a UNIX
socket to which a reverse proxy passes the requests.
"""

import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ...common import log
from ...common.errors import Error, LocalProtocolError
from ...common.names import Identifier
from ...common.wire.order import Door
from ..peers.child import Child
from ..peers.identity import Identity, identity
from ..peers.spawn import spawn
from ..settings.main import Config
from ..settings.network import HTTP_PORT
from . import challenge_directory, listening
from .firewall import Firewall
from .neighbours import advice, holder
from .visits import Visits


class Http01:
    """A challenge directory, and the web server that answers from it: see table.Responder."""

    types: tuple[str, ...] = ("http-01",)

    def __init__(self, config: Config, client: Identity, stderr: Callable[[str], int]) -> None:
        """``client`` writes the files; ``stderr(name)`` gives the descriptor for messages."""
        self._config = config
        self._settings = config.webserver
        self._client = client
        self._stderr = stderr
        where = f"{config.file}, [webserver]"
        self._where = f"{where}: challenge-directory"
        self._listener = listening.Listener(where, "set listen or challenge-directory")
        self._firewall = Firewall(config.run_directory)
        self._child: Child | None = None
        self._visits: Visits | None = None
        self._behind = ""     # the path that another web server has to pass challenges on to
        self._rooms = 0
        self.directory = ""   # not yet

    def faults(self) -> Iterator[Error]:
        """Yield what can be found wrong without starting anything."""
        path = self._settings.challenge_directory
        if not path:
            yield from self._listener.faults(self._settings.listen or ())
            return
        try:
            challenge_directory.check_writable(path, self._where, self._client)
        except Error as exc:
            yield exc

    def open(self, identifiers: Collection[Identifier]) -> Mapping[Identifier, Error]:
        """Make the directory, the sockets and the way through the firewall.

        The files tell which tokens there are, so ``identifiers`` are not needed.  Raises Error,
        ConfigError.
        """
        if self._settings.challenge_directory:
            path = self._settings.challenge_directory
            challenge_directory.examine(path, self._where)
            challenge_directory.remove_tokens(path, self._client.uid)   # of a killed run
            self.directory = path
            return {}
        who = identity(self._settings.program)
        self.directory = challenge_directory.make(self._config.run_directory, self._client,
                                                  who.gid)
        addresses = self._settings.listen
        if addresses is not None:
            self._listener.bind(addresses)
        else:
            path = f"{self._config.run_directory}/www.socket"
            addresses = tuple(self._listener.automatic(HTTP_PORT, path))
            self._behind = path if addresses[0].family == socket.AF_UNIX else ""
        log.debug(f"listening on {', '.join(map(str, addresses))}")
        if self._settings.firewall:
            self._firewall.open([opening for address in addresses
                                 for opening in listening.openings(address)])
        return {}

    def rooms(self, clients: int) -> list[str]:
        """Return a directory for each of so many clients, of its own unless it is an
        administrator's: see table.Responder.  Raises Error."""
        if clients < 2 or self._settings.challenge_directory:
            return [self.directory] * clients
        self._rooms = clients
        return challenge_directory.divide(self.directory, clients, self._client,
                                          identity(self._settings.program).gid)

    def doors(self) -> list[Door]:
        """The client asks for nothing: it writes files."""
        return []

    def serve(self, thumbprints: Sequence[str]) -> None:
        """Start the web server, unless it is an administrator's.  Raises Error.

        It gives out key authorizations (§8.1) of the accounts' keys with ``thumbprints`` and of no
        others, whatever the client writes; with none of them, those of any.
        """
        if not self.directory:
            raise LocalProtocolError("http-01: to be opened before it serves")
        if self._settings.challenge_directory:
            return
        if not self._listener.sockets:
            raise LocalProtocolError("http-01: it has been served before")
        confine = self._settings.program.confine
        arguments = [f"--confine={confine}"]
        arguments += [f"--rooms={self._rooms}"] if self._rooms else []
        arguments += [f"--thumbprint={key}" for key in dict.fromkeys(thumbprints)]
        arguments += ["--debug"] if log.level >= log.DEBUG else []
        self._child = self._spawn(arguments, self._listener.sockets, network=confine == "no")
        self._listener.hand_over()

    def _spawn(self, arguments: list[str], sockets: Sequence[socket.socket],
               network: bool) -> Child:
        program = self._settings.program
        numbers = [str(3 + i) for i in range(len(sockets))]
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        messages = self._stderr("webserver")
        self._visits = Visits()
        try:
            return spawn(
                program, identity(program), arguments + numbers,
                [null, self._visits.writer, messages, *(sock.fileno() for sock in sockets)],
                directory=self.directory, network=network)
        finally:
            os.close(null)
            os.close(messages)
            os.close(self._visits.writer)

    def told(self, identifiers: Sequence[Identifier]) -> str:
        """Say which requests for these names reached us: see table.Responder."""
        if self._visits is None:
            return ""
        phrase = self._visits.told([value for _, value in identifiers])
        if self._behind and "no request" in phrase and holder(HTTP_PORT)[1]:
            return f"{phrase}: {advice(HTTP_PORT, self._behind)}"
        return phrase

    def check(self) -> None:
        """Raises Error if the web server has ended: the server would ask in vain."""
        if self._visits is not None:
            self._visits.read()
        status = self._child.wait(0) if self._child is not None else None
        if status is not None:
            raise Error(f"the challenge web server ended with status {status}")

    def close(self) -> None:
        """Take everything back, whatever of it was opened; safe to call twice."""
        self._firewall.close()
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._visits is not None:
            self._visits.close()
        self._listener.close()
        if self.directory and self._settings.challenge_directory:
            challenge_directory.remove_tokens(self.directory, self._client.uid)
        elif self.directory:
            challenge_directory.remove(self.directory)
        self.directory = ""
