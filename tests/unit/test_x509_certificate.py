"""Certificates: what openssl makes and says of them, and what no CA would send."""

import calendar
import re
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.ca import openssl
from harness.x509 import (DNS, EXT_REQ, FIELDS, KINDS, SIGNATURE, SPKI, V3, attribute, build,
                          build_csr, certificate, common_name, csr, ext, key, names_of, oid, parse,
                          refused, san, say, tlv)
from letsencrypt_tiny.common.x509.certificate import Certificate, parse_certificate, parse_chain
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.common.x509.der import encode_pem

# RFC 9773, appendix A
ARI = b"""-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
"""


def agree(pem: bytes) -> Certificate:
    """Read a certificate and compare all of it with what openssl says."""
    parsed = parse(pem)
    said = dict(line.split("=", 1) for line in say(
        pem, "-serial", "-startdate", "-enddate", "-dateopt", "iso_8601",
        "-fingerprint", "-sha256").splitlines())
    assert int.from_bytes(parsed.serial, "big", signed=True) == int(said["serial"], 16)
    for moment, date in ((parsed.not_before, "notBefore"), (parsed.not_after, "notAfter")):
        assert moment == calendar.timegm(time.strptime(
            said[date].strip().zfill(20), "%Y-%m-%d %H:%M:%SZ"))
    assert sha256(parsed.der).hexdigest() == said["sha256 Fingerprint"].replace(":", "").lower()
    text = say(pem, "-text")
    assert tuple(name for name in parsed.names if name[0] != "other") == names_of(text)
    assert parsed.is_ca == ("CA:TRUE" in text)
    aki = re.search(r"Authority Key Identifier: ?\n\s+(?:keyid:)?([0-9A-F:]+)\n", text)
    assert parsed.aki == (bytes.fromhex(aki[1].replace(":", "")) if aki else None)
    assert parsed.spki == openssl("pkey", "-pubin", "-outform", "DER",
                                  stdin=say(pem, "-pubkey").encode())
    assert len(parsed.extensions) == len(set(parsed.extensions))
    return parsed


# --- what openssl makes ---

@pytest.mark.parametrize("kind", KINDS)
def test_certificate(kind: str) -> None:
    """Every kind of key; names of both kinds; extensions in their order."""
    parsed = agree(certificate(
        "subjectAltName=DNS:example.org,DNS:*.Example.NET,DNS:_a.xn--bcher-kva.example,"
        "IP:192.0.2.1,IP:2001:db8:0:0:1:0:0:1,IP:2001:db8::,IP:::1,IP:2001:db8:0:1:1:1:1:1",
        "keyUsage=critical,digitalSignature", "basicConstraints=critical,CA:FALSE", kind=kind))
    assert parsed.common_names == ("example.org",) and not parsed.is_ca
    assert parsed.names == (
        ("dns", "example.org"), ("dns", "*.example.net"), ("dns", "_a.xn--bcher-kva.example"),
        ("ip", "192.0.2.1"), ("ip", "2001:db8::1:0:0:1"), ("ip", "2001:db8::"), ("ip", "::1"),
        ("ip", "2001:db8:0:1:1:1:1:1"))
    assert set(parsed.extensions) >= {"2.5.29.17", "2.5.29.15", "2.5.29.19"}
    assert parsed.subject == parsed.issuer and parsed.subject[:1] == b"\x30"


def test_other_names_are_kept_apart() -> None:
    """A mail address is not taken for a host name."""
    parsed = agree(certificate("subjectAltName=email:a@example.org,URI:https://example.org/,"
                               "RID:1.2.3.4,DNS:example.org"))
    assert parsed.names == (
        ("other", (b"\x81\x0d" + b"a@example.org").hex()),
        ("other", (b"\x86\x14" + b"https://example.org/").hex()),
        ("other", "88032a0304"), ("dns", "example.org"))


@pytest.mark.parametrize("serial", ["0", "1", "127", "128", "-1", "-128", "-129", "255",
                                    "0x7fffffffffffffffffffffffffffffffffffffff",
                                    "0xffffffffffffffffffffffffffffffffffffffff",
                                    "-0x123456789abcdef0123456789abcdef012345678"])
