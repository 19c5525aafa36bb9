"""The signer's policy: its table row by row, what is no row, URLs, CSRs, rates, audit lines."""

import base64
import functools
import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import ca
from harness.x509 import tlv
from letsencrypt_tiny.common import log
from letsencrypt_tiny.common.wire import policy as signer_policy
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire.order import AccountUpdate, Order, Request, Revocation
from letsencrypt_tiny.common.wire.policy import OPERATIONS, ORDERING, Policy
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.master.peers import signer as accountd
from letsencrypt_tiny.master.pki import openssl
from letsencrypt_tiny.master.settings import main as master_config
from letsencrypt_tiny.master.settings.certificates import (KEY_TYPES, KEY_USAGES, SUBJECT_TYPES,
                                                           TLS_FEATURES)
from letsencrypt_tiny.signer import account_key, config as signer_config, policy

TREE = Path(__file__).resolve().parents[2]

ORIGIN = "https://ca.example"
URL, KID = f"{ORIGIN}/acme/new-order", f"{ORIGIN}/acme/acct/1"
NAMES = ("example.org", ".example.net", "*.wild.example", "192.0.2.1", "2001:db8::1")
ALL = Policy("all", frozenset([ORIGIN]), frozenset(OPERATIONS), frozenset(NAMES),
             frozenset(["short"]))
DEFAULT = ALL._replace(name="default", operations=frozenset(ORDERING))
JWS = {"protected": "e30", "payload": "e30", "signature": "AAAA"}


@functools.lru_cache(None)
def key(kind: str = "ec:P-256", which: str = "server") -> str:
    """A private key in PEM, the same for each kind and use."""
    return ca.genkey(kind)


@functools.lru_cache(None)
def greeting(kind: str = "ec:P-256") -> Greeting:
    """What the signer knows of the account key."""
    own = account_key.load(key(kind, "account").encode(), "", lambda _: b"")
    return Greeting(own.alg, own.jwk, own.thumbprint)


