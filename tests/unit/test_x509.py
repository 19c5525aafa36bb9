"""Certificates and requests: what openssl makes and says of them, and what no CA would send."""

import calendar
import ipaddress
import os
import re
import subprocess
import time
from pathlib import Path
from collections.abc import Callable
from typing import Any

import pytest

from harness.ca import genkey, openssl
from letsencrypt_tiny.common.x509 import der as encodings, certificate as x509
from letsencrypt_tiny.common.x509.certificate import X509Error

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"rsa:2048": "RSA 2048", "rsa:3072": "RSA 3072", "ec:P-256": "EC P-256",
         "ec:P-384": "EC P-384", "ed25519": "Ed25519"}
KEYS: dict[str, str] = {}

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


def key(kind: str = "ec:P-256") -> str:
    """Return a private key in PEM, the same for each kind."""
    if kind not in KEYS:
        KEYS[kind] = genkey(kind)
    return KEYS[kind]


def certificate(*extensions: str, kind: str = "ec:P-256", subject: str = "/CN=example.org",
                options: tuple[str, ...] = ("-days", "90")) -> bytes:
    """Return a self-signed certificate in PEM."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    return openssl("req", "-x509", "-config", "/dev/null", "-key", "/dev/stdin", "-utf8",
                   "-subj", subject, *options, *added, stdin=key(kind).encode())


def request(*extensions: str, kind: str = "ec:P-256", subject: str = "/") -> bytes:
    """Return a certificate request in DER."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    return openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-utf8",
                   "-subj", subject, "-outform", "DER", *added, stdin=key(kind).encode())


def say(pem: bytes, *options: str) -> str:
    """Return what openssl says of a certificate."""
    return openssl("x509", "-noout", *options, stdin=pem).decode()


def parse(pem: bytes) -> x509.Certificate:
    """Read one certificate in PEM."""
    (parsed,) = x509.parse_chain(pem)
    return parsed


def names_of(text: str) -> x509.Names:
    """Return DNS names and addresses of openssl's text of a subjectAltName, in order."""
    found: list[tuple[str, str]] = []
    for kind, value in re.findall(r"(DNS|IP Address):([^,\s]+)", text):
        found.append(("dns", value.lower()) if kind == "DNS"
                     else ("ip", ipaddress.ip_address(value).compressed))
    return tuple(found)


def agree(pem: bytes) -> x509.Certificate:
    """Read a certificate and compare all of it with what openssl says."""
    parsed = parse(pem)
    said = dict(line.split("=", 1) for line in say(
        pem, "-serial", "-startdate", "-enddate", "-dateopt", "iso_8601",
        "-fingerprint", "-sha256").splitlines())
    assert int.from_bytes(parsed.serial, "big", signed=True) == int(said["serial"], 16)
    for moment, date in ((parsed.not_before, "notBefore"), (parsed.not_after, "notAfter")):
        assert moment == calendar.timegm(time.strptime(
            said[date].strip().zfill(20), "%Y-%m-%d %H:%M:%SZ"))
    assert x509.fingerprint(parsed) == said["sha256 Fingerprint"].replace(":", "").lower()
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
    assert x509.key_kind(parsed.spki) == KINDS[kind]
    assert parsed.common_names == ("example.org",) and not parsed.is_ca
    assert parsed.names == (
        ("dns", "example.org"), ("dns", "*.example.net"), ("dns", "_a.xn--bcher-kva.example"),
        ("ip", "192.0.2.1"), ("ip", "2001:db8::1:0:0:1"), ("ip", "2001:db8::"), ("ip", "::1"),
        ("ip", "2001:db8:0:1:1:1:1:1"))
    assert set(parsed.extensions) >= {"2.5.29.17", "2.5.29.15", "2.5.29.19"}
    assert parsed.subject == parsed.issuer and parsed.subject[:1] == b"\x30"
    assert x509.canonical_names(parsed) == frozenset(parsed.names)


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
    assert x509.parse_request(request(subject=subject)).common_names == common_names


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
    csr = openssl("req", "-inform", "DER", stdin=request("subjectAltName=DNS:example.org"))
    leaf = openssl("x509", "-req", "-CA", "root.pem", "-CAkey", "root.key", "-days", "9",
                   "-extfile", "ext", "-set_serial", "0x87654321", stdin=csr, cwd=tmp_path)
    first, second = x509.parse_chain(b"\n" + leaf + b"\r\n \t\n" + root.replace(b"\n", b"\r\n"))
    assert (first, second) == (agree(leaf), agree(root))
    assert first.issuer == second.subject != first.subject
    assert second.is_ca and not first.is_ca
    ski = say(root, "-ext", "subjectKeyIdentifier").splitlines()[1].replace(":", "")
    assert first.aki == bytes.fromhex(ski.strip())
    assert x509.cert_id(first).endswith(".AIdlQyE")
    with pytest.raises(X509Error, match="authority key identifier"):
        x509.cert_id(agree(certificate(options=("-days", "1", "-addext",
                                                "authorityKeyIdentifier=none"))))


