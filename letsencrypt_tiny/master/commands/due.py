"""Which sections want a certificate: what is installed is read, the plan decides."""

from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import DAY
from ...common.errors import Error, UsageError, did_you_mean
from ..pki import keys
from ..plan import issuers, renewal
from ..plan.renewal import Due
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..store import installed
from ..store.installed import Installed
from ..store.journal import Journal, SectionState


class Selection(NamedTuple):
    """What a command is about."""

    sections: list[Section]
    faults: dict[str, Error]    # sections that cannot be, by name, and why


def judge(config: Config, section: Section, state: SectionState, now: float,
          min_days: int | None = None) -> Due:
    """Decide about one section; see ``plan.renewal.decide``.  Raises ``installed.Busy``."""
    found = installed.read(section)
    if section.in_token and state.key != section.key:
        found = found._replace(key_changed=True)
    found = keys.compare(config.openssl, section, found)
    if min_days is None:
        section = _bounded(section, found)
    known = issuers.configured(config)
    verdict = renewal.decide(section, found, state, now, min_days,
                             {known[name].directory for name in section.issuers},
                             Journal(config.state_directory).revoked())
    if not verdict.due and section.ca_file and state.ca_file not in (
            None, installed.authorities(section.ca_file)) and not _chains(config, section):
        return verdict._replace(due=True, reason=f"it does not chain to {section.ca_file}")
    return verdict


def _chains(config: Config, section: Section) -> bool:
    """Say whether what is installed chains to CAfile, which is another one than it did."""
    from ..pki import openssl
    from ...common.x509.der import encode_pem
    try:
        chain = installed.read_chain(section.outputs[0], section.trusted)
        if not section.fullchain:
            if not section.chain:
                return True   # nobody knows its intermediates
            chain += installed.read_chain(section.chain, section.trusted)
        leaf, *rest = [encode_pem(item.der) for item in chain]
        openssl.verify(config.openssl, [leaf], b"".join(rest), section.ca_file)
    except openssl.Unverified:
        return False
    except (OSError, Error, ValueError) as exc:
        log.debug(f"{section.name}: cannot tell whether it chains to {section.ca_file}: {exc}")
    return True


def _bounded(section: Section, found: Installed) -> Section:
    """Without its min-days, if new certificates would be due again within a day: at each run."""
    days, certificate = section.min_days, found.certificate
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
