"""The status command: what is installed, until when, and what the next run would do."""

import json
import time
from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import when
from ...common.names import shown
from ..report.table import status_table
from ..settings import certificates
from ..settings.certificates import Section
from ..settings.main import Config
from ..store.journal import Journal
from . import due


class Row(NamedTuple):
    """What is shown of one section."""

    section: str
    due: bool
    reason: str
    names: list[str]
    expires: str | None
    serial: str | None
    fault: str | None = None      # of a section that cannot be

    @property
    def state(self) -> str:
        """What the table says in a word or two."""
        if self.fault is not None:
            return "fault"
        return f"due: {self.reason}" if self.due else "valid"


def status(config: Config, sections: Sequence[str], config_certs: Sequence[str] | None,
           as_json: bool) -> int:
    """Print a table, or with ``as_json`` a JSON array of objects, on standard output.

    Returns the exit status: 1 if a section cannot be.
    """
    found = certificates.load(config, config_certs)
    if found.empty and not sections:
        log.info(found.hint)
    chosen = due.select(found, sections)
    journal = Journal(config.state_directory)
    now = time.time()
    rows = [_row(config, section, journal, now) for section in chosen.sections]
    rows += [Row(name, False, str(fault), [], None, None, str(fault))
             for name, fault in chosen.faults.items()]
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=4))
    else:
        print(status_table([(log.printable(row.section), row.expires or "-", row.state,
                             log.printable(row.fault or " ".join(map(shown, row.names))))
                            for row in rows]))
    return 1 if chosen.faults else 0


def _row(config: Config, section: Section, journal: Journal, now: float) -> Row:
    verdict = due.judge(config, section, journal.section(section.name), now)
    certificate = verdict.certificate
    return Row(section.name, verdict.due, verdict.reason,
               [value for _, value in section.identifiers],
               None if certificate is None else when(certificate.not_after),
               None if certificate is None else certificate.serial.hex())
