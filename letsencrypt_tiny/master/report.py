"""What the administrator is told: progress, the summary of a run, the status table."""

import time
from typing import Dict, List, Sequence

from ..common import log, x509
from ..common.order_protocol import Progress
from . import renewal


class Report:
    """What became of each section in a run."""

    def __init__(self) -> None:
        self._failed: Dict[str, List[str]] = {}
        self._installed: List[str] = []

    def progress(self, progress: Progress) -> None:
        """An order has a new state, or waits."""
        wait = f", next poll in {progress.wait} s" if progress.wait else ""
        log.debug(f"{progress.section}: order {progress.state}{wait}")

    def installed(self, section: str, certificate: x509.Certificate) -> None:
        """A certificate is in place."""
        self._installed.append(section)
        log.info(f"{section}: certificate installed, valid until "
                 f"{renewal.when(certificate.not_after)}")

    def failed(self, section: str, reason: str) -> None:
        """A section failed; it may do so more than once."""
        self._failed.setdefault(section, []).append(reason)
        log.error(f"{section}: {reason}")

    def notify_failed(self, command: str, status: int, sections: Sequence[str]) -> None:
        """A notification was not delivered; the next run tries again."""
        for section in sections:
            self._failed.setdefault(section, []).append("notification failed")
        log.error(f"{', '.join(sections)}: “{command}” ended with status {status}; "
                  "it is tried again by the next run")

    def summary(self) -> None:
        """Say how many sections did and didn't make it, if there was more than one."""
        if len(self._installed) + len(self._failed) > 1:
            log.info(f"{len(self._installed)} installed, {len(self._failed)} failed"
                     + (f": {', '.join(self._failed)}" if self._failed else ""))

    @property
    def exit_status(self) -> int:
        """0, or 1 if a section failed."""
        return 1 if self._failed else 0


def status_table(rows: Sequence["tuple[str, str, str, str]"]) -> str:
    """Return (section, expiry, due, names) as aligned columns with a heading."""
    lines = [("SECTION", "EXPIRES", "STATE", "NAMES"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join("  ".join([*(line[c].ljust(widths[c]) for c in range(3)), line[3]]).rstrip()
                     for line in lines)


def now_text() -> str:
    """The present moment as in the table."""
    return renewal.when(int(time.time()))
