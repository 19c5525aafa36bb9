"""--import: the account key of another client becomes ours.

It comes in PEM format, as most have it, or as a JSON Web Key (RFC 7517), as certbot has it, and is
written as --genkey writes a new one: PKCS#8, mode 0600 from its first moment, never over another
key, and to disk.
"""

import os
import sys
from typing import Any

from ..common.errors import Error, ProtocolError, UsageError
from ..common.pycryptodome import module as _module
from ..common.wire import jose
from ..common.wire.jsonfields import JsonObject, get_str, parse_object
from ..common.wire.taken import OTHER, SAME, TAKEN, WOULD_BE_TAKEN, Taken, format_taken
from . import account_key, keyfile
from .account_key import AccountKey
from .config import KeySource

_BITS = 8192   # of the largest RSA key that account_key.py takes
# What pycryptodome raises where the numbers of a key make no sense
_MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


def take(other: str, place: KeySource, dry_run: bool) -> int:
    """Write the key that is at ``other`` where ``place`` says, unless it is there, and tell what
    has become of it; return the exit status: 1 where there is another key already.

    Raises Error, UsageError.
    """
    source = _source(other)
    if place.method != "file":
        raise UsageError(f"--import writes to the path of --privkey=file:PATH, not to {place}")
    key, text = read(keyfile.read(source, [], False), str(source))
    if os.path.lexists(place.where):
        ours = account_key.load(keyfile.read(place, [], False), str(place),
                                keyfile.ask_passphrase)
        state = SAME if ours.thumbprint == key.thumbprint else OTHER
    else:
        directory = keyfile.check_new(place.where, f"--import={other}")
        try:
            if not dry_run:
                keyfile.write_new(directory, place.where, text)
        finally:
            os.close(directory)
        state = WOULD_BE_TAKEN if dry_run else TAKEN
    sys.stdout.write(format_taken(Taken(state, place.where, key.kind, key.thumbprint)))
    return 1 if state == OTHER else 0


def read(text: bytes, where: str) -> tuple[AccountKey, bytes]:
    """Return the key that ``text`` is, PEM or JWK, and its PEM text (PKCS#8).

    ``where`` is for messages, in which nothing of the key is.  Raises Error.
    """
    if text.lstrip()[:1] != b"{":
        key, raw = account_key.load_both(text, where, _nobody)
        return key, account_key.export(raw)
    try:
        raw = _construct(parse_object(text, "the JSON Web Key", keyfile.MAX_SIZE))
        return AccountKey(raw), account_key.export(raw)
    except _MALFORMED as exc:
        raise Error(f"{where}: a malformed JSON Web Key") from exc
    except Error as exc:
        raise Error(f"{where}: {exc}") from exc


def _construct(jwk: JsonObject) -> Any:
    """Return pycryptodome's key of a private JWK (RFC 7518 §6.2.2, §6.3.2)."""
    kind = get_str(jwk, "kty", 10)
    if kind == "RSA":
        numbers = tuple(_number(jwk, name) for name in ("n", "e", "d", "p", "q"))
        if numbers[0].bit_length() > _BITS:   # to see whether its factors are primes takes long
            raise ValueError("a large modulus")
        return _module("PublicKey.RSA").construct(numbers)
    if kind == "EC":
        return _module("PublicKey.ECC").construct(
            curve=get_str(jwk, "crv", 20), d=_number(jwk, "d"), point_x=_number(jwk, "x"),
            point_y=_number(jwk, "y"))
    raise Error("a JSON Web Key that is neither of RSA nor EC")


def _number(jwk: JsonObject, name: str) -> int:
    try:
        return int.from_bytes(jose.decode(get_str(jwk, name).encode("ascii", "replace")), "big")
    except ProtocolError as exc:
        raise Error(f"a malformed JSON Web Key: “{name}”") from exc


def _source(text: str) -> KeySource:
    method, colon, where = text.partition(":")
    if method == "file" and where or method == "fd" and where.isascii() and where.isdigit() \
            and len(where) < 6:
        return KeySource(method, where)
    raise UsageError(f"--import={text}: neither file:PATH nor fd:NUMBER")


def _nobody(_: str) -> bytes:
    raise Error("is encrypted: write it to a file without passphrase first (openssl pkey), or set "
                "privkey in accountd.conf to it")
