"""Anti-replay nonces (RFC 8555 §6.5): kept as they come, used once."""

import os
import re

from ..common.wire import jose
from .connection import Response

MAX_NONCES = 64    # kept

# Refused in a row; before any was accepted
MOST, FEW = 10, 3
INVENTED = 3       # for a server that was out of order

_NONCE = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")    # base64url (§6.5.1)


class Nonces:
    """The nonces that responses brought; the freshest is used first.  Any thread may call."""

    def __init__(self) -> None:
        self._nonces: list[str] = []
        self._refused = 0    # of them, in a row
        self._few = FEW      # so many, at most
        self._invents = 0    # so many that nobody has given, in place of newNonce

    def put(self, response: Response) -> None:
        """Keep the nonce of a response; a malformed one MUST be ignored (§6.5.1)."""
        nonce = response.get("replay-nonce")
        if nonce is not None and _NONCE.match(nonce):
            self._nonces.append(nonce)
            del self._nonces[:-MAX_NONCES]

    def doubt(self) -> None:
        """The server was out of order: it is not asked for a nonce, nor with many.

        Who refuses one that nobody has given gives another (§6.5), and who is out of order does
        not look at it.
        """
        self._few, self._invents = 1, INVENTED

    def refused(self) -> bool:
        """One was (badNonce, §6.5); say whether the request is to be made with another: unless
        many were in a row, whoever's requests those were, or a few before any was accepted."""
        self._refused += 1
        return self._refused <= self._few

    @property
    def accepted(self) -> bool:
        """True if one was, at least."""
        return self._few == MOST

    def taken(self, busy: bool = False) -> None:
        """One was not refused; ``busy``: it may not have been looked at, nor the next one be."""
        self._refused = 0
        if busy:
            self._invents = max(self._invents, 1)
        else:
            self._few = MOST

    def invent(self) -> str | None:
        """Return a nonce that no server has given, if it was out of order; a few times."""
        if not self._invents:
            return None
        self._invents -= 1
        return jose.encode_text(os.urandom(16))

    def take(self) -> str | None:
        """Return a nonce, which is not given again; None if none is left."""
        try:
            return self._nonces.pop()
        except IndexError:    # another thread took the last one
            return None
