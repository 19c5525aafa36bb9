"""Counts what a CA's limits count, and keeps a run from hitting one that is known."""

import time
from collections.abc import Mapping, Sequence

from ...common import log
from ...common.names import Identifier
from ...common.wire.order import Failed
from ..plan import limits
from ..plan.issuers import Issuer
from ..store.tally import Tally
from .life import Life

# A validation that failed is one of these problems (RFC 8555 §6.7), and the end of its order
_VALIDATION = ("caa", "connection", "dns", "incorrectResponse", "tls", "unauthorized")


class Limits:
    """Those of all CAs that are known, and what was counted."""

    def __init__(self, state_directory: str) -> None:
        self._tally = Tally(state_directory)

    def hold(self, known: Mapping[str, Issuer], welcome: Mapping[Life, bool]) -> set[Life]:
        """Return the lives of sections that would be refused by each of their CAs, which are
        ``known`` by name; why is told.

        ``welcome``: whether the CA that issued it wishes it to be renewed right now.
        """
        held: set[Life] = set()
        for life, wished in welcome.items():
            section, state = life.section, life.state
            exempt = state.issuer if wished and state.issuer_account else None
            directories = [known[name].directory for name in section.issuers]
            life.full = {directory: why for directory in directories if (why := self.held(
                directory, section.identifiers, directory == exempt))}
            if len(life.full) < len(directories):
                continue
            held.add(life)
            why = life.full[directories[0]]
            if life.is_valid(time.time()):
                log.warning(f"{life.name}: {why}")
            else:
                life.report.failed(life.name, why)
        return held

    def held(self, directory: str, identifiers: Sequence[Identifier], exempt: bool = False) -> str:
        """Return why nothing is to be ordered for these names now from the CA with this directory;
        "" if nothing keeps us from it.

        ``exempt``: it is renewed when the CA wishes, which counts for no limit (RFC 9773).
        """
        found = self.full(directory, identifiers, exempt)
        return "" if found is None else limits.sentence(*found)

    def full(self, directory: str, identifiers: Sequence[Identifier], exempt: bool = False
             ) -> tuple[limits.Limit, float] | None:
        """Return the limit that is reached, and until when, as ``held``; None if none is."""
        now = time.time()
        for what, limit in limits.known(directory).items():
            if exempt and what == limits.ISSUED:
                continue
            whole = self._tally.of(directory, what, limits.key(identifiers))
            moment = limits.free(limit, whole, now)
            if moment > now:
                return limit, moment
        return None

    def issued(self, directory: str, identifiers: Sequence[Identifier]) -> None:
        """Count a certificate."""
        self._count(directory, identifiers, limits.ISSUED)

    def failed(self, directory: str, identifiers: Sequence[Identifier], answer: Failed) -> None:
        """Count a validation that failed, if that is what happened to an order."""
        if answer.outcome == "refused" and answer.type in _VALIDATION:
            self._count(directory, identifiers, limits.FAILED)

    def _count(self, directory: str, identifiers: Sequence[Identifier], what: str) -> None:
        limit = limits.known(directory).get(what)
        if limit is not None:
            key, now = limits.key(identifiers), time.time()
            before = self._tally.of(directory, what, key)
            self._tally.set(directory, what, key, limits.count(limit, before, now), now)
