"""Which sections want a certificate: what is installed is read, the plan decides."""

from collections.abc import Sequence

from ...common.errors import UsageError
from ..pki import keys
from ..plan import renewal
from ..plan.renewal import Due
from ..settings.certificates import Section
from ..settings.main import Config
from ..store import installed
from ..store.journal import SectionState


def judge(config: Config, section: Section, state: SectionState, now: float,
          min_days: int | None = None) -> Due:
    """Decide about one section; see ``plan.renewal.decide``."""
    found = keys.compare(config.openssl, section, installed.read(section))
    return renewal.decide(section, found, state, now, min_days)


def select(sections: dict[str, Section], names: Sequence[str]) -> list[Section]:
    """Return the sections of those ``names``, all if there are none; raises UsageError."""
    for name in names:
        if name not in sections:
            raise UsageError(f"there is no section [{name}] in the certificates' configuration")
    return [sections[name] for name in names or sections]
