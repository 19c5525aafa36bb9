"""Names of certificates: one grammar, and every judge of one in the tree agrees with it.

What a judge adds is a column of the table: a section needs two labels and can have no wildcard,
and takes capitals, as a policy does; an order holds the canonical form only.
"""

import pytest

from letsencrypt_tiny.common import names
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.master.settings.identifiers import parse_identifier
from letsencrypt_tiny.signer import payloads
from letsencrypt_tiny.signer.policy import pattern

LABEL = "a" * 63
LONGEST = ".".join([LABEL, LABEL, LABEL, "a" * 61])   # 253 characters
GREETING = Greeting("RS256", {}, "")

# canonical name, and whether a section can have it
GOOD = [
    ("example.org", True), ("www.example.org", True), ("a.b", True), ("1.example", True),
    ("1.2.3.example", True), ("a-b.c--d", True), ("xn--bcher-kva.example", True),
    ("example.xn--p1ai", True), ("a.1b", True), ("a.b1", True), ("a.1-1", True),
    (f"{LABEL}.example", True), (LONGEST, True),
    ("localhost", False), ("a", False), ("a1", False), (LABEL, False),    # one label
    ("*.example.org", False), ("*.example", False), ("*.xn--p1ai", False), ("*.a.b.c", False),
    ("a_b.example", False), ("_acme-challenge.example.org", False), ("_", False),   # RFC 2181 §11
]
BAD = [
    "", ".", "..", "example.org.", ".example.org", "a..b", "-a.example", "a-.example", "a.-b",
    "a.b-", "-", "*", "*.", "**.example.org",
    "*.*.example.org", "a.*.example", "w*.example.org", "*example.org", "*.-a.example",
    "a b.example", " example.org", "example.org ", "example.org\n", "a\tb.example", "a\0.example",
    "example.org,a.b", "DNS:example.org", "example.org/a", "a\\.b", "a:b", "a@b.example", "a=b.c",
    "$a.example", "%61.example", "b\u00fccher.example", "\u212a.example", "\uff41.example",
    "a\u3002example", "a\u00ad.example", "1", "example.1", "1.2.3", "1.2.3.4.5", "256.1.1.1",
    "01.2.3.4", "a.0123", "*.1", f"a{LABEL}.example", f"{LONGEST}b", f"*.{LONGEST}",
    "a." * 126 + "a.b",
]
# spelling, canonical form (RFC 5952, RFC 8738 §3)
ADDRESSES = [
    ("192.0.2.1", "192.0.2.1"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
    ("2001:db8::1", "2001:db8::1"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("::", "::"),
    ("0:0::1", "::1"), ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
    ("2001:0db8::0001:0:0:1", "2001:db8::1:0:0:1"),
]
BAD_ADDRESSES = [
    "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1", "1.2.3.4.", "1.2.3.4/32", "::1/128", ":::",
    "1::2::3", "::g", "[::1]", "fe80::1%eth0", "fe80::1%", "::1%25eth0", "1:2:3:4:5:6:7",
    "12345::", "::1.2.3", ":", "1.2.3.\u0664", "::\u0661", " ::1", "::1\n"]


def orders(kind: str, value: str) -> None:
    """Have the signer read an order for one name, as it does under a policy."""
    payloads.new_order({"identifiers": [{"type": kind, "value": value}]}, GREETING)


@pytest.mark.parametrize("name, section", GOOD, ids=lambda value: ascii(value)[:40])
def test_every_judge_takes_it(name: str, section: bool) -> None:
    assert names.is_dns(name) and not names.looks_like_address(name)
    orders("dns", name)
    assert pattern(name) == name
    if not name.startswith("*") and len(name) < names.MAX_NAME:   # there are names below it
        assert pattern(f".{name}") == f".{name}"
    if section:
        assert parse_identifier(name) == ("dns", name)
    else:
        with pytest.raises(ValueError):
            parse_identifier(name)
    # capitals are the administrator's, who may write them; in an order they are a mistake
    assert pattern(name.upper()) == name
    if section:
        assert parse_identifier(name.upper()) == ("dns", name)
    if name != name.upper():
        assert not names.is_dns(name.upper())
        with pytest.raises(ProtocolError):
            orders("dns", name.upper())


@pytest.mark.parametrize("name", BAD, ids=lambda value: ascii(value)[:40])
def test_every_judge_refuses_it(name: str) -> None:
    assert not names.is_dns(name)
    with pytest.raises(ProtocolError):
        orders("dns", name)
    with pytest.raises(ValueError):
        parse_identifier(name)
    if name not in ("*", ".example.org"):   # which mean something to a policy
        with pytest.raises(ValueError):
            pattern(name)


@pytest.mark.parametrize("text, canonical", ADDRESSES)
def test_addresses(text: str, canonical: str) -> None:
    assert names.looks_like_address(text) and not names.is_dns(text)
    assert names.address(text) == canonical == pattern(text)
    assert parse_identifier(text) == ("ip", canonical)
    orders("ip", canonical)
    with pytest.raises(ProtocolError):
        orders("dns", text)


@pytest.mark.parametrize("text", BAD_ADDRESSES, ids=ascii)
def test_bad_addresses(text: str) -> None:
    """Neither is any of them a name."""
    with pytest.raises(ValueError):
        names.address(text)
    assert not names.is_dns(text)
    for parse in parse_identifier, pattern:
        with pytest.raises(ValueError):
            parse(text)
