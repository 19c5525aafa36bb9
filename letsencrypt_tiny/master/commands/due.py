"""Which sections want a certificate: what is installed is read, the plan decides."""

from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import DAY
from ...common.errors import Error, UsageError, did_you_mean
from ..pki import keys
from ..plan import renewal
from ..plan.renewal import Due
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..store import installed
from ..store.installed import Installed
from ..store.journal import SectionState


class Selection(NamedTuple):
    """What a command is about."""

    sections: list[Section]
    faults: dict[str, Error]    # sections that cannot be, by name, and why


def judge(config: Config, section: Section, state: SectionState, now: float,
          min_days: int | None = None) -> Due:
    """Decide about one section; see ``plan.renewal.decide``."""
    found = keys.compare(config.openssl, section, installed.read(section))
    if min_days is None:
        section = _bounded(section, found)
    return renewal.decide(section, found, state, now, min_days)


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
        else:
            chosen.faults[name] = faults.get(name) or UsageError(
                f"there is no section [{name}] in the certificates' configuration"
                + did_you_mean(name, [*sections, *faults]))
    if not chosen.sections and all(isinstance(fault, UsageError)
                                   for fault in chosen.faults.values()):
        raise next(iter(chosen.faults.values()))
    return chosen
