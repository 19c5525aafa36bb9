"""Which sections want a certificate: what is installed is read, the plan decides."""

from collections.abc import Sequence

from ...common import log
from ...common.errors import Error, UsageError
from ..pki import keys
from ..plan import issuers, renewal
from ..plan.renewal import Due
from ..settings.certificates import Section
from ..settings.main import Config
from ..store import installed
from ..store.journal import Journal, SectionState


def judge(config: Config, section: Section, state: SectionState, now: float,
          min_days: int | None = None) -> Due:
    """Decide about one section; see ``plan.renewal.decide``."""
    found = keys.compare(config.openssl, section, installed.read(section))
    issuer = issuers.configured(config)[section.issuer]
    verdict = renewal.decide(section, found, state, now, min_days, issuer.directory,
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
        chain = installed.read_chain(section.outputs[0])
        if not section.fullchain:
            if not section.chain:
                return True   # nobody knows its intermediates
            chain += installed.read_chain(section.chain)
        leaf, *rest = [encode_pem(item.der) for item in chain]
        openssl.verify(config.openssl, [leaf], b"".join(rest), section.ca_file)
    except openssl.Unverified:
        return False
    except (OSError, Error, ValueError) as exc:
        log.debug(f"{section.name}: cannot tell whether it chains to {section.ca_file}: {exc}")
    return True


def select(sections: dict[str, Section], names: Sequence[str]) -> list[Section]:
    """Return the sections of those ``names``, all if there are none; raises UsageError."""
    for name in names:
        if name not in sections:
            raise UsageError(f"there is no section [{name}] in the certificates' configuration")
    return [sections[name] for name in names or sections]
