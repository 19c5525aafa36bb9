"""base64url, thumbprints and signing inputs: the RFCs' own examples, and what isn't canonical."""

import os
from typing import Any

import pytest

from letsencrypt_tiny.common.wire import jose
from letsencrypt_tiny.common.errors import ProtocolError

# RFC 7638 §3.1
RSA = {
    "kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tS"
         "oc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65"
         "YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyr"
         "dkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
         "nqDKgw"}


def test_thumbprint_of_rfc_7638() -> None:
    assert jose.thumbprint(RSA) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_thumbprint_of_rfc_8037() -> None:
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert jose.thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("key", [
    {}, {"kty": "oct", "k": "AA"}, {"kty": "rsa", "e": "AQAB", "n": "AA"},
    {"kty": "RSA", "e": "AQAB"}, {"kty": "RSA", "e": 65537, "n": "AA"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": None},
    {"kty": None}, {"kty": ["RSA"]}, {"kty": {"RSA": 1}}, {"kty": 1}])
def test_what_has_no_thumbprint(key: Any) -> None:
    with pytest.raises(ProtocolError):
        jose.thumbprint(key)


@pytest.mark.parametrize("data, text", [
    (b"", b""), (b"\0", b"AA"), (b"\xff\xee", b"_-4"), (b"\xfb\xff\xbf", b"-_-_"),
    # RFC 7515 appendix C
    (bytes([3, 236, 255, 224, 193]), b"A-z_4ME")])
def test_base64url(data: bytes, text: bytes) -> None:
    assert jose.encode(data) == text and jose.decode(text) == data
    assert jose.encode_text(data) == text.decode()


def test_round_trip_of_every_length() -> None:
    for length in range(100):
        data = os.urandom(length)
        assert jose.decode(jose.encode(data)) == data


@pytest.mark.parametrize("text", [
    b"A", b"AAAAA", b"AA==", b"AAA=", b"AA\n", b"\nAA", b"A A", b"+A", b"A/", b"AB", b"A-", b"AAB",
    b"AA\0", b"\xc3\xa4AA", b"AA.AA", b"AA\r\n"])
def test_base64url_that_is_not_canonical(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        jose.decode(text)


def test_canonical_json() -> None:
    assert jose.canonical_json({"n": "b", "e": "a", "kty": "RSA"}) == \
        b'{"e":"a","kty":"RSA","n":"b"}'


def test_signing_input() -> None:
    text = jose.signing_input(b'{"alg":"RS256"}', b"{}")
    assert text == b"eyJhbGciOiJSUzI1NiJ9.e30"
    assert jose.parse_signing_input(text) == (b'{"alg":"RS256"}', b"{}")
    # POST-as-GET (RFC 8555 §6.3)
    assert jose.parse_signing_input(b"eyJhbGciOiJSUzI1NiJ9.") == (b'{"alg":"RS256"}', b"")


@pytest.mark.parametrize("text", [
    b"", b".", b"AA", b".AA", b"AA.AA.AA", b"AA..", b"AA.AB", b"A.AA", b"AA. ", b"AA.AA\n",
    b" AA.AA", b"AA.AA=="])
def test_what_is_no_signing_input(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        jose.parse_signing_input(text)
