"""How each type of challenge (RFC 8555 §8) is answered: a table, and what its rows have in common.

A new type is a row here, and a room of its own that is imported when a run needs it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from ...common.errors import ConfigError, Error
from ...common.names import Identifier
from ..peers.identity import Identity
from ..settings.main import Config


class Responder(Protocol):
    """What answers challenges while a run lasts.

    Its life is ``open``, ``serve``, any number of ``check``, ``close``; or ``faults`` alone.
    """

    types: tuple[str, ...]    # of challenges that it answers (RFC 8555 §9.7.8)
    directory: str            # the client's working directory, once open; "/" if it needs none

    def faults(self) -> Iterator[Error]:
        """Yield what can be found wrong without starting anything; leaves nothing behind."""

    def open(self, identifiers: Sequence[Identifier]) -> None:
        """Make directory, sockets, the way through the firewall: everything but processes.

        ``identifiers``: all those of the run.  Raises Error, ConfigError; what was opened by then
        is there to ``close``.
        """

    def serve(self, thumbprints: Sequence[str]) -> None:
        """Start the process, if there is one; once, after ``open`` and every signer's greeting.

        It answers for the accounts' keys with ``thumbprints`` (RFC 7638), with none of them for
        any.  Raises Error.
        """

    def check(self) -> None:
        """Raise Error if the process has ended."""

    def requests(self) -> int | None:
        """Return how many requests for challenges have come; None if it can't be known."""

    def close(self) -> None:
        """Take everything back, whatever of it was opened; safe to call twice.  Raises nothing."""


Factory = Callable[[Config, Identity, Callable[[str], int]], Responder]


def _http01(config: Config, client: Identity, stderr: Callable[[str], int]) -> Responder:
    from .http01 import Http01
    return Http01(config, client, stderr)


RESPONDERS: dict[str, Factory] = {
    "http-01": _http01,
}


def responders_for(types: Iterable[str], config: Config, client: Identity,
                   stderr: Callable[[str], int]) -> list[Responder]:
    """Return those that answer challenges of ``types``, each once; nothing is opened.

    ``client`` is as whom the client runs; ``stderr(name)`` gives the descriptor, the receiver's
    to close, for the messages of a process.  Raises ConfigError if nobody answers a type.
    """
    factories: dict[Factory, None] = {}   # in order
    for name in types:
        if name not in RESPONDERS:
            raise ConfigError(f"{config.file}: nothing answers challenges of type {name} "
                              f"(valid: {', '.join(RESPONDERS)})")
        factories[RESPONDERS[name]] = None
    return [factory(config, client, stderr) for factory in factories]


def remove_stale(config: Config) -> None:
    """Remove what a killed run left in the run directory, and what that tells of.

    To be called at the start of a run, which must hold the lock.  Raises nothing: what stays is
    warned about.
    """
    run = config.run_directory
    try:
        names = os.listdir(run)
    except OSError:
        return
    # The usual run finds nothing, and imports nothing for it
    if "firewall" in names:
        from . import firewall
        firewall.remove_stale(run)
    directories = [name for name in names if name.startswith("challenges-")]
    if directories:
        from . import challenge_directory
        for name in directories:
            challenge_directory.remove(f"{run}/{name}")
