"""http-01 (RFC 8555 §8.3) where a web server knows the account's thumbprint, and needs no file."""

from ...common.names import Identifier
from ...common.wire.jsonfields import JsonObject
from ..scheduler import Steps


class Stateless:
    """Nothing is to be done: every token is answered already.  See ``Solver``."""

    type = "http-01"
    has_token = True

    def serves(self, _identifier: Identifier) -> bool:
        """That the web server is set up is the administrator's word."""
        return True

    def fault(self, _challenge: JsonObject, _account: str) -> str:
        """Whatever the challenge is, it is all right."""
        return ""

    def present(self, _identifier: Identifier, _token: str, _thumbprint: str) -> Steps[bool]:
        """Ready, always; who shares the challenge may respond to it, too."""
        yield from ()
        return True

    def clean(self, _identifier: Identifier, _token: str) -> Steps[None]:
        """Nothing was presented."""
        yield from ()

    def close(self) -> None:
        """Nothing is left."""
