"""A section in this run: its phase, and what the journal has of it."""

import time

from ...common import log
from ...common.errors import Error
from ...common.x509.summary import Known
from ..plan import backoff, lifecycle
from ..plan.lifecycle import Facts
from ..report.run import Report
from ..settings.certificates import Section
from ..store.journal import Journal, SectionState


MAX_WHY = 500   # characters


class Life:
    """Whatever happens to a section happens here, and is written down before anything follows."""

    def __init__(self, section: Section, state: SectionState, journal: Journal,
                 report: Report) -> None:
        self.section = section
        self.state = state
        self.phase = lifecycle.resume(state)
        self.forced = False
        self.new_key = False   # whether another key is asked for
        self.due: bool | None = None      # None: not known
        self.twin: "Life | None" = None   # ordered in this run, too, and installed together
        self.full: dict[str, str] = {}    # CAs (directories) that a limit keeps from it, and why
        self.certificate: Known | None = None   # that is installed
        self.report = report
        self.unwritten = False            # what became of it could not be written down, as was told
        self._journal = journal

    @property
    def name(self) -> str:
        """The section's."""
        return self.section.name

    def is_valid(self, now: float) -> bool:
        """Say whether it has a certificate that has not ended."""
        return self.certificate is not None and now < self.certificate.not_after

    def renew(self, forced: bool = False) -> None:
        """It wants a certificate, whatever was left to do of the last one; ``forced``: another
        one than can't be installed."""
        self.phase = lifecycle.DUE
        self.forced = forced

    def issued(self, pem: str, facts: Facts, now: int) -> None:
        """A chain has come: it is written down before anybody looks at it."""
        try:
            self._journal.keep_chain(self.name, pem)
        except Error as exc:   # the order is remembered: the CA has it
            log.debug(f"{self.name}: {exc}")
            now = 0
        self.happens(lifecycle.CHAIN, facts._replace(issued=now))

    def fails(self, event: str, why: str, not_before: int = 0, counts: bool = True,
              heard: bool = True) -> None:
        """Its order has failed; ``counts``: for a reason of its own; ``heard``: the client,
        which has not ended on the way, knows that there is no other order."""
        facts = Facts(not_before=not_before, heard=heard)
        if counts:
            facts = facts._replace(failed=int(time.time()), why=log.printable(why, MAX_WHY),
                                   wish=backoff.wish(self.section))
        self.happens(event, facts)

    def kept(self) -> str:
        """Return the chain that an earlier run could not install; "" if it can't be read."""
        return self._journal.kept_chain(self.name) if self.state.kept else ""

    def tidy(self) -> None:
        """Nothing waits any more: remove what a run left that was killed once it had installed."""
        if not self.state.kept:
            self._journal.tidy(self.name, self.section.key, self.section.trusted)

    def happens(self, event: str, facts: Facts = Facts()) -> bool:
        """Go on to the next phase; a journal that can't be written is reported.

        Says whether what is to be remembered is written down.
        """
        self.phase, state = lifecycle.step(self.phase, event, self.state, facts)
        if state == self.state:
            return True
        try:
            self._journal.remember(self.name, state)
            if self.state.kept and not state.kept:
                self._journal.drop_chain(self.name)
            self.state, self.unwritten = state, False
        except Error as exc:
            self.report.failed(self.name, str(exc))
            self.unwritten = True
            return False
        return True
