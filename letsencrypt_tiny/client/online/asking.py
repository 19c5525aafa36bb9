"""DNS by TCP (RFC 7766): no datagram, so the client needs no socket that it has not anyway.

python3-dnspython reads and writes the messages; what it can't read is an error like any other.
What comes out is plain: text in lower case without last dots, and bytes.
"""

import ipaddress
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...common.errors import NO_ROUTE, Error
from ...common.log import printable
from ...common.sandbox.seccomp import DIRECTORY
from .caa import Property

PORT = 53
PATIENCE = 5.0       # seconds for one answer
MOST = 3             # resolvers, as in resolv.conf(5)
MAX_RECORDS = 50     # of an answer that are looked at
MAX_ALIASES = 10
_KINDS = ("A", "AAAA", "CAA", "CNAME", "NS", "SOA", "TXT", "OPT")

Server = tuple[str, int]    # address and port


class Unanswered(Error):
    """A question has no answer: by whose fault, the message says."""

    no_route = False    # this machine has no way there at all


class Reply(NamedTuple):
    """An answer that a server gave."""

    rcode: str                    # NOERROR, NXDOMAIN …
    authoritative: bool
    aliases: tuple[str, ...]      # that the name led to by CNAMEs, in order
    records: tuple[Any, ...]      # of the type asked for: str, CAA's Property, of SOA int (serial)
    zone: str                     # whose SOA came with it, "" without one


def load() -> None:
    """Import dnspython, which a confined process can't.  Raises ImportError without it.

    The programs run without its directory on sys.path; nothing else is imported from there.
    """
    sys.path.append(DIRECTORY)
    try:
        import dns.message
        import dns.rdata
        import dns.rdataclass
        import dns.rdatatype
    finally:
        sys.path.remove(DIRECTORY)
    for kind in _KINDS:    # a type's module is imported when one is met: too late
        dns.rdata.get_rdata_class(    # type: ignore[no-untyped-call]
            dns.rdataclass.IN, dns.rdatatype.from_text(kind))
    _parse(dns.message.make_query("a.", "CAA").to_wire(), "a", "CAA")    # and whatever that uses


class Resolver:
    """Asks the resolvers of this machine, and servers by their address.  Any thread may."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._known: dict[tuple[str, str], Reply] = {}

    def look_up(self, name: str, kind: str) -> Reply:
        """Return what the first resolver that has an answer says, be it that there is nothing.

        Raises Unanswered.
        """
        if (name, kind) in self._known:
            return self._known[name, kind]
        error = Unanswered("no resolver is configured (resolv.conf(5))")
        for server in self._servers:
            try:
                reply = ask(server, name, kind)
            except Unanswered as exc:
                error = exc
                # the next question goes to another first: each costs PATIENCE
                self._servers = sorted(self._servers, key=server.__eq__)
                continue
            if reply.rcode in ("NOERROR", "NXDOMAIN"):
                self._known[name, kind] = reply
                return reply
            error = Unanswered(f"{show(server)} answers {reply.rcode}")
        raise Unanswered(f"{printable(name, 300)} {kind}: {error}")

    def addresses(self, name: str) -> list[str]:
        """Return the IPv6 and IPv4 addresses of a name: one kind without an answer is nothing to a
        CA that has the other.  Raises Unanswered."""
        found: list[str] = []
        error: Unanswered | None = None
        for kind in ("AAAA", "A"):
            try:
                found += sorted(self.look_up(name, kind).records)
            except Unanswered as exc:
                error = error or exc
        if error is not None and not found:
            raise error
        return found


def ask(server: Server, name: str, kind: str, recursive: bool = True) -> Reply:
    """Ask one server.  Raises Unanswered if it can't be reached, or says nothing of sense."""
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    try:
        query = dns.message.make_query(dns.name.from_text(name + "."), kind)
        query.flags &= ~(0 if recursive else dns.flags.RD)
        answer = _exchange(server, query.to_wire())
        if answer[:2] != struct.pack("!H", query.id):
            raise Unanswered(f"{show(server)} answers something else")
        return _parse(answer, name, kind)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error, UnicodeError) as exc:
        raise Unanswered(f"{show(server)} sends what can't be read ({type(exc).__name__})") from exc
    except OSError as exc:
        why = "no answer in time" if isinstance(exc, TimeoutError) else exc.strerror or exc
        error = Unanswered(f"{show(server)} can't be asked over TCP ({why})")
        error.no_route = exc.errno in NO_ROUTE
        raise error from exc


def _exchange(server: Server, message: bytes) -> bytes:
    """Send a message to a server and return its answer.  Raises OSError."""
    deadline = time.monotonic() + PATIENCE
    with connect(server, deadline) as sock:
        sock.sendall(struct.pack("!H", len(message)) + message)
        length, = struct.unpack("!H", _receive(sock, 2, deadline))
        return _receive(sock, length, deadline)


def _receive(sock: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        hurry(sock, deadline)
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("the connection ended")
        data += part
    return data


def connect(server: Server, deadline: float) -> socket.socket:
    """Return a socket connected to an address and port by ``deadline`` (time.monotonic).

    Raises OSError.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET,
                         socket.SOCK_STREAM)
    try:
        hurry(sock, deadline)
        sock.connect(server)
        return sock
    except BaseException:
        sock.close()
        raise


def hurry(sock: socket.socket, deadline: float) -> None:
    """Let what the socket does next end by ``deadline``; raises TimeoutError if that is past."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _parse(answer: bytes, name: str, kind: str) -> Reply:
    """Take a message apart: of its answer, what the name leads to by CNAMEs (RFC 1034 §3.6.2)."""
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rdatatype
    message = dns.message.from_wire(answer)
    here = name.lower()
    aliases: list[str] = []
    targets = {_text(rrset.name): _text(rrset[0].target) for rrset in message.answer
               if rrset.rdtype == dns.rdatatype.CNAME}
    while here in targets and len(aliases) < MAX_ALIASES and kind != "CNAME":
        here = targets[here]
        aliases.append(here)
    wanted = dns.rdatatype.from_text(kind)
    records = [data for rrset in message.answer for data in rrset
               if rrset.rdtype == wanted and _text(rrset.name) == here]
    zone = next((_text(rrset.name) for rrset in (*message.answer, *message.authority)
                 if rrset.rdtype == dns.rdatatype.SOA), "")
    return Reply(dns.rcode.to_text(message.rcode()), bool(message.flags & dns.flags.AA),
                 tuple(aliases), tuple(map(_plain, records[:MAX_RECORDS])), zone)


def _plain(data: Any) -> Any:
    """Return what a record says in types of Python's own."""
    import dns.rdatatype
    kind = dns.rdatatype.to_text(data.rdtype)
    if kind == "CAA":
        return Property(data.flags, data.tag.decode("ascii", "replace").lower(),
                        data.value.decode("ascii", "replace"))
    if kind == "SOA":
        return int(data.serial)
    if kind == "TXT":
        return b"".join(data.strings).decode("ascii", "backslashreplace")
    if kind in ("A", "AAAA"):
        return str(ipaddress.ip_address(data.address))
    return _text(data.target)


def _text(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()


def show(server: Server) -> str:
    """Return how a server is called in messages."""
    address, port = server
    return printable(address if port == PORT else f"{address} port {port}", 100)
