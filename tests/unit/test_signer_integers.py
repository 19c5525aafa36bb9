"""How numbers reach pycryptodome: as it would take them, but leaving nothing behind."""

import ctypes
import gc
import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.accountd import PYTHON, pem
from letsencrypt_tiny.common.pycryptodome import module
from letsencrypt_tiny.signer import account_key, integers

KINDS = ["RSA:2048", "RSA:3072", "EC:P-256", "EC:P-384"]

NUMBERS = [0, 1, 2, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**32, 2**32 + 1,
           2**63, 2**64 - 1, 2**64, 3**200, 2**2048 - 1, 2**2048, 7 << 1024]


def key_of(kind: str) -> account_key.AccountKey:
    return account_key.load(pem(kind), "key", lambda _: b"")


def untouched(name: str) -> ModuleType:
    """A second copy of a module of pycryptodome, as its authors have it."""
    package = module("Math").__name__.partition(".")[0]
    spec = importlib.util.find_spec(f"{package}.{name}")
    assert spec is not None and spec.origin and spec.name in sys.modules
    again = importlib.util.spec_from_file_location(f"{spec.name}_untouched", spec.origin)
    assert again is not None and again.loader is not None
    made = importlib.util.module_from_spec(again)
    again.loader.exec_module(made)
    return made


# --- byte for byte -------------------------------------------------------------------------------

