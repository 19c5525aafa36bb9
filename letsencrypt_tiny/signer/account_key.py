"""The account key: loads, generates, signs.

======================  =====  ==============================================
RSA, 2048 … 8192 bits   RS256  RSASSA-PKCS1-v1_5, SHA-256 (RFC 7518 §3.3)
EC, P-256               ES256  ECDSA, SHA-256, R and S of 32 bytes (§3.4)
EC, P-384               ES384  ECDSA, SHA-384, R and S of 48 bytes (§3.4)
======================  =====  ==============================================
"""

import binascii
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ..common import log
from ..common.errors import Error, UsageError
from ..common.pycryptodome import module as _module
from ..common.wire import jose
from . import integers

KINDS = ("rsa:2048", "rsa:3072", "rsa:4096", "ec:P-256", "ec:P-384")
TRIES = 3

_ACCEPTED = "account keys are RSA of 2048 to 8192 bits, EC on P-256 or on P-384"
_RSA, _EC = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"
_OTHERS = {"1.3.101.112": "Ed25519", "1.3.101.113": "Ed448", "1.3.101.110": "X25519",
           "1.3.101.111": "X448", "1.2.840.10040.4.1": "DSA", "1.2.840.113549.1.1.10": "RSA-PSS"}
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.S)
integers.go_round()

# What pycryptodome raises where a key makes no sense
_MALFORMED = (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)


class _Curve(NamedTuple):
    alg: str
    size: int  # bytes of a coordinate
    hash: str


_CURVES = {"P-256": _Curve("ES256", 32, "SHA256"), "P-384": _Curve("ES384", 48, "SHA384")}


# Who signs a digest with a key that is not here: in DER, where it is ECDSA.  Raises Error.
Elsewhere = Callable[[bytes], bytes]


class _Remote:
    """What pycryptodome's schemes do, by somebody else; ``size`` of ECDSA's numbers, or 0."""

    def __init__(self, elsewhere: Elsewhere, size: int) -> None:
        self._elsewhere = elsewhere
        self._size = size

    def sign(self, hashed: Any) -> bytes:
        """Return the signature of what was hashed."""
        signature = self._elsewhere(hashed.digest())
        if not self._size:
            return signature
        # RFC 7518 §3.4 has them one after the other, RFC 3279 §2.2.3 in a SEQUENCE
        numbers = _module("Util.asn1").DerSequence().decode(signature, nr_elements=2,
                                                            only_ints_expected=True)
        return b"".join(number.to_bytes(self._size, "big") for number in numbers)