def b64(data: bytes) -> str:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def csr(*extensions: str, subject: str = "/", pem: str = "", options: tuple[str, ...] = ()
        ) -> bytes:
    """A certificate request by openssl, DER."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    return ca.openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-utf8",
                      "-subj", subject, "-outform", "DER", *options, *added,
                      stdin=(pem or key()).encode())


@functools.lru_cache(None)
def good_csr(names: str = "DNS:example.org") -> bytes:
    """A request for these names, and nothing more."""
    return csr(f"subjectAltName={names}")


@functools.lru_cache(None)
def certificate(names: str = "DNS:example.org") -> bytes:
    """A self-signed certificate, DER."""
    return csr(f"subjectAltName={names}", options=("-x509",))


def line(payload: Any, member: str = "kid", kind: str = "ec:P-256", **changes: Any) -> bytes:
    """A signing input; a payload in bytes is taken as it is, None is the empty one."""
    own = greeting(kind)
    header: dict[str, Any] = {"alg": own.alg, "nonce": "abc-_", "url": URL,
                              member: KID if member == "kid" else own.jwk, **changes}
    if payload is None:
        payload = b""
    elif not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return f"{b64(json.dumps(header).encode())}.{b64(payload)}".encode()


def judge(payload: Any, policies: Any = ALL, member: str = "kid", kind: str = "ec:P-256",
          **changes: Any) -> policy.Verdict:
    """The verdict on one request."""
    policies = [policies] if isinstance(policies, Policy) else policies
    return policy.judge(line(payload, member, kind, **changes), greeting(kind), policies)


def order(*values: str, kind: str = "dns", **more: Any) -> dict[str, Any]:
    """The payload of newOrder."""
    return {"identifiers": [{"type": kind, "value": value} for value in values], **more}


# --- the table -----------------------------------------------------------------------------------

ROWS: list[tuple[str, str, Any]] = [
    ("read", "kid", None), ("respond", "kid", {}),
    ("new-order", "kid", order("example.org")),
    ("new-order", "kid", order("a.example.net", "*.wild.example", profile="short",
                               replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")),
    ("finalize", "kid", {"csr": b64(good_csr())}),
    ("deactivate", "kid", {"status": "deactivated"}),
    ("account-update", "kid", {"contact": ["mailto:a@example.org"]}),
    ("account-update", "kid", {"contact": [], "termsOfServiceAgreed": True}),
    ("account-update", "kid", {"termsOfServiceAgreed": True}),
    ("revoke", "kid", {"certificate": b64(certificate())}),
    ("revoke", "kid", {"certificate": b64(certificate()), "reason": 4}),
    ("revoke", "jwk", {"certificate": b64(certificate()), "reason": 1}),
    ("key-change", "kid", JWS),
    ("lookup", "jwk", {"onlyReturnExisting": True}),
    ("lookup", "jwk", {"onlyReturnExisting": True, "contact": [], "termsOfServiceAgreed": True}),
    ("register", "jwk", {}), ("register", "jwk", {"termsOfServiceAgreed": True}),
    ("register", "jwk", {"contact": ["mailto:a@b"], "termsOfServiceAgreed": True}),
    ("external-account-binding", "jwk", {"externalAccountBinding": JWS}),
    ("external-account-binding", "jwk", {"externalAccountBinding": JWS, "contact": [],
                                         "termsOfServiceAgreed": True}),
]


@pytest.mark.parametrize("operation, member, payload", ROWS)
def test_row(operation: str, member: str, payload: Any) -> None:
    """Allowed where its operation is, whatever else is not; the default is for orders alone."""
    alone = ALL._replace(operations=frozenset([operation]))
    verdict = judge(payload, alone, member)
    assert (verdict.why, verdict.operation, verdict.origin) == ("", operation, ORIGIN)
    without = ALL._replace(operations=frozenset(OPERATIONS) - {operation})
    verdict = judge(payload, without, member)
    assert verdict.why == f"policy “all”: {operation} is not allowed"
    assert verdict.operation == operation
    allowed = operation in ("read", "respond", "new-order", "finalize", "lookup")
    assert (judge(payload, DEFAULT, member).why == "") is allowed
    # all of them must allow it
    assert judge(payload, [alone, without], member).why == verdict.why
    assert judge(payload, [alone, ALL], member).why == ""


def test_every_operation_has_a_row() -> None:
    assert {row[0] for row in ROWS} == set(OPERATIONS) == {row.operation for row in policy.ROWS}


FOREIGN = ("notBefore", "notAfter", "resource", "status", "csr", "contact", "certificate",
           "identifiers", "onlyReturnExisting", "reason", "payload", "protected", "signature",
           "termsOfServiceAgreed", "externalAccountBinding", "orders", "", "\0", "__proto__")


def members(operation: str) -> set[str]:
    """All that a payload of this operation may have."""
    return set().union(*((row.required or set()) | row.optional for row in policy.ROWS
                         if row.operation == operation))


@pytest.mark.parametrize("operation, member, payload",
                         [row for row in ROWS if row[2]])
def test_every_mutation_of_a_row(operation: str, member: str, payload: dict[str, Any]) -> None:
    """Another key, one less, another case, another letter that Go folds, twice, null: refused,
    or another row's operation by its own rules (less can be an account's data)."""
    text = json.dumps(payload)

    def refused(changed: Any) -> None:
        verdict = judge(changed, ALL, member)
        assert verdict.why, changed
        assert judge(changed, DEFAULT, member).why

    for name in FOREIGN:
        if name not in members(operation):
            refused({**payload, name: "x"})
            refused({name: None, **payload})
    for name in payload:
        for other in {name.upper(), name.title(), name[0].upper() + name[1:], name + " ",
                      " " + name, name + "\0", name.replace("s", "ſ"), name.replace("k", "\u212a"),
                      name.replace("i", "ı"), name.replace("I", "İ"), name + "\u0307"} - {name}:
            renamed = {other if old == name else old: value for old, value in payload.items()}
            refused(renamed)
            refused({**payload, other: payload[name]})    # shadowed, after
            refused({other: payload[name], **payload})    # and before
        refused({**payload, name: None})
        refused({**payload, name: 1.5})
        refused({**payload, name: [payload[name]]})
        refused({**payload, name: {"": payload[name]}})
        value = json.dumps(payload[name])
        for twice in (f'{text[:-1]}, "{name}": {value}}}', f'{{"{name}": {value}, {text[1:]}',
                      f'{text[:-1]}, "\\u{ord(name[0]):04x}{name[1:]}": {value}}}'):
            refused(twice.encode())
        for bad in (f'{text[:-1]},}}', text + "{}", text + "x", f"[{text}]", f'"{name}"',
                    text[:-1], "\ufeff" + text, text.replace('"', "'"), f"/**/{text}",
                    text.replace(value, "NaN"), text.replace(value, "Infinity"),
                    text.replace(value, "1e999"), text.replace(value, "9" * 5000),
                    text.replace(value, "[" * 30 + "]" * 30), text.replace(value, '"\\ud800"'),
                    text.replace(value, '"a\nb"'), text.replace(value, "01")):
            refused(bad.encode())
        refused(text.encode("utf-16"))
        refused(text.encode()[:-1] + b', "x": "\xff"}')


@pytest.mark.parametrize("member, payload", [
    ("kid", b"null"), ("kid", b"[]"), ("kid", b'""'), ("kid", b"0"), ("kid", b" "),
    ("jwk", None), ("jwk", {"status": "deactivated"}), ("jwk", order("example.org")),
    ("jwk", {"csr": b64(b"x")}), ("jwk", JWS), ("kid", {"onlyReturnExisting": True}),
    ("kid", {"externalAccountBinding": JWS}), ("kid", {"status": "Deactivated"}),
    ("kid", {"status": "deactivated "}), ("kid", {"status": "valid"}), ("kid", {"status": ""}),
    ("kid", {"status": ["deactivated"]}), ("kid", {"contact": "mailto:a@b"}),
    ("kid", {"contact": [["mailto:a@b"]]}), ("kid", {"contact": [1]}),
    ("kid", {"contact": [], "status": "deactivated"}), ("kid", {"termsOfServiceAgreed": "true"}),
    ("kid", {"termsOfServiceAgreed": 1}), ("jwk", {"onlyReturnExisting": False}),
    ("jwk", {"onlyReturnExisting": 1}), ("jwk", {"onlyReturnExisting": "true"}),
    ("jwk", {"onlyReturnExisting": True, "externalAccountBinding": JWS}),
    ("jwk", {"externalAccountBinding": {}}), ("jwk", {"externalAccountBinding": {**JWS, "x": ""}}),
    ("jwk", {"externalAccountBinding": "x"}), ("jwk", {"externalAccountBinding": None}),
    ("kid", {**JWS, "header": {}}), ("kid", {**JWS, "protected": "e30="}),
    ("kid", {"protected": "e30", "payload": "e30", "signatures": []}),
    ("kid", {"certificate": b64(certificate()), "reason": True}),
    ("kid", {"certificate": b64(certificate()), "reason": 1.0}),
    ("kid", {"certificate": b64(certificate()), "reason": 11}),
    ("kid", {"certificate": b64(certificate()), "reason": -1}),
    ("kid", {"certificate": b64(certificate()) + "="}), ("kid", {"certificate": ""}),
    ("kid", {"certificate": b64(good_csr())}), ("kid", {"certificate": "ÿ"}),
    ("kid", {"certificate": b64(certificate("DNS:other.example"))}),
    ("kid", {"certificate": b64(certificate("DNS:example.org,email:a@example.org"))}),
])
def test_what_is_no_row_or_a_bad_one(member: str, payload: Any) -> None:
    assert judge(payload, ALL, member).why


def test_without_a_policy_only_the_general_rules_hold() -> None:
    assert judge({"status": "Deactivated"}, []).why == ""
    assert judge({"anything": 1.5}, [], url="https://CA.example:443/a//b?c").why == ""
    verdict = judge({}, [], nonce="")
    assert verdict.why == "nonce is not base64url" and "policy=none verdict=refused" in str(verdict)


# --- orders --------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, value", [
    ("dns", "example.org"), ("dns", "a.example.net"), ("dns", "x.y-z.a.example.net"),
    ("dns", "*.wild.example"), ("ip", "192.0.2.1"), ("ip", "2001:db8::1")])
def test_identifiers_within_the_globs(kind: str, value: str) -> None:
    verdict = judge(order(value, kind=kind), DEFAULT)
    assert (verdict.why, verdict.names) == ("", ((kind, value),))
    assert judge(order(value, kind=kind), DEFAULT._replace(identifiers=frozenset("*"))).why == ""


@pytest.mark.parametrize("kind, value", [
    ("dns", "example.com"), ("dns", "www.example.org"), ("dns", "*.example.org"),
    ("dns", "example.net"), ("dns", "*.example.net"), ("dns", "*.a.example.net"),
    ("dns", ".example.net"), ("dns", "aexample.net"), ("dns", "a..example.net"),
    ("dns", "-.example.net"), ("dns", "a_b.example.net"), ("dns", "wild.example"),
    ("dns", "a.wild.example"), ("dns", "*.*.wild.example"), ("dns", "a.example.org"),
    ("dns", "EXAMPLE.org"), ("dns", "A.example.net"), ("dns", "example.org."),
    ("dns", "example.org\0"), ("dns", "example.org\n"), ("dns", " example.org"),
    ("dns", "a.example.net/"), ("dns", "a.example.net\u3002example.net"), ("dns", "*"),
    ("dns", "é.example.net"), ("dns", "\u212a.example.net"), ("dns", "a" * 64 + ".example.net"),
    ("dns", "a." * 125 + "example.net"), ("dns", ""), ("dns", "*.192.0.2.1"),
    ("dns", "192.0.2.1"), ("dns", "2001:db8::1"), ("ip", "example.org"), ("ip", "192.0.2.2"),
    ("ip", "192.0.2.01"), ("ip", "192.0.2.1/32"), ("ip", "2001:db8:0::1"), ("ip", "2001:DB8::1"),
    ("ip", "::ffff:192.0.2.1"), ("ip", "2001:db8::1%eth0"), ("ip", "3221225985"),
    ("DNS", "example.org"), ("dns ", "example.org"), ("", "example.org"),
    ("email", "a@example.org"), ("permanent-identifier", "example.org")])
def test_identifiers_beyond_the_globs(kind: str, value: str) -> None:
    for names in ([value], ["example.org", value], [value, "example.org"]):
        payload = order(*names, kind="dns")
        for item in payload["identifiers"]:
            if item["value"] == value:
                item["type"] = kind
        assert judge(payload, DEFAULT).why, payload


@pytest.mark.parametrize("item", [
    {"type": "dns"}, {"value": "example.org"}, {"type": "dns", "value": "example.org", "x": ""},
    {"type": "dns", "Value": "example.org"}, {"type": "dns", "value": "example.org", "Value": "x"},
    {"type": "dns", "value": "example.org", "TYPE": "ip"}, {"type": "dns", "value": None},
    {"type": "dns", "value": ["example.org"]}, {"type": 1, "value": "example.org"}, {}, "x", None,
    ["dns", "example.org"]])
def test_shadowed_identifiers(item: Any) -> None:
    assert judge({"identifiers": [item]}, DEFAULT).why
    assert judge({"identifiers": [order("example.org")["identifiers"][0], item]}, DEFAULT).why


def test_orders_with_more() -> None:
    assert judge(order(), DEFAULT).why == "an order without identifiers"
    assert judge(order("example.org", profile="long"), DEFAULT).why.endswith("of its profiles")
    assert judge(order("example.org", profile=""), DEFAULT).why
    anything = DEFAULT._replace(profiles=frozenset("*"))
    assert judge(order("example.org", profile="long"), anything).why == ""
    for replaces in ("", "a", "a.b.c", "a.b=", "a.b\n", 7, "ſ.b"):
        assert judge(order("example.org", replaces=replaces), DEFAULT).why
    many = order(*(f"n{number}.example.net" for number in range(1000)))
    assert judge(many, DEFAULT).why == "" and len(judge(many, DEFAULT).names) == 1000
    many["identifiers"].append(many["identifiers"][0])
    assert judge(many, DEFAULT).why == "“identifiers” has more than 1000 elements"


# --- url and kid ---------------------------------------------------------------------------------

GOOD_URLS = ["/", "/a", "/a/", "/acme/order/1/2", "/a.b/~c_d-e", "/a/..b/...", "/a;b=c", "/a:b@c",
             "/a..;/b", "/;..",
             "/.well-known/acme"]
BAD_URLS = [
    "http://ca.example/a", "HTTPS://ca.example/a", "https://CA.example/a", "https://ca.example",
    "https://ca.example:443/a", "https://ca.example:0443/a", "https://ca.example:/a",
    "https://ca.example:8443/a", "https://ca.example./a", "https://u@ca.example/a",
    "https://u:p@ca.example/a", "https://ca.example@evil.example/a", "https://evil.example/a",
    "https://ca.example.evil.example/a", "https://xca.example/a", "https://ca.example\\@evil/a",
    "https://ca.example/a?b", "https://ca.example/?", "https://ca.example/a#b",
    "https://ca.example?/a", "https://ca.example#/a", "https://ca.example//a",
    "https://ca.example/a//b", "https://ca.example//", "https://ca.example/.",
    "https://ca.example/..", "https://ca.example/./a", "https://ca.example/a/../b",
    "https://ca.example/a/..", "https://ca.example/a/.", "https://ca.example/..;/a",
    "https://ca.example/a/.;b", "https://ca.example/a/..;", "https://ca.example/%61",
    "https://ca.example/a%2f..", "https://ca.example/a%", "https://ca.example/é",
    "https://ca.example/a b", "https://ca.example/a\n", "https://ca.example/a\0",
    "https:/ca.example/a", "https:ca.example/a", "//ca.example/a", "/a", "", "https:///a",
    "https://[::1]/a", "https://ca.example/a[b]", "https://ca.example/a\\b",
    "https://ca\u3002example/a", "https://ca.example/" + "a" * 2048]


@pytest.mark.parametrize("path", GOOD_URLS)
def test_canonical_urls(path: str) -> None:
    assert judge(None, url=ORIGIN + path, kid=ORIGIN + path).why == ""
    with_port = ALL._replace(origins=frozenset([f"{ORIGIN}:14000", "https://[::1]:1"]))
    assert judge(None, with_port, url=f"{ORIGIN}:14000{path}", kid=f"https://[::1]:1{path}"
                 ).why == ""
    assert judge(None, with_port, url=ORIGIN + path, kid=f"{ORIGIN}:14000{path}").why


@pytest.mark.parametrize("url", BAD_URLS)
def test_other_urls(url: str) -> None:
    assert judge(None, url=url).why and judge(None, kid=url).why
    assert judge(None, url=url).origin == "-"


@pytest.mark.parametrize("url, origin", [
    ("https://ca.example/dir", ORIGIN), ("https://CA.Example", ORIGIN),
    ("https://ca.example:443/", ORIGIN), ("https://ca.example:00443?x", ORIGIN),
    ("https://127.0.0.1:14000/dir", "https://127.0.0.1:14000"),
    ("https://[2001:DB8::1]:444/d", "https://[2001:db8::1]:444")])
def test_origin_of(url: str, origin: str) -> None:
    assert signer_policy.origin_of(url) == origin and signer_policy.is_origin(origin)


@pytest.mark.parametrize("text", ["", "https://", "http://a", "a", "https://a@b", "https://a b",
                                  "https://ſ", "https://\u212a.example", "https://a:b",
                                  "https://a\n", "https://a:123456"])
def test_no_origin(text: str) -> None:
    assert not signer_policy.is_origin(text)
    with pytest.raises(ProtocolError):
        signer_policy.origin_of(text)


def test_headers_in_disguise() -> None:
    """Those of request.py, which go before the policy's."""
    for changes in ({"Kid": KID}, {"URL": URL}, {"crit": []}, {"b64": False}, {"typ": "JWT"},
                    {"nonce": None}, {"alg": "none"}, {"alg": "RS256"}, {"jwk": {}},
                    {"url": [URL]}):
        assert judge(None, **changes).why, changes
    foreign = greeting("ec:P-384")
    assert judge({}, member="jwk", jwk=foreign.jwk).why == "jwk is not the account key's"
    with_kid = greeting()._replace(kid=KID)
    assert policy.judge(line(None), with_kid, [ALL]).why == ""
    assert policy.judge(line(None, kid=KID + "0"), with_kid, [ALL]).why
    assert policy.judge(line({"onlyReturnExisting": True}, "jwk"), with_kid, [ALL]).why


