"""How numbers get into pycryptodome's arithmetic and out of it, until Debian 12 is gone.

The arithmetic is GMP's.  pycryptodome 3.11, of Debian 12, takes a number to it and back in pieces
of 32 bits, through a temporary one that it never frees: 3 kB a signature, of which a signer that
stands until its limit (common/sandbox/confine.py) has room for 300,000.  It also finds how long a
number is by shifting it once a bit, and cuts it into words through GMP; together that is half of
what a signature costs, with Debian 13's 3.20, which frees the temporary one, as well.

So what converts is put into its place here, before anything has taken it: GMP's own mpz_import,
by way of pycryptodome's ``from_bytes`` and ``to_bytes``, and Python's for its own integers.  Not a
step of a signature is done differently: blinding, nonces, the check against faults are
pycryptodome's.  Where it has become another, it is left as it is.
"""

from typing import Any

from ..common.pycryptodome import module


def size(number: Any) -> int:
    """Return how many bits ``number`` has.  Raises ValueError if it is negative."""
    if number < 0:
        raise ValueError("a negative number")
    return int(number).bit_length()


def long_to_bytes(number: Any, blocksize: int = 0) -> bytes:
    """Return ``number`` in big endian order: in a multiple of ``blocksize`` bytes, where that is
    not 0, else in as many as it has, at least one.  Raises ValueError if either is negative.
    """
    if number < 0 or blocksize < 0:
        raise ValueError("a negative number")
    number = int(number)
    length = (number.bit_length() + 7) // 8 or 1
    if blocksize:
        length = -(-length // blocksize) * blocksize
    encoded: bytes = number.to_bytes(length, "big")
    return encoded


def bytes_to_long(data: bytes) -> int:
    """Return the number that ``data`` is, in big endian order."""
    return int.from_bytes(data, "big")


def _repair(integer: Any) -> None:
    """Have GMP's integer convert from Python's, and to it, in one piece."""
    begin = integer.__init__

    def from_python(self: Any, value: Any) -> None:
        if not isinstance(value, int) or not value:
            begin(self, value)
            return
        begin(self, 0)
        self.set(integer.from_bytes(abs(value).to_bytes((value.bit_length() + 7) // 8, "big")))
        if value < 0:
            self *= -1

    def to_python(self: Any) -> int:
        value = int.from_bytes(abs(self).to_bytes(), "big")
        return -value if self.is_negative() else value

    integer.__init__, integer.__int__ = from_python, to_python


def go_round() -> None:
    """Put the above into their place; once, before what signs is loaded."""
    numbers = module("Util.number")
    if numbers.size is not size:
        numbers.size, numbers.long_to_bytes = size, long_to_bytes
        numbers.bytes_to_long = bytes_to_long
        integer = module("Math.Numbers").Integer
        if integer.__name__ == "IntegerGMP":
            _repair(integer)
