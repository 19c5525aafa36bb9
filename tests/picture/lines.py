"""When what was said: the way of one order, as the messages of --debug have it.

Times are seconds since the command was started, as its lines came.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

Line = tuple[float, str]    # seconds, text

_SIGNED = r"^accountd: .* SIGNED "
_ALLOWED = r"^accountd: .* AUDIT .* verdict=allowed operation={} "
_VALIDATED = r'^webserver: .* "GET /\.well-known/acme-challenge/[^"]*" 200'


class Event(NamedTuple):
    """What was seen ``number`` times, from ``first`` to ``last``."""

    first: float
    last: float
    number: int

    def __str__(self) -> str:
        if self.last - self.first < 0.1:
            return f"{self.first:.2f}"
        return f"{self.first:.2f}–{self.last:.2f}"


class Missing(Exception):
    """A step of the way that was not seen."""


class Way(NamedTuple):
    """The way of an order, in its own order; RFC 8555's words."""

    key: Event           # a private key was made
    asked: Event         # newOrder was signed
    ordered: Event       # and answered: 201
    challenges: Event    # the CA was told that they can be validated
    validations: Event   # requests to the challenge web server
    ready: Event         # the order is
    finalized: Event     # finalize was signed
    downloaded: Event    # the certificate was
    installed: Event
    notified: Event
    signatures: int
    requests: int


def way(lines: Sequence[Line], section: str) -> Way:
    """Return the way of the section's order; raises Missing."""
    at = re.escape(section)
    signed = [time for time, text in lines if re.search(_SIGNED, text)]
    finalized = _event(lines, _ALLOWED.format("finalize"), "a signature to finalize")
    downloads = _event([line for line in lines if line[0] >= finalized.last],
                       r"^client: POST .*: 200", "the certificate's download")
    events = [
        _event(lines, f"^{at}: generating the private key ", "a private key"),
        _event(lines, _ALLOWED.format("new-order"), "a signature to newOrder"),
        _event(lines, "^client: POST .*: 201", "newOrder"),
        _event(lines, _ALLOWED.format("respond"), "a challenge"),
        _event(lines, _VALIDATED, "a validation"),
        _event(lines, f"^{at}: order ready", "a ready order"),
        finalized,
        downloads._replace(first=downloads.last, number=1),
        _event(lines, f"^{at}: certificate installed", "an installed certificate"),
        _event(lines, "^running “.*” for ", "a notification")]
    # Each process says it on a pipe of its own: within milliseconds they may overtake each other
    for number, before in enumerate(events[:-1], 1):
        first = max(before.first, events[number].first)
        events[number] = events[number]._replace(first=first, last=max(first, events[number].last))
    return Way._make([*events, len(signed), _number(lines, r"^client: (\d+) requests")])


def validating(text: str) -> bool:
    """Say whether a line tells of a validation."""
    return re.search(_VALIDATED, text) is not None


def _event(lines: Sequence[Line], pattern: str, what: str) -> Event:
    times = [time for time, text in lines if re.search(pattern, text)]
    if not times:
        raise Missing(f"{what} was not seen in what letsencrypt-tiny said")
    return Event(times[0], times[-1], len(times))


def _number(lines: Sequence[Line], pattern: str) -> int:
    for _, text in lines:
        match = re.search(pattern, text)
        if match:
            return int(match.group(1))
    raise Missing("the number of requests was not seen in what letsencrypt-tiny said")