@pytest.mark.parametrize("data", [
    b"", b".", b"e30.", b"e30.e30", b"a.b.c", b"\xff.e30", b"e30=.e30", b"e31.e30", line({}) + b".",
    line({}) + b"=", line({})[:-1], b"A" * 65536, b"." * 65536])
def test_no_signing_input(data: bytes) -> None:
    verdict = policy.judge(data, greeting(), [ALL])
    assert verdict.why and str(verdict).startswith(
        'policy=all verdict=refused operation=- origin=- why="')


def test_lines_that_no_conversation_takes() -> None:
    """Longer ones, which --explain must not call allowed; their parts are as long as others'."""
    long = line(order(*["a." * 110 + "example.net"] * 180))
    longer = line(order(*["a." * 110 + "example.net"] * 190))
    assert len(long) <= 65536 < len(longer)
    assert policy.judge(long, greeting(), [ALL]).why == ""
    assert policy.judge(longer, greeting(), [ALL]).why == "line longer than 65536 bytes"


def test_every_exception_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    for exception in (KeyError("x"), RecursionError(), MemoryError(), ImportError("ipaddress")):
        def fail(*_: Any, exc: Exception = exception) -> None:
            raise exc
        monkeypatch.setattr(policy, "covers", fail)
        assert judge(order("example.org")).why == \
            f"cannot be understood ({type(exception).__name__})"


