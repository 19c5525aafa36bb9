"""The signer's policy: certificate requests, and whatever could be taken for something else."""

import base64
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import ca, soak
from harness.policies import (DEFAULT, OTHER_SAN, SAN, SERVER, built, certificate, csr, extension,
                              extension_request, finalize, good_csr, greeting, judge, key, order,
                              tlv)
from letsencrypt_tiny.common.wire import policy as signer_policy
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.common.wire.order import Order
from letsencrypt_tiny.master.plan import signing
from letsencrypt_tiny.master.pki import openssl
from letsencrypt_tiny.master.settings.certificates import KEY_USAGES, TLS_FEATURES
from letsencrypt_tiny.master.settings.keys import KEY_TYPES
from letsencrypt_tiny.master.settings.identifiers import SUBJECT_TYPES


@pytest.mark.parametrize("extensions, subject, names", [
    (["subjectAltName=DNS:example.org"], "/", {("dns", "example.org")}),
    (["subjectAltName=critical,DNS:Example.ORG,DNS:a.example.net,DNS:*.wild.example"], "/",
     {("dns", "example.org"), ("dns", "a.example.net"), ("dns", "*.wild.example")}),
    (["subjectAltName=DNS:example.org,IP:192.0.2.1,IP:2001:db8::1"], "/CN=192.0.2.1",
     {("dns", "example.org"), ("ip", "192.0.2.1"), ("ip", "2001:db8::1")}),
    (["subjectAltName=DNS:example.org", "keyUsage=critical,digitalSignature",
      "extendedKeyUsage=serverAuth", "basicConstraints=CA:FALSE", "subjectKeyIdentifier=hash",
      "tlsfeature=status_request"], "/CN=Example.org/O=Anybody", {("dns", "example.org")}),
    (["subjectAltName=DNS:example.org", "keyUsage=digitalSignature,keyEncipherment,decipherOnly",
      "extendedKeyUsage=critical,serverAuth,clientAuth", "basicConstraints=critical,CA:FALSE"],
     "/C=XX/serialNumber=1", {("dns", "example.org")})])
def test_good_requests(extensions: list[str], subject: str, names: Any) -> None:
    verdict = finalize(csr(*extensions, subject=subject))
    assert (verdict.why, set(verdict.names)) == ("", names)


@pytest.mark.parametrize("extensions, subject, why", [
    (["subjectAltName=DNS:example.org,DNS:example.com"], "/", "example.com is not one of its"),
    (["subjectAltName=DNS:*.example.org"], "/", "*.example.org is not one of its"),
    (["subjectAltName=DNS:example.org,IP:192.0.2.2"], "/", "192.0.2.2 is not one of its"),
    (["subjectAltName=DNS:example.org,email:a@example.org"], "/", "neither a host name nor"),
    (["subjectAltName=DNS:example.org,URI:https://example.org"], "/", "neither a host name nor"),
    (["subjectAltName=DNS:example.org,otherName:1.2.3;UTF8:x"], "/", "neither a host name nor"),
    (["subjectAltName=DNS:example.org"], "/CN=example.com", "common name is not in"),
    (["subjectAltName=DNS:example.org"], "/CN=example.org/CN=example.com", "common name is not"),
    (["subjectAltName=DNS:example.org"], "/CN=example.com/CN=example.org", "common name is not"),
    (["subjectAltName=DNS:k.example.net"], "/CN=\u212a.example.net", "common name is not in"),
    (["subjectAltName=DNS:example.org"], "/CN=example.org ", "common name is not in"),
    ([], "/CN=example.org", "the CSR has no subjectAltName"),
    (["subjectAltName=DNS:example.org", "nameConstraints=permitted;DNS:a"], "/", "unknown ext"),
    (["subjectAltName=DNS:example.org", "1.2.3.4=DER:0500"], "/", "unknown extension"),
    (["subjectAltName=DNS:example.org", "issuerAltName=DNS:a"], "/", "unknown extension"),
    (["subjectAltName=DNS:example.org", "basicConstraints=CA:TRUE"], "/", "a CA's rights"),
    (["subjectAltName=DNS:example.org", "basicConstraints=critical,CA:TRUE,pathlen:0"], "/",
     "a CA's rights"),
    (["subjectAltName=DNS:example.org", "keyUsage=keyCertSign"], "/", "a CA's rights"),
    (["subjectAltName=DNS:example.org", "keyUsage=critical,digitalSignature,cRLSign"], "/",
     "a CA's rights"),
    (["subjectAltName=DNS:example.org", "keyUsage=keyCertSign,decipherOnly"], "/",
     "a CA's rights"),
    (["subjectAltName=DNS:example.org", "extendedKeyUsage=serverAuth,OCSPSigning"], "/",
     "another purpose than"),
    (["subjectAltName=DNS:example.org", "extendedKeyUsage=anyExtendedKeyUsage"], "/",
     "another purpose than"),
    (["subjectAltName=DNS:example.org"], "/emailAddress=a@b.example", "emailAddress"),
    (["subjectAltName=DNS:example.org"], "/CN=example.org+emailAddress=a@b", "emailAddress")])
