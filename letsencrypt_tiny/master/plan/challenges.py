"""How it is proved that names are ours (RFC 8555 §8): which types of challenges, for whom."""

from collections.abc import Collection, Mapping, Sequence

from ...common.errors import Error
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


def without(section: Section, kinds: Sequence[str], lost: Collection[str],
            unable: Mapping[Identifier, Error], config: Config
            ) -> tuple[tuple[str, ...], Error | None]:
    """Return which of the types ``kinds`` are left to a section, and why it can't be ordered if
    they can't prove all its names.

    Challenges of the types ``lost`` can't be answered for the names ``unable``, which are without
    “*.”.
    """
    others = tuple(kind for kind in kinds if kind not in lost)
    if not any((what, name.removeprefix("*.")) in unable for what, name in section.identifiers):
        return tuple(kinds), None
    missing = [name for name in section.identifiers
               if not any(proofs.proves(kind, name, config) for kind in others)]
    if not missing:
        return others, None
    whys = (unable.get((what, name.removeprefix("*."))) for what, name in missing)
    return tuple(kinds), next((why for why in whys if why is not None), None)
