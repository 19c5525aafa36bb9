"""Who issues: a CA, and what is asked of it."""

from typing import NamedTuple

from ...common.wire.access import Access
from ..settings.main import Config


class Issuer(NamedTuple):
    """A CA."""

    name: str                                    # "" is the one of [client]
    access: Access
    profile: str | None = None                   # that its orders name
    eab_kid: str = ""                            # external account to register with, if any
    where: str = ""                              # FILE, [SECTION]: for messages

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


def configured(config: Config) -> dict[str, Issuer]:
    """Return name -> issuer; a Section says by its ``issuer`` which is its own."""
    issuer = Issuer("", config.client.access, eab_kid=config.client.eab_kid,
                    where=f"{config.file}, [client]")
    return {issuer.name: issuer}
