"""The sockets on which challenges are answered."""

import errno
import os
import socket
import stat
from collections.abc import Sequence

from ...common import log
from ...common.errors import Error
from ..settings.main import HTTP_PORT, Address
from ..store import trusted


class InUseError(Error):
    """The address is taken."""


class UnsupportedError(Error):
    """The machine has no such kind of address."""


class Listeners:
    """Listening sockets, and what they leave in the file system."""

    def __init__(self, where: str, run_directory: str) -> None:
        """``where`` the addresses are configured, for messages: FILE, [SECTION]."""
        self._where = where
        self._run_directory = run_directory
        self._paths: list[tuple[str, int]] = []     # of UNIX sockets, with their inodes
        self.sockets: list[socket.socket] = []

    def listen(self, addresses: Sequence[Address] | None) -> Sequence[Address]:
        """Listen on ``addresses``, None: wherever a CA looks; return those it became.

        Raises Error.
        """
        if addresses is None:
            return self._listen_anywhere()
        wildcard4 = {address.port for address in addresses
                     if address.family == socket.AF_INET and address.host == "0.0.0.0"}
        for address in addresses:
            self._bind(address, address.family == socket.AF_INET6 and address.port in wildcard4)
        return addresses

    def _listen_anywhere(self) -> Sequence[Address]:
        found = []
        for address in (Address(socket.AF_INET6, "::", HTTP_PORT),
                        Address(socket.AF_INET, "0.0.0.0", HTTP_PORT)):
            try:
                self._bind(address, True)
                found.append(address)
            except InUseError:
                unix = Address(socket.AF_UNIX, f"{self._run_directory}/www.socket")
                log.debug(f"something listens on {address}: using {unix}")
                self.lent()
                self.sockets.clear()
                self._bind(unix, False)
                return [unix]
            except UnsupportedError as exc:
                log.debug(str(exc))
        if not found:
            raise Error(f"{self._where}: listen = auto: neither IPv4 nor IPv6 is available")
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
            sock.close()
            message = f"{self._where}: cannot listen on {address}: {exc.strerror}"
            if exc.errno == errno.EADDRINUSE:
                raise InUseError(message + " (set listen or challenge-directory)") from exc
            if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise UnsupportedError(message) from exc
            raise Error(message) from exc
        except BaseException:
            sock.close()
            raise
        self.sockets.append(sock)

    def _bind_unix(self, sock: socket.socket, path: str) -> None:
        """Bind to a path that anybody may connect to, in place of a dead socket if need be."""
        parent, name = trusted.open_parent(path)
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

    def lent(self) -> None:
        """Somebody else has the sockets now: close ours.  Their paths are still to be removed."""
        for sock in self.sockets:
            sock.close()

    def close(self) -> None:
        """Close everything; safe to call twice."""
        self.lent()
        self.sockets.clear()
        while self._paths:
            path, inode = self._paths.pop()
            try:
                if os.lstat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass


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
