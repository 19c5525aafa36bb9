"""The responders of one run: opened for the names of its sections, and taken back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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

Unable = Callable[[Iterable[str], Error], None]


class Responders:
    """All of them."""

    def __init__(self, config: Config, client: Identity, stderr: Callable[[str], int]) -> None:
        self._config = config
        self._client = client
        self._stderr = stderr
        self._open: list[Responder] = []

    def open(self, plans: Mapping[str, OrderPlan], unable: Unable) -> dict[str, OrderPlan]:
        """Open what ``plans`` need; return them as they are then, by section.

        ``unable`` is told of those that nothing is left for.  Raises the error if it is one, and
        all need what can't be opened.
        """
        left = dict(plans)
        kinds = dict.fromkeys(kind for plan in plans.values() for kind in plan.challenges)
        self._open = responders_for(kinds, self._config, self._client, self._stderr)
        for responder in list(self._open):   # meanwhile the signers start
            names = self._names(left, responder.types)
            try:
                missing = responder.open(names) if names else {}
            except Error as exc:
                missing = dict.fromkeys(names, exc)
            if missing.keys() >= names:
                self._open.remove(responder)
                responder.close()
            left = self._without(left, responder.types, missing, unable)
        return left

    def _names(self, plans: Mapping[str, OrderPlan], types: Sequence[str]) -> set[Identifier]:
        """Return the names that challenges of these types may be asked for."""
        found: set[Identifier] = set()
        for plan in plans.values():
            for kind in set(types).intersection(plan.challenges):
                found |= challenges.names(plan.section, kind, self._config)
        return found

    def _without(self, plans: Mapping[str, OrderPlan], types: Sequence[str],
                 missing: Mapping[Identifier, Error], unable: Unable) -> dict[str, OrderPlan]:
        """Challenges of ``types`` can't be answered for some names: that is a matter of the
        sections that need them."""
        failed: dict[str, Error] = {}
        left: dict[str, OrderPlan] = {}
        for name, plan in plans.items():
            kinds, error = challenges.without(plan.section, plan.challenges, types, missing,
                                              self._config)
            if error is not None:
                failed[name] = error
            else:
                left[name] = plan._replace(challenges=kinds)
        errors = dict.fromkeys([*failed.values(), *missing.values()])
        if len(errors) == 1 and failed and not left:
            raise next(iter(errors))
        for error in errors:
            if error not in failed.values():
                log.warning(f"{' and '.join(types)}: {error}")
        for name, error in failed.items():
            unable([name], error)
        return left

    def directories(self, clients: int) -> list[str]:
        """Return where so many clients work, each in a directory of its own if the responder that
        has one can tell them apart; "/" if there is none."""
        return working_directories(self._open, clients)

    def doors(self, plans: Iterable[OrderPlan]) -> list[Door]:
        """Return those of one more client, to whoever answers the challenges of ``plans``."""
        types = {kind for plan in plans for kind in plan.challenges}
        return [door for responder in self._open if types.intersection(responder.types)
                for door in responder.doors()]

    def serve(self, thumbprints: Iterable[str]) -> None:
        """Start their processes; see ``Responder``.  Raises Error."""
        for responder in self._open:
            responder.serve(list(dict.fromkeys(thumbprints)))

    def check(self) -> None:
        """Raise Error if one of them has ended."""
        for responder in self._open:
            responder.check()

    def why(self, plan: OrderPlan, failed: Failed) -> Iterator[str]:
        """Yield what to say of a validation that failed, if that is what happened."""
        if failed.outcome != lifecycle.REFUSED:
            return
        if sentence := validation.sentence(failed.type):
            yield sentence
        if failed.type in validation.REACHING:
            yield from filter(None, (responder.told(plan.section.identifiers)
                                     for responder in self._open))

    def close(self) -> None:
        """Take everything back; safe to call twice."""
        for responder in self._open:
            responder.close()
