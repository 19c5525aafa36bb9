"""How each type of challenge (RFC 8555 §8) is answered: a table, and what its rows have in common.

A new type is a row here, and a room of its own that is imported when a run needs it.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ...common.errors import ConfigError, Error
from ...common.names import Identifier
from ..peers.identity import Identity
from ..settings.main import Config

if TYPE_CHECKING:
    from ...common.wire.order import Door


class Responder(Protocol):
    """What answers challenges while a run lasts.

    Its life is ``open``, ``serve``, any number of ``check``, ``close``; or ``faults`` alone.
    """

    types: tuple[str, ...]    # of challenges that it answers (RFC 8555 §9.7.8)
    directory: str            # the client's working directory, once open; "/" if it needs none

    def faults(self) -> Iterator[Error]:
        """Yield what can be found wrong without starting anything; leaves nothing behind."""

    def open(self, identifiers: Collection[Identifier]) -> Mapping[Identifier, Error]:
        """Make directory, sockets, the way through the firewall: everything but processes.

        ``identifiers``: all those of the run that it may be asked for, without “*.”.  Returns
        those that it can't answer for, and why; raises Error, ConfigError if that is all, and what
        was opened by then is there to ``close``.
        """

    def rooms(self, clients: int) -> list[str]:
        """Return the working directories of so many clients, "/" for those that need none; where
        it can, one of its own for each, in which no other makes or removes anything.

        Once, between ``open`` and ``serve``.  Raises Error.
        """

    def doors(self) -> "list[Door]":
        """Return sockets for one more client to ask it by; the receiver's to close.

        Between ``open`` and ``serve``.  None if it is asked in another way.
        """

    def serve(self, thumbprints: Sequence[str]) -> None:
        """Start the process, if there is one; once, after ``open`` and every signer's greeting.

        It answers for the accounts' keys with ``thumbprints`` (RFC 7638), with none of them for
        any.  Raises Error.
        """

    def check(self) -> None:
        """Raise Error if the process has ended."""

    def told(self, identifiers: Sequence[Identifier]) -> str:
        """Return a phrase, for the administrator, about what came of the validation of
        ``identifiers``, one of which failed; "" if nothing is known."""

    def close(self) -> None:
        """Take everything back, whatever of it was opened; safe to call twice.  Raises nothing."""


Factory = Callable[[Config, Identity, Callable[[str], int]], Responder]


def _http01(config: Config, client: Identity, stderr: Callable[[str], int]) -> Responder:
    from .http01 import Http01
    return Http01(config, client, stderr)


def _dns01(config: Config, client: Identity, stderr: Callable[[str], int]) -> Responder:
    from .dns01 import Dns01
    return Dns01(config, stderr)


def _tlsalpn01(config: Config, client: Identity, stderr: Callable[[str], int]) -> Responder:
    from .tlsalpn01 import TlsAlpn01
    return TlsAlpn01(config, stderr)


RESPONDERS: dict[str, Factory | None] = {
    "http-01": _http01,
    "dns-01": _dns01,
    "tls-alpn-01": _tlsalpn01,
    "dns-persist-01": None,   # somebody has answered it beforehand
    "stateless": None,
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
        factory = RESPONDERS[name]
        if factory is not None:
            factories[factory] = None
    return [factory(config, client, stderr) for factory in factories]


def working_directories(responders: Iterable[Responder], clients: int) -> list[str]:
    """Return where so many clients work: where the one that has directories says, or "/".

    Raises Error.
    """
    found = ["/"] * clients
    for responder in responders:
        rooms = responder.rooms(clients)
        found = rooms if rooms != ["/"] * clients else found
    return found


def remove_stale(config: Config) -> None:
    """Remove what a killed run left: in the run directory, what that tells of, and in zones.

    To be called at the start of a run, which must hold the lock.  Raises nothing: what stays is
    warned about.
    """
    # The usual run finds nothing, and imports nothing for it
    if any(name.startswith("dns-") for name in _names(config.state_directory)):
        from . import dns01
        dns01.remove_stale(config)
    run = config.run_directory
    names = _names(run)
    if any(name in ("firewall", "firewall-tlsserver") for name in names):
        from . import firewall
        firewall.remove_stale(run)
    directories = [name for name in names if name.startswith("challenges-")]
    if directories:
        from . import challenge_directory
        for name in directories:
            challenge_directory.remove(f"{run}/{name}")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
