"""Certificates and CSRs spoiled at each octet, large, deep."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.x509 import build, certificate, csr, ext, parse, refused, tlv
from letsencrypt_tiny.common.x509.certificate import parse_certificate
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.common.x509.der import X509Error
from letsencrypt_tiny.common.x509.fields import MAX_DER


@pytest.mark.parametrize("which", ["certificate", "request"])
def test_mutations(which: str) -> None:
    """Whatever is done to any byte, X509Error is all that comes out, and soon."""
    names = "subjectAltName=DNS:example.org,IP:192.0.2.1,IP:2001:db8::1,email:a@example.org"
    read: Callable[[bytes], object]
    if which == "certificate":
        data, read = parse(certificate(names, "authorityKeyIdentifier=keyid:always")).der, \
            parse_certificate
    else:
        data, read = csr(names, subject="/CN=a/CN=b"), parse_csr
    original = read(data)
    begun = time.process_time()
    refusals = changed = 0
    for at, octet in enumerate(data):
        refused(read, data[:at])
        mutants = [data[:at] + bytes([new]) + data[at + 1:]
                   for new in {octet ^ bit for bit in (1, 2, 4, 8, 16, 32, 64, 128)}
                   | {0, 127, 128, 129, 130, 255} - {octet}]
        mutants += [data[:at] + data[at + 1:], data[:at] + b"\0" + data[at:],
                    data[:at] + data[at:at + 1] + data[at:]]
        for mutant in mutants:
            try:
                parsed: Any = read(mutant)
            except X509Error as exc:
                assert str(exc).isprintable() and len(str(exc)) < 400
                refusals += 1
            else:
                assert parsed.der == mutant and parsed != original
                changed += 1
    refused(read, data + b"\0")
    assert refusals > len(data) and changed > 0
    assert time.process_time() - begun < 30


@pytest.mark.parametrize("extension", [
    tlv(0x30, *(tlv(0x82, b"a") for _ in range(16000))), b"\0" * 64000, b"\x30\0" * 32000,
    b"\x30\x80" * 32000, b"\x82\x82" * 32000, tlv(0x30, *[b"\x82\0"] * 32000),
    tlv(0x30, tlv(0x82, b"." * 64000)), tlv(0x30, tlv(0x87, b"." * 64000)),
    tlv(0x30, *(tlv(0x81, b"") for _ in range(32000)))])
def test_large_and_slow(extension: bytes) -> None:
    """As much work as 64 kB can make."""
    begun = time.process_time()
    data = build(extensions=[ext("2.5.29.17", extension)])
    assert 40000 < len(data) < MAX_DER
    for read in (parse_certificate, parse_csr):
        try:
            read(data)
        except X509Error as exc:
            assert len(str(exc)) < 400
    assert time.process_time() - begun < 1


def test_nesting_and_size() -> None:
    """Depth costs nothing, and there is an end to length."""
    deep = b""
    while len(deep) < 60000:
        deep = tlv(0x30, deep)
    for data in (deep, build(issuer=deep), build(subject=deep), build(spki=deep)):
        try:
            assert parse_certificate(data).der == data
        except X509Error:
            pass
    assert parse_certificate(build(extensions=[ext("1.2.3", bytes(60000))])).names == ()
    assert "65536" in refused(parse_certificate, build(extensions=[ext("1.2", bytes(65536))]))
    assert "65536" in refused(parse_csr, bytes(50_000_000))
