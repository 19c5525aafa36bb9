"""Where challenge responses are put, and how the world comes to them.

Either an administrator's web server serves ``challenge-directory``, or web servers of ours
answer on listening sockets that the master opens here: on the HTTP port if nothing
listens there, else on a UNIX socket to which a reverse proxy passes the requests.
"""

import os
import re
import socket
import stat
from collections.abc import Callable, Sequence

from ...common import log
from ...common.errors import ConfigError, Error
from ..peers import spawn as children
from ..store import trusted as directories
from ..settings.main import Config
from ..settings.network import HTTP_PORT, Address
from .firewall import Firewall, Opening

_PREFIX = "challenges-"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


class Responder:
    """A challenge directory, and the web servers that answer from it, while a run lasts."""

    def __init__(self, config: Config, client: children.Identity) -> None:
        """``client`` is who writes the challenge files."""
        self._config = config
        self._client = client
        self._sockets: list[socket.socket] = []
        self._paths: list[tuple[str, int]] = []     # of UNIX sockets, with their inodes
        self._children: list[children.Child] = []
        self._firewall = Firewall(config.run_directory)
        self._own = False
        self.directory = ""

    def start(self, stderr: Callable[[str], int],
              thumbprint: Callable[[], str] | None = None) -> None:
        """Open everything; ``stderr(name)`` gives the descriptor for a child's messages.

        ``thumbprint``, called when all but the web server is there, tells that of the account's
        key: our web servers give out no other key authorizations, whatever the client writes.
        Raises Error, ConfigError; ``stop`` must be called in any case.
        """
        settings = self._config.webserver
        if settings.challenge_directory:
            self.directory = self._existing(settings.challenge_directory)
            return
        remove_stale(self._config)
        who = children.identity(settings.program)
        self.directory = self._create(who)
        addresses = self._listen(settings.listen)
        log.debug(f"listening on {', '.join(map(str, addresses))}")
        if settings.firewall:   # meanwhile the signer starts
            self._firewall.open([opening for address in addresses
                                 for opening in _openings(address)])
        arguments = [f"--confine={settings.program.confine}"]
        if thumbprint is not None:
            arguments.append(f"--thumbprint={thumbprint()}")
        if log.level >= log.DEBUG:
            arguments.append("--debug")
        numbers = [str(3 + i) for i in range(len(self._sockets))]
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        messages = stderr("webserver")
        try:
            self._children.append(children.spawn(
                settings.program, who, arguments + numbers,
                [null, messages, messages, *(sock.fileno() for sock in self._sockets)],
                directory=self.directory, network=settings.program.confine == "no"))
        finally:
            os.close(null)
            os.close(messages)
        for sock in self._sockets:
            sock.close()   # the web server has it

    def _existing(self, path: str) -> str:
        """Check a directory that somebody else's web server serves."""
        try:
            info = os.stat(path)
        except OSError as exc:
            raise ConfigError(f"{self._config.file}, [webserver]: challenge-directory = {path}: "
                              f"{exc.strerror}") from exc
        if not stat.S_ISDIR(info.st_mode):
            raise ConfigError(f"{self._config.file}, [webserver]: challenge-directory = {path}: "
                              "not a directory")
        _remove_tokens(path, self._client.uid)
        return path

    def _create(self, who: children.Identity) -> str:
        """Make the challenge directory: the client writes in it, the web server can't list it."""
        run = self._config.run_directory
        directories.make_directory(run)
        path = f"{run}/{_PREFIX}{os.urandom(8).hex()}"
        descriptor = directories.open_directory(run)
        try:
            os.mkdir(path, 0o700)
            self._own = True
            self.directory = path
            os.chown(path, self._client.uid, who.gid)
            os.chmod(path, 0o710)
        finally:
            os.close(descriptor)
        return path

    def _listen(self, addresses: Sequence[Address] | None) -> Sequence[Address]:
        if addresses is not None:
            wildcard4 = {address.port for address in addresses
                         if address.family == socket.AF_INET and address.host == "0.0.0.0"}
            for address in addresses:
                only = address.family == socket.AF_INET6 and address.port in wildcard4
                self._bind(address, only)
            return addresses
        found = []
        for address in (Address(socket.AF_INET6, "::", HTTP_PORT),
                        Address(socket.AF_INET, "0.0.0.0", HTTP_PORT)):
            try:
                self._bind(address, True)
                found.append(address)
            except InUseError:
                unix = Address(socket.AF_UNIX, f"{self._config.run_directory}/www.socket")
                log.debug(f"something listens on {address}: using {unix}")
                for sock in self._sockets:
                    sock.close()
                self._sockets.clear()
                self._bind(unix, False)
                return [unix]
            except UnsupportedError as exc:
                log.debug(str(exc))
        if not found:
            raise Error(f"{self._config.file}, [webserver]: listen = auto: neither IPv4 nor IPv6 "
                        "is available")
        return found

    def _bind(self, address: Address, v6only: bool) -> None:
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as exc:
            raise UnsupportedError(f"cannot listen on {address}: {exc.strerror}") from exc
        try:
            if address.family == socket.AF_UNIX:
                self._bind_unix(sock, address.host)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if address.family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
                sock.bind((address.host, address.port))
            sock.listen(128)
        except OSError as exc:
            import errno
            sock.close()
            message = (f"{self._config.file}, [webserver]: cannot listen on {address}: "
                       f"{exc.strerror}")
            if exc.errno == errno.EADDRINUSE:
                raise InUseError(message + " (set listen or challenge-directory)") from exc
            if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise UnsupportedError(message) from exc
            raise Error(message) from exc
        except BaseException:
            sock.close()
            raise
        self._sockets.append(sock)

    def _bind_unix(self, sock: socket.socket, path: str) -> None:
        """Bind to a path that anybody may connect to, in place of a dead socket if need be."""
        parent, name = directories.open_parent(path)
        try:
            _remove_dead_socket(parent, name, path)
            umask = os.umask(0o111)
            try:
                sock.bind(f"/proc/self/fd/{parent}/{name}")
            finally:
                os.umask(umask)
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._paths.append((path, info.st_ino))
        finally:
            os.close(parent)

    def check(self) -> None:
        """Raises Error if the web server has ended: the server would ask in vain."""
        for child in self._children:
            status = child.wait(0)
            if status is not None:
                raise Error(f"the challenge web server ended with status {status}")

    def stop(self) -> None:
        """Close everything again, whatever of it was opened; safe to call twice."""
        self._firewall.close()
        while self._children:
            self._children.pop().stop()
        for sock in self._sockets:
            sock.close()
        while self._paths:
            path, inode = self._paths.pop()
            try:
                if os.lstat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass
        if self._own:
            _remove_tree(self.directory)
            self._own = False
        elif self.directory:
            _remove_tokens(self.directory, self._client.uid)


