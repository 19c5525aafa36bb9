"""Where the record of a name is to be put: CNAMEs of _acme-challenge are followed, as the CA does.

The servers of the zone itself are asked: a resolver would remember for hours that a name is not
there yet, and the CA may use the same.  Only what exists anyway is looked up by a resolver: the
zone above, its servers and their addresses.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from ..common.errors import Error, ProtocolError
from ..common.log import printable
from ..common.names import in_zone, is_dns
from .asking import PORT, Server, Unreachable, ask_all, owner, question, rcode, texts
from .records import LABEL
from .resolving import Resolver

MAX_ALIASES = 8
MAX_REFERRALS = 8
MAX_SERVERS = 30    # names, and addresses, of a zone's name servers that are looked at
_GOOD = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


class Authority(NamedTuple):
    """A zone, and all addresses of all its name servers."""

    zone: str
    servers: tuple[Server, ...]


class Place(NamedTuple):
    """A name, and who answers for it."""

    name: str
    authority: Authority


class Places:
    """Finds them; any thread may ask."""

    def __init__(self, resolver: Resolver, zone: str, nameservers: Sequence[Server],
                 primary: Callable[[], Sequence[Server]] = tuple) -> None:
        """``zone``: of the section, "" if it is for all names.  ``nameservers`` are asked instead
        of a zone's own; ``primary()``, where updates go, if nobody else can be found."""
        self._resolver = resolver
        self._zone = zone
        self._nameservers = tuple(nameservers)
        self._primary = primary
        self._lock = threading.Lock()
        self._known: dict[str, Authority] = {}

    def find(self, name: str) -> Place:
        """Return where the CA looks for the record of the host ``name``; raises Error."""
        here = f"{LABEL}.{name}"
        if not is_dns(here):
            raise Error(f"{here} is too long for a name (RFC 1035 §2.3.4)")
        way = [here]
        while True:
            target, authority = self._alias(here)
            if target is None:
                return Place(here, authority)
            if not is_dns(target) or target.startswith("*."):
                raise ProtocolError(f"{here} is an alias of “{printable(target, 300)}”, "
                                    "which is no name")
            if target in way:
                raise Error(f"{' → '.join((*way, target))}: a circle of CNAMEs")
            if len(way) > MAX_ALIASES:
                raise Error(f"{' → '.join(way)}: more than {MAX_ALIASES} CNAMEs")
            here = target
            way.append(here)

    def _alias(self, name: str) -> tuple[str | None, Authority]:
        """Return of what a name is an alias, if of anything, and who says so; raises Error."""
        errors = []
        if self._nameservers:
            asked = Authority("", self._nameservers)
            try:
                target, found = self._follow(name, asked, True)
                return target, found._replace(servers=self._nameservers)
            except Error as exc:
                errors.append(exc)
        try:
            return self._follow(name, self._above(name))
        except Error as exc:
            errors.append(exc)
        try:
            primary = tuple(self._primary())
            if primary:
                return self._follow(name, Authority("", primary))
        except Error as exc:
            errors.append(exc)
        raise errors[0]

    def _follow(self, name: str, authority: Authority,
                recursive: bool = False) -> tuple[str | None, Authority]:
        """Go down from a zone to that of ``name``; raises Error."""
        wanted = dns.name.from_text(name + ".")
        for _ in range(MAX_REFERRALS):
            reply = _first(authority, name, "CNAME", recursive)
            for rrset in reply.answer:
                if rrset.name == wanted and rrset.rdtype == dns.rdatatype.CNAME:
                    return rrset[0].target.to_text().lower().rstrip("."), authority
            below = owner(reply, "NS", "authority")
            if _is_final(reply, recursive):
                zone = owner(reply, "SOA", "authority")
                if zone is None or not in_zone(name, zone):   # nobody speaks for other zones
                    return None, authority
                if zone == authority.zone or recursive:
                    return None, authority._replace(zone=zone)
                return None, self._at(zone, authority)
            if below is None or not in_zone(name, below) or below == authority.zone:
                raise Error(f"{authority.servers[0]} does not answer for {name}")
            authority = self._referred(below, reply)
        raise Error(f"{name}: more than {MAX_REFERRALS} referrals")

    def _above(self, name: str) -> Authority:
        """Return a zone that is at or above ``name``, by a resolver; raises Error."""
        labels = name.split(".")
        start = ".".join(labels[1:][-2:])
        if self._zone and in_zone(name, self._zone):
            start = self._zone
        with self._lock:
            if start in self._known:
                return self._known[start]
        reply = self._resolver.look_up(start, "SOA")
        zone = owner(reply, "SOA", "answer") or owner(reply, "SOA", "authority")
        if zone is None or not in_zone(start, zone):
            raise Error(f"no zone of {start} is known to the resolver")
        found = self._served(zone, texts(self._resolver.look_up(zone, "NS"), "NS"))
        with self._lock:
            self._known[start] = found
        return found

    def _at(self, zone: str, authority: Authority) -> Authority:
        """Return the servers of a zone below ``authority``'s that the same servers answer for."""
        with self._lock:
            if zone in self._known:
                return self._known[zone]
        reply = _first(authority, zone, "NS", False)
        found = self._served(zone, texts(reply, "NS"), reply) \
            if texts(reply, "NS") else authority._replace(zone=zone)
        with self._lock:
            self._known[zone] = found
        return found

    def _referred(self, zone: str, reply: dns.message.Message) -> Authority:
        return self._served(zone, texts(reply, "NS", "authority"), reply)

    def _served(self, zone: str, names: Sequence[str],
                reply: dns.message.Message | None = None) -> Authority:
        """Look up the addresses of name servers; raises Error if there are none."""
        servers: list[Server] = []
        why = Error(f"{zone or '.'} has no name servers")
        for name in names[:MAX_SERVERS]:
            glue = _glue(name, reply) if reply is not None else []
            try:
                servers += [Server(address, PORT, name)
                            for address in glue or self._resolver.addresses(name)]
            except Error as exc:
                why = exc
        if not servers:
            raise why
        return Authority(zone, tuple(servers[:MAX_SERVERS]))


def _glue(name: str, reply: dns.message.Message) -> list[str]:
    return [data.to_text() for rrset in reply.additional for data in rrset
            if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
            and rrset.name.to_text().lower().rstrip(".") == name]


def _first(authority: Authority, name: str, kind: str, recursive: bool) -> dns.message.Message:
    """Return the first reply that is of use; raises Error."""
    query = question(name, kind, recursive)
    why = Unreachable("nobody answers")
    for server in authority.servers:
        reply = ask_all([server], query)[server]
        if isinstance(reply, Unreachable):
            why = reply
        elif reply.rcode() in _GOOD and (_is_final(reply, recursive)
                                         or owner(reply, "NS", "authority") is not None):
            return reply
        else:
            why = Unreachable(f"{server} does not answer for {name} ({rcode(reply)})")
    raise why


def _is_final(reply: dns.message.Message, recursive: bool) -> bool:
    """True if it comes from one who knows, not from one who knows somebody else."""
    return bool(reply.flags & dns.flags.AA or recursive and reply.flags & dns.flags.RA)
