"""How it is proved that names are ours (RFC 8555 §8): which types of challenges, for whom."""

from ...common.names import Identifier
from ..settings import proofs
from ..settings.certificates import Section
from ..settings.main import Config


def types(section: Section, config: Config) -> tuple[str, ...]:
    """Return the types that may prove names of a section, in order of preference: of those
    wished, the ones that can prove any of them.  Nothing is started for another."""
    wanted = section.identifiers
    return tuple(kind for kind in proofs.wished(section.challenges, wanted, config)
                 if any(proofs.proves(kind, name, config) for name in wanted))


def names(section: Section, kind: str, config: Config) -> set[Identifier]:
    """Return the names of a section that a challenge of the type ``kind`` may be asked for,
    without the “*.” of wildcards (§7.1.4)."""
    return {(what, name.removeprefix("*.")) for what, name in section.identifiers
            if proofs.proves(kind, (what, name), config)}
