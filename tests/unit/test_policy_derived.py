"""The policy that the master derives from what it is about to ask for; its way to the signer."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.accountd import signing_input
from harness.policies import (ALL, EAB, JWS, ORDER, ORIGIN, ROWS, SERVER, b64, binding, certificate,
                              csr, good_csr, greeting, judge, key, key_change, order)
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire import policy as signer_policy
from letsencrypt_tiny.common.wire.order import AccountUpdate, Order, Request, Revocation
from letsencrypt_tiny.common.wire.policy import Policy
from letsencrypt_tiny.common.wire.signer import explanations, parse_explain
from letsencrypt_tiny.master.peers import signer
from letsencrypt_tiny.master.plan import signing
from letsencrypt_tiny.master.settings import main as master_config
from letsencrypt_tiny.signer.policy import judge as judge_line


REFUSED = "b.example is not one of its identifiers (setting “identifiers” of [policy all])"


def allowed(requests: list[Request], payload: Any, member: str = "kid") -> bool:
    """Whether the signer would sign it that is spawned for ``requests``."""
    derived = signing.derive(SERVER, requests)
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
    assert judge(None, signing.derive(SERVER, requests), url="https://b.example/").why


def test_derived_for_odd_urls() -> None:
    """They may be spelled in any way, as long as they are of the CA's origins."""
    derived = signing.derive(SERVER._replace(origins=("https://b.example:8443",)), [ORDER])
    for url in ("https://ca.example:443/x", "HTTPS://CA.EXAMPLE:0443/x", "https://ca.example?x",
                "https://ca.example/acme?order=7", "https://ca.example/acme%2Fone/x",
                "https://ca.example//acme/../x", "https://B.example:8443/x"):
        assert not judge(None, derived, url=url, kid=url).why
    for url in ("https://b.example/x", "https://ca.example:8443/x", "https://b.example:443/x",
                "https://ca.example@b.example/x", "https://b.example:8443@evil.example/",
                "https://evil.example/?https://ca.example/", "https://ca.example.evil.example/"):
        for member in "url", "kid":
            assert judge(None, derived, **{member: url}).why    # not all get to the policy
    assert judge(None, derived, url="https://b.example/x").why == (
        "policy “auto”: url is of another origin than https://b.example:8443, https://ca.example "
        "(setting “origins” of [client])")
    assert judge(order("b.example"), derived).why == (
        "policy “auto”: b.example is not one of its identifiers "
        "(“policy = no” in [accountd] would allow it)")


@pytest.mark.parametrize("update, operations", [
    (AccountUpdate(), []), (AccountUpdate(register=True, terms_agreed=True), ["register"]),
    (AccountUpdate(contact=("mailto:a@b",)), ["account-update"]),
    (AccountUpdate(deactivate=True), ["deactivate"]),
    (AccountUpdate(find_key=True), []), (AccountUpdate(rollover=True), ["key-change"]),
    (AccountUpdate(eab_kid="kid-1"), []), (AccountUpdate(orders=True), []),
    (AccountUpdate(True, True, True, ()), ["register", "account-update", "deactivate"])])
def test_derived_for_the_account(update: AccountUpdate, operations: list[str]) -> None:
    assert signing.derive(SERVER, [update]).operations == {"read", "lookup", *operations}


def test_derived_for_external_accounts() -> None:
    """Only while an account is made, and then no other is; the MAC is for the CA's origins."""
    bound = {"externalAccountBinding": binding()}
    update = AccountUpdate(register=True, eab_kid=EAB)
    assert allowed([update], bound, "jwk") and not allowed([update], {}, "jwk")
    header = {"alg": "HS256", "kid": EAB, "url": f"{ORIGIN}/acme/new-account"}
    for requests, url, may in (([update], header["url"], True),
                               ([update], "https://evil.example/x", False),
                               ([AccountUpdate(register=True)], header["url"], False),
                               ([AccountUpdate(eab_kid=EAB)], header["url"], False),
                               ([ORDER], header["url"], False)):
        line = signing_input({**header, "url": url}, greeting().jwk)
        assert (judge_line(line, greeting(), [signing.derive(SERVER, requests)]).why == "") is may
    for requests in ([ORDER], [AccountUpdate(register=True)], [AccountUpdate()]):
        assert not allowed(requests, bound, "jwk") and not allowed(requests, key_change())
    assert allowed([AccountUpdate(rollover=True)], key_change())