def test_serial(serial: str) -> None:
    """The octets are those of the DER, with its sign."""
    value = int(serial, 0)
    parsed = agree(certificate(options=("-days", "1", "-set_serial", serial)))
    octets = (value + (value < 0)).bit_length() // 8 + 1
    assert parsed.serial == value.to_bytes(octets, "big", signed=True)


@pytest.mark.parametrize("subject, common_names", [
    ("/", ()), ("/C=DE/O=Example/OU=x", ()),
    ("/CN=a.example/CN=b.example/O=c/CN=d.example", ("a.example", "b.example", "d.example")),
    ("/O=x+CN=multi.example+OU=y", ("multi.example",)), ("/CN=Bücher €", ("Bücher €",))])
def test_common_names(subject: str, common_names: tuple[str, ...]) -> None:
    """All of them, in their order, wherever they stand."""
    assert agree(certificate(subject=subject)).common_names == common_names
    assert parse_csr(csr(subject=subject)).common_names == common_names


@pytest.mark.parametrize("days", ["1", "45", "3650", "20000", "100000"])
def test_dates(days: str) -> None:
    """UTCTime before 2050 and GeneralizedTime from then on."""
    parsed = agree(certificate(options=("-days", days)))
    assert parsed.not_after - parsed.not_before == int(days) * 86400


def test_chain_and_authority_key_identifier(tmp_path: Path) -> None:
    """A leaf and its issuer, as a server sends them."""
    root = certificate("subjectKeyIdentifier=hash", "basicConstraints=critical,CA:TRUE,pathlen:3",
                       kind="rsa:2048", subject="/CN=Root")
    (tmp_path / "root.pem").write_bytes(root)
    (tmp_path / "root.key").write_text(key("rsa:2048"))
    (tmp_path / "ext").write_text("subjectAltName=DNS:example.org\n"
                                  "authorityKeyIdentifier=keyid:always\n")
    text = openssl("req", "-inform", "DER", stdin=csr("subjectAltName=DNS:example.org"))
    leaf = openssl("x509", "-req", "-CA", "root.pem", "-CAkey", "root.key", "-days", "9",
                   "-extfile", "ext", "-set_serial", "0x87654321", stdin=text, cwd=tmp_path)
    first, second = parse_chain(b"\n" + leaf + b"\r\n \t\n" + root.replace(b"\n", b"\r\n"))
    assert (first, second) == (agree(leaf), agree(root))
    assert first.issuer == second.subject != first.subject
    assert second.is_ca and not first.is_ca
    ski = say(root, "-ext", "subjectKeyIdentifier").splitlines()[1].replace(":", "")
    assert first.aki == second.ski == bytes.fromhex(ski.strip())
    assert first.serial == bytes.fromhex("0087654321")
    assert agree(certificate(options=("-days", "1", "-addext",
                                      "authorityKeyIdentifier=none"))).aki is None


def test_ari_vector() -> None:
    """RFC 9773 §4.1 and appendix A, whose dates are in the year 1."""
    parsed = agree(ARI)
    assert parsed.aki == bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")
    assert parsed.serial == bytes.fromhex("0087654321")
    assert parsed.common_names == ("example.com",) and parsed.names == ()
    assert parsed.extensions == ("2.5.29.35",)


# --- what we make by hand ---

