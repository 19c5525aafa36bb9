"""Who issues: a CA, and what is asked of it."""

from collections.abc import Iterable
from typing import NamedTuple

from ...common.wire.access import Access
from ..settings import choice
from ..settings.main import Config
from ..settings.presets import PRESETS


class Issuer(NamedTuple):
    """A CA."""

    name: str                                    # "" is the one of [client]
    access: Access
    socket: str = ""                             # of a signer of its own; "": the common one
    eab_kid: str = ""                            # see settings/authorities.py
    contact: tuple[str, ...] = ()
    where: str = ""                              # FILE, [SECTION]: for messages

    @property
    def directory(self) -> str:
        """The directory's URL, under which its accounts and orders are remembered."""
        return self.access.server

    @property
    def called(self) -> str:
        """What to call it in messages: its name, or its host."""
        return self.name if self.name and "://" not in self.name else host(self.directory)


def host(url: str) -> str:
    """Return host and port of a directory's URL."""
    return url.partition("://")[2].partition("/")[0]


def host_name(url: str) -> str:
    """Return the host of a directory's URL, in lower case."""
    return host(url).partition(":")[0].lower()


# What is well known of CAs, by the hosts of their directories
_KNOWN = {host_name(url): preset for preset in PRESETS.values()
          for url in (preset.directory, preset.staging) if url}


def names(issuer: Issuer, told: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the CA is called in records (RFC 8659 §4.2): as is well known, which nobody may
    tell otherwise, as what is published says who may issue; else as its directory ``told``, in
    the client's words; none if nobody knows."""
    known = _KNOWN.get(host_name(issuer.directory))
    return known.caa if known is not None and known.caa else told


def suggests(issuer: Issuer, told: bool | None) -> bool:
    """Say whether the CA can be asked when to renew (RFC 9773): as its directory ``told``, if a
    client has said so."""
    known = _KNOWN.get(host_name(issuer.directory))
    return known is not None and known.ari if told is None else told


class _Issuers(dict[str, Issuer]):
    """By name; those that need no configuration, presets and URLs, are there once asked for."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        for name in ("", *config.authorities):
            self[name] = self.__missing__(name)

    def __missing__(self, name: str) -> Issuer:
        found = choice.find(self._config, name)
        self[name] = issuer = Issuer(name, found.access, found.socket, found.eab_kid,
                                     found.contact, found.where)
        return issuer


def configured(config: Config) -> dict[str, Issuer]:
    """Return name -> issuer; a Section says by its ``issuers`` which may be its own.

    All that the configuration has are in it, and whichever else a Section names can be got.
    """
    return _Issuers(config)


def used(config: Config, named: Iterable[tuple[str, ...]]) -> list[Issuer]:
    """Return those of [ca NAME], and those that are ``named`` as ``issuers`` of Sections; that of
    [client] first, if somebody names it or nobody any."""
    found = {name for names_of in named for name in names_of} or {""}
    known = configured(config)
    return [known[name] for name in ("", *config.authorities, *sorted(found - known.keys()))
            if name or "" in found]


def of_directory(config: Config, url: str) -> Issuer:
    """Return the CA whose directory has this URL, such as the journal remembers of a certificate;
    one that is not configured is as if it were named by its URL.  Raises ValueError."""
    return configured(config)[choice.resolve(config, url)]
