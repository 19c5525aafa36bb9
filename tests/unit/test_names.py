"""Names of certificates: one grammar, and every judge of one in the tree agrees with it.

What a judge adds is a column of the table: a section needs two labels, and takes capitals, as a
policy does, and names in Unicode; an order holds the canonical form only.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from letsencrypt_tiny.common import names
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.master.settings.identifiers import parse_identifier, parse_subject
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
    ("*.example.org", True), ("*.example", True), ("*.xn--p1ai", True), ("*.a.b.c", True),
    ("a_b.example", False), ("_acme-challenge.example.org", False), ("_", False),   # RFC 2181 §11
]
BAD = [
    "", ".", "..", "example.org.", ".example.org", "a..b", "-a.example", "a-.example", "a.-b",
    "a.b-", "-", "*", "*.", "**.example.org",
    "*.*.example.org", "a.*.example", "w*.example.org", "*example.org", "*.-a.example",
    "a b.example", " example.org", "example.org ", "example.org\n", "a\tb.example", "a\0.example",
    "example.org,a.b", "DNS:example.org", "example.org/a", "a\\.b", "a:b", "a@b.example", "a=b.c",
    "$a.example", "%61.example", "\u2603.example", "1", "example.1", "1.2.3", "1.2.3.4.5",
    "256.1.1.1", "01.2.3.4", "a.0123", "*.1", f"a{LABEL}.example", f"{LONGEST}b", f"*.{LONGEST}",
    "a." * 126 + "a.b",
]
# in Unicode, and as certificates have it (UTS 46); no other judge takes it
UNICODE = [
    ("b\u00fccher.example", "xn--bcher-kva.example"),
    ("B\u00dcCHER.Example", "xn--bcher-kva.example"),
    ("bu\u0308cher.example", "xn--bcher-kva.example"),
    ("*.b\u00fccher.example", "*.xn--bcher-kva.example"),
    ("fa\u00df.example", "xn--fa-hia.example"),
    ("\u65e5\u672c\u8a9e.example", "xn--wgv71a119e.example"),
    ("\u0939\u093f\u0928\u094d\u0926\u0940.example", "xn--j2bd4cyah0f.example"),
    ("a\u3002example", "a.example"), ("\u212a.example", "k.example"),
    ("\uff41.example", "a.example"), ("a\u00ad.example", "a.example")]
BAD_UNICODE = [
    "\u00e4", "\u00e4..example", "-\u00e4.example", "\u00e4.example.", "\u00e4_b.example",
    "\u2603.example", "\u00e4 b.example", "\u00e4/b.example", "\u2488com.example",
    "\uff11.\uff12.\uff13.\uff14", "\u00e9" * 80 + ".example", "\u00e4" * 254,
    "xn--a-\u00e4.example", "\u0661\u05d0.example", "\u00e4\0.example",
    "**.\u00e4.example", "a.*.\u00e4"]
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


@pytest.mark.parametrize("text, canonical", UNICODE, ids=ascii)
def test_names_in_unicode(text: str, canonical: str) -> None:
    assert parse_identifier(text) == ("dns", canonical)
    assert not names.is_dns(text) and not names.looks_like_address(text)
    for judge in (lambda: orders("dns", text), lambda: pattern(text)):
        with pytest.raises((ProtocolError, ValueError)):
            judge()


@pytest.mark.parametrize("text", BAD_UNICODE, ids=ascii)
def test_bad_names_in_unicode(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"“{text}”")):
        parse_identifier(text)


@pytest.mark.parametrize("text, canonical", UNICODE, ids=ascii)
def test_common_names_in_unicode(text: str, canonical: str) -> None:
    """Of scripts with marks beside their letters, too."""
    assert parse_subject(f"/CN={text}/O=Bücher") == (("CN", canonical), ("O", "Bücher"))


def test_without_idna(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the package and the other way; ASCII needs it not, and is not slower."""
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(ValueError, match=r"python3-idna.*\(xn--…\)"):
        parse_identifier("b\u00fccher.example")
    assert parse_identifier("xn--bcher-kva.example")[1] == "xn--bcher-kva.example"
    assert names.shown("xn--bcher-kva.example") == "xn--bcher-kva.example"


@pytest.mark.parametrize("text, shown", [
    ("a: xn--bcher-kva.example: no", "a: bücher.example (xn--bcher-kva.example): no"),
    ("*.xn--bcher-kva.example", "*.bücher.example (*.xn--bcher-kva.example)"),
    ("a.xn--bcher-kva.xn--p1ai, b", "a.bücher.рф (a.xn--bcher-kva.xn--p1ai), b"),
    ("bücher.example (xn--bcher-kva.example)", None), ("https://xn--bcher-kva.example/", None),
    ("xn--zzzzzz.example xn--.x xn--\x1b", None), ("example.org", None)])
def test_messages_show_unicode_with_the_a_label(text: str, shown: "str | None") -> None:
    assert names.shown_in(text) == (text if shown is None else shown)


def test_a_common_name_has_64_characters() -> None:
    """As it is in the request."""
    with pytest.raises(ValueError, match="more than 64 characters; leave it to names"):
        parse_subject(f"/CN={'ü' * 20}.{'ü' * 20}.{'ü' * 20}.example")


def test_no_message_takes_long() -> None:
    """A CA may send any text; what can be no name isn't decoded (idna takes its time for it)."""
    text = "a: xn--" + ("\u0660" * 8000).encode("punycode").decode()
    start = time.process_time()
    assert names.shown_in(text) == text
    assert time.process_time() - start < 1


def test_idna_is_not_imported_for_ascii() -> None:
    code = ("import sys; from letsencrypt_tiny.common import names; "
            "names.a_label('a.example'); names.shown_in('a.example'); print('idna' in sys.modules)")
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=Path(__file__).parents[2],
                          stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "False\n"
