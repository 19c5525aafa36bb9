"""What waits, though it is due: for whom, and until when.

Whoever names a section, forces it or sits at the terminal doesn't wait for what failed; a pause
that the server has asked for is kept to but by who names the section.
"""

from typing import NamedTuple

from ...common.clock import when
from ...common.x509.summary import Known
from ..plan import backoff, issuers, renewal
from ..settings.certificates import Section
from ..settings.main import Config
from ..store.journal import SectionState
from ..store.outages import Outage, Outages, seed


class Wait(NamedTuple):
    """Nothing is ordered before a moment."""

    moment: int     # Unix time
    why: str        # a phrase for the administrator
    again: str      # what stands between that and the moment

    def __str__(self) -> str:
        return f"{self.why}{self.again} {when(self.moment)}"


class Waits:
    """Those of all sections, as they are remembered."""

    def __init__(self, config: Config, asked_only: bool = False) -> None:
        """``asked_only``: only a pause that a server has asked for counts."""
        self._asked_only = asked_only
        self._outages = Outages(config.state_directory)
        self._known = issuers.configured(config)

    def of(self, section: Section, state: SectionState, certificate: Known | None,
           now: float) -> Wait | None:
        """Return what a section waits for; None if it is for nothing.

        ``certificate`` is what is installed.  What was issued already waits for nobody.
        """
        ends = certificate.not_after if certificate is not None \
            and now < certificate.not_after else None
        if renewal.waits(state, now):
            moment = state.not_before
            if state.failed and ends is not None:
                moment = backoff.moment(state.failed, moment - state.failed, now, ends)
            return Wait(moment, "the CA asked not to order again", " before") \
                if moment else None
        if self._asked_only or state.kept or state.installing:
            return None
        return self._own(section, state, ends, now) or self._of_authorities(section, ends, now)

    @staticmethod
    def _own(section: Section, state: SectionState, ends: int | None, now: float) -> Wait | None:
        if not state.failures or state.wish != backoff.wish(section):
            return None
        seconds = backoff.pause(backoff.SECTION, state.failures, f"{section.name} {state.failed}")
        moment = backoff.moment(state.failed, seconds, now, ends)
        times = f"{state.failures} times in a row, last" if state.failures > 1 else ""
        return Wait(moment, f"its order has failed {times or 'in the run of'} "
                    f"{when(state.failed)}: {state.why or 'nobody knows why'}",
                    "; it is tried again") if moment else None

    def _of_authorities(self, section: Section, ends: int | None, now: float) -> Wait | None:
        """All of a section's CAs are out of order: the first of them that is tried again."""
        found: list[Wait] = []
        for name in section.issuers:
            issuer = self._known[name]
            outage = self._outages.of(issuer.directory)
            moment = 0 if outage is None else until(issuer.directory, outage, now, ends)
            if outage is None or not moment:
                return None
            found.append(Wait(moment, f"{issuer.called} is out of order since "
                              f"{when(outage.since)}: {outage.why}", "; it is asked again"))
        return min(found)


def until(directory: str, outage: Outage, now: float, ends: int | None = None) -> int:
    """Return when a CA that is out of order is asked again (Unix time), 0: now.

    ``ends`` is when the certificate that waits for it does.
    """
    seconds = backoff.pause(backoff.AUTHORITY, outage.failures, seed(directory))
    return backoff.moment(outage.last, seconds, now, ends)