def test_ari_vector() -> None:
    """RFC 9773 §4.1 and appendix A, whose dates are in the year 1."""
    parsed = agree(ARI)
    assert x509.cert_id(parsed) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert parsed.serial == bytes.fromhex("0087654321")
    assert parsed.common_names == ("example.com",) and parsed.names == ()
    assert parsed.extensions == ("2.5.29.35",)


@pytest.mark.parametrize("kind", KINDS)
def test_request(kind: str) -> None:
    """Key, names, extensions and attributes of a request."""
    data = request("subjectAltName=DNS:Example.org,IP:192.0.2.1,IP:2001:DB8::A",
                   "tlsfeature=status_request", "keyUsage=critical,digitalSignature",
                   kind=kind, subject="/CN=Example.org")
    parsed = x509.parse_request(data)
    assert parsed.der == data
    assert parsed.common_names == ("Example.org",)
    assert parsed.names == (("dns", "example.org"), ("ip", "192.0.2.1"), ("ip", "2001:db8::a"))
    text = openssl("req", "-inform", "DER", "-noout", "-text", stdin=data).decode()
    assert parsed.names == names_of(text)
    assert parsed.extensions == ("2.5.29.17", "1.3.6.1.5.5.7.1.24", "2.5.29.15")
    assert parsed.attributes == ("1.2.840.113549.1.9.14",)
    assert x509.key_kind(parsed.spki) == KINDS[kind]
    assert parsed.spki == openssl("pkey", "-pubout", "-outform", "DER", stdin=key(kind).encode())
    empty = x509.parse_request(request(kind=kind))
    assert empty.extensions == empty.attributes == empty.common_names == ()
    assert empty.names == ()
    assert empty.subject == b"\x30\0"


# --- what we make by hand ---

def tlv(tag: int, *contents: bytes) -> bytes:
    """Return a DER element."""
    content = b"".join(contents)
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(length)]) + length + content


def oid(dotted: str) -> bytes:
    """Return the DER of an object identifier."""
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        octets = [arc & 127]
        while arc > 127:
            arc >>= 7
            octets.append(arc & 127 | 128)
        content += bytes(reversed(octets))
    return tlv(6, content)


def ext(dotted: str, value: bytes, critical: bytes = b"") -> bytes:
    """Return an extension."""
    return tlv(0x30, oid(dotted), critical, tlv(4, value))


def san(*names: bytes) -> bytes:
    """Return a subjectAltName extension."""
    return ext("2.5.29.17", tlv(0x30, *names))


def common_name(value: bytes) -> bytes:
    """Return a Name with one common name, the DER of which is given."""
    return tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3"), value)))


