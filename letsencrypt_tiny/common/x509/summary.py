"""What a certificate says, as far as it takes to see that it may stay: short, to be remembered.

That it is one to keep at all, not self-signed, say, whoever remembers it has seen.
"""

from typing import NamedTuple

from .certificate import Certificate
from .certid import cert_id
from .extensions import Names

MAX_TEXT = 2000   # characters; of more names nothing is remembered
_DIGITS = 12      # of a moment
_NONE = "-"


class Summary(NamedTuple):
    """Of a certificate that was read once, and is as it was."""

    not_before: int    # Unix time
    not_after: int     # Unix time, the last valid second
    cert_id: str       # "" for one that can't be asked for (certid.py)
    names: Names


Known = Certificate | Summary   # read, or remembered


def summary(certificate: Certificate) -> Summary:
    """Return what is to be remembered of a certificate."""
    return Summary(certificate.not_before, certificate.not_after, cert_id(certificate),
                   certificate.names)


def called(certificate: Known) -> str:
    """Return what a certificate is called where its CA is asked about it (``cert_id``)."""
    return certificate.cert_id if isinstance(certificate, Summary) else cert_id(certificate)


def text(known: Summary) -> str:
    """Return words that ``parse`` reads; "" for what would be too long."""
    line = " ".join([str(known.not_before), str(known.not_after), known.cert_id or _NONE,
                     *(f"{kind}:{name}" for kind, name in known.names)])
    return line if len(line) <= MAX_TEXT else ""


def parse(line: str) -> Summary | None:
    """Return what ``text`` has written; None for whatever else it is."""
    words = line.split(" ") if len(line) <= MAX_TEXT and line.isascii() else []
    if len(words) < 3 or not (words[0].isdigit() and words[1].isdigit()) \
            or max(len(words[0]), len(words[1])) > _DIGITS:
        return None
    names = []
    for word in words[3:]:
        kind, colon, name = word.partition(":")
        if not colon:
            return None
        names.append((kind, name))
    return Summary(int(words[0]), int(words[1]), "" if words[2] == _NONE else words[2],
                   tuple(names))
