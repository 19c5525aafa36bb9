"""How the sections stand: what is installed, remembered and decided, gathered for status.

Nothing is changed, and no lock is needed.  Whoever is not root sees what everybody may.
"""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ...common import log
from ...common.errors import Error
from ...common.x509.certificate import Certificate
from ..plan import ari, backoff, issuers, renewal
from ..plan.keytype import key_type
from ..plan.moment import moment
from ..plan.renewal import Due
from ..report.standing import Overview, Standing, Waiting
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..store import installed
from ..store.installed import Busy
from ..store.journal import Journal, SectionState
from ..store.renewals import NOTHING, Renewal, Renewals
from ..store.troubles import Troubles
from ..store.vicinity import Vicinity
from . import due, next_keys
from .leftovers import leftovers
from .waits import Waits


class Wanted(NamedTuple):
    """What is asked for."""

    names: Sequence[str] = ()      # of sections; none: all
    chains: bool = False           # whether the chains are read, too
    leftovers: bool = False        # whether to look for what is left of sections that are no more


def overview(config: Config, found: Certificates, wanted: Wanted) -> Overview:
    """Return how the sections ``found`` stand.  Raises Error for a state that somebody else could
    have written, and UsageError if there are no sections of the names that are wanted."""
    chosen = due.select(found, wanted.names)
    now = time.time()
    with Vicinity() as vicinity:
        look = _Look(config, vicinity, now, wanted.chains)
        standings = list(look.all(chosen.sections))
        standings += [look.faulty(name, str(fault)) for name, fault in chosen.faults.items()]
    return Overview(standings, leftovers(config, found) if wanted.leftovers else [], now,
                    _is_readable(config.state_directory))


class _Look:
    """At one section after the other."""

    def __init__(self, config: Config, vicinity: Vicinity, now: float, chains: bool) -> None:
        self._config = config
        self._chains = chains
        self._now = now
        self._judge = due.Judge(config, vicinity)
        self._known = issuers.configured(config)
        self._journal = Journal(config.state_directory)
        self._renewals = Renewals(config.state_directory)
        self._troubles = Troubles(config.state_directory)
        self._waits = Waits(config)

    def all(self, sections: Sequence[Section]) -> Iterator[Standing]:
        """Yield how they stand."""
        remembered = self._journal.known()
        for section in sections:
            state = self._journal.section(section.name) \
                if self._journal.has(section.name, remembered) else SectionState()
            try:
                yield self._one(section, state)
            except Busy as exc:
                yield self.faulty(section.name, str(exc), section)

    def faulty(self, name: str, fault: str, section: Section | None = None) -> Standing:
        """Return how a section stands that is wrong, or of which nothing is known."""
        return Standing(name, section, fault, False, fault, trouble=self._troubles.of(name))

    def _one(self, section: Section, state: SectionState) -> Standing:
        suggested = self._renewals.of(section.name)
        verdict = self._judge.decide(section, state, self._now, renewal_known=suggested)
        made = self._without(section, state, verdict.certificate)._replace(
            due=verdict.due, reason=verdict.reason)
        if verdict.due:
            wait = self._waits.of(section, state, verdict.certificate, self._now)
            made = made._replace(waiting=wait and Waiting(wait.moment, wait.why))
        if verdict.certificate is None:
            return made
        return made._replace(
            certificate=verdict.certificate, profile=state.profile or "",
            key_type=key_type(verdict.certificate.spki),
            chain=_chain(section) if self._chains else (),
            **_times(section, state, verdict, verdict.certificate, suggested))

    def _without(self, section: Section, state: SectionState, certificate: Certificate | None
                 ) -> Standing:
        """Return what there is to say whether it has a certificate or not."""
        first = self._known[section.issuer]
        issued = certificate is not None and state.issuer or first.directory
        failures = state.failures if state.wish == backoff.wish(section) else 0
        return Standing(
            section.name, section,
            ca=next((self._known[name].called for name in section.issuers
                     if self._known[name].directory == issued), issuers.host(issued)),
            next_key=next_keys.digest(self._config, section) or "",
            failures=failures, failed=state.failed if failures else 0,
            trouble=self._troubles.of(section.name),
            pending=state.notify and not state.installing, installed=state.installed)


def _times(section: Section, state: SectionState, verdict: Due, certificate: Certificate,
           suggested: Renewal) -> dict[str, Any]:
    """Return what is known of when it is renewed."""
    known = ari.about(suggested, certificate, state.installed) if section.ari else NOTHING
    enough = verdict.enough
    return {"renewal": known if ari.suggested(known) else None,
            "margin": renewal.margin(certificate.not_after - certificate.not_before, None)
            if enough is None else enough,
            "moment": None if enough is None else
            moment(section, certificate, enough, known, state.installed)}


def _chain(section: Section) -> tuple[Certificate, ...]:
    """Return the chain that is installed, as far as it can be read."""
    path = section.chain or section.fullchain
    if not path:
        return ()
    try:
        chain = installed.read_chain(path, section.trusted)
    except (OSError, Error) as exc:
        log.debug(exc)
        return ()
    return tuple(chain if section.chain else chain[1:])


def _is_readable(directory: str) -> bool:
    """Say whether whoever asks may read what is remembered, if anything is."""
    return os.access(directory, os.R_OK | os.X_OK) or not os.path.lexists(directory)
