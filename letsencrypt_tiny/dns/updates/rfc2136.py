"""Dynamic updates (RFC 2136) signed by a shared key (RFC 8945), to one server.

One value is added to or deleted from those that a name has (§2.5.1, §2.5.4), so the values of
others stay.
"""

import threading

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.update

from ...common.errors import Error
from ...common.wire.dns import Task
from ..asking import Server, Unreachable, ask_all, host_port, owner, question, rcode
from ..records import Record
from ..resolving import Resolver
from . import tsig
from .update import Refused

_HELP = {"REFUSED": "the key may not do it", "NOTAUTH": "the key is not for that, or the server "
         "is not primary", "NOTZONE": "the server has another idea of the zone",
         "YXRRSET": "the name is an alias (CNAME)", "SERVFAIL": "see the server's log"}


class Rfc2136:
    """See update.Update."""

    modules: tuple[str, ...] = ()

    def __init__(self, task: Task, secret: bytes, resolver: Resolver) -> None:
        self._host, port = host_port(task.server)
        self.ports: tuple[int, ...] = (port,)
        self.how = f"rfc2136 {task.server}"
        self._key = tsig.parse(secret.decode("utf-8", "replace")) if secret else None
        self._ring = self._key.ring() if self._key else None
        self._resolver = resolver
        self._ttl = task.ttl
        self._timeout = task.update_timeout
        self._lock = threading.Lock()
        self._zones: dict[str, str] = {}

    def add(self, record: Record, zone: str) -> None:
        """Publish one more value.  Raises Error, Refused."""
        try:
            update = self._update(record)
        except Error as exc:
            raise Refused(str(exc)) from exc
        name = dns.name.from_text(record.name + ".")
        update.absent(name, dns.rdatatype.CNAME)   # §3.4.2.2: it would be ignored without a word
        update.add(name, self._ttl, dns.rdatatype.TXT, f'"{record.value}"')
        self._send(update, record)

    def remove(self, record: Record, zone: str) -> None:
        """Remove this value alone (§2.5.4).  Raises Error."""
        update = self._update(record)
        update.delete(dns.name.from_text(record.name + "."), dns.rdatatype.TXT,
                      f'"{record.value}"')
        self._send(update, record)

    def servers(self) -> list[Server]:
        """Return the server that takes updates, at each of its addresses; raises Error."""
        return self._resolver.servers(self._host, self.ports[0])

    def _update(self, record: Record) -> dns.update.UpdateMessage:
        update = dns.update.UpdateMessage(self._zone(record.name) + ".")
        self._sign(update)
        return update

    def _sign(self, message: dns.message.Message) -> None:
        if self._key is not None and self._ring is not None:
            message.use_tsig(self._ring, dns.name.from_text(self._key.name),
                             algorithm=dns.name.from_text(self._key.algorithm))

    def _zone(self, name: str) -> str:
        """Return the zone in which the server has a name; raises Error."""
        with self._lock:
            if name in self._zones:
                return self._zones[name]
        query = question(name, "SOA")
        self._sign(query)
        reply, server = self._exchange(query)
        zone = owner(reply, "SOA", "answer") or owner(reply, "SOA", "authority")
        if not reply.flags & dns.flags.AA or zone is None \
                or not dns.name.from_text(name).is_subdomain(dns.name.from_text(zone)):
            raise Error(f"{server} has no zone for {name} ({rcode(reply)})")
        with self._lock:
            self._zones[name] = zone
        return zone

    def _send(self, update: dns.update.UpdateMessage, record: Record) -> None:
        reply, server = self._exchange(update)
        code = rcode(reply)
        if code != "NOERROR":
            why = f" ({_HELP[code]})" if code in _HELP else ""
            raise Refused(f"{server} answers the update of {record.name} with {code}{why}")

    def _exchange(self, message: dns.message.Message) -> tuple[dns.message.Message, Server]:
        """Send it to the first address that answers; raises Error."""
        why: Error = Error(f"{self._host} has no address")
        for server in self.servers():
            reply = ask_all([server], message, self._timeout)[server]
            if not isinstance(reply, Unreachable):
                return reply, server
            why = reply
        raise why