def test_bad_requests(extensions: list[str], subject: str, why: str) -> None:
    assert why in finalize(csr(*extensions, subject=subject)).why


@pytest.mark.parametrize("oid, value, good", [
    ("551d0f", "030205a0", True), ("551d0f", "030307a000", True),   # as GnuTLS writes it
    ("551d0f", "030100", False), ("551d0f", "0300", False), ("551d0f", "030208a0", False),
    ("551d0f", "030205a4", False), ("551d0f", "030205bf", False), ("551d0f", "030400a00000", False),
    ("551d0f", "23070300000302052a", False), ("551d0f", "0402a000", False), ("551d0f", "", False),
    ("551d0f", "030204a0030202a0", False),
    ("551d13", "3000", True), ("551d13", "3003010100", False), ("551d13", "3003010101", False),
    ("551d13", "30060101ff020100", False), ("551d13", "3003020100", False),
    ("551d13", "31030101ff", False), ("551d13", "0500", False), ("551d13", "30030101ff00", False),
    ("551d25", "300a06082b06010505070301", True), ("551d25", "3000", False),
    ("551d25", "06082b06010505070301", False), ("551d25", "300b0609802b06010505070301", False),
    ("551d25", "300a06082b06010505070309", False), ("551d25", "300606045 51d2500".replace(" ", ""),
                                                    False)])
def test_a_cas_rights_in_disguise(oid: str, value: str, good: bool) -> None:
    """Whatever another reader could take for them."""
    changed = tlv(0x30, SAN, extension(oid, bytes.fromhex(value)))
    assert (finalize(built(extension_request(changed))).why == "") is good


def test_subjects_and_keys_in_disguise() -> None:
    """A common name that is one to readers that take BER; a key in pieces."""
    def subject(oid: str, tag: int = 0x0c, value: bytes = b"example.com") -> bytes:
        return tlv(0x30, tlv(0x31, tlv(0x30, tlv(6, bytes.fromhex(oid)), tlv(tag, value))))

    attribute = extension_request(tlv(0x30, SAN))
    names = {tag: "example.org".encode(how) for tag, how in (
        (0x0c, "utf-8"), (0x13, "ascii"), (0x14, "ascii"), (0x16, "ascii"), (0x1c, "utf-32-be"),
        (0x1e, "utf-16-be"))}
    for tag, value in names.items():
        assert finalize(built(attribute, subject=subject("550403", tag, value))).why == ""
        for spoilt in (value.replace(b"r", b"x"), value + b"\0", value + b"\0\0\0\0", b"",
                       value.replace(b"e", b"\xe9", 1)):
            assert finalize(built(attribute, subject=subject("550403", tag, spoilt))).why
    for tag in (0x12, 0x04, 0x1a, 0x1b, 0x2c, 0x30, 0x8c):   # NumericString, OCTET STRING …
        assert finalize(built(attribute, subject=subject("550403", tag, b"example.org"))).why
    assert finalize(built(attribute, subject=subject("55040a"))).why == ""   # an organization
    for oid in ("55048003", "8055 0403".replace(" ", ""), "", "550483"):
        assert finalize(built(attribute, subject=subject(oid))).why, oid
    spki = parse_csr(csr(pem=key("ec:P-256", "account"))).spki
    point = spki[-65:]
    pieces = tlv(0x23, tlv(3, b"\0" + point[:20]), tlv(3, b"\0" + point[20:]))
    for bad in (tlv(0x30, spki[2:-68], pieces), tlv(0x30, pieces),
                tlv(0x30, tlv(0x30), tlv(3, b"\0x")), tlv(0x30, spki[2:-68], tlv(3, b"\1" + point)),
                tlv(0x30, spki[2:-68], tlv(4, point))):
        assert "malformed public key" in finalize(built(attribute, spki=bad)).why


