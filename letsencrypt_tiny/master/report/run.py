"""What became of each section in a run."""

import os
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from ...common import log
from ...common.clock import when
from ...common.log import NOTHING, About
from ...common.names import shown_in
from .progress import progress_line

if TYPE_CHECKING:
    from ...common.wire.order import Progress
    from ...common.x509.certificate import Certificate

SHOWN = 5   # sections that one line names
_WITHOUT = "there is no valid certificate, and "


class Report:
    """What became of each section in a run, and on a terminal what is going on."""

    def __init__(self, troubled: Collection[str] = ()) -> None:
        """``troubled`` are the sections that have failed before."""
        self._troubled = troubled
        self._mended: set[str] = set()
        self._undelivered: dict[str, str] = {}   # section -> what became of its notification
        self._waiting: set[str] = set()
        self._failed: dict[str, list[str]] = {}
        # reason, whose it is, and what about -> sections that it is not told of yet
        self._alike: dict[tuple[str, str, About], list[str]] = {}
        self._installed: list[str] = []
        self._tried: list[str] = []
        self._states: dict[str, str] = {}      # section -> state of its order, while it runs
        self._polls: dict[str, float] = {}     # section -> moment of its next poll (monotonic)
        self._order: list[str] = []            # as they are configured
        self._total = 0
        self._live = False

    def begin(self, sections: Iterable[str]) -> None:
        """Orders begin.  On a terminal, and without --quiet and --debug, a line shows how far."""
        self._states = {section: "new" for section in sections}
        self._order = list(self._states)
        self._total = len(self._states)
        self._live = log.level == log.NORMAL and os.isatty(2)

    def end(self) -> None:
        """No order runs any more."""
        self._tell_alike()
        if self._live:
            log.status("")
            self._live = False

    def tick(self) -> None:
        """Bring the line on the terminal up to date."""
        if self._live:
            log.status(progress_line(self._total, self._states.values(),
                                     min(self._polls.values(), default=0) - time.monotonic()))

    def progress(self, progress: "Progress") -> None:
        """An order has a new state, or waits."""
        self._states[progress.section] = progress.state
        self._polls.pop(progress.section, None)
        wait = ""
        if progress.wait:
            self._polls[progress.section] = time.monotonic() + progress.wait
            wait = f", next poll in {progress.wait} s"
        log.debug(f"{progress.section}: order {progress.state}{wait}")

    def _done(self, section: str) -> None:
        self._states.pop(section, None)
        self._polls.pop(section, None)

    def installed(self, section: str, certificate: "Certificate") -> None:
        """A certificate is in place."""
        self._done(section)
        self._installed.append(section)
        log.notice(f"{section}: certificate installed, valid until "
                   f"{when(certificate.not_after)}", About((section,)))

    def tried(self, section: str, result: str) -> None:
        """A certificate was issued on trial: nothing of it is installed."""
        self._done(section)
        self._tried.append(section)
        log.info(_line(section, result))

    def failed(self, section: str, reason: str, about: About = NOTHING) -> None:
        """A section failed; it may do so more than once.  ``about``: the CA, and its problem."""
        reason = shown_in(reason)
        self._done(section)
        reasons = self._failed.setdefault(section, [])
        if reason not in reasons:
            reasons.append(reason)
            log.error(_line(section, reason), about._replace(sections=(section,)))

    def goes_on(self, section: str, reason: str, about: About = NOTHING) -> None:
        """What failed is tried in another way: no failure yet."""
        self._done(section)
        log.warning(_line(section, shown_in(reason)), about._replace(sections=(section,)))

    def failed_alike(self, section: str, reason: str, who: str, about: About = NOTHING) -> None:
        """A section failed, as others may for the same reason: all are told of in one line, at the
        end, which names ``who`` failed them."""
        self._done(section)
        self._alike.setdefault((shown_in(reason), who, about), []).append(section)

    def _tell_alike(self) -> None:
        alike, self._alike = self._alike, {}
        order = {section: number for number, section in enumerate(self._order)}
        for (reason, who, about), sections in alike.items():
            if len(sections) == 1:
                self.failed(sections[0], reason, about)
                continue
            reason = reason if who in reason else f"{who}: {reason}"
            sections.sort(key=lambda section: order.get(section, 0))
            for section in sections:
                self._failed.setdefault(section, []).append(reason)
            log.error(f"{listed(sections)}: {reason}", about._replace(sections=tuple(sections)))

    def well(self, section: str) -> None:
        """A section has what it wants, and nothing is due."""
        if section in self._troubled:
            self._mended.add(section)

    def waits(self, section: str, why: str) -> None:
        """A section waits without a valid certificate: that is a failure."""
        self._waiting.add(section)
        self._failed.setdefault(section, []).append(f"{_WITHOUT}{why}")

    @staticmethod
    def tell_of_waits(sections: Sequence[str], why: str) -> None:
        """Tell in one line of sections that wait."""
        log.error(f"{listed(sections)}: {_WITHOUT}{why} (name the section to try all the same)",
                  About(tuple(sections)))

    def notify_failed(self, command: str, why: str, sections: Sequence[str]) -> None:
        """A notification was not delivered; the next run tries again."""
        for section in sections:
            self._failed.setdefault(section, []).append(
                f"the notification failed: “{command}” {why}")
            self._undelivered[section] = f"the notification “{command}” {why}"
        log.error(f"{', '.join(sections)}: “{command}” {why}; "
                  "it is tried again by the next run", About(tuple(sections)))

    def summary(self) -> None:
        """Sum up, if there was more than one section: each that failed, and why."""
        if len({*self._installed, *self._tried, *self._failed}) < 2:
            return
        done = f"{len(self._tried)} tried" if self._tried else f"{len(self._installed)} installed"
        log.info(f"{done}, {len(self._failed)} failed")
        alike: dict[str, list[str]] = {}
        for section, reasons in self._failed.items():
            alike.setdefault(reasons[0], []).append(section)
        for reason, sections in alike.items():
            log.info(f"  {_line(sections[0], reason)}" if len(sections) == 1 else
                     f"  {listed(sections)}: {reason}")

    @property
    def reasons(self) -> dict[str, list[str]]:
        """The sections that failed, those that wait counted, and why."""
        return self._failed

    @property
    def mended(self) -> set[str]:
        """The sections that are well, of those that had failed before."""
        return self._mended.union(self._installed).difference(self.failures)

    @property
    def failures(self) -> dict[str, str]:
        """What was tried and has failed, by section, and why."""
        return {section: self._undelivered.get(section) or "; ".join(reasons)
                for section, reasons in self._failed.items()
                if section in self._undelivered or section not in self._waiting}

    @property
    def exit_status(self) -> int:
        """0, or 1 if a section failed."""
        return 1 if self._failed else 0


def listed(sections: Sequence[str]) -> str:
    """Name some sections, and count the others."""
    more = f" and {len(sections) - SHOWN} more" if len(sections) > SHOWN else ""
    return ", ".join(sections[:SHOWN]) + more


def _line(section: str, reason: str) -> str:
    """What became of a section, with its name once: some reasons say where it stands."""
    return reason if f"[{section}]" in reason else f"{section}: {reason}"
