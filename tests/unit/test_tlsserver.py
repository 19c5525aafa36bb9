"""Certificates for challenges, and which of them are presented to whom."""

import calendar
import os
import re
from pathlib import Path
from typing import Any

import pytest

from harness import ca
from harness.tlsserver import DUTY, NAME, OTHER, challenge
from letsencrypt_tiny.common.names import Identifier
from letsencrypt_tiny.common.wire.responder import Failed, Ready, Waits
from letsencrypt_tiny.common.x509 import der
from letsencrypt_tiny.common.x509.certificate import parse_certificate
from letsencrypt_tiny.tlsserver import certificate, presented
from letsencrypt_tiny.tlsserver.certificate import Key
from letsencrypt_tiny.tlsserver.handshake import Contexts
from letsencrypt_tiny.tlsserver.presented import Presented, server_name

LONG = ("dns", ".".join(["a" * 63] * 3 + ["b" * 61]))
V6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


# --- the certificate -----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


@pytest.mark.parametrize("identifier, shown", [
    (NAME, "DNS:a.example"), (("ip", "192.0.2.1"), "IP Address:192.0.2.1"),
    (("ip", "2001:db8::1"), "IP Address:2001:DB8:0:0:0:0:0:1"), (LONG, f"DNS:{LONG[1]}")])
def test_certificate(identifier: Identifier, shown: str, key: Key, tmp_path: Path) -> None:
    """What RFC 8737 §3 wants, as openssl reads it: one name, and the digest, critical."""
    digest = challenge(identifier).digest()
    pem = key.certificate(identifier, digest)
    text = ca.openssl("x509", "-noout", "-text", stdin=pem).decode()
    names = text.partition("Subject Alternative Name: \n")[2].splitlines()[0].strip()
    assert names == shown
    assert f"{certificate.ACME_IDENTIFIER}: critical\n" in text
    assert "Version: 3 (0x2)" in text and "prime256v1" in text
    assert "Signature Algorithm: ecdsa-with-SHA256" in text
    parsed = ca.openssl("asn1parse", stdin=pem).decode()
    assert f"OCTET STRING      [HEX DUMP]:0420{digest.hex().upper()}\n" in parsed
    # self-signed, of a key that is its own
    assert len(re.findall("CN ?= ?ACME challenge\n", text)) == 2
    file = tmp_path / "pem"
    file.write_bytes(pem)
    assert ca.openssl("verify", "-ignore_critical", "-check_ss_sig", "-CAfile", str(file),
                      str(file)).endswith(b": OK\n")
    assert pem not in (key.certificate(identifier, digest), Key().certificate(identifier, digest))


@pytest.mark.parametrize("year, kind", [(2026, b"\x17\x0d"), (2049, b"\x17\x0d"),
                                        (2050, b"\x18\x0f")])
def test_time(year: int, kind: bytes) -> None:
    digits = str(year).encode()[0 if year >= 2050 else 2:]
    assert certificate._time(calendar.timegm((year, 6, 1, 12, 0, 5))) == \
        kind + digits + b"0601120005Z"


def test_der_as_openssl_writes_it(key: Key) -> None:
    """What our own strict reader takes, it has written minimally."""
    [(label, content)] = der.pem_blocks(key.certificate(NAME, bytes(32)))
    assert label == "CERTIFICATE" and parse_certificate(content).names == (("dns", "a.example"),)
    for dotted in ("1.3.6.1.5.5.7.1.31", "2.5.29.17", "2.999.1", "1.2.840.10045.4.3.2", "0.0"):
        assert der.oid(der.only(der.OID, der.encode_oid(dotted), "x")) == dotted
    for size in (0, 1, 127, 128, 255, 256, 65535):
        assert der.only(der.OCTET_STRING, der.encode(der.OCTET_STRING, bytes(size)), "x") \
            == bytes(size)
    with pytest.raises(der.X509Error):
        der.encode(der.OCTET_STRING, bytes(65536))


def test_the_key_is_in_no_file(key: Key) -> None:
    """The anonymous file that OpenSSL reads is empty again, and can't grow."""
    contexts = Contexts()
    try:
        contexts.handshake(challenge())
        with open(f"/proc/self/fd/{contexts._file}", "rb") as file:
            assert file.read().strip() == b""
        with pytest.raises(PermissionError):
            os.pwrite(contexts._file, b"x", 4096)
    finally:
        os.close(contexts._file)


# --- which are presented -------------------------------------------------------------------------

class Clock:
    """The time, as a test has it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(clock: "Clock | None" = None) -> "Presented[str]":
    return Presented(DUTY, clock or Clock())


@pytest.mark.parametrize("about, why", [
    (challenge(("dns", "c.example")), "nobody has ordered that name"),
    (challenge(("ip", "192.0.2.2")), "nobody has ordered that name"),
    (challenge(("dns", "1.2.0.192.in-addr.arpa")), "nobody has ordered that name"),
    (challenge(thumbprint="x" * 43), "another account's key"),
    (challenge(kind="dns-01"), "only tls-alpn-01")])
def test_what_is_none_of_its_business(about: Any, why: str) -> None:
    """A lost client can't have other names, nor any for another account (RFC 8555 §8.1)."""
    table = made()
    answer = table.add("client", about)
    assert isinstance(answer, Failed) and why in answer.why
    assert table.find(server_name(about.identifier)) is None


