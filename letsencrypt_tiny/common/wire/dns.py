"""Master -> dns: what the process of a zone has to do, one JSON object.  Pure functions."""

from typing import NamedTuple

from .jsonfields import dump, get_int, get_object, get_str, get_strs, parse_object
from .responder import Duty, format_duty, parse_duty

MAX_TASK = 8 << 20      # bytes


class Task(NamedTuple):
    """How records are published, and for whom."""

    zone: str                      # of the section, "" for all names
    update: tuple[str, ...]        # rfc2136 | lexicon PROVIDER | command PATH ARGUMENT …
    server: str                    # HOST[:PORT] of rfc2136
    nameservers: tuple[str, ...]   # ADDRESS[:PORT], to ask instead of the zone's own
    propagation_timeout: int       # seconds
    update_timeout: int            # seconds
    ttl: int                       # seconds
    duty: Duty


def format_task(task: Task) -> bytes:
    """Return what ``parse_task`` reads."""
    return dump({**task._asdict(), "duty": format_duty(task.duty)})


def parse_task(text: bytes) -> Task:
    """Parse what ``format_task`` wrote; raises ProtocolError."""
    obj = parse_object(text, "the task", MAX_TASK)
    return Task(get_str(obj, "zone", 255), tuple(get_strs(obj, "update")), get_str(obj, "server"),
                tuple(get_strs(obj, "nameservers")),
                get_int(obj, "propagation_timeout", 0, 3600),
                get_int(obj, "update_timeout", 1, 3600), get_int(obj, "ttl", 0, 86400),
                parse_duty(get_object(obj, "duty")))
