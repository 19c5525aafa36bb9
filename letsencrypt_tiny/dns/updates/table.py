"""How records get into a zone: a table of the ways.

A new way is a row here and a room of its own, imported where it is used.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from ...common.errors import ConfigError, Error
from ...common.wire.dns import Task
from ..asking import Server
from ..records import Record
from ..resolving import Resolver


class Refused(Error):
    """Nothing was published, and that is certain."""


class Update(Protocol):
    """Puts records into a zone.  Any thread may call, for several records at once."""

    how: str                  # for people
    ports: tuple[int, ...]    # TCP ports that it connects to
    modules: tuple[str, ...]  # directories of Python modules that it may load late

    def add(self, record: Record, zone: str) -> None:
        """Publish one more value; values that the name has already stay.  Raises Error:
        it may be published then, unless it is Refused.

        ``zone`` is where the record's name was found to be, "" if that isn't known.
        """

    def servers(self) -> Sequence[Server]:
        """Return whom to ask about the zone if nobody else is found; raises Error."""

    def remove(self, record: Record, zone: str) -> None:
        """Remove this value, and no other; that it is not there is no error.  Raises Error."""


def _rfc2136(task: Task, secret: bytes, resolver: Resolver) -> Update:
    from .rfc2136 import Rfc2136
    return Rfc2136(task, secret, resolver)


def _lexicon(task: Task, secret: bytes, resolver: Resolver) -> Update:
    from .lexicon import Lexicon
    return Lexicon(task, secret, resolver)


def _command(task: Task, secret: bytes, _resolver: Resolver) -> Update:
    from .command import Command
    return Command(task, secret)


UPDATES: dict[str, Callable[[Task, bytes, Resolver], Update]] = {
    "rfc2136": _rfc2136, "lexicon": _lexicon, "command": _command}


def make(task: Task, secret: bytes, resolver: Resolver) -> Update:
    """Return the way that a task names; before the process is confined.  Raises Error."""
    kind = task.update[0] if task.update else ""
    if kind not in UPDATES:
        raise ConfigError(f"update: not one of {', '.join(UPDATES)}")
    return UPDATES[kind](task, secret, resolver)
