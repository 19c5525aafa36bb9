"""Master <-> ACME client: whether a name could be proved to be ours now, without an order.

A ``Probe`` is one more request, and ``Probed`` its final answer; what was found comes before it, a
``Finding`` each (see ``order.py``, whose conversation it is).  Pure functions: no I/O here.
"""

from typing import Any, NamedTuple

from . import challenge
from ..errors import ProtocolError
from ..names import Identifier, is_identifier
from .jsonfields import JsonObject, get_bool, get_list, get_str, get_strs
from .renewal import RenewalInfo, parse_info

MAX_TEXT = 1000       # characters of what was found, and of its remedy
MAX_SUBJECT = 300     # characters
TOPICS = ("ca", "clock", "resolver", "address", "caa", "alias", "servers", "persist")
VERDICTS = ("ok", "warning", "error")


class Probe(NamedTuple):
    """Look at a name as a CA would; without an identifier, at the CA itself."""

    section: str                         # what to call it in the answers
    identifier: Identifier | None = None
    type: str = ""                       # of the challenge (RFC 8555 §8) that is to prove it
    token: str = ""                      # to present, and to ask ourselves for (§8.1)
    thumbprint: str = ""                 # to present it with; "": nothing is presented
    thumbprints: tuple[str, ...] = ()    # an answer is as good that is for one of these keys
    nameservers: tuple[str, ...] = ()    # ADDRESS[:PORT], to ask instead of the zone's own
    public: bool = True                  # the CA looks from the Internet
    address: str = ""                    # where alone it is asked, whatever the DNS says


class Finding(NamedTuple):
    """One thing that was looked at."""

    section: str
    topic: str                           # of TOPICS
    verdict: str                         # of VERDICTS
    text: str
    remedy: str = ""                     # what to do about it
    subject: str = ""                    # the address, server or name that it is about


class Probed(NamedTuple):
    """All has been looked at."""

    section: str


def parse_probe(obj: JsonObject) -> Probe:
    """Take a ``Probe`` apart; raises ProtocolError."""
    found = _identifier(obj)
    probe = Probe(
        get_str(obj, "section"), found, get_str(obj, "type", 32), get_str(obj, "token"),
        get_str(obj, "thumbprint", 64), tuple(get_strs(obj, "thumbprints")),
        tuple(get_strs(obj, "nameservers")), get_bool(obj, "public"),
        get_str(obj, "address", 64) if "address" in obj else "")
    if probe.token and not challenge.is_token(probe.token):
        raise ProtocolError("a token that is none (RFC 8555 §8.1)")
    if not all(map(challenge.is_thumbprint, filter(None, (probe.thumbprint, *probe.thumbprints)))):
        raise ProtocolError("a thumbprint that is none (RFC 7638)")
    if probe.address and not is_identifier(("ip", probe.address)):
        raise ProtocolError("an address that is none")
    return probe


def _identifier(obj: JsonObject) -> Identifier | None:
    if obj.get("identifier") is None:
        return None
    pair: list[Any] = get_list(obj, "identifier", 2)
    if len(pair) != 2 or not is_identifier((pair[0], pair[1])):
        raise ProtocolError("an identifier that is none")
    return pair[0], pair[1]


def parse_answered(obj: JsonObject, kind: str) -> Finding | Probed | RenewalInfo:
    """Take what answers a question, without order or account, apart, as its ``kind`` says; raises
    ProtocolError whatever it holds, and for any other kind."""
    if kind == "RenewalInfo":
        return parse_info(obj)
    if kind == "Probed":
        return Probed(get_str(obj, "section"))
    if kind != "Finding":
        raise ProtocolError(f"an unknown answer “{kind}”")
    finding = Finding(get_str(obj, "section"), get_str(obj, "topic", 16),
                      get_str(obj, "verdict", 16), get_str(obj, "text", MAX_TEXT),
                      get_str(obj, "remedy", MAX_TEXT), get_str(obj, "subject", MAX_SUBJECT))
    if finding.topic not in TOPICS or finding.verdict not in VERDICTS:
        raise ProtocolError("an unknown topic or verdict")
    return finding