# --- finalize ------------------------------------------------------------------------------------

def finalize(der: bytes, policies: Any = DEFAULT, kind: str = "ec:P-256") -> policy.Verdict:
    """The verdict on a CSR."""
    return judge({"csr": b64(der)}, policies, kind=kind)


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


SAN = tlv(0x30, b"\x06\x03\x55\x1d\x11", tlv(4, tlv(0x30, tlv(0x82, b"example.org"))))
OTHER_SAN = SAN.replace(b"example.org", b"example.com")
EXTENSION_REQUEST = bytes.fromhex("06092a864886f70d01090e")


def built(*attributes: bytes, spki: bytes = b"", subject: bytes = b"\x30\x00") -> bytes:
    """A CSR put together by hand; nobody looks at the signature."""
    spki = spki or parse_csr(good_csr()).spki
    return tlv(0x30, tlv(0x30, b"\x02\x01\x00", subject, spki, tlv(0xa0, *attributes)),
               tlv(0x30, bytes.fromhex("06082a8648ce3d040302")), tlv(3, b"\0\0"))


def extension_request(*values: bytes) -> bytes:
    """The attribute of requested extensions (RFC 2985 §5.4.2)."""
    return tlv(0x30, EXTENSION_REQUEST, tlv(0x31, *values))


