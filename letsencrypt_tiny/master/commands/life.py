"""A section in this run: its phase, and what the journal has of it."""

from ...common.errors import Error
from ..plan import lifecycle
from ..plan.lifecycle import Facts
from ..report.run import Report
from ..settings.certificates import Section
from ..store.journal import Journal, SectionState


class Life:
    """Whatever happens to a section happens here, and is written down before anything follows."""

    def __init__(self, section: Section, state: SectionState, journal: Journal,
                 report: Report) -> None:
        self.section = section
        self.state = state
        self.phase = lifecycle.resume(state)
        self._journal = journal
        self._report = report

    @property
    def name(self) -> str:
        """The section's."""
        return self.section.name

    def renew(self) -> None:
        """It wants a certificate, whatever was left to do of the last one."""
        self.phase = lifecycle.DUE

    def happens(self, event: str, facts: Facts = Facts()) -> None:
        """Go on to the next phase; a journal that can't be written is reported."""
        self.phase, state = lifecycle.step(self.phase, event, self.state, facts)
        if state == self.state:
            return
        try:
            self._journal.remember(self.name, state)
            self.state = state
        except Error as exc:
            self._report.failed(self.name, str(exc))
