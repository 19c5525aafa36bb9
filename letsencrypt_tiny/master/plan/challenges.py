"""How it is proved that names are ours (RFC 8555 §8): which types of challenges, for whom."""

from ...common.names import Identifier
from ..settings.certificates import Section
from ..settings.main import Config


def types(section: Section, config: Config) -> tuple[str, ...]:
    """Return the types that may prove the names of a section, in order of preference.

    Where it says nothing: http-01, and dns-01 where http-01 can't be done, for wildcards
    (§8.3) or because nothing listens.
    """
    if section.challenges:
        return section.challenges
    listens = config.webserver.listen != () or bool(config.webserver.challenge_directory)
    wildcards = any(name.startswith("*.") for _, name in section.identifiers)
    return (*(("http-01",) if listens else ()),
            *(("dns-01",) if wildcards or not listens else ()))


def names(section: Section, kind: str) -> set[Identifier]:
    """Return the names of a section that a challenge of the type ``kind`` may be asked for,
    without the “*.” of wildcards (§7.1.4)."""
    return {(what, name.removeprefix("*.")) for what, name in section.identifiers
            if what == "dns" or kind != "dns-01"}   # RFC 8738 §7
