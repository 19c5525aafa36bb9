"""What the core wants of a challenge type, whichever it is (RFC 8555 §8)."""

from typing import Protocol

from ...common.names import Identifier
from ...common.wire.jsonfields import JsonObject
from ..scheduler import Steps


class Solver(Protocol):
    """Makes challenges of one type ready to be validated, and tidies up after them.

    Any thread may call.  ``present`` and ``clean`` may wait: they yield seconds, as orders do,
    and hold no lock meanwhile.  Several orders may share a challenge, which is taken back
    with the last of them.
    """

    type: str          # the RFC's name, as in a challenge's “type”
    has_token: bool    # its challenges have one (§8.1); else it is asked with ""

    def serves(self, identifier: Identifier) -> bool:
        """True if challenges of this identifier (without “*.”) can be done at all."""

    def fault(self, challenge: JsonObject, account: str) -> str:
        """Return why not to respond to a challenge as the server has it, "" if it is all right.

        ``account`` is the account's URL.
        """

    def present(self, identifier: Identifier, token: str, thumbprint: str) -> Steps[bool]:
        """Publish the key authorization (§8.1), ready when this returns.

        ``identifier`` is without the “*.” of a wildcard (§7.1.4).  True if it was not there
        yet: else another order responds to the challenge.  Raises Error, and then holds nothing.
        """

    def clean(self, identifier: Identifier, token: str) -> Steps[None]:
        """Take back what ``present`` published, unless another order needs it.  Raises Error."""

    def close(self) -> None:
        """The run ends: take back whatever is left, without raising."""
