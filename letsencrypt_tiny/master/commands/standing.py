"""How the sections stand: what is installed, remembered and decided, gathered for status.

Nothing is changed, and no lock is needed.  Whoever is not root sees what everybody may.
"""

import os
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ...common import log
from ...common.errors import Error
from ...common.x509.certificate import Certificate, parse_chain
from ...common.x509.der import MAX_PEM, read_block
from ..plan import ari, backoff, issuers, limits, renewal
from ..plan.keytype import key_type
from ..plan.moment import moment
from ..plan.renewal import Due
from ..report.standing import Overview, Standing, Waiting
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..store.installed import Busy
from ..store.journal import Journal, SectionState
from ..store.renewals import NOTHING, Renewal, Renewals
from ..store.troubles import Troubles
from ..store.vicinity import Vicinity
from . import due, next_keys
from .leftovers import leftovers
from .limits import Limits
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
        self._vicinity = vicinity
        self._judge = due.Judge(config, vicinity)
        self._known = issuers.configured(config)
        self._journal = Journal(config.state_directory)
        self._renewals = Renewals(config.state_directory)
        self._troubles = Troubles(config.state_directory)
        self._waits = Waits(config)
        self._tally = Limits(config.state_directory)

    def all(self, sections: Sequence[Section]) -> Iterator[Standing]:
        """Yield how they stand."""
        for section, state in zip(sections, self._journal.sections(
                section.name for section in sections)):
            try:
                yield self._one(section, state)
            except Busy as exc:
                yield self.faulty(section.name, str(exc), section)

    def faulty(self, name: str, fault: str, section: Section | None = None) -> Standing:
        """Return how a section stands that is wrong, or of which nothing is known."""
        return Standing(name, section, fault, False, fault, trouble=self._troubles.of(name))

    def _one(self, section: Section, state: SectionState) -> Standing:
        suggested = self._renewals.of(section.name)
        verdict, certificate = self._judge.examine(section, state, self._now,
                                                   renewal_known=suggested)
        made = self._without(section, state, certificate)._replace(
            due=verdict.due, reason=verdict.reason)
        if verdict.due:
            made = made._replace(waiting=self._waiting(section, state, verdict))
        if certificate is None:
            return made
        return made._replace(
            certificate=certificate, profile=state.profile or "",
            key_type=key_type(certificate.spki),
            chain=_chain(section, self._vicinity) if self._chains else (),
            **_times(section, state, verdict, certificate, suggested))

    def _waiting(self, section: Section, state: SectionState, verdict: Due) -> Waiting | None:
        """Return what the next run would not order it for, though it is due."""
        wait = self._waits.of(section, state, verdict.certificate, self._now)
        if wait is not None:
            return Waiting(wait.moment, wait.why)
        if state.order or state.kept:   # these count for no limit any more
            return None
        exempt = state.issuer if verdict.welcome and state.issuer_account else None
        full = [self._tally.full(directory, section.identifiers, directory == exempt)
                for directory in (self._known[name].directory for name in section.issuers)]
        if None in full:   # one of them can be asked
            return None
        return min(Waiting(int(moment), limits.reached(limit))
                   for limit, moment in filter(None, full))

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


def _chain(section: Section, vicinity: Vicinity) -> tuple[Certificate, ...]:
    """Return the chain that is installed, as far as it can be read."""
    path = section.chain or section.fullchain
    if not path:
        return ()
    try:
        near = vicinity.directory(os.path.dirname(path), section.trusted)
        with open(near.open(path), "rb") as file:
            chain = _parsed(file.read(MAX_PEM + 1), not section.chain)
    except (OSError, Error) as exc:
        log.debug(exc)
        return ()
    return chain


@lru_cache(16)   # the intermediates are the same in very many
def _parsed(text: bytes, is_whole: bool) -> tuple[Certificate, ...]:
    """Return the certificates of a chain; of one that ``is_whole``, the first is another's."""
    if is_whole:
        return _parsed(text[read_block(text, 0)[2]:].strip(), False)
    return tuple(parse_chain(text)) if text.strip() else ()


def _is_readable(directory: str) -> bool:
    """Say whether whoever asks may read what is remembered, if anything is."""
    return os.access(directory, os.R_OK | os.X_OK) or not os.path.lexists(directory)
