"""Master <-> ACME client: what became of a request that failed (see ``order.py``).

Pure functions: no I/O here.
"""

from typing import NamedTuple

from ..errors import ProtocolError
from .jsonfields import JsonObject, get_bool, get_int, get_optional_str, get_str

MAX_WAIT = 86400          # seconds

# What became of the order, or other request, that failed:
# refused     for good: there is no order, or it is dead; what is wanted must be asked for anew
# busy        the server wants to be left alone for a while; an order there is lives on
# unfinished  it waits, for the server or for somebody to mend something; the next run goes on
# lost        the server or the signer can't be worked with: it concerns no request in particular
OUTCOMES = ("refused", "busy", "unfinished", "lost")


# Why another CA may do better:
# ""       it would not, or nobody knows: a challenge that failed, or a mistake of ours
# down     this one can't be reached or is out of order, whatever it is asked for
# limited  it has had enough of us for a while (§6.6)
# refused  it doesn't certify these names, or not in this way (§6.7, RFC 8659)
ELSEWHERE = ("", "down", "limited", "refused")


class Failed(NamedTuple):
    """A request failed in this run."""

    section: str                         # "" for an AccountUpdate
    message: str                         # for the administrator: detail and subproblems
    outcome: str                         # of OUTCOMES
    type: str | None = None           # the problem's type (RFC 8555 §6.7)
    retry_after: int | None = None    # seconds, if the server said so
    elsewhere: str = ""                  # of ELSEWHERE
    asked: bool = False                  # for an order, and nobody knows whether there is one


def parse_failed(obj: JsonObject) -> Failed:
    """Take a ``Failed`` apart; raises ProtocolError whatever it holds."""
    retry = None if obj.get("retry_after") is None else get_int(obj, "retry_after", 0, MAX_WAIT)
    outcome, elsewhere = get_str(obj, "outcome", 16), get_optional_str(obj, "elsewhere", 16) or ""
    if outcome not in OUTCOMES or elsewhere not in ELSEWHERE:
        raise ProtocolError("an unknown outcome")
    return Failed(get_str(obj, "section"), get_str(obj, "message", 16384), outcome,
                  get_optional_str(obj, "type", 256), retry, elsewhere,
                  get_bool(obj, "asked"))
