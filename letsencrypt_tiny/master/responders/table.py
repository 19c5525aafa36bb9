"""How each challenge type is answered: a row each; what isn't wanted isn't loaded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from ...common.errors import Error
from ...common.names import Identifier
from ..peers.identity import Identity
from ..settings.main import Config
from . import directory, firewall

Stderr = Callable[[str], int]   # a child's name -> the descriptor for its messages


class Responder(Protocol):
    """Answers challenges while a run lasts: ``open``, ``serve``, ``close``, in this order."""

    types: tuple[str, ...]   # of challenges, by the RFC's names
    directory: str           # where the client works for it; "/" if that's anywhere

    def faults(self) -> Iterator[Error]:
        """Yield what is wrong, as far as it can be seen without starting anything."""

    def open(self, identifiers: Sequence[Identifier]) -> None:
        """Make everything but processes ready.  Raises Error, ConfigError."""

    def serve(self, thumbprints: Sequence[str]) -> None:
        """Start answering for the accounts of these keys, and of no other.  Raises Error."""

    def check(self) -> None:
        """Raises Error if it answers no more."""

    def close(self) -> None:
        """Take back whatever was opened; safe to call twice.  Raises nothing."""


def _http01(config: Config, client: Identity, stderr: Stderr) -> Responder:
    from .http01 import Http01
    return Http01(config, client, stderr)


RESPONDERS: dict[str, Callable[[Config, Identity, Stderr], Responder]] = {
    "http-01": _http01,
}


def responders_for(types: Iterable[str], config: Config, client: Identity,
                   stderr: Stderr) -> list[Responder]:
    """Return who answers the challenge ``types``, each once; ``client`` is as whom that runs."""
    found: list[Responder] = []
    for kind in types:
        if kind in RESPONDERS and not any(kind in responder.types for responder in found):
            found.append(RESPONDERS[kind](config, client, stderr))
    return found


def remove_stale(config: Config) -> None:
    """Remove what a killed run left, whatever it answered; called under the lock."""
    firewall.remove_stale(config.run_directory)
    directory.remove_stale(config.run_directory)
