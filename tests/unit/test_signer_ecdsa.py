"""ECDSA by nonces of RFC 6979: its own examples, and what is blinded.

That signatures are pycryptodome's is in test_signer_integers.py.
"""

from typing import Any

import pytest

from letsencrypt_tiny.common.pycryptodome import module
from letsencrypt_tiny.signer import ecdsa

# RFC 6979 §A.2.5, §A.2.6: curve, hash, private key, nonces and signatures of “sample” and “test”
EXAMPLES = [
    ("P-256", "sha256", "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721", {
        b"sample": ("A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60",
                    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
                    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"),
        b"test": ("D16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0",
                  "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
                  "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083")}),
    ("P-384", "sha384",
     "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8"
     "96D5724E4C70A825F872C9EA60D2EDF5", {
        b"sample": ("94ED910D1A099DAD3254E9242AE85ABDE4BA15168EAF0CA87A555FD56D10FBCA"
                    "2907E3E83BA95368623B8C4686915CF9",
                    "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C"
                    "81A648152E44ACF96E36DD1E80FABE46",
                    "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94F"
                    "A329C145786E679E7B82C71A38628AC8")})]


def made(curve: str, hash_name: str, number: str) -> ecdsa.Ecdsa:
    key = module("PublicKey.ECC").construct(curve=curve, d=int(number, 16))
    return ecdsa.Ecdsa(key, hash_name)


def hashed(hash_name: str, text: bytes) -> Any:
    return module(f"Hash.{hash_name.upper()}").new(text)


@pytest.mark.parametrize("curve, hash_name, number, texts", EXAMPLES)
def test_examples_of_the_rfc(curve: str, hash_name: str, number: str,
                             texts: dict[bytes, tuple[str, str, str]]) -> None:
    scheme = made(curve, hash_name, number)
    for text, (nonce, r, s) in texts.items():
        what = hashed(hash_name, text)
        assert scheme._nonce(what.digest()) == int(nonce, 16)
        assert scheme.sign(what).hex().upper() == r + s


def test_digests_beyond_the_order() -> None:
    """One in 2**32 of P-256 is, and its nonce is that of what is left (§2.3.4)."""
    scheme = made(*EXAMPLES[0][:3])
    theirs = module("Signature.DSS").new(
        module("PublicKey.ECC").construct(curve="P-256", d=scheme._key), "deterministic-rfc6979")
    for number in (scheme._order - 1, scheme._order + 1, scheme._order + 2**200, 2**256 - 1):
        what = hashed("sha256", b"")
        what.digest = lambda number=number: number.to_bytes(32, "big")
        assert scheme.sign(what) == theirs.sign(what)


def test_a_nonce_beyond_the_order_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """§3.2 h.3: the next one is, as of pycryptodome's."""
    scheme = made("P-256", "sha256", "1234")
    theirs = module("Signature.DSS").new(
        module("PublicKey.ECC").construct(curve="P-256", d=scheme._key), "deterministic-rfc6979")
    what, small = hashed("sha256", b""), 2**255   # half of all nonces are beyond it
    monkeypatch.setattr(scheme, "_order", small)
    monkeypatch.setattr(theirs, "_order", module("Math.Numbers").Integer(small))
    for number in range(1, 31):
        what.digest = lambda number=number: number.to_bytes(32, "big")
        assert scheme._nonce(what.digest()) == int(theirs._compute_nonce(what))


def test_nothing_is_done_with_key_or_nonce_that_is_not_blinded(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """By another number each time, which makes no other signature."""
    scheme = made(*EXAMPLES[0][:3])
    inverted: list[int] = []

    def power(base: int, exponent: int, modulus: int) -> int:
        inverted.append(base)
        return pow(base, exponent, modulus)
    monkeypatch.setattr(ecdsa, "pow", power, raising=False)
    what = hashed("sha256", b"sample")
    assert len({scheme.sign(what) for _ in range(20)}) == 1
    nonce = scheme._nonce(what.digest())
    assert len(set(inverted)) == 20 and all(number % nonce == 0 for number in inverted)
    assert nonce not in inverted


def test_blinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 1 to the order less 1: what is not among them is not brought there by a division,
    which would make some likelier than others."""
    scheme = made(*EXAMPLES[0][:3])
    order = scheme._order
    numbers = [0, order, order + 7, 2**256 - 1, order - 1, 1]
    monkeypatch.setattr(ecdsa.os, "urandom", lambda size: numbers.pop(0).to_bytes(size, "big"))
    assert (scheme._blind(), scheme._blind()) == (order - 1, 1)
