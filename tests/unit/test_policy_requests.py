"""The signer's policy: its table row by row, what is no row, orders, URLs."""

import json
from typing import Any

import pytest

from harness.accountd import unb64
from harness.policies import (ALL, DEFAULT, JWS, KID, ORIGIN, ROWS, URL, b64, certificate, csr,
                              good_csr, greeting, judge, key, line, order)
from letsencrypt_tiny.common import urls
from letsencrypt_tiny.common.wire import policy as signer_policy
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire.policy import BY_CERTIFICATE_KEY, OPERATIONS, digest
from letsencrypt_tiny.signer import policy


# --- the table -----------------------------------------------------------------------------------

@pytest.mark.parametrize("operation, member, payload", ROWS)
def test_row(operation: str, member: str, payload: Any) -> None:
    """Allowed where its operation is, whatever else is not; the default is for orders alone."""
    alone = ALL._replace(operations=frozenset([operation]))
    verdict = judge(payload, alone, member)
    assert (verdict.why, verdict.operation, verdict.origin) == ("", operation, ORIGIN)
    without = ALL._replace(operations=frozenset(OPERATIONS) - {operation})
    verdict = judge(payload, without, member)
    assert verdict.why == (f"policy “all”: {operation} is not allowed (setting “operations” of "
                           "[policy all])")
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


def test_no_policy_lets_an_account_key_revoke_as_the_certificates_own() -> None:
    """Be it that of a certificate, too (RFC 8555 §7.6, §11.1)."""
    own = b64(csr("subjectAltName=DNS:example.org", pem=key("ec:P-256", "account"),
                  options=("-x509",)))
    for der in (own, b64(certificate())):
        for policies in ([ALL], [ALL, ALL._replace(name="other")],
                         [ALL._replace(only=frozenset([digest(unb64(der.encode()))]))]):
            assert judge({"certificate": der}, policies).why == ""
            for payload in ({"certificate": der}, {"certificate": der, "reason": 1}):
                verdict = judge(payload, policies, "jwk")
                assert verdict.operation == "revoke" and "not as their own key" in verdict.why
    # one that was lent a certificate's key may, if the others allow revocation
    lent = ALL._replace(operations=frozenset(["revoke", BY_CERTIFICATE_KEY]))
    assert judge({"certificate": own}, [ALL, lent], "jwk").why == ""
    assert judge({"certificate": own}, [DEFAULT, lent], "jwk").why
    assert BY_CERTIFICATE_KEY not in OPERATIONS    # and so no word of a configuration


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
    ("dns", "-.example.net"), ("dns", "a+b.example.net"), ("dns", "wild.example"),
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
    assert judge(order("example.org", profile="long"), DEFAULT).why.endswith(
        "not one of its profiles (setting “profiles” of [policy default])")
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
    assert signer_policy.origin_of(url) == origin
    assert urls.parse_origin(origin) == urls.parse_origin(f"{origin}/") == origin


@pytest.mark.parametrize("text", ["", "https://", "http://a", "a", "https://a@b", "https://a b",
                                  "https://ſ", "https://\u212a.example", "https://a:b",
                                  "https://a\n", "https://a:123456"])
def test_no_origin(text: str) -> None:
    with pytest.raises(ValueError):
        urls.parse_origin(text)
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
