"""DNS messages over TCP (RFC 7766): no datagram, so a process that asks needs no other socket.

Whatever comes back is hostile: dnspython reads it, and what it can't is an Error.
"""

import errno
import ipaddress
import re
import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from ..common.errors import NO_ROUTE, ConfigError, Error

PORT = 53
PATIENCE = 5.0      # seconds for one answer


def load_types() -> None:
    """Let dnspython import what it reads records with, and nothing more when it meets others.

    A confined process can't, and would fail at what any server may send; records of another type
    are read as those that nobody knows (RFC 3597).
    """
    for kind in ("A", "AAAA", "CNAME", "DNAME", "NS", "SOA", "TXT", "TSIG", "OPT"):
        dns.rdata.get_rdata_class(  # type: ignore[no-untyped-call]
            dns.rdataclass.IN, dns.rdatatype.from_text(kind))

    def nothing(name: str) -> None:
        raise ImportError(f"{name} is not needed here")
    vars(dns.rdata)["import_module"] = nothing   # an attribute to some releases' type checkers


class Server(NamedTuple):
    """A name server's address."""

    address: str
    port: int = PORT
    name: str = ""     # for messages

    def __str__(self) -> str:
        where = self.address if self.port == PORT else f"{self.address} port {self.port}"
        return f"{self.name} ({where})" if self.name else where


def host_port(text: str) -> tuple[str, int]:
    """Parse HOST[:PORT], an IPv6 address with a port in brackets; raises ConfigError."""
    match = re.match(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)|([0-9A-Fa-f:.]+\Z))"
                     r"(?::([0-9]{1,5}))?\Z", text)
    host = next(filter(None, match.groups()[:3])) if match else ""
    port = int(match.group(4) or PORT) if match else 0
    if not host or not 0 < port < 65536 or (":" in host or "[" in text) and not is_address(host):
        raise ConfigError(f"“{text}” is not HOST[:PORT]")
    return host, port


def is_address(text: str) -> bool:
    """True for an IP address without a zone (RFC 4007 §11)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


class Unreachable(Error):
    """A server gave no answer, or one that is none."""

    no_route = False   # true where this host has no way there at all


class _Exchange:
    """One message to one server, and its answer, as far as they have come."""

    def __init__(self, server: Server, message: bytes) -> None:
        self.server = server
        self.answer: bytes | None = None
        self._out = struct.pack("!H", len(message)) + message
        self._in = b""
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.socket.setblocking(False)
            self.socket.connect((server.address, server.port))
        except BlockingIOError:
            pass
        except OSError:
            self.socket.close()
            raise

    @property
    def events(self) -> int:
        return select.POLLOUT if self._out else select.POLLIN

    def go_on(self) -> None:
        """Send or receive once; raises OSError."""
        if self._out:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, errno.errorcode.get(code, str(code)))
            self._out = self._out[self.socket.send(self._out):]
            return
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "it hung up")
        self._in += data
        if len(self._in) >= 2 and len(self._in) >= 2 + struct.unpack("!H", self._in[:2])[0]:
            self.answer = self._in[2:2 + struct.unpack("!H", self._in[:2])[0]]


def exchange(servers: Iterable[Server], message: bytes,
             seconds: float = PATIENCE) -> dict[Server, bytes | Unreachable]:
    """Send ``message`` to all of ``servers`` at once; return what each answered in time."""
    deadline = time.monotonic() + seconds
    results: dict[Server, bytes | Unreachable] = {}
    running: dict[int, _Exchange] = {}
    poll = select.poll()
    for server in servers:
        try:
            started = _Exchange(server, message)
        except OSError as exc:
            results[server] = _unreachable(server, exc)
            continue
        running[started.socket.fileno()] = started
        poll.register(started.socket, started.events)
    try:
        while running and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                ended = _step(running[descriptor])
                if ended is None:
                    poll.modify(descriptor, running[descriptor].events)
                    continue
                one = running.pop(descriptor)
                results[one.server] = ended
                poll.unregister(descriptor)
                one.socket.close()
    finally:
        for one in running.values():
            one.socket.close()
    for one in running.values():
        results[one.server] = Unreachable(f"{one.server} does not answer over TCP")
    return results


def _step(one: _Exchange) -> bytes | Unreachable | None:
    try:
        one.go_on()
    except BlockingIOError:
        return None
    except OSError as exc:
        return _unreachable(one.server, exc)
    return one.answer


def _unreachable(server: Server, exc: OSError) -> Unreachable:
    error = Unreachable(f"{server} can't be reached over TCP ({exc.strerror or exc})")
    error.no_route = exc.errno in NO_ROUTE
    return error


def parse(query: dns.message.Message, answer: bytes | Unreachable,
          server: Server) -> dns.message.Message | Unreachable:
    """Return the reply to ``query``, its TSIG (RFC 8945) verified if that has one."""
    if isinstance(answer, Unreachable):
        return answer
    try:
        reply = dns.message.from_wire(answer, keyring=query.keyring, request_mac=query.mac)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error) as exc:
        return Unreachable(f"{server} sent what can't be read ({_why(exc)})")
    if not query.is_response(reply):
        return Unreachable(f"{server} answered something else")
    if query.keyring and not reply.had_tsig:
        return Unreachable(f"{server} did not sign its answer ({rcode(reply)})")
    return reply


def _why(exc: Exception) -> str:
    name = type(exc).__name__
    return {"PeerBadKey": "it does not know the key", "PeerBadTime": "the clocks differ",
            "BadTime": "the clocks differ", "PeerBadSignature": "the key is another",
            "BadSignature": "the key is another"}.get(name, name)


def question(name: str, kind: str, recursive: bool = False) -> dns.message.Message:
    """Return a query of the type ``kind``; raises Error if the name is too long."""
    try:
        query = dns.message.make_query(dns.name.from_text(name + "."), kind)
    except dns.exception.DNSException as exc:
        raise Error(f"{name}: {_why(exc)}") from exc
    if not recursive:
        query.flags &= ~dns.flags.RD
    return query


def ask_all(servers: Iterable[Server], query: dns.message.Message, seconds: float = PATIENCE
            ) -> Mapping[Server, dns.message.Message | Unreachable]:
    """Ask all of ``servers`` the same; return what each replied."""
    found = exchange(servers, query.to_wire(), seconds)
    return {server: parse(query, answer, server) for server, answer in found.items()}


def rcode(reply: dns.message.Message) -> str:
    """Return a reply's code as the RFCs write it."""
    return dns.rcode.to_text(reply.rcode())


def texts(reply: dns.message.Message, kind: str, section: str = "answer") -> list[str]:
    """Return the data of all records of a type in a section, in lower case without last dots."""
    wanted = dns.rdatatype.from_text(kind)
    return [data.to_text().lower().rstrip(".") for rrset in getattr(reply, section)
            if rrset.rdtype == wanted for data in rrset]


def owner(reply: dns.message.Message, kind: str, section: str) -> str | None:
    """Return to whom the first records of a type in a section belong, None if there are none."""
    wanted = dns.rdatatype.from_text(kind)
    for rrset in getattr(reply, section):
        if rrset.rdtype == wanted:
            return str(rrset.name.to_text().lower().rstrip("."))
    return None
