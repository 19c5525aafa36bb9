"""newOrder --dry-run, from top to bottom: everything that a run does, at a CA that is not in
earnest, but that nothing is installed, remembered or notified.

Each section is tried, be it due or not: CSR → account → signers → responders → clients → chain,
which is verified.  What stays is the account, under the directory of that CA.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import when
from ...common.errors import ConfigError, Error, UsageError
from ...common.wire.account import AccountObject, AccountUpdate
from ...common.wire.order import Failed
from ...common.x509.der import encode_pem
from ..pki import chains, csr, openssl, verification
from ..plan import challenges, issuers, lifecycle, orders
from ..plan.issuers import Issuer
from ..report.run import Report
from ..settings import choice, presets
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..store.installed import check_authorities
from ..store.journal import Journal, SectionState
from . import due, programs
from .answering import Plans
from .asking import ask
from .chain import Chain
from .elsewhere import Elsewhere
from .install import Install
from .life import Life
from .ordering import Run


class Options(NamedTuple):
    """The options of newOrder --dry-run."""

    sections: Sequence[str] = ()
    ca: str | None = None          # who is asked; None: the twins of the sections' own CAs
    terms_agreed: bool = False     # to those of a new account


class _Trial(Journal):
    """The journal of a run that leaves nothing but accounts."""

    def section(self, name: str) -> SectionState:
        return SectionState()

    def remember(self, name: str, state: SectionState) -> None:
        pass

    def keep_chain(self, name: str, pem: str) -> None:
        pass

    def drop_chain(self, name: str) -> None:
        pass


def dry_run(config: Config, certificates: Certificates, options: Options) -> int:
    """Try what is configured, or the sections named; return the exit status.

    Raises UsageError and ConfigError before anything is touched.
    """
    programs.check_all(config)
    journal, report = _Trial(config.state_directory), Report()
    selection = due.select(certificates, options.sections)
    if certificates.empty:
        log.info(certificates.hint)
    for name, fault in selection.faults.items():
        report.failed(name, str(fault))
    wanted: dict[Issuer, list[Section]] = {}
    for section in selection.sections:
        try:
            check_authorities(section)
            wanted.setdefault(_issuer(config, section, options.ca), []).append(section)
        except UsageError:
            raise
        except Error as exc:
            report.failed(section.name, str(exc))
    plans: Plans = {}
    own: list[str] = []    # sections that are tried with a CA of theirs
    known = issuers.configured(config)
    for issuer, sections in wanted.items():
        own += [section.name for section in sections
                if issuer.directory in {known[name].directory for name in section.issuers}]
        try:
            _account(config, journal, issuer, options)
        except ConfigError:
            raise
        except Error as exc:
            for section in sections:
                report.failed(section.name, str(exc))
        else:
            plans.update(_plans(config, journal, report, issuer, sections))
    if plans:
        # only what --ca is asked for may count for a limit that matters
        Run(config, journal, report, plans, Elsewhere(config, counts=options.ca is not None),
            install=_verifier(config, own)).execute()
    report.summary()
    return report.exit_status


def _issuer(config: Config, section: Section, ca: str | None) -> Issuer:
    """Return the CA to try a section with; raises UsageError for a wrong --ca, Error if there is
    none."""
    known = issuers.configured(config)
    if ca is not None:
        try:
            return known[choice.resolve(config, ca)]
        except ValueError as exc:
            raise UsageError(f"--ca: {exc}") from exc
    own = known[section.issuers[0]]
    url = presets.staging(own.directory)
    if not url:
        raise Error(f"no twin of {own.called} for trials is known: name the CA to try it with "
                    "(--ca=NAME)")
    return next((issuer for issuer in known.values() if issuer.directory == url),
                own._replace(name=_name(url),
                             access=own.access._replace(server=url, origins=())))


def _name(directory: str) -> str:
    preset = presets.of_directory(directory)
    return preset.name if preset is not None and preset.directory == directory else directory


def _account(config: Config, journal: Journal, issuer: Issuer, options: Options) -> None:
    """Have an account at a CA for trials, or where --tos-agreed says so; raises Error."""
    is_twin = presets.staging(issuer.directory) == issuer.directory or options.ca is None
    if not options.terms_agreed and (not is_twin or journal.accounts(issuer.directory)):
        return
    update = AccountUpdate(True, options.terms_agreed, new_contact=issuer.contact,
                           eab_kid=issuer.eab_kid, where=issuer.where)
    for answer in ask(config, [update], issuer=issuer):
        if isinstance(answer, Failed):
            raise Error(f"{issuer.called}: {answer.message}")
        if isinstance(answer, AccountObject):
            log.info(f"{issuer.called}: the account is {answer.url}")


def _plans(config: Config, journal: Journal, report: Report, issuer: Issuer,
           sections: Sequence[Section]) -> Plans:
    """Make CSRs; return what is to be ordered, by section."""
    plans: Plans = {}
    compromised = journal.revoked().keys
    for section in sections:
        # one CA, whichever the section has: nobody is asked instead
        own = section._replace(issuers=(issuer.name,))
        try:
            made = csr.rehearse(config, section, compromised)
        except Error as exc:
            report.failed(section.name, str(exc))
            continue
        plans[section.name] = (
            orders.plan(own, issuer, made, SectionState(), challenges.types(own, config)),
            Life(own, SectionState(), journal, report))
        log.info(f"{section.name}: trial with {issuer.called}")
    return plans


def _verifier(config: Config, own: Sequence[str]) -> Install:
    """Return what verifies chains, and says what would become of them.

    One that ends at a CA that CAfile doesn't have is a failure only in the sections ``own``, which
    are tried with a CA of their own.
    """
    def verify(_config: Config, arrived: Sequence[Chain], report: Report) -> list[Chain]:
        verified = verification.verify(config.openssl, [one.arrived() for one in arrived])
        for one, chain in zip(arrived, verified):
            _tell(config, one, chain, report, one.life.name in own)
            one.life.happens(lifecycle.REJECTED)
        return []
    return verify


def _tell(config: Config, one: Chain, chain: chains.Chain | Error, report: Report,
          own: bool) -> None:
    ca_file = one.plan.section.ca_file
    words = f"its chain ends at a CA of {ca_file}" if ca_file else \
        "its chain is not verified, as CAfile is empty"
    if isinstance(chain, verification.NotNow) and ca_file and not own:
        found, = verification.verify(config.openssl, [one.arrived()._replace(ca_file="")])
        if not isinstance(found, Error):
            chain, words = _unrooted(config, found, chain)
    if isinstance(chain, Error):
        report.failed(one.life.name,
                      f"the new certificate would not be installed: {chain}")
        return
    report.tried(one.life.name, f"a certificate by {chains.offered([chain[:1]])}, valid until "
                 f"{when(chain[0].not_after)}, would be installed; {words}")


def _unrooted(config: Config, chain: chains.Chain, why: Error) -> tuple[chains.Chain | Error, str]:
    """Verify a chain as far as it goes; return it, and what to say of it, or what is wrong."""
    pem = [encode_pem(item.der) for item in chain]
    try:
        openssl.verify_within(config.openssl, pem)
    except Error as exc:
        return exc, ""
    return chain, (f"its chain is not verified to a root ({why}), only up to "
                   f"{chains.offered([chain[-1:]])}")
