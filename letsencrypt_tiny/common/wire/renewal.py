"""Master <-> ACME client: when a CA suggests to renew certificates (ARI, RFC 9773).

A ``RenewalQuery`` is one more request, and ``RenewalInfo`` its final answer (see ``order.py``,
whose conversation it is); nothing is signed for it.  Pure functions: no I/O here.
"""

import re
from typing import NamedTuple

from ..errors import ProtocolError
from .jsonfields import JsonObject, get_int, get_str

MAX_MOMENT = 1 << 40        # Unix time
MAX_RETRY = 86400           # seconds
MAX_EXPLANATION = 1000      # characters of a URL
MAX_CERT_ID = 200           # characters; mostly of 20 octets each are both parts

_CERT_ID = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


class RenewalQuery(NamedTuple):
    """Ask when a certificate is to be renewed (§4.1)."""

    section: str             # what to call it in the answer
    cert_id: str             # the certificate's certID


class RenewalInfo(NamedTuple):
    """What the CA says (§4.2): a window, of which the first moment comes before the last."""

    section: str
    start: int               # Unix time
    end: int
    retry_after: int = 0     # seconds until it is worth asking again; 0: it doesn't say
    explanation: str = ""    # a URL: why the window is where it is


def parse_query(obj: JsonObject) -> RenewalQuery:
    """Take a ``RenewalQuery`` apart; raises ProtocolError."""
    query = RenewalQuery(get_str(obj, "section"), get_str(obj, "cert_id", MAX_CERT_ID))
    if not _CERT_ID.match(query.cert_id):
        raise ProtocolError("“cert_id” is no identifier of a certificate (RFC 9773 §4.1)")
    return query


def parse_info(obj: JsonObject) -> RenewalInfo:
    """Take a ``RenewalInfo`` apart; raises ProtocolError whatever it holds."""
    info = RenewalInfo(get_str(obj, "section"), get_int(obj, "start", 1, MAX_MOMENT),
                       get_int(obj, "end", 1, MAX_MOMENT),
                       get_int(obj, "retry_after", 0, MAX_RETRY),
                       get_str(obj, "explanation", MAX_EXPLANATION))
    if info.end <= info.start:
        raise ProtocolError("a window that ends before it begins (RFC 9773 §4.2)")
    return info
