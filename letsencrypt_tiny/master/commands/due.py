"""Which sections want a certificate: what is installed is read, the plan decides."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...common import log
from ...common.clock import DAY
from ...common.errors import Error, UsageError, did_you_mean
from ...common.x509.certificate import Certificate
from ...common.x509.summary import summary
from ..plan import ari, issuers, renewal
from ..plan.issuers import Issuer
from ..plan.renewal import Due
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..store import installed
from ..store.installed import Installed
from ..store.journal import Journal, SectionState
from ..store.outages import Outages
from ..store.pairs import Pairs
from ..store.renewals import NOTHING, Renewal, Renewals
from ..store.vicinity import Vicinity

if TYPE_CHECKING:
    from .life import Life
    from .suggestions import Question

FRESH = DAY // 2    # seconds: what an order has found is tried again, by an order, before that


class Selection(NamedTuple):
    """What a command is about."""

    sections: list[Section]
    faults: dict[str, Error]    # sections that cannot be, by name, and why


class Judge:
    """Decides about sections, by what the CAs are and what is revoked at one moment."""

    def __init__(self, config: Config, vicinity: Vicinity, complete: bool | None = None) -> None:
        """``vicinity``: sections are looked at one after the other.  What is found is kept unless
        ``complete`` is None: by a run that holds the lock, True if it looks at all sections."""
        self._config = config
        self._vicinity = vicinity
        self._complete = complete
        self._keys = Vicinity()   # which may be elsewhere
        self._known = issuers.configured(config)
        self._revoked = Journal(config.state_directory).revoked()
        self._pairs = Pairs(config.state_directory)

    def decide(self, section: Section, state: SectionState, now: float,
               min_days: int | None = None, renewal_known: Renewal = NOTHING) -> Due:
        """Decide about one section; see ``plan.renewal.decide``.  Raises ``installed.Busy``.

        ``renewal_known`` is what the CA has said of the certificate that the section had then.
        """
        self._pairs.turn(self._complete)
        found = installed.unchanged(section, self._vicinity, self._pairs)
        if found is not None:
            verdict = self._decide(section, found, state, now, min_days, renewal_known)
            if not verdict.due:
                return verdict
        return self.examine(section, state, now, min_days, renewal_known)[0]

    def examine(self, section: Section, state: SectionState, now: float,
                min_days: int | None = None, renewal_known: Renewal = NOTHING
                ) -> tuple[Due, Certificate | None]:
        """As ``decide``, by the files alone, whatever is remembered of what is in them; return
        the certificate, too."""
        found = self._read(section, state)
        verdict = self._decide(section, found, state, now, min_days, renewal_known)
        if not (verdict.due or found.uncompared or found.certificate is None
                or self._pairs.full):
            self._pairs.seen(found.pair, found.changed, time.time(),
                             summary(found.certificate))
        return verdict, found.certificate

    def _decide(self, section: Section, found: Installed, state: SectionState, now: float,
                min_days: int | None, renewal_known: Renewal) -> Due:
        if min_days is None:
            section = _bounded(section, found)
        said, certificate = NOTHING, found.certificate or found.summary
        if certificate is not None and section.ari and renewal_known is not NOTHING:
            said = ari.about(renewal_known, certificate, state.installed)
        verdict = renewal.decide(section, found, state, now, min_days,
                                 {self._known[name].directory for name in section.issuers},
                                 self._revoked, said)
        if not verdict.due and section.ca_file and state.ca_file is not None \
                and state.ca_file != self._vicinity.remembered(installed.authorities,
                                                               section.ca_file) \
                and not _chains(self._config, section):
            return verdict._replace(due=True, reason=f"it does not chain to {section.ca_file}")
        if not verdict.due and section.preferred_chain not in ("", state.preferred_chain) \
                and not _is_preferred(section):
            return verdict._replace(due=True, reason="its preferred-chain has changed, to "
                                    f"{section.preferred_chain}")
        return verdict

    def _read(self, section: Section, state: SectionState) -> Installed:
        found = installed.read(section, self._vicinity)
        if section.in_token and state.key != section.key:
            found = found._replace(uncompared=True)
        if not found.uncompared:
            return found
        if self._pairs.fits(found.pair):
            return found._replace(uncompared=False)
        from ..pki import keys
        compared = keys.compare(self._config.openssl, section, found, self._keys)
        if not compared.uncompared:
            self._pairs.seen(found.pair, found.changed, time.time())
        return compared

    def keep(self) -> None:
        """What was compared needs not be the next time."""
        if self._complete is not None:
            self._pairs.keep(self._complete)


class Inquirer:
    """Knows what there is to be asked of CAs: of certificates for which nothing but the time
    decides, of the one that issued them and is known to answer, as far as what it said holds no
    more."""

    def __init__(self, config: Config, renewals: Renewals) -> None:
        self._known = issuers.configured(config)
        self._renewals = renewals
        self._journal = Journal(config.state_directory)
        self._outages = Outages(config.state_directory)
        self._suggests: dict[str, bool] = {}

    def question(self, life: "Life", verdict: Due | None) -> "Question | None":
        """Return what is to be asked about a section, None if it is nothing."""
        if verdict is None or not verdict.timely or verdict.certificate is None \
                or not life.section.ari:
            return None
        issued = next((self._known[name] for name in life.section.issuers
                       if self._known[name].directory == life.state.issuer), None)
        if issued is None:
            return None
        about = ari.about(self._renewals.of(life.name), verdict.certificate, life.state.installed)
        if not ari.asks(about, time.time()) or not self._answers(issued):
            return None
        from .suggestions import Question
        return Question(life.name, issued, about)

    def _answers(self, issuer: Issuer) -> bool:
        """Say whether it is known to, and not out of order: an order finds out when it is well
        again, which is one request then instead of two."""
        if issuer.directory not in self._suggests:
            outage = self._outages.of(issuer.directory)
            self._suggests[issuer.directory] = issuers.suggests(
                issuer, self._journal.suggests(issuer.directory)) and not (
                    outage is not None and 0 <= time.time() - outage.last < FRESH)
        return self._suggests[issuer.directory]


def _chains(config: Config, section: Section) -> bool:
    """Say whether what is installed chains to CAfile, which is another one than it did."""
    from ..pki import openssl
    from ...common.x509.der import encode_pem
    try:
        chain = _chain(section)
        if not chain:
            return True   # nobody knows its intermediates
        leaf, *rest = [encode_pem(item.der) for item in chain]
        openssl.verify(config.openssl, [leaf], b"".join(rest), section.ca_file)
    except openssl.Unverified:
        return False
    except (OSError, Error, ValueError) as exc:
        log.debug(f"{section.name}: cannot tell whether it chains to {section.ca_file}: {exc}")
    return True


def _is_preferred(section: Section) -> bool:
    """Say whether what is installed is the chain that is preferred."""
    from ..pki import chains
    try:
        chain = _chain(section)
    except (OSError, Error) as exc:
        log.debug(f"{section.name}: cannot tell which chain it has: {exc}")
        chain = []
    return not chain or chains.names(chain, section.preferred_chain)


def _chain(section: Section) -> list[Certificate]:
    """Return the chain that is installed, none if only the certificate is.  Raises Error, OSError.
    """
    chain = installed.read_chain(section.outputs[0], section.trusted)
    if section.fullchain:
        return chain
    return chain + installed.read_chain(section.chain, section.trusted) if section.chain else []


def _bounded(section: Section, found: Installed) -> Section:
    """Without its min-days, if new certificates would be due again within a day: at each run."""
    days, certificate = section.min_days, found.certificate or found.summary
    if days is None or days <= 0 or certificate is None:
        return section
    lifetime = certificate.not_after - certificate.not_before
    if days * DAY <= lifetime - DAY:
        return section
    log.warning(f"{section.where}: min-days = {days}: certificates that are valid for "
                f"{lifetime / DAY:.0f} days would be renewed at each run; it is taken as not set")
    return section._replace(min_days=None)


def select(certificates: Certificates, names: Sequence[str]) -> Selection:
    """Return the sections of those ``names``, each once; all if there are none.

    Raises UsageError if there is none of those names.
    """
    sections, faults = certificates.sections, dict[str, Error](certificates.faults)
    if not names:
        return Selection(list(sections.values()), faults)
    chosen = Selection([], {})
    for name in dict.fromkeys(names):
        if name in sections:
            chosen.sections.append(sections[name])
            if sections[name].twin:   # both current, or both as they were
                chosen.sections.append(sections[sections[name].twin])
        else:
            chosen.faults[name] = faults.get(name) or UsageError(
                f"there is no section [{name}] in the certificates' configuration"
                + did_you_mean(name, [*sections, *faults]))
    if not chosen.sections and all(isinstance(fault, UsageError)
                                   for fault in chosen.faults.values()):
        raise next(iter(chosen.faults.values()))
    return chosen._replace(sections=list(dict.fromkeys(chosen.sections)))