ALGORITHM = tlv(0x30, oid("1.2.840.10045.4.3.2"))
SIGNATURE = tlv(3, b"\0signature")
SPKI = tlv(0x30, tlv(0x30, oid("1.3.101.112")), tlv(3, b"\0" + bytes(32)))
EXT_REQ = "1.2.840.113549.1.9.14"
V3 = b"\xa0\x03\x02\x01\x02"
DNS = tlv(0x82, b"example.org")
FIELDS: dict[str, Any] = {
    "version": V3, "serial": tlv(2, b"\1"), "algorithm": ALGORITHM, "issuer": tlv(0x30),
    "not_before": tlv(0x17, b"260101000000Z"), "not_after": tlv(0x17, b"260401000000Z"),
    "subject": common_name(tlv(0x0c, b"x")), "spki": SPKI, "unique": b"", "extensions": None,
    "extra": b"", "outer": ALGORITHM, "signature": SIGNATURE, "after": b""}


def build(**changes: Any) -> bytes:
    """Return a certificate; ``extensions`` is a list, everything else DER."""
    f = {**FIELDS, **changes}
    extensions = [san(DNS)] if f["extensions"] is None else f["extensions"]
    if isinstance(extensions, list):
        extensions = tlv(0xa3, tlv(0x30, *extensions))
    return tlv(0x30, tlv(0x30, f["version"], f["serial"], f["algorithm"], f["issuer"],
                         tlv(0x30, f["not_before"], f["not_after"]), f["subject"], f["spki"],
                         f["unique"], extensions, f["extra"]),
               f["outer"], f["signature"], f["after"])


def build_request(*attributes: bytes, version: bytes = b"\0", extra: bytes = b"",
                  tag: int = 0xa0) -> bytes:
    """Return a certificate request with these attributes."""
    return tlv(0x30, tlv(0x30, tlv(2, version), tlv(0x30), SPKI, tlv(tag, *attributes), extra),
               ALGORITHM, SIGNATURE)


def attribute(dotted: str, *values: bytes) -> bytes:
    """Return an attribute."""
    return tlv(0x30, oid(dotted), tlv(0x31, *values))


def refused(read: Callable[[bytes], object], data: bytes) -> str:
    """Check that ``read`` refuses ``data`` with one short printable line; return that."""
    with pytest.raises(X509Error) as caught:
        read(data)
    message = str(caught.value)
    assert message.isprintable() and 0 < len(message) < 400
    return message


def test_built_certificate_is_good() -> None:
    """What the next test spoils, openssl reads too."""
    parsed = agree(x509.encode_pem(build(), "CERTIFICATE"))
    assert parsed.names == (("dns", "example.org"),) and parsed.spki == SPKI
    assert parsed.common_names == ("x",)
    for kept in (build(version=b"", extensions=b""),
                 build(version=b"\xa0\x03\x02\x01\x01", extensions=b"", unique=tlv(0x81, b"\0a")),
                 build(unique=tlv(0x81, b"\0a") + tlv(0x82, b"\0b")), build(subject=tlv(0x30))):
        agree(x509.encode_pem(kept))
    aki = "2.5.29.35"
    for value, identifier in ((b"", None), (tlv(0x80, b"k"), b"k"),
                              (tlv(0xa1, DNS) + tlv(0x82, b"\1"), None),
                              (tlv(0x80, b"k") + tlv(0xa1, DNS) + tlv(0x82, b"\1"), b"k")):
        parsed = x509.parse_certificate(build(extensions=[ext(aki, tlv(0x30, value))]))
        assert parsed.aki == identifier
    constraints = ext("2.5.29.19", tlv(0x30, b"\1\1\xff\2\1\0"), critical=b"\1\1\xff")
    assert x509.parse_certificate(build(extensions=[constraints])).is_ca


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
    refused(x509.parse_certificate, build(**changes))


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
    refused(x509.parse_certificate, build(extensions=[san(name)]))
    refused(x509.parse_request, build_request(attribute(EXT_REQ, tlv(0x30, san(name)))))


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
    refused(x509.parse_certificate, build(extensions=[extension]))


@pytest.mark.parametrize("tag, content, moment", [
    (0x17, b"700101000000Z", 0), (0x17, b"500101000000Z", -631152000),
    (0x17, b"491231235959Z", 2524607999), (0x18, b"20500101000000Z", 2524608000),
    (0x17, b"000229120000Z", 951825600), (0x17, b"240229235959Z", 1709251199),
    (0x18, b"20260101000000Z", 1767225600), (0x18, b"99991231235959Z", 253402300799),
    (0x18, b"00010101000000Z", -62135596800)])