def test_derived_for_revocation() -> None:
    one, other = certificate(), certificate("DNS:other.example")
    for with_key in (False, True):
        requests: list[Request] = [Revocation("f", one, 1, with_key)]
        assert allowed(requests, {"certificate": b64(one), "reason": 4}, "kid")
        # as the certificate's own key: only by the signer that is lent it
        assert allowed(requests, {"certificate": b64(one)}, "jwk") is with_key
        for member in ("kid", "jwk"):
            assert not allowed(requests, {"certificate": b64(other)}, member)
        assert allowed(requests, {"onlyReturnExisting": True}, "jwk") is not with_key
        for payload in (None, {}, order("example.org"), {"csr": b64(good_csr())}):
            assert not allowed(requests, payload)
    # … but names may have to be proved first, and nothing be certified
    proving: list[Request] = [Revocation("f", one, 1, False, (("dns", "example.org"),),
                                         ("http-01",))]
    for payload in (None, {}, order("example.org")):
        assert allowed(proving, payload)
    for payload in (order("other.example"), {"csr": b64(good_csr())}):
        assert not allowed(proving, payload)
    odd = certificate("DNS:example.org,email:a@b,IP:::1")
    assert allowed([Revocation("f", odd)], {"certificate": b64(odd)})


def test_derived_for_nothing() -> None:
    """As for the check command."""
    assert signing.derive(SERVER, []).operations == set()
    for operation, member, payload in ROWS:
        assert not allowed([], payload, member), operation


def test_what_is_asked_about_an_order_is_what_is_asked_for_it() -> None:
    """Refused is what would be, for the reason that it would be; nothing else is."""
    def ask(request: Order, policy: Policy, origin: str = "https://ca.example") -> list[str]:
        lines = explanations(greeting(), origin, request.identifiers, request.csr, request.profile)
        asked = [parse_explain(line[:-2]) for line in lines]
        return [judge_line(line or b"", greeting(), [policy]).why for line in asked]

    derived = signing.derive(SERVER, [ORDER])
    assert ask(ORDER._replace(profile="short"), derived) == ["", ""]
    assert ask(ORDER._replace(profile=None), ALL) == ["", ""]
    order_, finalize = ask(ORDER._replace(identifiers=(("dns", "b.example"),)), ALL)
    assert order_.endswith(REFUSED) and finalize == ""
    order_, finalize = ask(ORDER._replace(csr=csr("subjectAltName=DNS:b.example")), ALL)
    assert order_ == "" and finalize.endswith(REFUSED)
    order_, finalize = ask(ORDER._replace(csr=csr("subjectAltName=DNS:example.org",
                                                  pem=key("ec:P-256", "account"))), ALL)
    assert (order_, finalize) == ("", "the CSR is for the account key")
    assert "this profile is not one of its profiles" in ask(ORDER._replace(profile="long"), ALL)[0]
    assert all("url is of another origin than https://ca.example " in why
               for why in ask(ORDER, ALL, "https://b.example"))


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
    assert settings is not None and signer.takes_policy(settings) is expected


@pytest.mark.parametrize("changes", [
    {"name": None}, {"more": 1}, {"operations": "read"}, {"per_hour": -1}, {"per_hour": 1.5},
    {"identifiers": [1]}, {"only": "x"}, {"Only": None}, {"urls": "all"},
    {"urls": None}])
def test_policies_that_cannot_be_read(changes: dict[str, Any]) -> None:
    obj = json.loads(signer_policy.format_policy(ALL))
    assert signer_policy.parse_policy(json.dumps(obj).encode()) == ALL
    with pytest.raises(ProtocolError):
        signer_policy.parse_policy(json.dumps({**obj, **changes}).encode())
    for name in obj:
        with pytest.raises(ProtocolError):
            signer_policy.parse_policy(json.dumps(
                {key: value for key, value in obj.items() if key != name}).encode())