class AccountKey:
    """A private key: ``alg`` (RFC 7518 §3.1), ``jwk`` (public), ``thumbprint``, ``kind``."""

    def __init__(self, key: Any, elsewhere: Elsewhere | None = None) -> None:
        """Raises Error, saying what is wrong with ``key``, if it is of no use here.

        It is a public one if there is somebody ``elsewhere`` who signs.
        """
        self._elsewhere = elsewhere
        self._hash: Any
        self._scheme: Any
        if hasattr(key, "n"):
            self._use_rsa(key)
        else:
            self._use_ec(key)
        self.thumbprint = jose.thumbprint(self.jwk)

    def _use_rsa(self, key: Any) -> None:
        bits = key.size_in_bits()
        if not 2048 <= bits <= 8192:
            raise Error(f"an RSA key of {bits} bits; {_ACCEPTED}")
        self.alg, self.kind = "RS256", f"RSA {bits} bits"
        # RFC 7518 §6.3.1: in the least number of octets
        self.jwk: dict[str, Any] = {
            "kty": "RSA",
            **{name: jose.encode_text(value.to_bytes((value.bit_length() + 7) // 8, "big"))
               for name, value in (("n", int(key.n)), ("e", int(key.e)))}}
        self._hash = _module("Hash.SHA256")
        pkcs1_15 = _module("Signature.pkcs1_15")
        self._scheme = pkcs1_15.new(key) if self._elsewhere is None else \
            _Remote(self._elsewhere, 0)
        self._prove(pkcs1_15.new(key.publickey()))

    def _use_ec(self, key: Any) -> None:
        name = str(key.curve).replace("NIST ", "")
        curve = _CURVES.get(name)
        if curve is None:
            raise Error(f"an EC key on {name}; {_ACCEPTED}")
        self.alg, self.kind = curve.alg, f"EC {name}"
        # RFC 7518 §6.2.1.2: in as many octets as the curve has
        self.jwk = {"kty": "EC", "crv": name,
                    **{name: jose.encode_text(int(value).to_bytes(curve.size, "big"))
                       for name, value in (("x", key.pointQ.x), ("y", key.pointQ.y))}}
        self._hash = _module(f"Hash.{curve.hash}")
        integers.go_round_coordinates(key.pointQ)
        # RFC 6979: ECDSA with a random number that is ever repeated, or just biased, gives the
        # key away; this asks no random number generator
        dss = _module("Signature.DSS")
        self._scheme = dss.new(key, "deterministic-rfc6979", encoding="binary") \
            if self._elsewhere is None else _Remote(self._elsewhere, curve.size)
        self._prove(dss.new(key.public_key(), "fips-186-3", encoding="binary"))

    def _prove(self, verifier: Any) -> None:
        """Sign once: shows a damaged key, and loads what pycryptodome loads at first use."""
        hashed = self._hash.new(b"letsencrypt-tiny")
        try:
            verifier.verify(hashed, self._scheme.sign(hashed))
        except _MALFORMED as exc:
            raise Error("a damaged key: its private and public part don't fit") from exc

    def sign(self, data: bytes) -> bytes:
        """Return the JWS signature of ``data``.  May be called by several threads at once.

        Raises MemoryError.
        """
        try:
            signature: bytes = self._scheme.sign(self._hash.new(data))
        except ValueError as exc:
            if "Error 2 " in str(exc):   # pycryptodome's C code knows no other way to say it
                raise MemoryError(str(exc)) from exc
            raise
        return signature


def load(text: bytes, where: str, ask: Callable[[str], bytes]) -> AccountKey:
    """Return the key whose PEM text is ``text``: PKCS#1, PKCS#8 or SEC1, encrypted or not.

    ``where`` is for messages; ``ask(prompt)`` returns a passphrase.  Raises Error.
    """
    return load_both(text, where, ask)[0]


def load_both(text: bytes, where: str, ask: Callable[[str], bytes]) -> tuple[AccountKey, Any]:
    """Return what ``load`` does, and pycryptodome's key, which can be written anew (``export``)."""
    blocks = [match for match in _BLOCK.finditer(text.decode("latin-1"))
              if match.group(1) != "EC PARAMETERS"]
    block = next((match for match in blocks if match.group(1).endswith("PRIVATE KEY")), None)
    try:
        if block is None:
            raise Error(f"not a private key but a {blocks[0].group(1).lower()}" if blocks
                        else "not a private key in PEM format")
        label, pem = block.group(1), block.group(0)
        if label == "ENCRYPTED PRIVATE KEY" or "Proc-Type: 4,ENCRYPTED" in pem:
            key = _decrypt(label, pem, where, ask)
            return AccountKey(key), key
        try:
            key = _parse(label, pem)
            return AccountKey(key), key
        except _MALFORMED as exc:
            raise Error(f"a malformed {label.lower()} ({log.printable(exc, 100)})") from exc
    except Error as exc:
        raise Error(f"{where}: {exc}") from exc


def of_token(spki: bytes, where: str, elsewhere: Elsewhere) -> AccountKey:
    """Return the key that signs ``elsewhere``; ``spki`` is its SubjectPublicKeyInfo (DER).

    ``where`` is for messages.  Raises Error.
    """
    try:
        asn1 = _module("Util.asn1")
        algorithm = asn1.DerSequence().decode(asn1.DerSequence().decode(spki)[0])[0]
        kind = str(asn1.DerObjectId().decode(algorithm).value)
        if kind not in (_RSA, _EC):
            raise Error(f"a key of kind {_OTHERS.get(kind, kind)}; {_ACCEPTED}")
        return AccountKey(_module("PublicKey.RSA" if kind == _RSA else "PublicKey.ECC")
                          .import_key(spki), elsewhere)
    except _MALFORMED as exc:
        raise Error(f"{where}: not a public key ({log.printable(exc, 100)})") from exc
    except Error as exc:
        raise Error(f"{where}: {exc}") from exc


def _decrypt(label: str, pem: str, where: str, ask: Callable[[str], bytes]) -> Any:
    for _ in range(TRIES):
        passphrase = ask(f"Passphrase of {where}: ")
        try:
            return _parse(label, pem, passphrase)
        except _MALFORMED:
            log.warning(f"{where}: wrong passphrase")
    raise Error("cannot be decrypted: wrong passphrase, or encrypted in an unknown way "
                "(“openssl pkey” can convert it)")


def _parse(label: str, pem: str, passphrase: bytes | None = None) -> Any:
    """Return pycryptodome's key.  Raises one of _MALFORMED; Error for a kind we don't take."""
    if passphrase is not None and label != "ENCRYPTED PRIVATE KEY":
        der = _module("IO.PEM").decode(pem, passphrase)[0]  # “DEK-Info” lines
    else:
        der = binascii.a2b_base64(pem.split("-----")[2])
    if label == "RSA PRIVATE KEY":
        return _parse_rsa(der)
    if label == "EC PRIVATE KEY":
        return _module("PublicKey.ECC").import_key(der)
    if label == "ENCRYPTED PRIVATE KEY":
        algorithm, key, _ = _module("IO.PKCS8").unwrap(der, passphrase)
    elif label == "PRIVATE KEY":
        algorithm, key = _unwrap(der)
        passphrase = None
    else:
        raise Error(f"a key of kind {label.removesuffix(' PRIVATE KEY')}; {_ACCEPTED}, in PEM "
                    "format (PKCS#1, PKCS#8, SEC1)")
    if algorithm == _RSA:
        return _parse_rsa(key)
    if algorithm == _EC:
        return _module("PublicKey.ECC").import_key(der, passphrase)  # the curve is outside ``key``
    raise Error(f"a key of kind {_OTHERS.get(algorithm, algorithm)}; {_ACCEPTED}")


def _unwrap(der: bytes) -> "tuple[str, bytes]":
    """Return the algorithm and the key of a PrivateKeyInfo (RFC 5208 §5).

    pycryptodome's own function for it loads all its ciphers, which takes 10 ms.
    """
    asn1 = _module("Util.asn1")
    info = asn1.DerSequence().decode(der)
    algorithm = asn1.DerSequence().decode(info[1])
    return (str(asn1.DerObjectId().decode(algorithm[0]).value),
            bytes(asn1.DerOctetString().decode(info[2]).payload))


def _parse_rsa(der: bytes) -> Any:
    """Return the key of an RSAPrivateKey (RFC 8017 §A.1.2).

    pycryptodome's own function for it tests whether the primes are, which takes 100 ms with 4096
    bits; that the key makes good signatures is shown later.
    """
    version, *numbers = _module("Util.asn1").DerSequence().decode(
        der, nr_elements=9, only_ints_expected=True)
    if version != 0:
        raise ValueError("more than two primes")
    return _module("PublicKey.RSA").construct(numbers[:5], consistency_check=False)


def check_kind(kind: str) -> None:
    """Raise UsageError unless ``kind`` is one of the KINDS."""
    if kind not in KINDS:
        raise UsageError(f"--genkey={kind}: not one of {', '.join(KINDS)}")


def generate(kind: str) -> bytes:
    """Return the PEM text (PKCS#8) of a new key of one of the KINDS.

    RSA 4096 takes pycryptodome some 4 seconds, at times 10: once in years, and so no other
    program gets to see the key.
    """
    method, _, parameter = kind.partition(":")
    return export(_module("PublicKey.RSA").generate(int(parameter)) if method == "rsa" else
                  _module("PublicKey.ECC").generate(curve=parameter))


def export(key: Any) -> bytes:
    """Return the PEM text (PKCS#8) of pycryptodome's private ``key``."""
    if hasattr(key, "n"):
        text: bytes = key.export_key("PEM", pkcs=8)
        return text + b"\n"
    pem: str = key.export_key(format="PEM", use_pkcs8=True)
    return pem.encode("ascii") + b"\n"
