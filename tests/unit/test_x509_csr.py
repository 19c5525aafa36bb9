"""CSRs: what openssl makes, and what is put together to deceive."""

import pytest

from harness.ca import openssl
from harness.x509 import (DNS, EXT_REQ, KINDS, SPKI, attribute, build, build_csr, csr, key,
                          names_of, oid, refused, san, tlv)
from letsencrypt_tiny.common.x509.certificate import parse_certificate
from letsencrypt_tiny.common.x509.csr import parse_csr


@pytest.mark.parametrize("kind", KINDS)
def test_csr(kind: str) -> None:
    """Key, names, extensions and attributes of a CSR."""
    data = csr("subjectAltName=DNS:Example.org,IP:192.0.2.1,IP:2001:DB8::A",
               "tlsfeature=status_request", "keyUsage=critical,digitalSignature",
               kind=kind, subject="/CN=Example.org")
    parsed = parse_csr(data)
    assert parsed.der == data
    assert parsed.common_names == ("Example.org",)
    assert parsed.names == (("dns", "example.org"), ("ip", "192.0.2.1"), ("ip", "2001:db8::a"))
    text = openssl("req", "-inform", "DER", "-noout", "-text", stdin=data).decode()
    assert parsed.names == names_of(text)
    assert parsed.extensions == ("2.5.29.17", "1.3.6.1.5.5.7.1.24", "2.5.29.15")
    assert parsed.attributes == ("1.2.840.113549.1.9.14",)
    assert parsed.spki == openssl("pkey", "-pubout", "-outform", "DER", stdin=key(kind).encode())
    empty = parse_csr(csr(kind=kind))
    assert empty.extensions == empty.attributes == empty.common_names == ()
    assert empty.names == ()
    assert empty.subject == b"\x30\0"


def test_built_csrs() -> None:
    """Duplicates are refused at each level, other attributes are told."""
    good = attribute(EXT_REQ, tlv(0x30, san(DNS)))
    password = attribute("1.2.840.113549.1.9.7", tlv(0x0c, b"x"))
    parsed = parse_csr(build_csr(password, good))
    assert parsed.attributes == ("1.2.840.113549.1.9.7", EXT_REQ)
    assert parsed.names == (("dns", "example.org"),) and parsed.spki == SPKI
    openssl("req", "-inform", "DER", "-noout", "-text", stdin=build_csr(password, good))
    doubled = build_csr(attribute(EXT_REQ, tlv(0x30, san(DNS), san(tlv(0x82, b"b")))))
    assert "2.5.29.17 occurs twice" in refused(parse_csr, doubled)
    assert EXT_REQ + " occurs twice" in refused(parse_csr, build_csr(good, good))
    for bad in (build_csr(attribute(EXT_REQ, tlv(0x30, san(DNS)), tlv(0x30, san(DNS)))),
                build_csr(password, password), build_csr(attribute(EXT_REQ)),
                build_csr(attribute(EXT_REQ, tlv(0x30))), build_csr(attribute("1.2.3")),
                build_csr(attribute(EXT_REQ, tlv(0x31, san(DNS)))),
                build_csr(tlv(0x30, oid(EXT_REQ), tlv(0x30, san(DNS)))),
                build_csr(tlv(0x30, oid(EXT_REQ))), build_csr(b"\0\0"),
                build_csr(good, version=b"\1"), build_csr(good, version=b""),
                build_csr(good, version=b"\0\0"), build_csr(good, extra=b"\0\0"),
                build_csr(good, tag=0x31), build_csr(good, tag=0xa1),
                build_csr(good) + b"\0", build()):
        refused(parse_csr, bad)
    refused(parse_certificate, build_csr(good))


UNKNOWN = [   # well-formed, of whatever algorithm: the CA will know
    tlv(0x30, tlv(0x30, oid("1.2.3")), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.2.840.10045.2.1"), oid("1.2.3")), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.2.840.10045.2.1"), tlv(0x30)), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.1.1"), b"\5\0"), tlv(3, b"\0\2\1\1"))]
MALFORMED = [
    b"", b"\x30", tlv(0x30), SPKI + b"\0", tlv(0x31, SPKI), tlv(0x30, tlv(0x30), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.3.101.112")), tlv(3)),
    tlv(0x30, tlv(0x30, oid("1.3.101.112")), tlv(3, b"\1k")),
    tlv(0x30, tlv(0x30, oid("1.3.101.112"), b"\5\0", b"\5\0"), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, b"\5\0", oid("1.3.101.112")), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.3.101.112")), tlv(4, b"\0k"))]


@pytest.mark.parametrize("spki", UNKNOWN, ids=bytes.hex)
def test_unknown_keys(spki: bytes) -> None:
    assert parse_csr(build_csr(spki=spki)).spki == spki


@pytest.mark.parametrize("spki", MALFORMED, ids=bytes.hex)
def test_malformed_keys(spki: bytes) -> None:
    """What is no SubjectPublicKeyInfo is no key (RFC 5280 §4.1)."""
    refused(parse_csr, build_csr(spki=spki))
