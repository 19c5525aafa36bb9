"""Anti-replay nonces (RFC 8555 §6.5): kept as they come, used once."""

import re

from .connection import Response

MAX_NONCES = 64    # kept

_NONCE = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")    # base64url (§6.5.1)


class Nonces:
    """The nonces that responses brought; the freshest is used first.  Any thread may call."""

    def __init__(self) -> None:
        self._nonces: list[str] = []
        self._refused = 0    # of them, in a row

    def put(self, response: Response) -> None:
        """Keep the nonce of a response; a malformed one MUST be ignored (§6.5.1)."""
        nonce = response.get("replay-nonce")
        if nonce is not None and _NONCE.match(nonce):
            self._nonces.append(nonce)
            del self._nonces[:-MAX_NONCES]

    def refused(self, most: int) -> bool:
        """One was (badNonce, §6.5); say whether the request is to be made with another: unless
        ``most`` were in a row, whoever's requests those were."""
        self._refused += 1
        return self._refused <= most

    def taken(self) -> None:
        """One was heeded."""
        self._refused = 0

    def take(self) -> str | None:
        """Return a nonce, which is not given again; None if none is left."""
        try:
            return self._nonces.pop()
        except IndexError:    # another thread took the last one
            return None
