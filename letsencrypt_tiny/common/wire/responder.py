"""ACME client <-> responder: what is to be presented, and what became of it, for both ends.

JSON lines over a stream socket that the master made, a socket for each client and responder.
The client asks to ``Present`` and to ``Clean``, of which several may be under way; the responder
answers each ``Present`` with any number of ``Waits`` and one ``Ready`` or ``Failed``.  The end of
the socket takes everything back.

Both sides are hostile to the other: every size is capped and every value checked here.  What a
responder may answer for, and with whose key, it has from the master: names of no order are
refused, and a key authorization (RFC 8555 §8.1) is made here, never taken from the client.

Pure functions: no I/O here.
"""

from typing import NamedTuple

from . import challenge
from ..errors import LocalProtocolError, ProtocolError
from ..names import Identifier, is_identifier
from .jsonfields import JsonObject, dump, get_int, get_list, get_str, parse_object

MAX_LINE = 4096         # bytes
MAX_WHY = 1000          # characters of a reason
MAX_WAIT = 3600         # seconds
TYPES = ("dns-01", "tls-alpn-01")   # of challenges that are done by this protocol


class Challenge(NamedTuple):
    """One challenge; two are the same if all of it is."""

    type: str                # RFC 8555 §9.7.8
    identifier: Identifier   # without the “*.” of a wildcard (§7.1.4)
    token: str               # §8.1
    thumbprint: str          # of the account's key (RFC 7638): one that the master has named

    def digest(self) -> bytes:
        """Return SHA-256 of its key authorization (§8.4, RFC 8737 §3)."""
        return challenge.digest(challenge.key_authorization(self.token, self.thumbprint))


class Present(NamedTuple):
    """Make a challenge ready to be validated."""

    challenge: Challenge


class Clean(NamedTuple):
    """Take it back; nothing is answered."""

    challenge: Challenge


class Waits(NamedTuple):
    """It will take its time, for a reason that the administrator may want to know."""

    challenge: Challenge
    seconds: int             # until something more is said, at most
    why: str


class Ready(NamedTuple):
    """The CA may look."""

    challenge: Challenge


class Failed(NamedTuple):
    """It can't be presented; nothing is left of it."""

    challenge: Challenge
    why: str


Asked = Present | Clean
Answered = Waits | Ready | Failed


def format_line(message: Asked | Answered) -> bytes:
    """Return the line of a message; raises LocalProtocolError if it is too long."""
    obj: JsonObject = {"message": type(message).__name__, **message.challenge._asdict()}
    if isinstance(message, (Waits, Failed)):
        obj["why"] = message.why[:MAX_WHY]
    if isinstance(message, Waits):
        obj["seconds"] = min(message.seconds, MAX_WAIT)
    line = dump(obj) + b"\n"
    if len(line) > MAX_LINE:
        raise LocalProtocolError(f"a message of more than {MAX_LINE} bytes")
    return line


def parse_asked(line: bytes) -> Asked:
    """Parse a line of the client's; raises ProtocolError whatever it holds."""
    obj, kind, about = _parse(line)
    if kind == "Present":
        return Present(about)
    if kind == "Clean":
        return Clean(about)
    raise ProtocolError(f"an unknown message “{kind}”")


def parse_answered(line: bytes) -> Answered:
    """Parse a line of the responder's; raises ProtocolError whatever it holds."""
    obj, kind, about = _parse(line)
    if kind == "Ready":
        return Ready(about)
    if kind == "Failed":
        return Failed(about, get_str(obj, "why", MAX_WHY))
    if kind == "Waits":
        return Waits(about, get_int(obj, "seconds", 0, MAX_WAIT), get_str(obj, "why", MAX_WHY))
    raise ProtocolError(f"an unknown message “{kind}”")


def _parse(line: bytes) -> tuple[JsonObject, str, Challenge]:
    obj = parse_object(line, "a responder's message", MAX_LINE)
    pair = get_list(obj, "identifier", 2)
    if len(pair) != 2 or not all(isinstance(item, str) for item in pair):
        raise ProtocolError("an identifier that is not a pair of strings")
    about = Challenge(get_str(obj, "type", 32), (pair[0], pair[1]), get_str(obj, "token"),
                      get_str(obj, "thumbprint", 64))
    if about.type not in TYPES:
        raise ProtocolError("an unknown type of challenge")
    if not is_identifier(about.identifier) or about.identifier[1].startswith("*."):
        raise ProtocolError("an identifier that is none")
    if not challenge.is_token(about.token):
        raise ProtocolError("a token that is none (RFC 8555 §8.1)")
    if not challenge.is_thumbprint(about.thumbprint):
        raise ProtocolError("a thumbprint that is none (RFC 7638)")
    return obj, get_str(obj, "message", 16), about


class Lines:
    """Bytes as they come -> lines; raises ProtocolError at one that is too long."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > MAX_LINE for line in (*lines, self._rest)):
            raise ProtocolError(f"a message of more than {MAX_LINE} bytes")
        return lines


# --- what the master tells a responder before anybody asks it ------------------------------------

class Duty(NamedTuple):
    """For whom a responder answers: names and keys of the run, and of no other."""

    identifiers: frozenset[Identifier]   # without “*.”
    thumbprints: frozenset[str]

    def faults(self, about: Challenge) -> str:
        """Return why a challenge is not to be presented, "" if it is."""
        if about.identifier not in self.identifiers:
            return "nobody has ordered that name in this run"
        if about.thumbprint not in self.thumbprints:
            return "it is for another account's key"
        return ""


def format_duty(duty: Duty) -> JsonObject:
    """Return what ``parse_duty`` reads, as a member of what the master writes."""
    return {"identifiers": sorted(duty.identifiers), "thumbprints": sorted(duty.thumbprints)}


def parse_duty(obj: JsonObject) -> Duty:
    """Parse what ``format_duty`` wrote; raises ProtocolError."""
    pairs = get_list(obj, "identifiers", 100000)
    keys = get_list(obj, "thumbprints", 1000)
    if not all(isinstance(pair, list) and len(pair) == 2 and is_identifier((pair[0], pair[1]))
               for pair in pairs):
        raise ProtocolError("an identifier that is none")
    if not all(isinstance(key, str) and challenge.is_thumbprint(key) for key in keys):
        raise ProtocolError("a thumbprint that is none")
    return Duty(frozenset((kind, value) for kind, value in pairs), frozenset(keys))
