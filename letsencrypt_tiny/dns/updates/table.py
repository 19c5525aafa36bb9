"""How records get into a zone: a table of the ways.

A new way is a row here and a room of its own, imported where it is used.
"""

from collections.abc import Callable

from ...common.errors import ConfigError
from ...common.wire.dns import Task
from ..resolving import Resolver
from .update import Update


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
