"""The challenge types that can be done: the only place that knows them all."""

from collections.abc import Callable, Mapping, Sequence

from ...common.errors import Error
from ...common.log import printable
from ...common.wire.order import ClientConfig
from .http01 import Http01
from .persist import Persist
from .solver import Solver
from .stateless import Stateless


Solvers = Mapping[str, Solver]    # by the RFC's names, or our own


def _remote(kind: str, config: ClientConfig) -> Solver | None:
    doors = [door for door in config.doors if door.type == kind]
    if not doors:
        return None
    from .responders import Remote
    return Remote(kind, doors)


# The master's name for it -> what makes its solver; None if this run's configuration leaves it
# nothing to work with
SOLVERS: dict[str, Callable[[ClientConfig], Solver | None]] = {
    "http-01": lambda _config: Http01(),
    "dns-01": lambda config: _remote("dns-01", config),
    "tls-alpn-01": lambda config: _remote("tls-alpn-01", config),
    "dns-persist-01": lambda config: Persist(config.issuers),
    "stateless": lambda _config: Stateless(),
}


def solvers(config: ClientConfig) -> dict[str, Solver]:
    """Return the solvers of a run; close each at its end."""
    made = {name: make(config) for name, make in SOLVERS.items()}
    return {name: solver for name, solver in made.items() if solver is not None}


def choose(available: Solvers, types: Sequence[str]) -> dict[str, Solver]:
    """Return those of the challenge types for which there is a solver, in the same order and by
    the RFC's names.

    Raises Error if there is none.
    """
    chosen: dict[str, Solver] = {}
    for name in types:
        if name in available:
            chosen.setdefault(available[name].type, available[name])
    if not chosen:
        raise Error(f"no challenge of the type {printable(' or '.join(types), 200) or '(none)'} "
                    f"can be done, only {', '.join(available) or 'none'}")
    return chosen
