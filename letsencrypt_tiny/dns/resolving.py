"""Addresses of hosts, by the resolvers of this host, over TCP.

What glibc does needs datagrams and files; a process that has confined itself has neither.
"""

import socket
import threading
from collections.abc import Mapping, Sequence

import dns.flags
import dns.message
import dns.rcode

from ..common.errors import Error
from .asking import Server, Unreachable, ask_all, is_address, question, rcode, texts

_MOST = 3             # resolvers, as in resolv.conf(5)
_MOST_ADDRESSES = 16  # of a host
_GOOD = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def resolvers(text: str) -> list[Server]:
    """Return the name servers in the text of /etc/resolv.conf; without any, this host's."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and is_address(words[1]):
            found.append(Server(words[1]))
    return found[:_MOST] or [Server("127.0.0.1")]


def hosts(text: str) -> dict[str, list[str]]:
    """Return the addresses of names in the text of /etc/hosts."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if is_address(address):
            for name in names:
                found.setdefault(name.lower(), []).append(address)
    return found


def read(path: str) -> str:
    """Return a text of the system's, "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""


class Resolver:
    """Asks the resolvers of this host.  Any thread may."""

    def __init__(self, servers: Sequence[Server], known: Mapping[str, list[str]]) -> None:
        self._servers = servers
        self._known = {**known}
        self._lock = threading.Lock()

    def look_up(self, name: str, kind: str) -> dns.message.Message:
        """Return the first good reply; raises Error."""
        why = Unreachable("nobody answers")
        query = question(name, kind, recursive=True)
        for server in self._servers:
            reply = ask_all([server], query)[server]
            if isinstance(reply, Unreachable):
                why = reply
            elif reply.rcode() in _GOOD and reply.flags & dns.flags.RA:
                return reply
            else:
                why = Unreachable(f"{server} answers {rcode(reply)}")
        raise Error(f"{name} can't be looked up: {why} (see resolv.conf(5), or set nameservers)")

    def addresses(self, host: str) -> list[str]:
        """Return the addresses of a host, IPv4's first; raises Error if none is found."""
        host = host.lower().rstrip(".")
        if is_address(host):
            return [host]
        with self._lock:
            if host in self._known:
                return self._known[host]
        found: list[str] = []
        why = Error(f"{host} has no address")
        for kind in ("A", "AAAA"):   # some servers know nothing of the second, and fail
            try:
                found += texts(self.look_up(host, kind), kind)[:_MOST_ADDRESSES]
            except Error as exc:
                why = exc
        if not found:
            raise why
        with self._lock:
            self._known[host] = found
        return found

    def servers(self, host: str, port: int) -> list[Server]:
        """Return a server at each address of a host; raises Error."""
        name = "" if is_address(host) else host
        return [Server(address, port, name) for address in self.addresses(host)]

    def replace_getaddrinfo(self) -> None:
        """From now on Python's libraries in this process resolve names so, too."""
        def getaddrinfo(host: str | bytes | None, port: str | int | None, family: int = 0,
                        type: int = 0, proto: int = 0, flags: int = 0
                        ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
            name = host.decode("ascii", "replace") if isinstance(host, bytes) else host or ""
            try:
                found = self.addresses(name.strip("[]"))
            except Error as exc:
                raise socket.gaierror(socket.EAI_NONAME, str(exc)) from exc
            pairs = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
                     for address in found]
            return [(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, int(port or 0)))
                    for kind, address in pairs if family in (0, kind)]

        socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]