def test_presented_and_taken_back() -> None:
    table = made()
    one, two = challenge(), challenge(("ip", "2001:db8::1"))
    assert table.add("x", one) == Ready(one) and table.add("x", one) == Ready(one)
    assert table.add("x", two) == Ready(two)
    assert (table.find("a.example"), table.find(V6)) == (one, two)
    assert table.find("b.example") is table.find("2001:db8::1") is table.find("") is None
    assert list(table.remove("y", one)) == [] and table.find("a.example") == one
    assert list(table.remove("x", one)) == [] and table.find("a.example") is None
    assert list(table.remove("x", one)) == []
    assert list(table.remove_all("x")) == [] and table.find(V6) is None


def test_one_at_a_time() -> None:
    """A certificate answers one challenge: others of the name wait for their turn, in order."""
    table = made()
    first, second, third = (challenge(token=letter * 22) for letter in "abc")
    assert table.add("x", first) == Ready(first)
    for who, about in ("y", second), ("x", third), ("y", second):
        answer = table.add(who, about)
        assert isinstance(answer, Waits) and answer.seconds > 600
    assert table.find("a.example") == first
    assert list(table.remove("x", first)) == [("y", Ready(second))]
    assert table.add("z", third) == Waits(third, answer.seconds, answer.why)
    assert list(table.remove("x", third)) == []     # it had not come to it
    assert list(table.remove_all("y")) == [("z", Ready(third))]
    assert list(table.remove_all("z")) == [] and table.find("a.example") is None


def test_turns() -> None:
    """Who is validated makes room after a while: two orders may wait for each other."""
    clock = Clock()
    table = made(clock)
    first, second, third = (challenge(token=letter * 22) for letter in "abc")
    other = challenge(OTHER)
    table.add("x", first)
    table.add("x", other)
    clock.now += 1000
    assert table.pause() is None and list(table.turns()) == []     # nobody waits
    table.add("y", second)
    assert table.pause() == 0 and list(table.turns()) == [("y", Ready(second))]
    assert (table.find("a.example"), table.find("b.example")) == (second, other)
    clock.now += 10
    table.validated(other)
    table.validated(first)      # begun before its turn was over
    assert table.pause() == presented.TURN - 10 and list(table.turns()) == []
    table.add("z", third)
    table.validated(second)
    assert table.pause() == presented.PEACE
    clock.now += presented.PEACE - 1
    table.validated(second)     # from a second place
    clock.now += 1
    assert list(table.turns()) == [] and table.pause() == presented.PEACE - 1
    clock.now += presented.PEACE - 1
    assert list(table.turns()) == [("x", Ready(first))] and table.find("a.example") == first
    for _ in range(100):        # whoever asks again and again holds nobody up
        clock.now += 1
        table.validated(first)
        found = list(table.turns())
        if found:
            break
    assert found == [("z", Ready(third))] and clock.now < 2200
    assert list(table.remove("x", first)) == []
    clock.now += presented.TURN
    assert list(table.turns()) == [("y", Ready(second))]
    assert list(table.remove("z", third)) == [] and table.pause() is None
    assert list(table.remove_all("y")) == [] and table.find("a.example") is None


def test_who_leaves_is_told_nothing() -> None:
    table = made()
    mine = [challenge(token=letter * 22) for letter in "abc"]
    for about in mine:
        table.add("x", about)
    theirs = challenge(token="d" * 22)
    table.add("y", theirs)
    assert list(table.remove_all("x")) == [("y", Ready(theirs))]


def test_there_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each client its own; what was taken back doesn't count."""
    monkeypatch.setattr(presented, "MAX_PRESENTED", 5)
    table = made()
    many = [challenge(token=str(number) * 22) for number in range(6)]
    for about in many[:5]:
        assert not isinstance(table.add("x", about), Failed)
    assert isinstance(table.add("x", many[5]), Failed)
    assert isinstance(table.add("x", many[0]), Ready)
    assert isinstance(table.add("y", many[5]), Waits)
    list(table.remove("x", many[4]))
    assert isinstance(table.add("x", many[5]), Waits)


@pytest.mark.parametrize("identifier, expected", [
    (NAME, "a.example"), (("ip", "192.0.2.1"), "1.2.0.192.in-addr.arpa"),
    (("ip", "2001:db8::1"), V6), (("dns", "xn--bcher-kva.example"), "xn--bcher-kva.example")])
def test_server_name(identifier: Identifier, expected: str) -> None:
    assert server_name(identifier) == expected