def extension(oid: str, value: bytes) -> bytes:
    """An extension; the OID in hexadecimal."""
    return tlv(0x30, tlv(6, bytes.fromhex(oid)), tlv(4, value))


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
        "policy “default”: finalize with another CSR or certificate than expected"
    # the same names do not help where they are not the policy's
    assert finalize(good_csr(), pinned._replace(identifiers=frozenset(["a"]))).why
    empty = DEFAULT._replace(only=frozenset())
    assert finalize(good_csr(), empty).why and judge(order("example.org"), empty).why == ""


@pytest.mark.parametrize("kind", KEY_TYPES)
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
        derived = accountd.derive(SERVER, [Order("a", section.identifiers, der)])
        assert finalize(der, derived).why == ""
        # which is no policy of somebody else's
        assert (finalize(der, DEFAULT).why == "") is (chosen == ())


# --- rates and audit -----------------------------------------------------------------------------

def test_rate_limit() -> None:
    """Within any hour, by a clock that nobody sets; what is refused isn't counted."""
    clock = [1000.0]
    guard = policy.Guard([DEFAULT._replace(per_hour=10), ALL], lambda: clock[0])

    def ask(payload: Any) -> str:
        clock[0] += 60
        return guard.judge(line(payload), greeting()).why

    for _ in range(20):
        assert "not allowed" in ask({"status": "deactivated"})
    assert [ask(None) for _ in range(10)] == [""] * 10
    limit = "policy “default”: more than 10 requests within an hour"
    assert [ask({}) for _ in range(10)] == [limit] * 10
    assert "not allowed" in ask({"status": "deactivated"})
    clock[0] = 1000 + 60 * 21 + 3600 - 61
    assert ask(None) == limit
    assert ask(None) == "" and ask(None) == ""
    assert [ask(None) for _ in range(20)].count("") <= 10


