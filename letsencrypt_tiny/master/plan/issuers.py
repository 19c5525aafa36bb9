"""Who issues: a CA, and what is asked of it."""

from typing import NamedTuple

from ...common.wire.access import Access
from ..settings.main import Config


class Issuer(NamedTuple):
    """A CA."""

    name: str                                    # "" is the one of [client]
    access: Access
    profile: str | None = None                   # that its orders name

    @property
    def directory(self) -> str:
        """The directory's URL, under which its accounts and orders are remembered."""
        return self.access.server


# What a CA is called in records (RFC 8659 §4.2), by the ends of the directories' hosts: nobody may
# tell otherwise, as what is published says who may issue
_KNOWN = {"api.letsencrypt.org": ("letsencrypt.org",)}


def names(issuer: Issuer, told: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the CA is called in records: as is well known, else as its directory ``told``,
    in the client's words; none if nobody knows."""
    host = issuer.directory.partition("://")[2].partition("/")[0].partition(":")[0].lower()
    return next((known for end, known in _KNOWN.items() if host.endswith("." + end)), told)


# Those that are asked when to renew (RFC 9773) before any of our clients has told that they answer
_SUGGEST = ("api.letsencrypt.org", "pki.goog")


def suggests(issuer: Issuer, told: bool | None) -> bool:
    """Say whether the CA can be asked when to renew: as its directory ``told``, if a client has
    said so."""
    host = issuer.directory.partition("://")[2].partition("/")[0].partition(":")[0].lower()
    return host.endswith(tuple("." + end for end in _SUGGEST)) if told is None else told


def configured(config: Config) -> dict[str, Issuer]:
    """Return name -> issuer; a Section says by its ``issuer`` which is its own."""
    issuer = Issuer("", config.client.access)
    return {issuer.name: issuer}
