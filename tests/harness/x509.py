"""Certificates and CSRs: made by openssl, or put together by hand as no CA would make them."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import pytest

from harness.ca import genkey, openssl
from letsencrypt_tiny.common.x509.certificate import Certificate, parse_chain
from letsencrypt_tiny.common.x509.der import X509Error
from letsencrypt_tiny.common.x509.extensions import Names

KINDS = ("rsa:2048", "rsa:3072", "ec:P-256", "ec:P-384", "ed25519")
_keys: dict[str, str] = {}


def key(kind: str = "ec:P-256") -> str:
    """Return a private key in PEM, the same for each kind."""
    if kind not in _keys:
        _keys[kind] = genkey(kind)
    return _keys[kind]


def certificate(*extensions: str, kind: str = "ec:P-256", subject: str = "/CN=example.org",
                options: tuple[str, ...] = ("-days", "90")) -> bytes:
    """Return a self-signed certificate in PEM."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    return openssl("req", "-x509", "-config", "/dev/null", "-key", "/dev/stdin", "-utf8",
                   "-subj", subject, *options, *added, stdin=key(kind).encode())


def csr(*extensions: str, kind: str = "ec:P-256", subject: str = "/") -> bytes:
    """Return a CSR in DER."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    return openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-utf8",
                   "-subj", subject, "-outform", "DER", *added, stdin=key(kind).encode())


def say(pem: bytes, *options: str) -> str:
    """Return what openssl says of a certificate."""
    return openssl("x509", "-noout", *options, stdin=pem).decode()


def parse(pem: bytes) -> Certificate:
    """Read one certificate in PEM."""
    (parsed,) = parse_chain(pem)
    return parsed


def names_of(text: str) -> Names:
    """Return DNS names and addresses of openssl's text of a subjectAltName, in order."""
    found: list[tuple[str, str]] = []
    for kind, value in re.findall(r"(DNS|IP Address):([^,\s]+)", text):
        found.append(("dns", value.lower()) if kind == "DNS"
                     else ("ip", ipaddress.ip_address(value).compressed))
    return tuple(found)


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


def build_csr(*attributes: bytes, version: bytes = b"\0", extra: bytes = b"",
              tag: int = 0xa0, spki: bytes = SPKI) -> bytes:
    """Return a CSR with these attributes."""
    return tlv(0x30, tlv(0x30, tlv(2, version), tlv(0x30), spki, tlv(tag, *attributes), extra),
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
