"""The status command: what is installed, until when, and what the next run would do."""

import json
import time
from collections.abc import Sequence
from typing import NamedTuple

from ...common.clock import when
from ..report.table import status_table
from ..settings import certificates
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


def status(config: Config, sections: Sequence[str], config_certs: Sequence[str] | None,
           as_json: bool) -> int:
    """Print a table, or with ``as_json`` a JSON array of objects, on standard output."""
    journal = Journal(config.state_directory)
    now = time.time()
    rows: list[Row] = []
    for section in due.select(certificates.load(config, config_certs), sections):
        verdict = due.judge(config, section, journal.section(section.name), now)
        rows.append(Row(
            section.name, verdict.due, verdict.reason,
            [value for _, value in section.identifiers],
            None if verdict.certificate is None else when(verdict.certificate.not_after),
            None if verdict.certificate is None else verdict.certificate.serial.hex()))
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=4))
    else:
        print(status_table([(row.section, row.expires or "-",
                             f"due: {row.reason}" if row.due else "valid",
                             " ".join(row.names)) for row in rows]))
    return 0
