"""PEM and object identifiers: as openssl writes them, and as nobody should."""

import os
import time

import pytest

from harness.x509 import build, build_csr, certificate, key, oid, parse, refused
from letsencrypt_tiny.common.x509 import der
from letsencrypt_tiny.common.x509.certificate import parse_chain
from letsencrypt_tiny.common.x509.der import X509Error, encode_pem, pem_blocks

# --- PEM ---

GOOD = encode_pem(build())
ONE = b"-----BEGIN A-----\nAAAA\n-----END A-----\n"


def test_encode_pem() -> None:
    """As openssl writes it; any length; back again."""
    pem = certificate(kind="rsa:2048")
    assert encode_pem(parse(pem).der) == pem
    for size in (*range(1, 100), 1000, 60000):
        data = os.urandom(size)
        pem = encode_pem(data, "X509 CRL")
        assert pem_blocks(pem) == [("X509 CRL", data)]
        assert max(map(len, pem.splitlines())) <= 64 and pem.endswith(b"-----\n")


def test_pem_blocks() -> None:
    """Labels and contents in order; lines between them and their ends don't matter."""
    two = b"subject: x\n\n" + ONE + b"more - text --\n" + ONE.replace(b" A-", b" EC B-")
    blocks = [("A", bytes(3)), ("EC B", bytes(3))]
    assert pem_blocks(two) == blocks
    assert pem_blocks(two.replace(b"\n", b"\r\n")) == blocks
    assert pem_blocks(two.replace(b"\n", b"\r")) == blocks
    assert pem_blocks(two[:-1]) == blocks
    assert pem_blocks(b"no block") == pem_blocks(b"") == []
    assert pem_blocks(ONE.replace(b"AAAA", b"A\nAA\nA")) == blocks[:1]


@pytest.mark.parametrize("text", [
    ONE[:-3], ONE[:-7], ONE[:20], ONE[1:], ONE + b"-----END A-----\n", ONE[18:], b"x" + ONE,
    ONE.replace(b"END A", b"END B"), ONE.replace(b"END A", b"END AA"), ONE.replace(b" A", b" a-a"),
    ONE.replace(b" A", b" "), ONE.replace(b" A", b""), ONE.replace(b" A", b" \xc3\x84"),
    ONE.replace(b" A", b" \x1b[1m"), ONE.replace(b" A", b" " + b"A" * 100),
    ONE.replace(b"\nAAAA\n", b"\n"), ONE.replace(b"\nAAAA\n", b"AAAA\n"),
    ONE.replace(b"AAAA\n", b"AAAA"), ONE.replace(b"\nAAAA\n", b""),
    ONE.replace(b"AAAA", b"AAA"), ONE.replace(b"AAAA", b"AAAAA"), ONE.replace(b"AAAA", b"AAA=="),
    ONE.replace(b"AAAA", b"AAB="), ONE.replace(b"AAAA", b"AA==AA=="), ONE.replace(b"AAAA", b"===="),
    ONE.replace(b"AAAA", b"AA AA"), ONE.replace(b"AAAA", b"AA\0AA"), ONE.replace(b"AAAA", b"AAA-"),
    ONE.replace(b"AAAA", b"AA_A"), ONE.replace(b"AAAA", b"\xff" * 4), b"-----", b"-" * 1000,
    ONE.replace(b"AAAA", b"Proc-Type: 4,ENCRYPTED\n\nAAAA"), ONE.replace(b"AAAA", ONE),
    ONE.replace(b"BEGIN A-----\n", b"BEGIN A-----\n-----BEGIN A-----\n"), ONE * 3 + ONE[:30],
    ONE.replace(b"A-----\n", b"A----- x\n"), ONE[:-1] + ONE, ONE[:-1] + b"x\n",
    ONE.replace(b"BEGIN", b"begin")],
    ids=repr)
def test_bad_pem(text: bytes) -> None:
    """Unbalanced, mislabelled, or not base64."""
    refused(pem_blocks, text)
    refused(parse_chain, text)
    refused(parse_chain, GOOD + text)


def test_chain_holds_certificates_only() -> None:
    """No key, no text, not too many, not none (RFC 8555 §9.1)."""
    assert len(parse_chain(GOOD * 10)) == 10
    assert len(parse_chain(b"\n" + GOOD + b"\n \t\r\n" + GOOD + b"\n\n", most=2)) == 2
    private = key().encode()
    for bad in (b"", b" \n", GOOD * 11, private + GOOD, GOOD + private, b"x\n" + GOOD, GOOD + b"x",
                GOOD + b"# comment\n" + GOOD, GOOD + b"\0", b"\xef\xbb\xbf" + GOOD,
                GOOD.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
                GOOD.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
                encode_pem(build() + b"\0"), encode_pem(build_csr())):
        refused(parse_chain, bad)
    assert "PRIVATE KEY" in refused(parse_chain, GOOD + private)
    with pytest.raises(X509Error):
        parse_chain(GOOD * 3, most=2)


PATTERNS = [b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n", b"-----BEGIN ",
            b"-----BEGIN A-----\n\n-----END A-----\n", b"----- BEGIN", b"-----", b"-", b"\n", b" ",
            b"\0", b"=", b"A", b"A\n", ONE, GOOD]


def test_fifty_megabytes_of_pem() -> None:
    """Larger than any chain: refused at sight."""
    for pattern in PATTERNS:
        for head in (b"", b"-----BEGIN CERTIFICATE-----\n"):
            text = head + pattern * (50_000_000 // len(pattern))
            begun = time.process_time()
            refused(pem_blocks, text)
            refused(parse_chain, text)
            assert time.process_time() - begun < 0.5


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_pem_is_linear(pattern: bytes) -> None:
    """Without the limit too (4 MB)."""
    for head in (b"", b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN "):
        text = head + pattern * (4_000_000 // len(pattern))
        begun = time.process_time()
        try:
            pem_blocks(text, limit=len(text))
        except X509Error as exc:
            assert len(str(exc)) < 400
        assert time.process_time() - begun < 2


def test_object_identifiers() -> None:
    """As they were made; the memory of them is bounded."""
    for dotted in ("0.0", "0.39", "1.0", "1.39", "2.0", "2.5.29.17", "2.47", "2.48", "2.999.3",
                   "1.2.840.113549.1.9.14", "2.25.329800735698586629295641978511506172918",
                   "1.3.6.1.4.1.4294967296.127.128.16383.16384"):
        assert der.oid(oid(dotted)[2:]) == dotted
    for arc in range(1000):
        der.oid(oid(f"1.2.3.{arc}")[2:])
    assert der.oid.cache_info().currsize <= 256