def test_rate_limit_of_threads() -> None:
    import threading
    guard = policy.Guard([DEFAULT._replace(per_hour=100)])
    allowed: list[str] = []
    request = line(None)

    def ask() -> None:
        allowed.extend(guard.judge(request, greeting()).why for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(allowed) == 400 and allowed.count("") == 100


@pytest.mark.parametrize("payload, text", [
    (order("example.org", "a.example.net"), "policy=default verdict=allowed operation=new-order "
     "origin=https://ca.example identifiers=example.org,a.example.net"),
    (order("example.com"), "policy=default verdict=refused operation=new-order "
     'origin=https://ca.example why="policy “default”: example.com is not one of its '
     'identifiers" identifiers=example.com'),
    ({"status": "deactivated"}, "policy=default verdict=refused operation=deactivate "
     'origin=https://ca.example why="policy “default”: deactivate is not allowed" identifiers=-'),
    ({"ſtatus": "deactivated"}, "policy=default verdict=refused operation=- "
     'origin=https://ca.example why="not a request that a policy knows" identifiers=-'),
    (None, "policy=default verdict=allowed operation=read origin=https://ca.example "
     "identifiers=-")])
def test_audit(payload: Any, text: str) -> None:
    assert str(judge(payload, DEFAULT)) == text


def test_audit_lines_cannot_be_forged() -> None:
    """Not by a name, nor by a url, nor by what a CSR holds."""
    forged = 'x" verdict=allowed operation=read identifiers=a'
    for verdict in (judge(order(forged)), judge(order("example.org", profile=forged)),
                    judge(None, url=f"https://{forged}/"), judge({forged: 1}),
                    finalize(csr("subjectAltName=DNS:example.org", subject=f"/CN={forged}")),
                    finalize(built(extension_request(tlv(0x30, tlv(
                        0x30, b"\x06\x03\x55\x1d\x11",
                        tlv(4, tlv(0x30, tlv(0x82, forged.encode()))))))))):
        found = re.fullmatch(r'policy=\S+ verdict=refused operation=\S+ origin=\S+ '
                             r'why="([^"]*)" identifiers=\S+', str(verdict))
        assert found and "\n" not in str(verdict)


def test_audit_lines_of_huge_names_are_whole() -> None:
    """In the log, where a line has 4096 characters at most, the reason comes to its end."""
    der = certificate("DNS:example.org,otherName:1.2.3;UTF8:" + "x" * 9000)
    verdict = judge({"certificate": b64(der)}, ALL)
    assert re.match(r'policy=all verdict=refused operation=revoke origin=https://ca.example '
                    r'why="policy “all”: [0-9a-f]+… is not one of its identifiers" identifiers=',
                    log.printable(verdict))


# --- settings ------------------------------------------------------------------------------------

PYTHON = "/usr/bin/python3"


def run(*arguments: str, data: bytes = b"", **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the program with the modules of this tree."""
    done = subprocess.run(
        [PYTHON, "-IB", "-c", f"import sys; sys.path.insert(0, {str(TREE)!r})\n"
         "from letsencrypt_tiny.signer.main import main; sys.exit(main())", *arguments],
        input=data, capture_output=True, timeout=60, start_new_session=True, **options)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(),
                                       done.stderr.decode())


class Place:
    """A key and a configuration file."""

    def __init__(self, path: Path) -> None:
        self.key, self.conf = path / "key.pem", path / "accountd.conf"
        self.key.write_text(key("ec:P-256", "account"))
        self.key.chmod(0o600)
        self.log = path / "log"
        self.write("identifiers = example.org .example.net")

    def write(self, *lines: str, section: str = "policy web1", top: str = "") -> None:
        """Write the configuration, ``lines`` in a section."""
        self.conf.write_text("\n".join([f"privkey = file:{self.key}", f"logfile = {self.log}",
                                        top, f"[{section}]", *lines]) + "\n")

    def talk(self, *requests: bytes, policies: tuple[str, ...] = ("web1",), **options: Any
             ) -> "subprocess.CompletedProcess[str]":
        """Hold one conversation."""
        return run(f"--config={self.conf}", "--stdio", "--quiet",
                   *(f"--policy={name}" for name in policies),
                   data=b"".join(request + b"\r\n" for request in requests), **options)


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    return Place(tmp_path)


LE = "https://acme-v02.api.letsencrypt.org"


def le(payload: Any, member: str = "kid") -> bytes:
    """A signing input for the default origin."""
    changes = {"kid": f"{LE}/acme/acct/1"} if member == "kid" else {}
    return line(payload, member, url=f"{LE}/acme/new-order", **changes)


def test_a_policy_in_the_configuration(place: Place) -> None:
    good, bad = le(order("www.example.net")), le({"status": "deactivated"})
    done = place.talk(good, bad, good)
    answers = done.stdout.split("\r\n")[2:]
    assert len(answers) == 3 and len(answers[0]) == 86 and done.returncode == 1
    assert answers[1] == 'NOSIGN policy "web1": deactivate is not allowed'
    assert done.stderr.startswith("warning: [stdio] NOSIGN ") and done.stderr.count("\n") == 1
    log = place.log.read_text()
    assert f"[stdio] AUDIT policy=web1 verdict=allowed operation=new-order origin={LE} " \
        "identifiers=www.example.net\n" in log
    assert f"[stdio] AUDIT policy=web1 verdict=refused operation=deactivate origin={LE} " in log
    assert log.count("AUDIT") == 2 and log.count("SIGNED") == 1 and log.count("NOSIGN") == 1
    # not without being asked for
    assert place.talk(bad, policies=()).returncode == 0
    assert "AUDIT" not in place.log.read_text()[len(log):]


def test_settings(place: Place) -> None:
    place.write(f"origins = {ORIGIN}, https://b.example:14000", "identifiers = *.Wild.example, "
                "192.0.2.1 2001:DB8:0::1", "profiles = short, long", "operations = revoke,read "
                "new-order", "requests-per-hour = 3")
    v6 = order("2001:db8::1", kind="ip", profile="long")
    lines = [line(None), line({"certificate": b64(certificate("DNS:*.wild.example"))}),
             line(v6), line(None)]
    done = place.talk(*lines)
    answers = done.stdout.split("\r\n")[2:-1]
    assert [answer[:6] == "NOSIGN" for answer in answers] == [False] * 3 + [True]
    assert answers[3] == 'NOSIGN policy "web1": more than 3 requests within an hour'
    for refused in (line({}), le(None), line(order("wild.example"))):
        assert "NOSIGN policy" in place.talk(refused).stdout
    for origin in ("https://b.example:14000", LE):
        found = place.talk(line(None, url=f"{origin}/x")).stdout
        assert ("NOSIGN" in found) is (origin == LE)


def test_two_policies(place: Place) -> None:
    place.write("identifiers = example.org a.example.net", "[policy b]",
                "identifiers = .example.net", "operations = new-order")
    good, both = le(order("a.example.net")), ("web1", "b")
    assert place.talk(good, policies=both).returncode == 0
    for bad in (le(order("example.org")), le(order("b.example.net")), le(None)):
        assert place.talk(bad, policies=both).returncode == 1
    assert "policy=web1+b verdict=allowed operation=new-order" in place.log.read_text()


@pytest.mark.parametrize("lines, problem", [
    (["identifiers = a.example", "colour = red"], "unknown setting “colour” (valid: identifiers, "
     "operations, origins, profiles, requests-per-hour)"),
    ([], "identifiers is missing"), (["identifiers ="], "identifiers is missing"),
    (["identifiers = a..b"], "“a..b” is not NAME, .NAME, *.NAME or an address"),
    (["identifiers = .*.b.example"], "is not NAME"), (["identifiers = *.*.b"], "is not NAME"),
    (["identifiers = **"], "is not NAME"), (["identifiers = ."], "is not NAME"),
    (["identifiers = a*.b"], "is not NAME"), (["identifiers = é.example"], "is not NAME"),
    (["identifiers = 192.0.2.300"], "192.0.2.300"), (["identifiers = ::g"], "::g"),
    (["identifiers = 192.0.2.0/24"], "is not NAME"), (["identifiers = a.b."], "is not NAME"),
    (["identifiers = a", "origins = ca.example"], "“ca.example” is not https://HOST[:PORT]"),
    (["identifiers = a", "origins = https://ca.example/"], "is not https://HOST"),
    (["identifiers = a", "origins = https://ca.example:443"], "is not https://HOST"),
    (["identifiers = a", "origins = https://CA.example"], "is not https://HOST"),
    (["identifiers = a", "operations = everything"], "“everything” is not one of read, respond"),
    (["identifiers = a", "requests-per-hour = many"], "not a whole number from 0 to 100000")])
def test_bad_settings(lines: list[str], problem: str, place: Place) -> None:
    """Also of a policy that nobody asks for."""
    place.write(*lines)
    done = place.talk(policies=())
    assert done.returncode == 2 and problem in done.stderr and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {place.conf}, [policy web1]: ")


def test_our_own_file_shows_the_defaults(tmp_path: Path) -> None:
    """What is shown commented out is what holds without it."""
    text = (TREE / "config/accountd.conf").read_text()
    shown = re.sub(r"^#(?=\[|[a-z-]+ =)", "", text, flags=re.M)
    (tmp_path / "shown").write_text(shown)
    (tmp_path / "short").write_text("privkey = file:/x\n[policy web1]\n"
                                    "identifiers = .example.org example.org\n")
    full, plain = (signer_config.read(signer_config.Options(
        config=str(tmp_path / name), policies=("web1",))) for name in ("shown", "short"))
    assert full._replace(file=None, privkey=plain.privkey) == plain._replace(file=None)
    assert full.policies == (Policy("web1", frozenset([LE]), frozenset(ORDERING), frozenset(
        ["example.org", ".example.org"]), frozenset(), 1000),)


@pytest.mark.parametrize("section", ["policy", "policies", "web1", "policy a b", "policy fd:3",
                                     "policy é", "Policy a", "policy -a", "policy " + "a" * 64])
def test_bad_sections(section: str, place: Place) -> None:
    place.write("identifiers = a", section=section)
    done = place.talk(policies=())
    assert done.returncode == 2 and f"unknown section [{section}]" in done.stderr


@pytest.mark.parametrize("name, problem", [
    ("web2", "there is no such section in"), ("", "there is no such section"),
    ("fd:77", "Bad file descriptor"), ("fd:0", "the policy is not valid JSON"),
    ("fd:x", "there is no such section"), ("policy web1", "there is no such section")])
def test_bad_option(name: str, problem: str, place: Place) -> None:
    done = place.talk(policies=(name,))
    assert (done.returncode, done.stdout) == (2, "") and problem in done.stderr
    assert done.stderr.startswith(f"error: --policy={name}: ")


def test_policy_and_no_file(place: Place) -> None:
    done = run("--config=/dev/null", f"--privkey=file:{place.key}", "--policy=a", "--stdio")
    assert done.returncode == 2 and "(there is none)" in done.stderr


# --- --explain -----------------------------------------------------------------------------------

def test_explain(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "requests"
    file.write_bytes(le(order("example.org")) + b"\r\n" + le({"contact": []}) + b"\njunk\n")
    done = run(f"--config={place.conf}", "--policy=web1", f"--explain={file}")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"1: policy=web1 verdict=allowed operation=new-order origin={LE} identifiers=example.org",
        f"2: policy=web1 verdict=refused operation=account-update origin={LE} "
        'why="policy “web1”: account-update is not allowed" identifiers=-',
        '3: policy=web1 verdict=refused operation=- origin=- why="not a JWS signing input '
        '(RFC 7515 §5.1)" identifiers=-']
    good = le(order("example.org")) + b"\n"
    done = run(f"--config={place.conf}", "--policy=web1", "--explain=-", data=good * 2000)
    assert done.returncode == 0 and done.stdout.count("verdict=allowed") == 2000
    done = run(f"--config={place.conf}", "--explain=-", data=le({"status": "x"}))
    assert done.stdout.startswith("1: policy=none verdict=allowed operation=deactivate ")
    done = run(f"--config={place.conf}", f"--explain={file}.not")
    assert done.returncode == 1 and "No such file" in done.stderr
    done = run("--explain=-", "--stdio")
    assert done.returncode == 2 and "--stdio and --explain exclude each other" in done.stderr


# --- the master's own ----------------------------------------------------------------------------

SERVER = "https://CA.example:443/directory"
ORDER = Order("a", (("dns", "example.org"), ("ip", "2001:db8::1")), good_csr(), profile="short")


def allowed(requests: list[Request], payload: Any, member: str = "kid") -> bool:
    """Whether the signer would sign it that is spawned for ``requests``."""
    derived = accountd.derive(SERVER, requests)
    again = signer_policy.parse_policy(signer_policy.format_policy(derived))
    assert again == derived
    return not judge(payload, again, member).why


def test_derived_for_orders() -> None:
    requests: list[Request] = [ORDER, Order("b", (("dns", "b.example"),), b"other CSR")]
    for payload in (None, {}, order("example.org"), order("b.example", "example.org"),
                    order("2001:db8::1", kind="ip"), order("example.org", profile="short"),
                    {"csr": b64(good_csr())}):
        assert allowed(requests, payload)
    assert allowed(requests, {"onlyReturnExisting": True}, "jwk")
    for payload in (order("a.example.org"), order("c.example"), {"status": "deactivated"},
                    order("example.org", profile="long"), {"contact": []}, JWS,
                    {"certificate": b64(certificate())},
                    {"csr": b64(csr("subjectAltName=DNS:example.org"))}):   # signed anew
        assert not allowed(requests, payload)
    assert not allowed(requests, {"termsOfServiceAgreed": True}, "jwk")
    assert judge(None, accountd.derive(SERVER, requests), url="https://b.example/").why


@pytest.mark.parametrize("update, operations", [
    (AccountUpdate(), []), (AccountUpdate(register=True, terms_agreed=True), ["register"]),
    (AccountUpdate(contact=("mailto:a@b",)), ["account-update"]),
    (AccountUpdate(deactivate=True), ["deactivate"]),
    (AccountUpdate(True, True, True, ()), ["register", "account-update", "deactivate"])])
def test_derived_for_the_account(update: AccountUpdate, operations: list[str]) -> None:
    assert accountd.derive(SERVER, [update]).operations == {"read", "lookup", *operations}


def test_derived_for_revocation() -> None:
    one, other = certificate(), certificate("DNS:other.example")
    for with_key in (False, True):
        requests: list[Request] = [Revocation("f", one, 1, with_key)]
        for member in ("kid", "jwk"):
            assert allowed(requests, {"certificate": b64(one), "reason": 4}, member)
            assert not allowed(requests, {"certificate": b64(other)}, member)
        assert allowed(requests, {"onlyReturnExisting": True}, "jwk") is not with_key
        for payload in (None, {}, order("example.org"), {"csr": b64(good_csr())}):
            assert not allowed(requests, payload)
    odd = certificate("DNS:example.org,email:a@b,IP:::1")
    assert allowed([Revocation("f", odd)], {"certificate": b64(odd)})


def test_derived_for_nothing() -> None:
    """As for the check command."""
    assert accountd.derive(SERVER, []).operations == set()
    for operation, member, payload in ROWS:
        assert not allowed([], payload, member), operation


@pytest.mark.parametrize("command, setting, expected", [
    ("/usr/bin/letsencrypt-tiny-accountd", "auto", True),
    ("/opt/x/letsencrypt-tiny-accountd --policy=a", "auto", True),
    ("%h/letsencrypt-tiny-accountd", "auto", True), ("letsencrypt-tiny-accountd", "auto", True),
    ("ssh -T host letsencrypt-tiny-accountd --stdio", "auto", False),
    ("/usr/bin/lacme-accountd", "auto", False), ("/usr/bin/lacme-accountd", "required", True),
    ("/usr/bin/letsencrypt-tiny-accountd", "no", False)])
def test_who_takes_a_policy(command: str, setting: str, expected: bool, tmp_path: Path) -> None:
    file = tmp_path / "main.conf"
    file.write_text(f"[accountd]\ncommand = {command}\npolicy = {setting}\n")
    settings = master_config.load(str(file)).accountd
    assert settings is not None and accountd.takes_policy(settings) is expected


@pytest.mark.parametrize("changes", [
    {"name": None}, {"more": 1}, {"operations": "read"}, {"per_hour": -1}, {"per_hour": 1.5},
    {"identifiers": [1]}, {"only": "x"}, {"Only": None}])
def test_policies_that_cannot_be_read(changes: dict[str, Any]) -> None:
    obj = json.loads(signer_policy.format_policy(ALL))
    assert signer_policy.parse_policy(json.dumps(obj).encode()) == ALL
    with pytest.raises(ProtocolError):
        signer_policy.parse_policy(json.dumps({**obj, **changes}).encode())
    for name in obj:
        with pytest.raises(ProtocolError):
            signer_policy.parse_policy(json.dumps(
                {key: value for key, value in obj.items() if key != name}).encode())


def test_policy_on_a_descriptor(place: Place) -> None:
    """What the master hands over; together with one that the administrator chose."""
    def talk(request: bytes, *policies: str) -> int:
        reader, writer = os.pipe()
        os.write(writer, signer_policy.format_policy(accountd.derive(f"{LE}/directory", [ORDER])))
        os.close(writer)
        try:
            return place.talk(request, policies=(f"fd:{reader}", *policies),
                              pass_fds=(reader,)).returncode
        finally:
            os.close(reader)

    address = le(order("2001:db8::1", kind="ip"))
    assert (talk(address), talk(address, "web1"), talk(le({"contact": []}))) == (0, 1, 1)
    assert talk(le({"csr": b64(good_csr())}), "web1") == 0


def test_ipv6_requests_of_a_confined_signer(place: Place) -> None:
    """What reading one needs is loaded before."""
    place.write("identifiers = 2001:db8::1")
    request = le({"csr": b64(good_csr("IP:2001:db8::1"))})
    done = place.talk(request)
    assert (done.returncode, done.stderr) == (0, "")
