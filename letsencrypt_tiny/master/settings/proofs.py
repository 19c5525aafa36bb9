"""Which types of challenges (RFC 8555 §8) can prove which names, as far as the settings tell."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...common import inifile
from ...common.names import Identifier, in_zone, shown
from . import values

if TYPE_CHECKING:
    from .main import Config

# Their own names, and http-01 as a web server answers it that knows the account's thumbprint
TYPES = ("http-01", "dns-01", "tls-alpn-01", "dns-persist-01", "stateless")
_FOR_ADDRESSES = ("http-01", "tls-alpn-01", "stateless")    # RFC 8738 §4
_FOR_WILDCARDS = ("dns-01", "dns-persist-01")


def types(text: str) -> tuple[str, ...]:
    """Parse “auto”, which is none, or types of challenges; raises ValueError."""
    if text == "auto":
        return ()
    return tuple(dict.fromkeys(inifile.choice(word, TYPES) for word in values.split(text)))


def listens(config: "Config") -> bool:
    """True if something of ours, or an administrator's web server, answers http-01."""
    return config.webserver.listen != () or bool(config.webserver.challenge_directory)


def wished(types: Sequence[str], names: Sequence[Identifier], config: "Config") -> Iterator[str]:
    """Yield what a section's “challenge” says or, where it says nothing, means: http-01, and
    dns-01 where http-01 can't be done, for wildcards (§8.3) or because nothing listens."""
    if types:
        yield from types
        return
    if listens(config):
        yield "http-01"
    if not listens(config) or any(_is_wildcard(name) for name in names):
        yield "dns-01"


def proves(kind: str, name: Identifier, config: "Config") -> bool:
    """True if challenges of the type ``kind`` can prove that a name is ours."""
    what, value = name
    if what == "ip" and kind not in _FOR_ADDRESSES:
        return False
    if _is_wildcard(name) and kind not in _FOR_WILDCARDS:
        return False
    if kind == "dns-01":
        return any(in_zone(value.removeprefix("*."), zone) for zone in config.dns)
    return kind != "http-01" or listens(config)


def fault(challenges: Sequence[str], names: Sequence[Identifier], config: "Config") -> str:
    """Return why some of ``names`` can't be proved to be ours by any of ``challenges`` (none:
    auto), and which setting would help; "" if all can."""
    kinds = tuple(wished(challenges, names, config))
    return next((f"{shown(name[1])}: {_help(kinds, name, config)}" for name in names
                 if not any(proves(kind, name, config) for kind in kinds)), "")


def _help(kinds: Sequence[str], name: Identifier, config: "Config") -> str:
    """Say what is missing for a name that none of ``kinds`` proves."""
    section = "a section [dns] that it is below" if config.dns else "a section [dns]"
    if name[0] == "ip" and not set(kinds) & set(_FOR_ADDRESSES):
        return ("an address needs the challenge http-01 or tls-alpn-01 (RFC 8738 §7): add it to "
                "challenge")
    if _is_wildcard(name):
        if "dns-01" in kinds:
            return (f"a wildcard needs the challenge dns-01: add {section} to {config.file}, or "
                    "list the names")
        return ("a wildcard needs the challenge dns-01: add it to challenge, or list the names")
    if "dns-01" in kinds and name[0] == "dns":
        return f"the challenge dns-01 needs {section}: add it to {config.file}" + _or_listen(config)
    return ("nothing answers the challenge http-01, as listen of [webserver] is empty: set it or "
            f"challenge-directory in {config.file}, or another challenge")


def _or_listen(config: "Config") -> str:
    return "" if listens(config) else ("; or let http-01 be answered: set listen or "
                                       "challenge-directory of [webserver]")


def _is_wildcard(name: Identifier) -> bool:
    return name[1].startswith("*.")
