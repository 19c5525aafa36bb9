"""How numbers get into pycryptodome's arithmetic and out of it, until Debian 12 is gone.

The arithmetic is GMP's.  pycryptodome 3.11, of Debian 12, takes a number to it and back in pieces
of 32 bits, through a temporary number that it never frees: 3 kB a signature, so that a signer is
at its limit (main.MEMORY) after 300,000 of them.  It also finds how long a number is by shifting
it once a bit, cuts it into words through GMP, and copies a point by way of its coordinates; that
is half of what a signature costs, with Debian 13's 3.20, which frees the temporary one, as well.

So what converts is put into its place here, before anything else has taken it: GMP's mpz_import
and mpz_export, as pycryptodome's ``from_bytes`` and ``to_bytes`` call them, Python's own for its
own integers, and its library's clone of a point.  No step of a signature is another for that:
blinding, nonces and the check against faults stay pycryptodome's, and so does each signature.
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
    if blocksize < 0:
        raise ValueError("a negative size")
    if not isinstance(number, int):
        encoded: bytes = number.to_bytes()   # raises it, too
    elif number < 0:
        raise ValueError("a negative number")
    else:
        encoded = number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")
    return encoded.rjust(-(-len(encoded) // blocksize) * blocksize, b"\0") if blocksize else encoded


def bytes_to_long(data: bytes) -> int:
    """Return the number that ``data`` is, in big endian order."""
    return int.from_bytes(data, "big")


def go_round() -> None:
    """Put the above into their place; before what signs is loaded."""
    numbers = module("Util.number")
    if numbers.size is size:
        return
    numbers.size, numbers.long_to_bytes, numbers.bytes_to_long = size, long_to_bytes, bytes_to_long
    integer = module("Math.Numbers").Integer
    if integer.__name__ == "IntegerGMP":   # the others are Python's
        _convert_at_once(integer)


def _convert_at_once(integer: Any) -> None:
    begin = integer.__init__

    def from_python(self: Any, value: Any) -> None:
        if not isinstance(value, int) or not value:
            begin(self, value)
            return
        begin(self, 0)
        self.set(integer.from_bytes(long_to_bytes(abs(value))))
        if value < 0:
            self *= -1

    def to_python(self: Any) -> int:
        return -int(abs(self)) if self.is_negative() else bytes_to_long(self.to_bytes())

    integer.__init__, integer.__int__ = from_python, to_python


def go_round_coordinates(point: Any) -> None:
    """Have all points of the kind that ``point`` is copied without them."""
    type(point).copy = _copy


def _copy(point: Any) -> Any:
    copied = object.__new__(type(point))
    copied.__dict__.update(point.__dict__)
    return copied.set(point)