def test_built_certificate_is_good() -> None:
    """What the next test spoils, openssl reads too."""
    parsed = agree(encode_pem(build(), "CERTIFICATE"))
    assert parsed.names == (("dns", "example.org"),) and parsed.spki == SPKI
    assert parsed.common_names == ("x",)
    for kept in (build(version=b"", extensions=b""),
                 build(version=b"\xa0\x03\x02\x01\x01", extensions=b"", unique=tlv(0x81, b"\0a")),
                 build(unique=tlv(0x81, b"\0a") + tlv(0x82, b"\0b")), build(subject=tlv(0x30))):
        agree(encode_pem(kept))
    aki = "2.5.29.35"
    for value, identifier in ((b"", None), (tlv(0x80, b"k"), b"k"),
                              (tlv(0xa1, DNS) + tlv(0x82, b"\1"), None),
                              (tlv(0x80, b"k") + tlv(0xa1, DNS) + tlv(0x82, b"\1"), b"k")):
        parsed = parse_certificate(build(extensions=[ext(aki, tlv(0x30, value))]))
        assert parsed.aki == identifier
    for value, identifier in ((tlv(4, b"k"), b"k"), (tlv(4), b"")):
        assert parse_certificate(build(extensions=[ext("2.5.29.14", value)])).ski == identifier
    assert parse_certificate(build()).ski is None
    for value in (b"", tlv(3, b"\0k"), tlv(4, b"k") * 2):
        refused(parse_certificate, build(extensions=[ext("2.5.29.14", value)]))
    constraints = ext("2.5.29.19", tlv(0x30, b"\1\1\xff\2\1\0"), critical=b"\1\1\xff")
    assert parse_certificate(build(extensions=[constraints])).is_ca