def test_requests_put_together_by_hand() -> None:
    one, other = tlv(0x30, SAN), tlv(0x30, OTHER_SAN)
    assert finalize(built(extension_request(one))).why == ""
    bad = {
        "duplicate extension": built(extension_request(tlv(0x30, SAN, OTHER_SAN))),
        "duplicate, the same": built(extension_request(tlv(0x30, SAN, SAN))),
        "two values": built(extension_request(one, other)),
        "duplicate attribute": built(extension_request(one), extension_request(other)),
        "no value": built(extension_request()),
        "no attribute": built(),
        "Microsoft's attribute": built(extension_request(one), tlv(
            0x30, bytes.fromhex("060a2b060104018237020 10e".replace(" ", "")), tlv(0x31, other))),
        "challengePassword": built(extension_request(one), tlv(
            0x30, bytes.fromhex("06092a864886f70d010907"), tlv(0x31, tlv(0x0c, b"x")))),
        "NUL in the name": built(extension_request(tlv(0x30, SAN.replace(b"le.o", b"le\0o")))),
        "trailing": built(extension_request(one)) + b"\0",
        "cut": built(extension_request(one))[:-1],
        "huge": built(extension_request(one), spki=tlv(0x30, b"\0" * 60000)),
        "not a CSR": certificate(), "nothing": b"", "junk": os.urandom(300)}
    for what, der in bad.items():
        assert finalize(der).why, what
        assert "Error" not in finalize(der).why, what


@pytest.mark.parametrize("kind", ["ec:P-256", "ec:P-384", "rsa:2048"])
def test_the_account_key_in_a_request(kind: str) -> None:
    """In whatever encoding: its number is in all of them."""
    own = greeting(kind)
    pem = key(kind, "account")
    der = csr("subjectAltName=DNS:example.org", pem=pem)
    assert finalize(der, kind=kind).why == "the CSR is for the account key"
    assert finalize(csr("subjectAltName=DNS:example.org", pem=key(kind)), kind=kind).why == ""
    if kind.startswith("ec"):
        for form in ("compressed", "hybrid"):
            spki = ca.openssl("pkey", "-pubout", "-outform", "DER", "-ec_conv_form", form,
                              stdin=pem.encode())
            assert spki != parse_csr(der).spki
            changed = built(extension_request(tlv(0x30, SAN)), spki=spki)
            assert finalize(changed, kind=kind).why == "the CSR is for the account key"
    else:
        n = base64.urlsafe_b64decode(own.jwk["n"] + "==")
        for algorithm, exponent in (("2a864886f70d010101", b"\3"),   # and without NULL
                                    ("2a864886f70d01010a", b"\1\0\1"),   # RSASSA-PSS
                                    ("55080101", b"\1\0\1")):   # X.509's
            spki = tlv(0x30, tlv(0x30, tlv(6, bytes.fromhex(algorithm))),
                       tlv(3, b"\0" + tlv(0x30, tlv(2, b"\0" + n), tlv(2, exponent))))
            changed = built(extension_request(tlv(0x30, SAN)), spki=spki)
            assert finalize(changed, kind=kind).why == "the CSR is for the account key"
    assert own.kid is None


def test_pinned_documents() -> None:
    """The master's policy allows its own CSRs only: not even the same names with another key."""
    pinned = DEFAULT._replace(only=frozenset([signer_policy.digest(good_csr())]))
    assert finalize(good_csr(), pinned).why == ""
    other = csr("subjectAltName=DNS:example.org", pem=key(which="attacker"))
    assert finalize(other).why == ""
    assert finalize(other, pinned).why == \
        "policy “default”: finalize with another CSR or certificate than expected " \
        "(“policy = no” in [accountd] would allow it)"
    # the same names do not help where they are not the policy's
    assert finalize(good_csr(), pinned._replace(identifiers=frozenset(["a"]))).why
    empty = DEFAULT._replace(only=frozenset())
    assert finalize(good_csr(), empty).why and judge(order("example.org"), empty).why == ""


@pytest.mark.parametrize("kind", soak.kinds(KEY_TYPES))
def test_what_the_master_requests(kind: str, tmp_path: Path) -> None:
    """Whatever its configuration asks for, root has asked for."""
    file = tmp_path / "key"
    file.write_text(key(kind))
    subject = tuple((name, "example.org" if name == "CN" else "DE" if name.endswith("C") else "x")
                    for name in SUBJECT_TYPES)
    for chosen, usage, feature in (((), (), ()), (subject, KEY_USAGES, TLS_FEATURES)):
        section = SimpleNamespace(
            subject=chosen, key_usage=usage, tls_feature=feature, hash="sha384",
            identifiers=(("dns", "example.org"), ("ip", "2001:db8::1"), ("ip", "192.0.2.1")))
        descriptor = os.open(file, os.O_RDONLY)
        der = openssl.request("/usr/bin/openssl", descriptor, cast(Any, section))
        os.close(descriptor)
        derived = signing.derive(SERVER, [Order("a", section.identifiers, der)])
        assert finalize(der, derived).why == ""
        # which is no policy of somebody else's
        assert (finalize(der, DEFAULT).why == "") is (chosen == ())
