"""Several CAs for a section: which one is asked, which one next, and what is remembered of it."""

import time
from collections.abc import Mapping

from ...common import log
from ...common.clock import when
from ...common.wire.order import Directory, Failed
from ..plan import failover, issuers
from ..plan.issuers import Issuer
from ..plan.orders import OrderPlan
from ..settings.certificates import Section
from ..settings.main import Config
from ..store.journal import SectionState
from ..store.outages import Outage, Outages
from ..store.pauses import Pause, Pauses
from .limits import Limits

_NONE: Mapping[str, str] = {}
_WHY = {"down": "it was out of order", "limited": "it asked to wait",
        "refused": "it refused this certificate"}

# Refusals that don't say themselves what would help
_POLICY = ("rejectedIdentifier", "unsupportedIdentifier")


class Elsewhere:
    """The CAs of one run."""

    def __init__(self, config: Config, patient: bool = True, counts: bool = True) -> None:
        """``patient``: what was remembered is heeded; an administrator who names a section wants
        the first CA to be tried.  ``counts``: what counts for a CA's limits is remembered."""
        self._limits, self._counts = Limits(config.state_directory), counts
        self._known = issuers.configured(config)
        self._pauses = Pauses(config.state_directory)
        self._patient = patient
        self._outages = Outages(config.state_directory)
        self._down: dict[str, str] = {}             # directories of CAs out of order, and why
        self._well: set[str] = set()                # those of CAs that have issued
        self._documents: dict[str, str] = {}        # what their directories are
        self._left: dict[str, list[Issuer]] = {}    # section -> CAs that were not asked yet

    def first(self, section: Section, state: SectionState, full: Mapping[str, str] = _NONE
              ) -> Issuer:
        """Return the CA to ask for a section now.

        One that has issued what waits to be installed, or has an order that can be gone on with,
        comes first.  Those in ``full``, by their directories' URLs, would refuse: why is said.
        """
        of_section = [self._known[name] for name in section.issuers]
        if len(of_section) == 1:
            return of_section[0]
        now, held = time.time(), self._held(section, of_section)
        found = failover.candidates([issuer for issuer in of_section
                                     if issuer.directory not in full] or of_section,
                                    held if self._patient else {}, now)
        begun = [issuer for issuer in of_section if issuer.directory == state.directory and (
            state.kept or state.order and issuer in found
            and not _holds(held[issuer.directory], now))]
        asked, *self._left[section.name] = dict.fromkeys([*begun, *found])
        for issuer in of_section[:of_section.index(asked)]:
            _tell(section, issuer, _passed_over(held[issuer.directory],
                                                full.get(issuer.directory), now), asked)
        return asked

    def next(self, plan: OrderPlan, failed: Failed) -> Issuer | None:
        """Remember that an order failed; return the CA to ask instead, None if there is none, or
        none would do better."""
        section, kind = plan.section, failed.elsewhere
        if len(section.issuers) == 1 or not kind:
            return None
        now = time.time()
        about = "" if kind == "down" else section.name
        directory = plan.issuer.directory
        last = self._pauses.of(directory, about)
        if about or last is None or not last.holds(now):   # else another section has told it
            made = failover.pause(kind, failed.retry_after, last, now)
            self._pauses.begin(directory, about, made._replace(
                wish=_wish(section) if kind == "refused" else ""), now)
        left = self._left.get(section.name)
        return left.pop(0) if left else None

    def not_before(self, plan: OrderPlan, failed: Failed) -> int:
        """Return the moment (Unix time) until which a section waits, as the CA, or each of
        several, asked; 0 if it need not."""
        section, now = plan.section, time.time()
        if len(section.issuers) == 1:
            return int(now) + failed.retry_after if failed.retry_after else 0
        of_section = [self._known[name] for name in section.issuers]
        return failover.wait(of_section, self._held(section, of_section), now)

    def outage(self, issuer: Issuer) -> Outage | None:
        """Return what is remembered of a CA that was out of order when it was asked last."""
        return self._outages.of(issuer.directory)

    def in_turn(self, issuer: Issuer, plans: list[OrderPlan]) -> list[OrderPlan]:
        """Return orders in the order in which they ask a CA: if it was out of order, another one
        each time is first, as what failed may have been about the first alone; those that first
        have to look whether there is an order already are the last ones."""
        outage = self.outage(issuer)
        if outage is None or not plans:
            return plans
        first = outage.failures % len(plans)
        return sorted(plans[first:] + plans[:first], key=lambda plan: plan.asked)

    def learn(self, issuer: Issuer, told: Directory) -> None:
        """A client tells of the directory of a CA that is out of order."""
        self._documents[issuer.directory] = told.document

    def is_down(self, plan: OrderPlan, failed: Failed) -> bool:
        """Say whether an order has failed as its CA is out of order, which is remembered then."""
        directory = plan.issuer.directory
        if failed.elsewhere != "down" or directory in self._well:
            return False
        self._down.setdefault(directory, failed.message)
        return True

    def settle(self) -> None:
        """A round is over: remember which CAs are out of order, and which are well again."""
        if not self._counts:
            return
        for directory in self._well:
            self._outages.well(directory)
        for directory in self._down.keys() - self._well:
            self._outages.failed(directory, self._down[directory], int(time.time()),
                                 self._documents.get(directory, ""))
        self._down, self._well = {}, set()

    def count(self, plan: OrderPlan, failed: Failed) -> None:
        """An order that there was has failed: a CA's limits may count it."""
        if self._counts:
            self._limits.failed(plan.issuer.directory, plan.section.identifiers, failed)

    @staticmethod
    def hint(plan: OrderPlan, failed: Failed) -> str:
        """Return what the administrator can do about it where another CA may do better, or ""."""
        if failed.type in _POLICY and len(plan.section.issuers) == 1:
            return ("this CA does not certify that: “ca” of the section can name another one "
                    "besides it")
        return ""

    def issued(self, plan: OrderPlan) -> None:
        """The CA has issued: it is well again."""
        self._well.add(plan.issuer.directory)
        if self._counts:
            self._limits.issued(plan.issuer.directory, plan.section.identifiers)
        if len(plan.section.issuers) > 1:
            self._pauses.end(plan.issuer.directory, plan.section.name)

    def _held(self, section: Section, of_section: list[Issuer]) -> dict[str, Pause | None]:
        """Return the pause of each CA for a section: the one that ends last."""
        found: dict[str, Pause | None] = {}
        for issuer in of_section:
            pauses = [pause for about in ("", section.name)
                      if (pause := self._pauses.of(issuer.directory, about)) is not None
                      and pause.wish in ("", _wish(section))]
            pauses.sort(key=lambda pause: pause.until)
            found[issuer.directory] = pauses[-1] if pauses else None
        return found


def _wish(section: Section) -> str:
    """Return what a refusal is about, in short."""
    from hashlib import sha256
    return sha256(repr((section.identifiers, section.profile)).encode()).hexdigest()[:16]


def _tell(section: Section, issuer: Issuer, why: str, asked: Issuer) -> None:
    if why:
        log.info(f"{section.name}: {issuer.called}{why}; {asked.called} is asked")


def _passed_over(pause: Pause | None, limit: str | None, now: float) -> str:
    if limit is not None:
        return f": {limit}"
    if pause is not None and pause.holds(now):
        return f" is passed over until {when(pause.until)}, as {_WHY[pause.kind]}"
    return ""


def _holds(pause: Pause | None, now: float) -> bool:
    return pause is not None and pause.holds(now)
