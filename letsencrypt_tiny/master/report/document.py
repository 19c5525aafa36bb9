"""What status prints for programs: one JSON document, of the schema status.schema.json.

Within a version of the schema members are added, but none is taken away or gets another meaning.
"""

import json
from typing import Any

from ...common.clock import DAY, timestamp
from ...common.x509.certificate import Certificate
from ...common.x509.distinguished import text
from .standing import Leftover, Limits, LEVELS, Overview, Standing, judge

VERSION = 1     # of the schema
MANY = 200      # sections, from which on each has a line: json takes its time to indent


def document(overview: Overview, limits: Limits) -> str:
    """Return the document, ASCII; ``limits`` are those of the levels in it."""
    whole = {
        "version": VERSION,
        "generated": timestamp(overview.now),
        "complete": overview.complete,
        "sections": [_section(standing, overview.now, limits) for standing in overview.standings],
        "leftovers": [_leftover(leftover) for leftover in overview.leftovers]}
    if len(overview.standings) < MANY:
        return json.dumps(whole, indent=4)
    lines = (f'"{name}": ' + ("[\n" + ",\n".join(map(json.dumps, value)) + "]"
                              if isinstance(value, list) else json.dumps(value))
             for name, value in whole.items())
    return "{" + ",\n".join(lines) + "}"


def _date(moment: float) -> str | None:
    return timestamp(moment) if moment else None


def _section(standing: Standing, now: float, limits: Limits) -> dict[str, Any]:
    """All that is known of it; null is what isn't known, or there isn't."""
    level, why = judge(standing, now, limits)
    waiting, moment = standing.waiting, standing.moment
    return {
        "section": standing.name,
        "level": LEVELS[level],
        "level_why": why or None,
        "due": standing.due,
        "reason": standing.reason,
        "names": standing.names,
        **_certificate(standing, now),
        **_wishes(standing),
        "fault": standing.fault or None,
        "waits": None if waiting is None else timestamp(waiting.until),
        "waits_why": None if waiting is None else waiting.why,
        "failures": standing.failures,
        "failed": _date(standing.failed),
        "trouble": None if standing.trouble is None else {
            **standing.trouble._asdict(), "since": timestamp(standing.trouble.since),
            "last": timestamp(standing.trouble.last)},
        "renews": None if moment is None else timestamp(moment.at),
        "renews_why": None if moment is None else moment.why,
        "renewal": _renewal(standing),
        "next_key": standing.next_key or None}


def _certificate(standing: Standing, now: float) -> dict[str, Any]:
    """What is installed."""
    known, left = standing.certificate, standing.left(now)
    return {
        "expires": None if known is None else timestamp(known.not_after),
        "not_before": None if known is None else timestamp(known.not_before),
        "days_left": None if left is None else round(left / DAY, 2),
        "lifetime": None if known is None else known.not_after - known.not_before,
        "serial": None if known is None else known.serial.hex(),
        "issuer": None if known is None else text(known.issuer),
        "key_type": standing.key_type or None,
        "chain": None if known is None else [_link(link) for link in standing.chain],
        "ca": standing.ca or None,
        "profile": standing.profile or None,
        "installed": _date(standing.installed)}


def _link(link: Certificate) -> dict[str, str]:
    return {"subject": text(link.subject), "issuer": text(link.issuer),
            "expires": timestamp(link.not_after)}


def _wishes(standing: Standing) -> dict[str, Any]:
    """What its configuration says."""
    section = standing.section
    if section is None:
        return {"file": None, "paths": None, "notify": None}
    return {
        "file": section.source or None,
        "paths": {"key": section.key, "certificate": section.certificate or None,
                  "chain": section.chain or None, "fullchain": section.fullchain or None},
        "notify": {"command": section.notify, "pending": standing.pending} if section.notify
        or standing.pending else None}


def _renewal(standing: Standing) -> dict[str, str] | None:
    known = standing.renewal
    return None if known is None else {
        "start": timestamp(known.start), "end": timestamp(known.end),
        "moment": timestamp(known.moment), "explanation": known.explanation}


def _leftover(leftover: Leftover) -> dict[str, Any]:
    return {"name": leftover.name, "paths": list(leftover.paths),
            "expires": None if leftover.expires is None else timestamp(leftover.expires)}
