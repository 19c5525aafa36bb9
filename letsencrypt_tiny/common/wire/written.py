"""Master → ACME client: which orders are written down.

Lines on the descriptor that the configuration came on, after that.  A client finalizes no order
that the master has not written down: whoever is killed then, the next run takes it up, and the CA
issues nothing that nobody knows of.  Pure functions.
"""

from typing import NamedTuple

from .jsonfields import dump, get_bool, get_str, parse_object

MAX_LINE = 16 << 10   # bytes


class Written(NamedTuple):
    """What became of the line of the journal about an order."""

    section: str
    url: str          # the order's
    kept: bool        # whether it is written down


def format_written(written: Written) -> bytes:
    """Return the line that tells of ``written``."""
    return dump(written._asdict()) + b"\n"


def parse_written(line: bytes) -> Written:
    """Parse what ``format_written`` wrote; raises ProtocolError."""
    obj = parse_object(line, "what the master has written down", MAX_LINE)
    return Written(get_str(obj, "section"), get_str(obj, "url"), get_bool(obj, "kept"))