# Knows nothing of ours
THEIRS = """
import json, sys
from importlib import import_module
package, kind, text, *numbers = sys.argv[1:]
name = "RSA" if kind.startswith("RSA") else "ECC"
key = import_module(f"{package}.PublicKey.{name}").import_key(text)
scheme = (import_module(f"{package}.Signature.pkcs1_15").new(key) if name == "RSA" else
          import_module(f"{package}.Signature.DSS").new(key, "deterministic-rfc6979"))
hash = import_module(f"{package}.Hash.{'SHA384' if kind == 'EC:P-384' else 'SHA256'}")
print(json.dumps([scheme.sign(hash.new(number.encode())).hex() for number in numbers]))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_signatures_are_pycryptodomes(kind: str) -> None:
    """Also where numbers begin with zeros, which are to be there."""
    key = key_of(kind)
    part = 1 if kind.startswith("RSA") else 2     # of so many numbers
    ours = {str(number): key.sign(str(number).encode()) for number in range(30)}
    for number in itertools.count(30) if kind != "RSA:3072" else ():
        signature = key.sign(str(number).encode())
        if not all(signature[::len(signature) // part]):
            ours[str(number)] = signature
            break
    package = module("Math").__name__.partition(".")[0]
    done = subprocess.run([PYTHON, "-I", "-c", THEIRS, package, kind, pem(kind), *ours],
                          capture_output=True, check=True, timeout=60)
    assert [signature.hex() for signature in ours.values()] == json.loads(done.stdout)


def test_sizes_and_encodings_are_pycryptodomes() -> None:
    theirs, integer = untouched("Util.number"), module("Math.Numbers").Integer
    for number in NUMBERS:
        assert integers.size(number) == theirs.size(number)
        assert integers.size(integer(number)) == theirs.size(number)
        for blocksize in (0, 1, 3, 8, 32, 48, 256, 257):
            encoded = theirs.long_to_bytes(number, blocksize)
            assert integers.long_to_bytes(number, blocksize) == encoded
            assert integers.long_to_bytes(integer(number), blocksize) == encoded
            assert integers.bytes_to_long(encoded) == theirs.bytes_to_long(encoded) == number
    assert integers.bytes_to_long(b"") == theirs.bytes_to_long(b"")
    assert integers.bytes_to_long(bytearray(b"ab")) == theirs.bytes_to_long(bytearray(b"ab"))
    for number, blocksize in ((-1, 0), (integer(-1), 8), (1, -1), (integer(1), -1)):
        for function in (theirs.long_to_bytes, integers.long_to_bytes):
            with pytest.raises(ValueError):
                function(number, blocksize)
    for function in (theirs.size, integers.size):
        with pytest.raises(ValueError):
            function(-1)


def test_numbers_are_what_pycryptodome_makes_of_them() -> None:
    integer, theirs = module("Math.Numbers").Integer, untouched("Math._IntegerGMP").IntegerGMP
    assert integer.__name__ == "IntegerGMP" and integer.__init__ is not theirs.__init__
    for number in [*NUMBERS, *(-number for number in NUMBERS), True]:
        ours = integer(number)
        assert int(ours) == int(theirs(number)) == number and str(ours) == str(int(number))
        assert type(int(ours)) is int and int(integer(ours)) == number
        assert int(ours * 3 - 1) == 3 * number - 1 and ours == number
        if number >= 0:
            assert ours.to_bytes() == theirs(number).to_bytes()
    for value, error in ((1.5, ValueError), ("1", NotImplementedError),
                         (b"1", NotImplementedError)):
        for kind in (integer, theirs):
            with pytest.raises(error):
                kind(value)


def test_a_copied_point_is_one_of_its_own() -> None:
    key_of("EC:P-256")     # has it done
    ecc = module("PublicKey.ECC")
    key = ecc.import_key(pem("EC:P-256"))
    point, base = key.pointQ, key.pointQ.copy()
    assert base == point and base.xy == point.xy and base._point is not point._point
    base += point
    assert base != point and base == point * 2 and point.xy == key.pointQ.xy
    assert point * key._curve.order == point.point_at_infinity()


# --- nothing is left -----------------------------------------------------------------------------

class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]


_mallinfo = ctypes.CDLL(None).mallinfo2
_mallinfo.restype = _Mallinfo


def in_use() -> tuple[int, int]:
    """Bytes that malloc(3) has given away, and blocks that the interpreter has."""
    gc.collect()
    info = _mallinfo()
    return info.uordblks + info.hblkhd, sys.getallocatedblocks()


def grown(work: Callable[[bytes], Any], times: int) -> tuple[float, float]:
    """What each time leaves: bytes of the C library, blocks of Python."""
    for number in range(50):
        work(b"%d" % number)
    before = in_use()
    for number in range(times):
        work(b"%d" % number)
    after = in_use()
    return (after[0] - before[0]) / times, (after[1] - before[1]) / times


@pytest.mark.alike(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_leaves_nothing(kind: str) -> None:
    """One temporary number would be 32 bytes.  Exact, so that a few hundred say it."""
    sign = key_of(kind).sign
    left, blocks = min(grown(sign, 300) for _ in range(2))
    assert left < 8 and blocks < 0.2


def test_what_is_gone_round_does_leave_something() -> None:
    """The measure would see it, and says when Debian's pycryptodome has no need of this."""
    theirs = untouched("Math._IntegerGMP").IntegerGMP
    number = int.from_bytes(b"x" * 256, "big")
    left, _ = grown(lambda _: int(theirs(number)), 300)
    if sys.modules[module("Math").__name__.partition(".")[0]].version_info[:2] < (3, 12):
        assert left > 256
    assert grown(lambda _: int(module("Math.Numbers").Integer(number)), 300)[0] < 8


def rss() -> int:
    """KiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


MANY = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/unit", sys.argv[1] + "/tests"]
from test_signer_integers import key_of, rss
sign = key_of(sys.argv[2]).sign
for number in range(500):
    sign(b"%d" % number)
before = rss()
for number in range(20000):
    sign(b"%d" % number)
print(rss() - before)
"""


def test_twenty_thousand_signatures() -> None:
    """It was 50 MiB.  A process of its own, whose memory nothing else makes grow."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([PYTHON, "-IB", "-c", MANY, str(root), "EC:P-256"], capture_output=True,
                          text=True, timeout=300, check=True)
    assert int(done.stdout) < 512, "KiB"
