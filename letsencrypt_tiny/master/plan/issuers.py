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


def configured(config: Config) -> dict[str, Issuer]:
    """Return name -> issuer; a Section says by its ``issuer`` which is its own."""
    issuer = Issuer("", config.client.access)
    return {issuer.name: issuer}
