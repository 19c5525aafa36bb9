"""Whether all name servers of a zone have a record: the CA may ask any of them.

A server that cannot be reached, or does not serve the zone, can't be waited for to the end: when
all the others have the record, and it was tried for a while, the CA may look.  An address to
which this host has no way at all, IPv6 for one, is not tried for long.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import dns.flags
import dns.message
import dns.rdatatype

from ..common import log
from ..common.errors import Error
from .asking import Server, Unreachable, ask_all, question, rcode
from .places import Place

PAUSE = 0.25          # seconds between rounds, at first
LONGEST_PAUSE = 3.0
PATIENCE = 12.0       # seconds for those that can't be reached, once all others have it

# ``False``: it answers, and has not got it
State = bool | Unreachable
States = Mapping[Server, State]


class Unwanted(Error):
    """Nobody waits for it any more."""


def wait(place: Place, value: str, seconds: int, tell: Callable[[int, str], None],
         wanted: Callable[[], bool]) -> None:
    """Return when the CA may look; raises Error after ``seconds``, which 0 makes no wait at all.

    ``tell`` gets to know, as it changes, for how many seconds at most what is waited for;
    ``wanted`` says whether to go on: raises Unwanted if not.
    """
    if seconds == 0:
        return
    began = time.monotonic()
    states: dict[Server, State] = {}
    left: Sequence[Server] = place.authority.servers
    pause, told = PAUSE, ""
    while True:
        states.update(look(place.name, value, left))
        left = [server for server, state in states.items() if state is not True]
        elapsed = time.monotonic() - began
        if may_look(states, elapsed, seconds):
            _mention(place, [state for state in states.values() if isinstance(state, Unreachable)])
            return
        why = lagging(states)
        if elapsed >= seconds:
            raise Error(f"after {seconds} seconds {place.name} is not everywhere: {why}")
        if why != told:
            told = why
            tell(int(seconds - elapsed) + 1, why)
        time.sleep(max(0.0, min(pause, seconds - elapsed)))
        pause = min(pause * 1.5, LONGEST_PAUSE)
        if not wanted():
            raise Unwanted("taken back")


def look(name: str, value: str, servers: Sequence[Server]) -> dict[Server, State]:
    """Return which of ``servers`` have the value among the TXT records of ``name``."""
    return {server: has(server, reply, value)
            for server, reply in ask_all(servers, question(name, "TXT")).items()}


def has(server: Server, reply: dns.message.Message | Unreachable, value: str) -> State:
    """Return whether a server's reply has the value, or why that can't be told."""
    if isinstance(reply, Unreachable):
        return reply
    if rcode(reply) not in ("NOERROR", "NXDOMAIN") or not reply.flags & (
            dns.flags.AA | dns.flags.RA):
        return Unreachable(f"{server} does not serve the zone ({rcode(reply)})")
    return any(value.encode("ascii") == b"".join(data.strings) for rrset in reply.answer
               if rrset.rdtype == dns.rdatatype.TXT for data in rrset)


def may_look(states: States, elapsed: float, seconds: float) -> bool:
    """True if the CA may, ``elapsed`` of ``seconds`` after the record was published."""
    if False in states.values() or True not in states.values():
        return False
    strange = [state for state in states.values() if isinstance(state, Unreachable)]
    return all(state.no_route for state in strange) or elapsed >= min(PATIENCE, seconds / 2)


def lagging(states: States) -> str:
    """Say whom is waited for."""
    late = [str(server) for server, state in states.items() if state is False]
    strange = [str(state) for state in states.values() if isinstance(state, Unreachable)]
    return "; ".join(([f"not at {', '.join(late[:5])}"] if late else []) + strange[:5])


def _mention(place: Place, strange: Sequence[Unreachable]) -> None:
    for state in strange:
        text = f"{place.name}: all others have it, but {state}"
        if state.no_route:
            log.debug(text)
        else:
            log.warning(text)
