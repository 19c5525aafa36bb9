"""Who answers the challenges of a run's orders, from open to close.

What can't be answered for, or no more, is a matter of the sections that need it; the others go on.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from ...common import log
from ...common.errors import Error
from ...common.names import Identifier
from ...common.wire.order import Door, Failed
from ..peers.identity import Identity
from ..plan import challenges, lifecycle
from ..plan.orders import OrderPlan
from ..report import validation
from ..responders.table import Responder, responders_for, working_directories
from ..settings.main import Config
from .life import Life

Plans = dict[str, tuple[OrderPlan, Life]]   # by section
L = TypeVar("L")


class Answering(Generic[L]):
    """The responders of one run."""

    def __init__(self, config: Config, left: dict[str, tuple[OrderPlan, L]],
                 fail: Callable[[Iterable[str], Error], None]) -> None:
        """``left`` are the run's plans that have neither come nor failed: they are looked at, and
        replaced by others; ``fail`` takes sections out of them."""
        self._config = config
        self._left = left
        self._fail = fail
        self._responders: list[Responder] = []

    def open(self, client: Identity, stderr: Callable[[str], int]) -> None:
        """Open all that is needed; the plans are left with what can be answered for.

        ``client`` and ``stderr``: see responders_for.  Raises Error if nothing is left.
        """
        kinds = dict.fromkeys(kind for plan, _ in self._left.values() for kind in plan.challenges)
        self._responders = responders_for(kinds, self._config, client, stderr)
        for responder in list(self._responders):
            names = self._names(responder.types)
            try:
                unable = responder.open(names) if names else {}
            except Error as exc:
                unable = dict.fromkeys(names, exc)
            if unable.keys() >= names:
                self._give_up(responder)
            self._go_without(responder.types, unable)

    def directories(self, clients: int) -> list[str]:
        """Return where so many clients work, each in a directory of its own if the responder that
        has one can tell them apart; "/" if there is none."""
        return working_directories(self._responders, clients)

    def doors(self, plans: Iterable[OrderPlan]) -> list[Door]:
        """Return those of a client with these orders."""
        types = {kind for plan in plans for kind in plan.challenges}
        return [door for responder in self._responders if types.intersection(responder.types)
                for door in responder.doors()]

    def serve(self, thumbprints: Collection[str]) -> None:
        """Start the processes: see table.Responder.  Raises Error."""
        for responder in self._responders:
            responder.serve(list(dict.fromkeys(thumbprints)))

    def check(self) -> None:
        """See whether they all run.  Raises Error if no section that is left can do without one
        that has ended.

        Else those that can't will fail by themselves: what isn't presented yet their client finds
        nobody, or no directory, to present it.
        """
        for responder, exc in self._ended():
            unable = dict.fromkeys(self._names(responder.types), exc)
            if all(error is not None
                   for _, error in self._without(responder.types, unable).values()):
                raise exc
            _tell(responder, exc)

    def explain(self) -> None:
        """An order has failed: tell first of those that have ended since they were looked at."""
        for responder, exc in self._ended():
            _tell(responder, exc)

    def _ended(self) -> Iterator[tuple[Responder, Error]]:
        """Give up those that have ended, and yield them."""
        for responder in list(self._responders):
            try:
                responder.check()
            except Error as exc:
                self._give_up(responder)
                yield responder, exc

    def why(self, plan: OrderPlan, failed: Failed, ordered: bool) -> Iterator[str]:
        """Yield what to say of a limit that is reached or, where there was an order (``ordered``),
        of a validation that failed, if that is what happened."""
        if failed.type == "rateLimited":
            yield validation.sentence(failed.type)
        if not ordered or failed.outcome != lifecycle.REFUSED:
            return
        if failed.type in validation.REACHING \
                and not validation.REACHED.intersection(plan.challenges):
            return
        if sentence := validation.sentence(failed.type):
            yield sentence
        if failed.type in validation.REACHING:
            yield from filter(None, (responder.told(plan.section.identifiers)
                                     for responder in self._responders))

    def close(self) -> None:
        """Take everything back; safe to call twice."""
        for responder in self._responders:
            responder.close()

    def _names(self, types: Sequence[str]) -> set[Identifier]:
        """Return the names that challenges of these types may be asked for."""
        found: set[Identifier] = set()
        for plan, _ in self._left.values():
            for kind in set(types).intersection(plan.challenges):
                found |= challenges.names(plan.section, kind, self._config)
        return found

    def _give_up(self, responder: Responder) -> None:
        self._responders.remove(responder)
        responder.close()

    def _without(self, types: Sequence[str], unable: Mapping[Identifier, Error]
                 ) -> dict[str, tuple[tuple[str, ...], Error | None]]:
        """Return, by section, which types are left to it if challenges of ``types`` can't be
        answered for the names ``unable``, and why it can't be ordered then, if so."""
        return {name: challenges.without(plan.section, plan.challenges, types, unable,
                                         self._config)
                for name, (plan, _) in self._left.items()}

    def _go_without(self, types: Sequence[str], unable: Mapping[Identifier, Error]) -> None:
        """Challenges of ``types`` can't be answered for some names: that is a matter of the
        sections that need them.  Raises the error if it is one, and all need them."""
        failed: dict[str, Error] = {}
        for name, (kinds, error) in self._without(types, unable).items():
            plan, life = self._left[name]
            self._left[name] = plan._replace(challenges=kinds), life
            if error is not None:
                failed[name] = error
        errors = dict.fromkeys([*failed.values(), *unable.values()])
        if len(errors) == 1 and len(failed) == len(self._left):
            raise next(iter(errors))
        for error in errors:
            if error not in failed.values():
                log.warning(f"{' and '.join(types)}: {error}")
        for name, error in failed.items():
            self._fail([name], error)


def _tell(responder: Responder, error: Error) -> None:
    log.warning(f"{error}: {' and '.join(responder.types)} is not answered any more")
