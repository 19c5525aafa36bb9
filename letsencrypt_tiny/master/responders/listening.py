"""The sockets by which the world reaches a responder: at addresses of a network, or at paths."""

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence

from ...common import log, trusted
from ...common.errors import Error
from ..settings.network import Address
from .firewall_tools import Opening
from .neighbours import advice

BACKLOG = 128   # connections that wait to be accepted (listen(2))


class InUseError(Error):
    """The address is taken."""


class UnsupportedError(Error):
    """The machine has no such kind of address."""


class NoFamilyError(UnsupportedError):
    """The kernel knows no addresses of that family at all: IPv6, with ipv6.disable=1."""


class Listener:
    """Listening sockets, from ``bind`` or ``automatic`` to ``close``."""

    def __init__(self, where: str, advice: str) -> None:
        """``where`` is the section, ``advice`` what to do if an address is taken: for messages."""
        self._where = where
        self._advice = advice
        self.sockets: list[socket.socket] = []
        self._paths: list[tuple[str, int]] = []     # of UNIX sockets, with their inodes

    def bind(self, addresses: Sequence[Address]) -> None:
        """Listen on each of ``addresses``.  Raises Error; what was opened is there to ``close``.

        ``[::]`` serves IPv4 too, as is the kernel's default, unless 0.0.0.0 has that port.  Where
        the kernel knows no IPv6 nobody can come that way, and the other addresses suffice.
        """
        for address in addresses:
            try:
                self._bind(address, _beside_ipv4(address, addresses))
            except NoFamilyError as exc:
                if all(each.family == address.family for each in addresses):
                    raise
                log.debug(str(exc))

    def automatic(self, port: int, otherwise: str) -> Sequence[Address]:
        """Listen on ``port`` of every address, or on the path ``otherwise`` if that is taken.

        Returns where.  Raises Error, as ``bind``.
        """
        found: list[Address] = []
        for address in (Address(socket.AF_INET6, "::", port),
                        Address(socket.AF_INET, "0.0.0.0", port)):
            try:
                self._bind(address, True)
                found.append(address)
            except InUseError:
                unix = Address(socket.AF_UNIX, otherwise)
                log.info(advice(port, otherwise))
                self.hand_over()
                self._bind(unix, False)
                return [unix]
            except UnsupportedError as exc:
                log.debug(str(exc))
        if not found:
            raise Error(f"{self._where}: listen = auto: neither IPv4 nor IPv6 is available")
        return found

    def faults(self, addresses: Sequence[Address]) -> Iterator[Error]:
        """Yield why we could not listen on some of ``addresses``; leaves nothing behind."""
        for address in addresses:
            try:
                if address.family == socket.AF_UNIX:   # to bind it might replace a dead one
                    os.close(trusted.open_parent(address.host)[0])
                else:
                    self._bind(address, _beside_ipv4(address, addresses))
            except OSError as exc:
                yield self._error(address, exc)
            except Error as exc:
                yield exc
            finally:
                self.hand_over()

    def hand_over(self) -> None:
        """Close our copies of the sockets; what has inherited them listens on."""
        while self.sockets:
            self.sockets.pop().close()

    def close(self) -> None:
        """Close the sockets and remove their paths; safe to call twice."""
        self.hand_over()
        while self._paths:
            path, inode = self._paths.pop()
            try:
                if os.lstat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass

    def _bind(self, address: Address, v6only: bool) -> None:
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as exc:
            raise self._error(address, exc) from exc
        try:
            if address.family == socket.AF_UNIX:
                self._bind_path(sock, address.host)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if address.family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
                sock.bind((address.host, address.port))
            sock.listen(BACKLOG)
        except OSError as exc:
            sock.close()
            raise self._error(address, exc) from exc
        except BaseException:
            sock.close()
            raise
        self.sockets.append(sock)

    def _error(self, address: Address, exc: OSError) -> Error:
        message = f"{self._where}: cannot listen on {address}: {exc.strerror}"
        if exc.errno == errno.EADDRINUSE:
            return InUseError(f"{message} ({self._advice})")
        if exc.errno == errno.EAFNOSUPPORT:
            return NoFamilyError(message)
        if exc.errno == errno.EADDRNOTAVAIL:
            return UnsupportedError(message)
        return Error(message)

    def _bind_path(self, sock: socket.socket, path: str) -> None:
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


def openings(address: Address) -> list[Opening]:
    """What the firewall must let in; a dual-stack socket is reached over IPv4 too."""
    if address.family == socket.AF_UNIX or address.host.startswith("127.") or address.host == "::1":
        return []
    found = [Opening(address.family, address.host, address.port)]
    if address.family == socket.AF_INET6 and address.host == "::":
        found.append(Opening(socket.AF_INET, "0.0.0.0", address.port))
    return found


def _beside_ipv4(address: Address, addresses: Sequence[Address]) -> bool:
    """Whether an IPv6 socket must leave IPv4 to that of 0.0.0.0 at the same port (ipv6(7))."""
    return address.family == socket.AF_INET6 and any(
        other.family == socket.AF_INET and (other.host, other.port) == ("0.0.0.0", address.port)
        for other in addresses)


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
