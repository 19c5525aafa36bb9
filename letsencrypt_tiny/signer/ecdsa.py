"""ECDSA with nonces of RFC 6979, in pycryptodome's steps, half of whose time went to get there.

What takes its time is pycryptodome's: a point of the curve, times the nonce.  The rest, which it
does by an HMAC written in Python and by numbers that are GMP's, each a call through ctypes, is
done by OpenSSL's HMAC and by Python's own numbers.  It is the same sum: signatures come out byte
for byte the same, and nothing is done with nonce or key that isn't blinded there.
"""

import hmac
import os
from typing import Any


class Ecdsa:
    """Signs with one key, over P-256 by SHA-256 or P-384 by SHA-384."""

    def __init__(self, key: Any, hash_name: str) -> None:
        """``key`` is pycryptodome's; the hash is as long as the numbers of the curve."""
        # The generator as it is there: of no other point pycryptodome's library has a table
        self._generator, self._order = key._curve.G, int(key._curve.order)
        self._size = (self._order.bit_length() + 7) // 8   # bytes
        self._key = int(key.d)
        self._octets = self._key.to_bytes(self._size, "big")
        self._hash_name = hash_name

    def sign(self, hashed: Any) -> bytes:
        """Return R and S of what was hashed, one after the other (RFC 7518 §3.4)."""
        order, digest = self._order, hashed.digest()
        number, nonce, blind = int.from_bytes(digest, "big"), self._nonce(digest), self._blind()
        r = int((self._generator * nonce).x) % order
        # Nobody sees how long it takes to invert the nonce, or to multiply by the key
        s = pow(blind * nonce, -1, order) * (
            blind * number + blind * self._key % order * r) % order
        return r.to_bytes(self._size, "big") + s.to_bytes(self._size, "big")

    def _nonce(self, digest: bytes) -> int:
        """RFC 6979 §3.2: a number that nobody can guess, of the key and of what is signed."""
        def mac(text: bytes) -> bytes:
            return hmac.digest(key, text, self._hash_name)
        seed = self._octets + self._octets_of(digest)
        value, key = b"\1" * self._size, bytes(self._size)
        for step in b"\0", b"\1":
            key = mac(value + step + seed)
            value = mac(value)
        while True:
            value = mac(value)
            nonce = int.from_bytes(value, "big")
            if 0 < nonce < self._order:
                return nonce
            key = mac(value + b"\0")
            value = mac(value)

    def _octets_of(self, digest: bytes) -> bytes:
        """RFC 6979 §2.3.4 (bits2octets), for a digest as long as the order."""
        return (int.from_bytes(digest, "big") % self._order).to_bytes(self._size, "big")

    def _blind(self) -> int:
        """Return another number each time, from 1 to the order less 1, each as likely."""
        while True:
            number = int.from_bytes(os.urandom(self._size), "big")
            if 0 < number < self._order:
                return number
