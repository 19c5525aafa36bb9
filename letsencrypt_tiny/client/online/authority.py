"""dns-01: where the CNAME of _acme-challenge leads, and whether all servers there agree."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...common.log import printable
from ...common.names import in_zone
from .asking import MAX_ALIASES, PORT, Reply, Resolver, Server, Unanswered, ask, show

MAX_SERVERS = 20      # that are asked


class Remark(NamedTuple):
    """Something found; the prober makes a Finding of it."""

    topic: str        # alias | servers
    verdict: str
    text: str
    remedy: str = ""
    subject: str = ""


def examine(resolver: Resolver, name: str, nameservers: Sequence[Server]) -> Iterator[Remark]:
    """Yield what there is to say of the place of ``name``'s TXT record (RFC 8555 §8.4).

    ``nameservers`` are asked instead of the zone's own, if there are any.  Raises Unanswered
    if the resolver has no answer.
    """
    label = f"_acme-challenge.{name}"
    reply = resolver.look_up(label, "TXT")
    place = reply.aliases[-1] if reply.aliases else label
    if len(reply.aliases) >= MAX_ALIASES:
        yield Remark("alias", "error", f"{label} is an alias without end",
                     "mend the CNAME records", label)
        return
    if reply.aliases:
        way = printable(" → ".join((label, *reply.aliases)), 500)
        yield Remark("alias", "ok", f"{way}: the record is looked for there", subject=place)
    zone = reply.zone or _zone(resolver, place)
    if not zone:
        yield Remark("servers", "error", f"{printable(place, 300)} is in no zone that the resolver "
                     "knows", "set up the zone, or mend the CNAME record", place)
        return
    named: list[tuple[str, Server]] = [("", server) for server in nameservers]
    if not named:
        for host in sorted(resolver.look_up(zone, "NS").records):
            found = _addresses(resolver, host)
            if not found:
                yield Remark("servers", "error", f"{printable(host, 300)}, a name server of "
                             f"{printable(zone, 300)}, has no address",
                             "mend its A and AAAA records, or the NS record", host)
            named += [(host, (address, PORT)) for address in found]
    yield from _agreement(zone, place, named[:MAX_SERVERS], own=not nameservers)


def _zone(resolver: Resolver, name: str) -> str:
    """Return the zone that a name is in; "" if the resolver knows none but the root."""
    labels = name.split(".")
    for count in range(len(labels)):
        zone = resolver.look_up(".".join(labels[count:]), "SOA").zone
        if zone and in_zone(name, zone):
            return zone if zone != "." else ""
    return ""


def _addresses(resolver: Resolver, host: str) -> list[str]:
    try:
        return resolver.addresses(host)
    except Unanswered:
        return []


def _agreement(zone: str, place: str, named: Sequence[tuple[str, Server]],
               own: bool) -> Iterator[Remark]:
    """All servers answer, and have the same: a CA may ask any of them.

    The zone's ``own`` answer with authority; those of the setting may be anybody's.
    """
    where = printable(zone, 200)
    if not named:
        yield Remark("servers", "error", f"{where} has no name server that can be asked",
                     "mend its NS records, or set nameservers in [dns]", zone)
        return
    answers: dict[str, tuple[Reply, Reply]] = {}
    untried: dict[str, tuple[str, Unanswered]] = {}
    heard: set[str] = set()
    for host, server in named:
        who = f"{printable(host, 200)} ({show(server)})" if host else show(server)
        try:
            soa, txt = (ask(server, what, kind, not own)
                        for what, kind in ((zone, "SOA"), (place, "TXT")))
        except Unanswered as exc:
            if exc.no_route:
                untried[who] = host, exc
            else:
                yield Remark("servers", "error", f"{where}: {who}: {exc}", "every name server of "
                             "a zone has to answer, over TCP too (RFC 7766)", who)
            continue
        heard.add(host)
        wrong = _wrong(soa, own) or _wrong(txt, own)
        if wrong:
            yield Remark("servers", "error", f"{where}: {who} {wrong}",
                         "set the zone up there, or take the server out of its NS records", who)
        else:
            answers[who] = soa, txt
    for who, (host, why) in untried.items():
        if not host or host not in heard:    # a server may be in more networks than we are
            yield Remark("servers", "warning", f"{where}: {who}: {why}: it can't be tried from "
                         "here", "try it from elsewhere", who)
    yield from _compared(zone, answers)


def _compared(zone: str, answers: Mapping[str, tuple[Reply, Reply]]) -> Iterator[Remark]:
    """Say whether SOA and TXT are the same everywhere."""
    where = printable(zone, 200)
    serials = {who: soa.records[0] if soa.records else 0 for who, (soa, _) in answers.items()}
    texts = {frozenset(txt.records) for _, txt in answers.values()}
    if len(set(serials.values())) > 1 or len(texts) > 1:
        listed = ", ".join(f"{who} has {serial}" for who, serial in serials.items())
        yield Remark("servers", "warning", f"{where}: the servers don't agree, serials: "
                     f"{listed[:700]}", "if that lasts: see to the zone transfers; it must pass "
                     "within “propagation-timeout”", zone)
    elif serials:
        one = len(serials) == 1
        yield Remark("servers", "ok", f"{where}: {len(serials)} name server{'' if one else 's'} "
                     f"agree{'s' if one else ''} (serial {min(serials.values())})", subject=zone)


def _wrong(reply: Reply, own: bool) -> str:
    if reply.rcode not in ("NOERROR", "NXDOMAIN"):
        return f"answers {reply.rcode}"
    return "" if reply.authoritative or not own else "does not answer for the zone itself"