class InUseError(Error):
    """The address is taken."""


class UnsupportedError(Error):
    """The machine has no such kind of address."""


def _openings(address: Address) -> list[Opening]:
    """What the firewall must let in; a dual-stack socket is reached over IPv4 too."""
    if address.family == socket.AF_UNIX or address.host.startswith("127.") or address.host == "::1":
        return []
    openings = [Opening(address.family, address.host, address.port)]
    if address.family == socket.AF_INET6 and address.host == "::":
        openings.append(Opening(socket.AF_INET, "0.0.0.0", address.port))
    return openings


def _remove_dead_socket(parent: int, name: str, path: str) -> None:
    try:
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(info.st_mode):
        raise Error(f"{path}: exists and is no socket; remove it")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(2)
        probe.connect(f"/proc/self/fd/{parent}/{name}")
    except ConnectionRefusedError:
        os.unlink(name, dir_fd=parent)
        log.debug(f"removed {path}, which nobody listened on")
    except OSError as exc:
        raise Error(f"{path}: {exc.strerror}") from exc
    else:
        raise InUseError(f"{path}: another process listens on it")
    finally:
        probe.close()


def _remove_tokens(path: str, uid: int) -> None:
    """Remove the challenge files that the client left in a directory that isn't ours."""
    if uid == 0:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        log.warning(f"{path}: {exc.strerror}")
        return
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if not _TOKEN.match(entry.name):
                    continue
                try:
                    info = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
                    if info.st_uid == uid and stat.S_ISREG(info.st_mode):
                        os.unlink(entry.name, dir_fd=descriptor)
                except FileNotFoundError:
                    pass   # whoever made it was faster
    except OSError as exc:
        log.warning(f"{path}: {exc.strerror}")
    finally:
        os.close(descriptor)


def remove_stale(config: Config) -> None:
    """Remove challenge directories that a killed run left; called under the lock."""
    try:
        names: list[str] | None = os.listdir(config.run_directory)
    except OSError:
        names = None
    for name in names or ():
        if name.startswith(_PREFIX):
            _remove_tree(f"{config.run_directory}/{name}")


def _remove_tree(path: str) -> None:
    """Remove a directory that the client could write in; links in it are not followed.

    First it becomes ours: a client that still runs, with the directory as its working
    directory, can put nothing back while its files go.
    """
    try:
        top = _take(path)
        try:
            _clear(top, top)
        finally:
            os.close(top)
        os.rmdir(path)
    except OSError as exc:
        log.warning(f"{path}: cannot remove it: {exc.strerror}")


def _take(path: str, parent: int | None = None) -> int:
    """Return a descriptor of a directory in which from now on nobody but us can write."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                         dir_fd=parent)
    try:
        os.fchown(descriptor, os.geteuid(), os.getegid())
        os.fchmod(descriptor, 0o700)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _clear(directory: int, top: int) -> None:
    """Empty a directory that is, or is in, ``top``.

    Our own client makes no directories; if others nest them, those further in move up to
    ``top``: neither the stack nor the number of descriptors grows with their depth.
    """
    found = True
    while found:
        found = False
        with os.scandir(directory) as entries:   # of however many, a few in memory
            for entry in entries:
                found = True
                try:
                    os.unlink(entry.name, dir_fd=directory)
                    continue
                except IsADirectoryError:
                    pass
                if directory != top:
                    os.rename(entry.name, os.urandom(8).hex(), src_dir_fd=directory,
                              dst_dir_fd=top)
                    continue
                inner = _take(entry.name, top)
                try:
                    _clear(inner, top)
                finally:
                    os.close(inner)
                os.rmdir(entry.name, dir_fd=top)
