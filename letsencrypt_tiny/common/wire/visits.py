"""What the challenge web server tells the master: which requests for challenges came.

A line for each, as long as the pipe takes it: the status of the answer, a space, the host that was
asked for.  It is there for messages; nothing is decided by it.  Pure functions.
"""

from ..errors import ProtocolError
from ..record import NamedTuple

MAX_LINE = 300       # bytes
MAX_VISITS = 1000    # that are told in a run of requests in vain, and of others

# A name or an address: what can be an identifier, or stand in its place
_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz._:-")
MAX_HOST = 255       # characters


class Visit(NamedTuple):
    """A request for a challenge."""

    status: int     # of the answer
    host: str       # that was asked for, in lower case and without port; "" if it is no host


def plain_host(field: str) -> str:
    """Return the host in the value of a Host field (RFC 9110 §7.2); "" if it could be no name or
    address."""
    text = field.strip().lower()
    host = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    host = host.removesuffix(".")
    return host if _is_host(host) else ""


def _is_host(text: str) -> bool:
    return len(text) <= MAX_HOST and _CHARACTERS.issuperset(text)


def format_visit(visit: Visit) -> bytes:
    """Return the line that tells of ``visit``."""
    return f"{visit.status} {visit.host}\n".encode("ascii")


def parse_visit(line: bytes) -> Visit:
    """Parse a line, without its end; raises ProtocolError."""
    status, space, host = line[:MAX_LINE].decode("latin-1").partition(" ")
    if not (len(status) == 3 and status.isascii() and status.isdigit() and status[0] in "2345"
            and space and _is_host(host)):
        raise ProtocolError("a line of the web server's that tells of no request")
    return Visit(int(status), host)
