"""http-01 (RFC 8555 §8.3): where key authorizations are put, and how the world comes to them.

Either an administrator's web server serves ``challenge-directory``, or web servers of ours
answer on listening sockets that the master opens here: on the HTTP port if nothing
listens there, else on a UNIX socket to which a reverse proxy passes the requests.
"""

import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence

from ...common import log
from ...common.errors import ConfigError, Error
from ...common.names import Identifier
from ..peers import spawn
from ..peers.child import Child
from ..peers.identity import Identity, identity
from ..settings.main import Address, Config
from ..store import trusted
from . import directory
from .firewall import Firewall
from .listening import Listeners
from .packetfilter import Opening


class Http01:
    """A challenge directory, and the web server that answers from it, while a run lasts."""

    types: tuple[str, ...] = ("http-01",)

    def __init__(self, config: Config, client: Identity, stderr: Callable[[str], int]) -> None:
        """``client`` is who writes the challenge files; ``stderr(name)`` gives the descriptor for
        a child's messages."""
        self.directory = "/"
        self._settings = config.webserver
        self._where = f"{config.file}, [webserver]"
        self._run_directory = config.run_directory
        self._client = client
        self._stderr = stderr
        self._listeners = Listeners(self._where, config.run_directory)
        self._firewall = Firewall(config.run_directory)
        self._child: Child | None = None

    # --- what is wrong with it, without starting anything ---

    def faults(self) -> Iterator[Error]:
        """Yield what keeps challenges from being answered."""
        try:
            if self._settings.challenge_directory:
                self._check_writable(self._existing(self._settings.challenge_directory))
                return
            for address in self._settings.listen or ():
                self._check_address(address)
        except Error as exc:
            yield exc

    def _check_writable(self, path: str) -> None:
        info, who = os.stat(path), self._client
        if not (info.st_uid == who.uid and info.st_mode & 0o300 == 0o300
                or info.st_gid == who.gid and info.st_mode & 0o030 == 0o030 or who.uid == 0):
            raise ConfigError(f"{self._where}: challenge-directory = {path}: "
                              f"{who.name} cannot write in it (chown it to {who.name})")

    def _check_address(self, address: Address) -> None:
        if address.family == socket.AF_UNIX:
            os.close(trusted.open_parent(address.host)[0])
            return
        with socket.socket(address.family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address.host, address.port))
            except OSError as exc:
                raise Error(f"{self._where}: cannot listen on {address}: {exc.strerror}") from exc

    def _existing(self, path: str) -> str:
        """Check a directory that somebody else's web server serves."""
        try:
            info = os.stat(path)
        except OSError as exc:
            raise ConfigError(f"{self._where}: challenge-directory = {path}: {exc.strerror}"
                              ) from exc
        if not stat.S_ISDIR(info.st_mode):
            raise ConfigError(f"{self._where}: challenge-directory = {path}: not a directory")
        return path

    # --- a run ---

    def open(self, _identifiers: Sequence[Identifier]) -> None:
        """Make the directory, listen, open the firewall; raises Error, ConfigError."""
        if self._settings.challenge_directory:
            self.directory = self._existing(self._settings.challenge_directory)
            directory.remove_tokens(self.directory, self._client.uid)
            return
        self.directory = directory.create(self._run_directory, self._client,
                                          identity(self._settings.program))
        addresses = self._listeners.listen(self._settings.listen)
        log.debug(f"listening on {', '.join(map(str, addresses))}")
        if self._settings.firewall:
            self._firewall.open([opening for address in addresses
                                 for opening in _openings(address)])

    def serve(self, thumbprints: Sequence[str]) -> None:
        """Start the web server; it gives out key authorizations of these keys and no other,
        whatever the client writes."""
        if self._settings.challenge_directory:
            return
        arguments = [f"--confine={self._settings.program.confine}"]
        arguments += [f"--thumbprint={thumbprint}" for thumbprint in thumbprints]
        if log.level >= log.DEBUG:
            arguments.append("--debug")
        sockets = self._listeners.sockets
        numbers = [str(3 + i) for i in range(len(sockets))]
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        messages = self._stderr("webserver")
        try:
            self._child = spawn.spawn(
                self._settings.program, identity(self._settings.program), arguments + numbers,
                [null, messages, messages, *(sock.fileno() for sock in sockets)],
                directory=self.directory, network=self._settings.program.confine == "no")
        finally:
            os.close(null)
            os.close(messages)
        self._listeners.lent()

    def check(self) -> None:
        """Raises Error if the web server has ended: the CA would ask in vain."""
        status = self._child.wait(0) if self._child is not None else None
        if status is not None:
            raise Error(f"the challenge web server ended with status {status}")

    def close(self) -> None:
        """Take everything back, whatever of it was opened; safe to call twice."""
        self._firewall.close()
        if self._child is not None:
            self._child.stop()
            self._child = None
        self._listeners.close()
        if self.directory == "/":
            return
        if self._settings.challenge_directory:
            directory.remove_tokens(self.directory, self._client.uid)
        else:
            directory.remove(self.directory)
            self.directory = "/"


def _openings(address: Address) -> list[Opening]:
    """What the firewall must let in; a dual-stack socket is reached over IPv4 too."""
    if address.family == socket.AF_UNIX or address.host.startswith("127.") or address.host == "::1":
        return []
    openings = [Opening(address.family, address.host, address.port)]
    if address.family == socket.AF_INET6 and address.host == "::":
        openings.append(Opening(socket.AF_INET, "0.0.0.0", address.port))
    return openings