def test_moment(tag: int, content: bytes, moment: int) -> None:
    """Both forms, their pivot year, leap days, both ends of the calendar (RFC 5280 §4.1.2.5)."""
    date = tlv(tag, content)
    parsed = x509.parse_certificate(build(not_before=date, not_after=date))
    assert parsed.not_before == parsed.not_after == moment


def test_every_day() -> None:
    """Two centuries of days, as the C library counts them."""
    for days in range(-25000, 48000, 7):
        date = time.gmtime(days * 86400 + 86399)
        content = time.strftime("%Y%m%d%H%M%SZ", date).encode()
        parsed = x509.parse_certificate(build(not_before=tlv(0x18, content),
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
    refused(x509.parse_certificate, build(not_before=tlv(tag, content)))
    refused(x509.parse_certificate, build(not_after=tlv(tag, content)))


def test_validity_runs_forwards() -> None:
    """A certificate doesn't end before it begins."""
    refused(x509.parse_certificate, build(not_after=tlv(0x17, b"251231235959Z")))
    refused(x509.parse_certificate, build(not_after=b""))
    refused(x509.parse_certificate, build(not_after=FIELDS["not_after"] * 2))


def test_texts() -> None:
    """Every string type that a common name may have."""
    for tag, codec in ((0x0c, "utf-8"), (0x14, "latin-1"), (0x1c, "utf-32-be"),
                       (0x1e, "utf-16-be")):
        parsed = x509.parse_certificate(build(subject=common_name(tlv(tag, "Fuß".encode(codec)))))
        assert parsed.common_names == ("Fuß",)
    parsed = x509.parse_certificate(build(subject=common_name(tlv(0x13, b"a b"))))
    assert parsed.common_names == ("a b",)


def test_built_requests() -> None:
    """Duplicates are refused at each level, other attributes are told."""
    good = attribute(EXT_REQ, tlv(0x30, san(DNS)))
    password = attribute("1.2.840.113549.1.9.7", tlv(0x0c, b"x"))
    parsed = x509.parse_request(build_request(password, good))
    assert parsed.attributes == ("1.2.840.113549.1.9.7", EXT_REQ)
    assert parsed.names == (("dns", "example.org"),) and parsed.spki == SPKI
    openssl("req", "-inform", "DER", "-noout", "-text", stdin=build_request(password, good))
    doubled = build_request(attribute(EXT_REQ, tlv(0x30, san(DNS), san(tlv(0x82, b"b")))))
    assert "2.5.29.17 occurs twice" in refused(x509.parse_request, doubled)
    assert EXT_REQ + " occurs twice" in refused(x509.parse_request, build_request(good, good))
    for bad in (build_request(attribute(EXT_REQ, tlv(0x30, san(DNS)), tlv(0x30, san(DNS)))),
                build_request(password, password), build_request(attribute(EXT_REQ)),
                build_request(attribute(EXT_REQ, tlv(0x30))), build_request(attribute("1.2.3")),
                build_request(attribute(EXT_REQ, tlv(0x31, san(DNS)))),
                build_request(tlv(0x30, oid(EXT_REQ), tlv(0x30, san(DNS)))),
                build_request(tlv(0x30, oid(EXT_REQ))), build_request(b"\0\0"),
                build_request(good, version=b"\1"), build_request(good, version=b""),
                build_request(good, version=b"\0\0"), build_request(good, extra=b"\0\0"),
                build_request(good, tag=0x31), build_request(good, tag=0xa1),
                build_request(good) + b"\0", build()):
        refused(x509.parse_request, bad)
    refused(x509.parse_certificate, build_request(good))


@pytest.mark.parametrize("spki", [
    b"", b"\x30", tlv(0x30), SPKI + b"\0", tlv(0x31, SPKI), tlv(0x30, tlv(0x30), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.3.101.112")), tlv(3)),
    tlv(0x30, tlv(0x30, oid("1.3.101.112")), tlv(3, b"\1k")),
    tlv(0x30, tlv(0x30, oid("1.2.3")), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.2.840.10045.2.1"), oid("1.2.3")), tlv(3, b"\0k")),
    tlv(0x30, tlv(0x30, oid("1.2.840.10045.2.1"), tlv(0x30)), tlv(3, b"\0k")),
    *(tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.1.1"), b"\5\0"), tlv(3, b"\0", modulus))
      for modulus in (b"", b"\2\1\1", tlv(0x30, tlv(2, b"\1")),
                      tlv(0x30, tlv(2, b"\xff"), tlv(2, b"\3")),
                      tlv(0x30, tlv(2, b"\0\1"), tlv(2, b"\3")),
                      tlv(0x30, tlv(2, b"\0"), tlv(2, b"\3"))))], ids=bytes.hex)
def test_unknown_keys(spki: bytes) -> None:
    """A key that is none has no kind, and no exception."""
    assert x509.key_kind(spki) == "unknown"


# --- hostile input ---

@pytest.mark.parametrize("which", ["certificate", "request"])
def test_mutations(which: str) -> None:
    """Whatever is done to any byte, X509Error is all that comes out, and soon."""
    names = "subjectAltName=DNS:example.org,IP:192.0.2.1,IP:2001:db8::1,email:a@example.org"
    read: Callable[[bytes], object]
    if which == "certificate":
        data, read = parse(certificate(names, "authorityKeyIdentifier=keyid:always")).der, \
            x509.parse_certificate
    else:
        data, read = request(names, subject="/CN=a/CN=b"), x509.parse_request
    original = read(data)
    begun = time.monotonic()
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
                assert isinstance(x509.key_kind(parsed.spki), str)
                changed += 1
    refused(read, data + b"\0")
    assert refusals > len(data) and changed > 0
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("extension", [
    tlv(0x30, *(tlv(0x82, b"a") for _ in range(16000))), b"\0" * 64000, b"\x30\0" * 32000,
    b"\x30\x80" * 32000, b"\x82\x82" * 32000, tlv(0x30, *[b"\x82\0"] * 32000),
    tlv(0x30, tlv(0x82, b"." * 64000)), tlv(0x30, tlv(0x87, b"." * 64000)),
    tlv(0x30, *(tlv(0x81, b"") for _ in range(32000)))])
def test_large_and_slow(extension: bytes) -> None:
    """As much work as 64 kB can make."""
    begun = time.monotonic()
    data = build(extensions=[ext("2.5.29.17", extension)])
    assert 40000 < len(data) < x509.MAX_DER
    for read in (x509.parse_certificate, x509.parse_request):
        try:
            read(data)
        except X509Error as exc:
            assert len(str(exc)) < 400
    assert time.monotonic() - begun < 1


def test_nesting_and_size() -> None:
    """Depth costs nothing, and there is an end to length."""
    deep = b""
    while len(deep) < 60000:
        deep = tlv(0x30, deep)
    for data in (deep, build(issuer=deep), build(subject=deep), build(spki=deep)):
        try:
            assert x509.key_kind(x509.parse_certificate(data).spki) in ("Ed25519", "unknown")
        except X509Error:
            pass
    assert x509.parse_certificate(build(extensions=[ext("1.2.3", bytes(60000))])).names == ()
    assert "65536" in refused(x509.parse_certificate, build(extensions=[ext("1.2", bytes(65536))]))
    assert "65536" in refused(x509.parse_request, bytes(50_000_000))


# --- PEM ---

GOOD = x509.encode_pem(build())
ONE = b"-----BEGIN A-----\nAAAA\n-----END A-----\n"


def test_encode_pem() -> None:
    """As openssl writes it; any length; back again."""
    pem = certificate(kind="rsa:2048")
    assert x509.encode_pem(parse(pem).der) == pem
    for size in (*range(1, 100), 1000, 60000):
        data = os.urandom(size)
        pem = x509.encode_pem(data, "X509 CRL")
        assert x509.pem_blocks(pem) == [("X509 CRL", data)]
        assert max(map(len, pem.splitlines())) <= 64 and pem.endswith(b"-----\n")


def test_pem_blocks() -> None:
    """Labels and contents in order; lines between them and their ends don't matter."""
    two = b"subject: x\n\n" + ONE + b"more - text --\n" + ONE.replace(b" A-", b" EC B-")
    blocks = [("A", bytes(3)), ("EC B", bytes(3))]
    assert x509.pem_blocks(two) == blocks
    assert x509.pem_blocks(two.replace(b"\n", b"\r\n")) == blocks
    assert x509.pem_blocks(two.replace(b"\n", b"\r")) == blocks
    assert x509.pem_blocks(two[:-1]) == blocks
    assert x509.pem_blocks(b"no block") == x509.pem_blocks(b"") == []
    assert x509.pem_blocks(ONE.replace(b"AAAA", b"A\nAA\nA")) == blocks[:1]


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
    refused(x509.pem_blocks, text)
    refused(x509.parse_chain, text)
    refused(x509.parse_chain, GOOD + text)


def test_chain_holds_certificates_only() -> None:
    """No key, no text, not too many, not none (RFC 8555 §9.1)."""
    assert len(x509.parse_chain(GOOD * 10)) == 10
    assert len(x509.parse_chain(b"\n" + GOOD + b"\n \t\r\n" + GOOD + b"\n\n", most=2)) == 2
    private = key().encode()
    for bad in (b"", b" \n", GOOD * 11, private + GOOD, GOOD + private, b"x\n" + GOOD, GOOD + b"x",
                GOOD + b"# comment\n" + GOOD, GOOD + b"\0", b"\xef\xbb\xbf" + GOOD,
                GOOD.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
                GOOD.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
                x509.encode_pem(build() + b"\0"), x509.encode_pem(build_request())):
        refused(x509.parse_chain, bad)
    assert "PRIVATE KEY" in refused(x509.parse_chain, GOOD + private)
    with pytest.raises(X509Error):
        x509.parse_chain(GOOD * 3, most=2)


PATTERNS = [b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n", b"-----BEGIN ",
            b"-----BEGIN A-----\n\n-----END A-----\n", b"----- BEGIN", b"-----", b"-", b"\n", b" ",
            b"\0", b"=", b"A", b"A\n", ONE, GOOD]


def test_fifty_megabytes_of_pem(tmp_path: Path) -> None:
    """Larger than any chain: refused at sight."""
    for pattern in PATTERNS:
        for head in (b"", b"-----BEGIN CERTIFICATE-----\n"):
            text = head + pattern * (50_000_000 // len(pattern))
            begun = time.monotonic()
            refused(x509.pem_blocks, text)
            refused(x509.parse_chain, text)
            assert time.monotonic() - begun < 0.5
    path = tmp_path / "large.pem"
    path.write_bytes(text)
    begun = time.monotonic()
    refused(lambda _: x509.read_certificate(str(path)), b"")
    assert time.monotonic() - begun < 0.5
    path.write_bytes(GOOD + bytes(50_000_000))
    assert x509.read_certificate(str(path)).der == build()


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_pem_is_linear(pattern: bytes) -> None:
    """Without the limit too (4 MB)."""
    for head in (b"", b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN "):
        text = head + pattern * (4_000_000 // len(pattern))
        begun = time.monotonic()
        try:
            x509.pem_blocks(text, limit=len(text))
        except X509Error as exc:
            assert len(str(exc)) < 400
        assert time.monotonic() - begun < 2


# --- files ---

def test_read_certificate(tmp_path: Path) -> None:
    """The first one, wherever it begins; the file's name in each complaint."""
    path = tmp_path / "cert.pem"
    leaf, other = certificate("subjectAltName=DNS:example.org"), certificate(kind="rsa:2048")
    long = certificate("subjectAltName=" + ",".join(f"DNS:{n}.example.org" for n in range(900)))
    for text, expected in ((leaf, leaf), (leaf + other, leaf), (key().encode() + leaf, leaf),
                           (say(leaf, "-text").encode() + leaf + other, leaf), (long, long),
                           (b"x" * 100_000 + b"\n" + leaf, leaf), (leaf[:-1], leaf),
                           (leaf.replace(b"\n", b"\r\n") + b"junk", leaf),
                           (b"see -----BEGIN CERTIFICATE-----\n" + other, other)):
        path.write_bytes(text)
        assert x509.read_certificate(str(path)) == parse(expected)
    for text in (b"", b"junk", key().encode(), leaf[:-10], b"x" + leaf, b"\n" * 300_000 + leaf,
                 b"-----END CERTIFICATE-----\n" + leaf[:100], x509.encode_pem(b"junk"),
                 b"-----END CERTIFICATE-----\n" * 100_000, leaf.replace(b"\nM", b"\n M", 1)):
        path.write_bytes(text)
        assert str(path) in refused(lambda _: x509.read_certificate(str(path)), b"")
    with pytest.raises(FileNotFoundError):
        x509.read_certificate(str(tmp_path / "none.pem"))
    with pytest.raises(IsADirectoryError):
        x509.read_certificate(str(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)   # they aren't even opened
    os.write(writer, leaf)
    for name in "fifo", "link":
        assert "not a plain file" in refused(
            lambda _, path=str(tmp_path / name): x509.read_certificate(path), b"")  # type: ignore
    assert os.read(writer, len(leaf) + 1) == leaf
    os.close(writer)
    assert not [name for name in os.listdir("/proc/self/fd") if str(tmp_path) in
                (os.readlink(f"/proc/self/fd/{name}")
                 if os.path.lexists(f"/proc/self/fd/{name}") else "")]


def test_speed(tmp_path: Path) -> None:
    """Ten thousand installed certificates are no burden (60 µs each, with room for slow days)."""
    path = tmp_path / "cert.pem"
    path.write_bytes(certificate(
        "subjectAltName=DNS:example.org,DNS:www.example.org", "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth", "basicConstraints=critical,CA:FALSE",
        "authorityKeyIdentifier=keyid:always", "certificatePolicies=2.23.140.1.2.1",
        "authorityInfoAccess=caIssuers;URI:http://i.example.org/",
        "crlDistributionPoints=URI:http://c.example.org/1.crl",
        "1.3.6.1.4.1.11129.2.4.2=DER:04:82:01:00" + ":aa" * 256))
    best = 1.0
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(400):
            x509.read_certificate(str(path))
        best = min(best, (time.perf_counter() - begun) / 400)
    print(f"read_certificate: {best * 1e6:.0f} µs")
    assert best < 0.0003


def test_start_up_stays_cheap(tmp_path: Path) -> None:
    """Rare modules come with what needs them, not before."""
    path = tmp_path / "cert.pem"
    path.write_bytes(certificate("subjectAltName=DNS:example.org,IP:192.0.2.1"))
    program = ("import sys; sys.path.insert(0, sys.argv[1])\n"
               "from letsencrypt_tiny.common.x509 import certificate as x509\n"
               "x509.read_certificate(sys.argv[2])\n"
               "print(*sys.modules, sep='\\n')")
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", program, str(ROOT), str(path)],
                          stdout=subprocess.PIPE, check=True)
    loaded = set(done.stdout.decode().split())
    assert "letsencrypt_tiny.common.x509.certificate" in loaded
    assert not loaded & {"ipaddress", "hashlib", "json", "calendar", "datetime", "subprocess",
                         "letsencrypt_tiny.common.wire.jose"}


def test_object_identifiers() -> None:
    """As they were made; the memory of them is bounded."""
    for dotted in ("0.0", "0.39", "1.0", "1.39", "2.0", "2.5.29.17", "2.47", "2.48", "2.999.3",
                   "1.2.840.113549.1.9.14", "2.25.329800735698586629295641978511506172918",
                   "1.3.6.1.4.1.4294967296.127.128.16383.16384"):
        assert encodings.oid(oid(dotted)[2:]) == dotted
    for arc in range(1000):
        encodings.oid(oid(f"1.2.3.{arc}")[2:])
    assert encodings.oid.cache_info().currsize <= 256