@pytest.mark.parametrize("changes", [
    dict(after=b"\0"), dict(after=SIGNATURE), dict(signature=b""), dict(signature=tlv(3)),
    dict(signature=tlv(3, b"\1s")), dict(signature=tlv(4, b"\0s")), dict(extra=tlv(0xa4)),
    dict(outer=tlv(0x30, oid("1.2.3"))), dict(outer=tlv(0x30)), dict(algorithm=b""),
    dict(version=b""), dict(version=b"\xa0\0"), dict(version=b"\xa0\3\2\1\0"),
    dict(version=b"\xa0\3\2\1\1"), dict(version=b"\xa0\3\2\1\3"), dict(version=V3 * 2),
    dict(version=b"\xa0\4\2\2\0\2"), dict(version=b"\xa0\6\2\1\2\2\1\2"),
    dict(unique=tlv(0x82) + tlv(0x81)), dict(unique=tlv(0xa3, tlv(0x30, san(DNS)))),
    dict(version=b"", extensions=b"", unique=tlv(0x81, b"\0a")),
    dict(serial=tlv(2)), dict(serial=tlv(2, b"\0\1")), dict(serial=tlv(2, b"\xff\x80")),
    dict(serial=tlv(4, b"\1")), dict(serial=b""), dict(serial=b"\2\x81\1\1"),
    dict(serial=b"\2\x80\1\0\0"), dict(serial=b"\x1f\2\1\1"), dict(serial=b"\2\x84\0\0\0\1\1"),
    dict(serial=b"\2\x83\0\1\0" + b"\1" * 256),
    dict(subject=tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.10"), b"\x1f\2ab")))),
    dict(extensions=[]), dict(extensions=[san(DNS), san(DNS)]), dict(extensions=tlv(0xa3)),
    dict(extensions=tlv(0xa3, tlv(0x30, san(DNS)), b"\0\0")), dict(extensions=[san(DNS), b"\0\0"]),
    dict(extensions=tlv(0xa3, tlv(0x31, san(DNS)))),
    dict(extensions=[ext("1.2.3", b"x", critical=b"\1\1\0")]),
    dict(extensions=[ext("1.2.3", b"x", critical=b"\1\1\1")]),
    dict(extensions=[ext("1.2.3", b"x", critical=b"\1\0")]), dict(extensions=[ext("1.2.3", b"")]),
    dict(extensions=[tlv(0x30, oid("1.2.3"), tlv(4, b"x"), tlv(4, b"x"))]),
    dict(extensions=[tlv(0x30, tlv(4, b"x"), oid("1.2.3"))]),
    dict(extensions=[tlv(0x30, tlv(6), tlv(4, b"x"))]),
    dict(extensions=[tlv(0x30, tlv(6, b"\x80\1"), tlv(4, b"x"))]),
    dict(extensions=[tlv(0x30, tlv(6, b"\x2a\x80\1"), tlv(4, b"x"))]),
    dict(extensions=[tlv(0x30, tlv(6, b"\x2a\x81"), tlv(4, b"x"))]),
    dict(extensions=[tlv(0x30, tlv(6, b"\xff" * 60000 + b"\1"), tlv(4, b"x"))]),
    dict(subject=common_name(tlv(0x0c))), dict(subject=common_name(tlv(0x0c, b"a\0b"))),
    dict(subject=common_name(tlv(0x0c, b"a\nb"))), dict(subject=common_name(tlv(0x0c, b"\xff"))),
    dict(subject=common_name(tlv(0x0c, "\x9b1m".encode()))), dict(subject=common_name(b"")),
    dict(subject=common_name(tlv(0x0c, "\u202egro".encode()))),
    dict(subject=common_name(tlv(0x13, b"\xe9"))), dict(subject=common_name(tlv(0x1e, b"abc"))),
    dict(subject=common_name(tlv(0x1e, b"\xd8\0"))), dict(subject=common_name(tlv(4, b"abc"))),
    dict(subject=common_name(tlv(0x0c, b"a") * 2)), dict(subject=tlv(0x30, tlv(0x31))),
    dict(subject=tlv(0x30, tlv(0x30))), dict(subject=tlv(0x30, tlv(0x31, tlv(0x31)))),
    dict(subject=tlv(0x30, tlv(0x31, tlv(0x30)))), dict(subject=tlv(0x31)),
], ids=str)
def test_structure(changes: dict[str, Any]) -> None:
    """What is not DER, or not a certificate, is refused."""
    refused(parse_certificate, build(**changes))


@pytest.mark.parametrize("name", [
    b"", tlv(0x82), tlv(0x82, b"."), tlv(0x82, b"a..b"), tlv(0x82, b".a"), tlv(0x82, b"a."),
    tlv(0x82, b"a b"), tlv(0x82, b"a\0.b"), tlv(0x82, b"a\n"), tlv(0x82, b"\xe9.org"),
    tlv(0x82, b"\x1b[1m"), tlv(0x82, b"*"), tlv(0x82, b"*."), tlv(0x82, b"*.*.a"),
    tlv(0x82, b"a.*.b"), tlv(0x82, b"w*.b"), tlv(0x82, b"a,DNS:b"), tlv(0x82, b"a/b"),
    tlv(0x82, b"a" * 64), tlv(0x82, b"a." * 127), tlv(0x82, b"a." * 126 + b"bc"),
    tlv(0x87), tlv(0x87, bytes(3)),
    tlv(0x87, bytes(5)), tlv(0x87, bytes(8)), tlv(0x87, bytes(32)), tlv(0x89, b"a"),
    tlv(0x0c, b"a"), tlv(0xa2, b"a"), DNS + b"\0\0", DNS + b"\x82", b"\x82\x80a\0\0",
    b"\x82\x81\1a", b"\x82\x82\0\1a", b"\x82\x83\0\0\1a", b"\x82\xff" + b"a" * 127], ids=repr)
def test_bad_names(name: bytes) -> None:
    """Neither a host name nor an address: no other reading of it may get through."""
    refused(parse_certificate, build(extensions=[san(name)]))
    refused(parse_csr, build_csr(attribute(EXT_REQ, tlv(0x30, san(name)))))


@pytest.mark.parametrize("extension", [
    ext("2.5.29.17", DNS), ext("2.5.29.17", tlv(0x30, DNS) + b"\0"),
    ext("2.5.29.17", tlv(0x30, DNS) * 2),
    ext("2.5.29.19", tlv(0x30, b"\1\1\0")), ext("2.5.29.19", tlv(0x30, b"\2\1\0")),
    ext("2.5.29.19", tlv(0x30, b"\1\1\1")), ext("2.5.29.19", tlv(0x30, b"\1\1\xff") + b"\0\0"),
    ext("2.5.29.19", tlv(0x30, b"\1\1\xff\1\1\xff")), ext("2.5.29.19", b"\1\1\xff"),
    ext("2.5.29.35", tlv(0x30, tlv(0x82, b"\1"))), ext("2.5.29.35", tlv(0x30, tlv(4, b"k"))),
    ext("2.5.29.35", tlv(0x30, tlv(0x80, b"k") * 2)), ext("2.5.29.35", tlv(0x80, b"k")),
], ids=bytes.hex)
def test_bad_extensions(extension: bytes) -> None:
    """The extensions we read are read to their end."""
    refused(parse_certificate, build(extensions=[extension]))


@pytest.mark.parametrize("tag, content, moment", [
    (0x17, b"700101000000Z", 0), (0x17, b"500101000000Z", -631152000),
    (0x17, b"491231235959Z", 2524607999), (0x18, b"20500101000000Z", 2524608000),
    (0x17, b"000229120000Z", 951825600), (0x17, b"240229235959Z", 1709251199),
    (0x18, b"20260101000000Z", 1767225600), (0x18, b"99991231235959Z", 253402300799),
    (0x18, b"00010101000000Z", -62135596800)])
def test_moment(tag: int, content: bytes, moment: int) -> None:
    """Both forms, their pivot year, leap days, both ends of the calendar (RFC 5280 §4.1.2.5)."""
    date = tlv(tag, content)
    parsed = parse_certificate(build(not_before=date, not_after=date))
    assert parsed.not_before == parsed.not_after == moment


def test_every_day() -> None:
    """Two centuries of days, as the C library counts them."""
    for days in range(-25000, 48000, 7):
        date = time.gmtime(days * 86400 + 86399)
        content = time.strftime("%Y%m%d%H%M%SZ", date).encode()
        parsed = parse_certificate(build(not_before=tlv(0x18, content),
                                         not_after=tlv(0x18, content)))
        assert parsed.not_after == days * 86400 + 86399


@pytest.mark.parametrize("tag, content", [
    (0x17, b""), (0x17, b"2601010000Z"), (0x17, b"260101000000"), (0x17, b"260101000000z"),
    (0x17, b"260101000000+0000"), (0x17, b"20260101000000Z"), (0x18, b"260101000000Z"),
    (0x18, b"20260101000000.5Z"), (0x18, b"20260101000000"), (0x18, b"202601010000Z"),
    (0x18, b"20260101000000+"), (0x17, b"260001000000Z"), (0x17, b"261301000000Z"),
    (0x17, b"260100000000Z"), (0x17, b"260132000000Z"), (0x17, b"260229000000Z"),
    (0x18, b"21000229000000Z"), (0x17, b"260431000000Z"), (0x17, b"260101240000Z"),
    (0x17, b"260101006000Z"), (0x17, b"260101000060Z"), (0x17, b"26010100000 Z"),
    (0x17, b"+60101000000Z"), (0x17, b" 60101000000Z"), (0x17, b"26_1_1000000Z"),
    (0x18, "２０".encode() + b"01010000Z"), (0x17, b"\xb260101000000Z"), (0x16, b"260101000000Z"),
    (0x18, bytes(60000))])
def test_bad_dates(tag: int, content: bytes) -> None:
    """Dates that aren't, or aren't in the one form allowed."""
    refused(parse_certificate, build(not_before=tlv(tag, content)))
    refused(parse_certificate, build(not_after=tlv(tag, content)))


def test_validity_runs_forwards() -> None:
    """A certificate doesn't end before it begins."""
    refused(parse_certificate, build(not_after=tlv(0x17, b"251231235959Z")))
    refused(parse_certificate, build(not_after=b""))
    refused(parse_certificate, build(not_after=FIELDS["not_after"] * 2))


def test_texts() -> None:
    """Every string type that a common name may have."""
    for tag, codec in ((0x0c, "utf-8"), (0x14, "latin-1"), (0x1c, "utf-32-be"),
                       (0x1e, "utf-16-be")):
        parsed = parse_certificate(build(subject=common_name(tlv(tag, "Fuß".encode(codec)))))
        assert parsed.common_names == ("Fuß",)
    parsed = parse_certificate(build(subject=common_name(tlv(0x13, b"a b"))))
    assert parsed.common_names == ("a b",)
