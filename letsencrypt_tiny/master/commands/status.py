"""The status command: what is installed, until when, and what the next run would do."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import DAY, when
from ...common.names import shown
from ...common.x509.certificate import Certificate
from ..plan import ari, backoff, issuers
from ..plan.issuers import Issuer
from ..report.table import status_table
from ..settings import certificates
from ..settings.certificates import Section
from ..settings.main import Config
from ..store.installed import Busy
from ..store.journal import Journal, SectionState
from ..store.renewals import Renewal, Renewals
from ..store.vicinity import Vicinity
from . import due, next_keys
from .waits import Waits


class Row(NamedTuple):
    """What is shown of one section."""

    section: str
    due: bool
    reason: str
    names: list[str]
    expires: str | None
    serial: str | None
    fault: str | None = None      # of a section that cannot be
    waits: str | None = None      # until when it is not ordered
    ca: str | None = None         # that issued it; before that, the one to ask
    lifetime: int | None = None   # seconds
    profile: str | None = None    # that the CA issued it under
    renewal: dict[str, str] | None = None    # the CA's window, and the moment chosen in it
    next_key: str | None = None   # TLSA 3 1 1 of the key that was made ahead
    waits_why: str | None = None  # as the CA asked, or what has failed
    failures: int = 0             # of its orders, in a row, since a certificate was installed
    failed: str | None = None     # when that was last

    @property
    def state(self) -> str:
        """What the table says in a word or two."""
        if self.fault is not None:
            return "fault"
        if not self.due:
            return "valid" if self.renewal is None else \
                f"valid, to be renewed {self.renewal['moment']}"
        return f"due: {self.reason}" + (f", waits until {self.waits}" if self.waits else "") + (
            f", {self.failures} failed" if self.failures else "")


def status(config: Config, sections: Sequence[str], config_certs: Sequence[str] | None,
           as_json: bool) -> int:
    """Print a table, or with ``as_json`` a JSON array of objects, on standard output.

    Returns the exit status: 1 if a section cannot be, or nothing is known of it.
    """
    found = certificates.load(config, config_certs)
    if found.empty and not sections:
        log.info(found.hint)
    chosen = due.select(found, sections)
    journal = Journal(config.state_directory)
    now = time.time()
    renewals = Renewals(config.state_directory)
    with Vicinity() as vicinity:
        judge, known = due.Judge(config, vicinity), issuers.configured(config)
        waits = Waits(config)
        rows = [_row(config, judge, known, section, journal.section(section.name), now,
                     renewals.of(section.name), waits) for section in chosen.sections]
    rows += [_faulty(name, str(fault)) for name, fault in chosen.faults.items()]
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=4))
    else:
        print(_table(rows))
        for row in rows:
            if row.waits_why and row.waits:
                print(f"{log.printable(row.section)}: waits until {row.waits}: {row.waits_why}")
            if row.next_key:
                print(f"{log.printable(row.section)}: next key: TLSA 3 1 1 {row.next_key}")
    return 1 if any(row.fault is not None for row in rows) else 0


def _table(rows: Sequence[Row]) -> str:
    """The CA is shown where there are several, a profile where there is one."""
    several = len({row.ca for row in rows if row.ca}) > 1
    return status_table(
        ("SECTION", "EXPIRES", "LIFETIME", "ca", "profile", "STATE", "NAMES"),
        [(log.printable(row.section), row.expires or "", _span(row.lifetime),
          row.ca or "" if several else "", log.printable(row.profile or ""), row.state,
          log.printable(row.fault or " ".join(map(shown, row.names)))) for row in rows])


def _span(seconds: int | None) -> str:
    """Say how long a certificate is valid, as CAs do: in hours below ten days."""
    if seconds is None:
        return ""
    # the last second counts (RFC 5280 §4.1.2.5)
    return f"{(seconds + 1) / DAY:.0f} d" if seconds + 1 >= 10 * DAY else \
        f"{(seconds + 1) / 3600:.0f} h"


def _faulty(name: str, fault: str) -> Row:
    return Row(name, False, fault, [], None, None, fault)


def _row(config: Config, judge: due.Judge, known: Mapping[str, Issuer], section: Section,
         state: SectionState, now: float, suggested: Renewal, waits: Waits) -> Row:
    try:
        verdict = judge.decide(section, state, now, renewal_known=suggested)
    except Busy as exc:
        return _faulty(section.name, str(exc))
    certificate = verdict.certificate
    failures = backoff.failures(section, state)
    wait = waits.of(section, state, certificate, now) if verdict.due else None
    first = known[section.issuer]
    issued = certificate is not None and state.issuer or first.directory
    return Row(section.name, verdict.due, verdict.reason,
               [value for _, value in section.identifiers],
               None if certificate is None else when(certificate.not_after),
               None if certificate is None else certificate.serial.hex(),
               waits=when(wait.moment) if wait else None, waits_why=wait.why if wait else None,
               failures=failures, failed=when(state.failed) if failures else None,
               ca=next((known[name].called for name in section.issuers
                        if known[name].directory == issued), issuers.host(issued)),
               lifetime=None if certificate is None else
               certificate.not_after - certificate.not_before,
               profile=state.profile if certificate is not None else None,
               renewal=_renewal(section, suggested, certificate, state.installed),
               next_key=next_keys.digest(config, section))


def _renewal(section: Section, known: Renewal, certificate: Certificate | None, installed: int
             ) -> dict[str, str] | None:
    """Return what the CA has said of when to renew, if that is heeded."""
    if certificate is None or not section.ari:
        return None
    known = ari.about(known, certificate, installed)
    return {"start": when(known.start), "end": when(known.end), "moment": when(known.moment),
            "explanation": known.explanation} if ari.suggested(known) else None
