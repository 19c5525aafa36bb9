"""Orders without a socket: their states, their members, and servers that leave some out."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from harness.client import (CA, CHAIN, Words, authorization_object, challenge_object,
                            finish, refusal)
from harness.client import order_object as an_order
from letsencrypt_tiny.client import order
from letsencrypt_tiny.client.challenges.http01 import Http01
from letsencrypt_tiny.client.connection import Response
from letsencrypt_tiny.client.ordering import Ordering
from letsencrypt_tiny.client.patience import Patience
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.client.transport import CutOff, NoAnswer
from letsencrypt_tiny.common.errors import Error, ProtocolError
from letsencrypt_tiny.common.names import Identifier
from letsencrypt_tiny.common.wire.order import Answer, Issued, Order, Progress
from letsencrypt_tiny.common.wire.problems import Problem


# --- orders ------------------------------------------------------------------------------------

def test_the_states_of_an_order() -> None:
    """RFC 8555 §7.1.6, as seen by polls that may miss a state; nothing leads back."""
    states = ["new", "pending", "ready", "processing", "valid", "invalid"]
    allowed = {(before, after) for before in states for after in states
               if order.NEXT[before] and after in order.NEXT[before]}
    assert allowed == {
        ("new", "pending"), ("new", "ready"), ("new", "processing"), ("new", "valid"),
        ("new", "invalid"), ("pending", "pending"), ("pending", "ready"), ("pending", "invalid"),
        ("ready", "ready"), ("ready", "processing"), ("ready", "valid"), ("ready", "invalid"),
        ("processing", "processing"), ("processing", "valid"), ("processing", "invalid")}
    for before in states:
        for after in [*states, "VALID", "", "revoked"]:
            if (before, after) in allowed:
                assert order.advance(before, after) == after
            else:
                with pytest.raises(ProtocolError):
                    order.advance(before, after)


SESSION = Words()
ASKED = Order("s", (("dns", "a.example"), ("dns", "*.A.example"), ("ip", "2001:db8::1")), b"")


def order_object(**changes: Any) -> Any:
    return {"status": "pending", "finalize": "https://ca.example/f",
            "authorizations": ["https://ca.example/1", "https://ca.example/2"],
            "identifiers": [{"type": "ip", "value": "2001:DB8::1"}, {"type": "dns", "value":
                            "*.a.example"}, {"type": "dns", "value": "a.example"}], **changes}


def parse(*objs: dict[str, Any]) -> order.OrderObject:
    """Learn of an order by the answers of a server."""
    found = order.OrderObject(SESSION, ASKED)
    for obj in objs:
        found.update(Response(200, (("content-type", "application/json"),),
                              json.dumps(obj).encode()))
    return found


def test_an_order_is_taken_apart() -> None:
    parsed = parse(order_object(error={"detail": "no"}, certificate=None))
    assert parsed.status == "pending"
    with pytest.raises(ProtocolError, match="valid, but the CA names no certificate"):
        parsed.certificate_url()
    assert parsed.error == Problem("", "no")
    assert parsed.authorizations() == ["https://ca.example/1", "https://ca.example/2"]
    assert parsed.finalize_url() == parsed.finalize == "https://ca.example/f"
    assert order.wanted(ASKED) == {("dns", "a.example"), ("dns", "*.a.example"),
                                   ("ip", "2001:db8::1")}


@pytest.mark.parametrize("bare", [
    {}, {"finalize": None, "authorizations": None, "identifiers": None, "certificate": None,
         "error": None}, {"finalize": "", "authorizations": [], "certificate": ""},
    {"expires": None, "notBefore": 3, "unknown": {}}])
def test_what_was_said_once_holds(bare: dict[str, Any]) -> None:
    parsed = parse(order_object(), {"status": "ready", **bare})
    assert parsed.status == "ready" and parsed.finalize_url() == "https://ca.example/f"
    assert len(parsed.authorizations()) == 2
    parsed = parse(order_object(certificate="https://ca.example/c"), {"status": "valid", **bare})
    assert parsed.certificate_url() == "https://ca.example/c"


def test_an_answer_that_is_none_changes_nothing() -> None:
    parsed = parse(order_object())
    for bad in ({}, {"status": 3}, order_object(status="valid", identifiers="x")):
        with pytest.raises(ProtocolError):
            parsed.update(Response(200, (("content-type", "application/json"),),
                                   json.dumps(bad).encode()))
    assert parsed.status == "pending"


def test_the_same_url_twice_is_one() -> None:
    assert parse(order_object(authorizations=["https://ca.example/1"] * 2)).authorizations() == [
        "https://ca.example/1"]


@pytest.mark.parametrize("url", ["https://ca.example:443/f", "https://CA.Example/f",
                                 "HTTPS://ca.example:443/f", "https://ca.example:/f"])
def test_one_origin_has_several_spellings(url: str) -> None:
    """They are compared by origin (RFC 6454), and go back to the server as it spells them."""
    assert parse(order_object(finalize=url)).finalize_url() == url


@pytest.mark.parametrize("changes", [
    {"status": None}, {"status": 3}, {"identifiers": []}, {"identifiers": "x"},
    {"identifiers": order_object()["identifiers"][:2]},
    {"identifiers": order_object()["identifiers"] + [{"type": "dns", "value": "b.example"}]}])
def test_a_strange_order_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse(order_object(**changes))


@pytest.mark.parametrize("urls, words", [
    (None, "“authorizations” is missing"), ([3], "not a .short. string"), ("x", "not an array"),
    ([], "“authorizations” is missing"),
    ([f"https://ca.example/{i}" for i in range(4)], "4 authorizations for 3 identifiers"),
    ([f"https://ca.example/{i}" for i in range(10000)], "more than 1000"),
    (["https://169.254.169.254/"], "another origin"), (["http://ca.example/1"], "not an https")])
def test_strange_authorizations_are_refused_where_they_are_to_be_done(urls: Any,
                                                                      words: str) -> None:
    parsed = parse(order_object(authorizations=urls))
    with pytest.raises(ProtocolError, match=words):
        parsed.authorizations()


@pytest.mark.parametrize("url", ["https://ca.example:444/f", "https://ca.example.evil.example/f",
                                 None, 3, "https://ca.example.:443/f", "https://user@ca.example/f",
                                 "https://b.example/c", "https://ca.example/" + "x" * 3000])
def test_a_strange_url_is_refused_where_it_is_to_be_used(url: Any) -> None:
    """And the message names the step."""
    parsed = parse(order_object(finalize=url, certificate=url))
    with pytest.raises(ProtocolError, match="ready, but can't be finalized: “finalize”"):
        parsed.finalize_url()
    with pytest.raises(ProtocolError, match="valid, but (its certificate can't be fetched: "
                                            "“certificate”|the CA names no certificate)"):
        parsed.certificate_url()


# --- conversations: servers that leave out what nothing depends on ------------------------------

PENDING, READY = an_order(), an_order(status="ready")
VALID = an_order(status="valid", certificate=f"{CA}/certificate")
AUTHZ = authorization_object(challenge_object())
GOOD: dict[str, list[Any]] = {
    "new": [PENDING], "order": [READY, VALID], "finalize": [VALID], "authz": [AUTHZ],
    "certificate": [{"chain": CHAIN}], "challenge": [challenge_object()]}
BARE_READY, BARE_VALID = {"status": "ready"}, {"status": "valid",
                                               "certificate": f"{CA}/certificate"}


@pytest.fixture(autouse=True)
def directory(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The challenge directory."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


def run(names: Sequence[str] = ("a.example",), url: str | None = None,
        known: str | None = None, kid: str | None = None, **answers: Any
        ) -> tuple[Issued, list[str], list[Answer]]:
    """Order a certificate; return it, the paths asked for, and what the master was told."""
    session = Words(**{**GOOD, **answers})
    session.kid = kid
    request = Order("s", tuple(("dns", name) for name in names), b"csr", url=url,
                    finalize=known)
    told: list[Answer] = []
    issued = finish(Ordering(session, request, {"http-01": Http01()},
                             Patience("s", 60, told.append)).run())
    return issued, [path for path, _ in session.asked], told


@pytest.mark.parametrize("answers", [
    {"order": [BARE_READY, BARE_VALID]},                                      # finalize-once
    {"finalize": [{"status": "processing"}], "order": [READY, BARE_VALID]},   # valid-bare
    {"finalize": [BARE_VALID]},
    {"order": [{**READY, "authorizations": None}]},                           # authz-null
    {"new": [{**READY, "authorizations": None}]},
    {"new": [{**READY, "authorizations": []}]},
    {"new": [{key: value for key, value in PENDING.items() if key != "identifiers"}]},
    {"authz": [{**AUTHZ, "status": "valid", "challenges": None}]},            # authz-valid-bare
    {"authz": [{"status": "valid", "identifier": AUTHZ["identifier"]}]},
    {"authz": [{**AUTHZ, "wildcard": None}]},                                 # nulls
    {"new": [{**PENDING, "error": None, "certificate": None, "expires": None}]},
    {"new": [{**PENDING, "authorizations": [f"{CA}/authz"] * 2}]}], ids=repr)
def test_nothing_depends_on_it(answers: dict[str, list[Any]]) -> None:
    assert run(**answers)[0].chain == CHAIN


@pytest.mark.parametrize("above, status, good", [
    ("example", "valid", True), ("a.example", "valid", True), ("b.example", "valid", False),
    ("xample", "valid", False), ("example", "pending", False), ("ww.a.example", "valid", False),
    ("*.a.example", "valid", False)])
def test_a_valid_authorization_may_be_of_a_domain_above(above: str, status: str,
                                                        good: bool) -> None:
    """parent-authz (RFC 8555 §7.1.3).  One that something is to be done for may not."""
    identifier = {"type": "dns", "value": above}
    asked = {"new": [an_order(identifiers=[{"type": "dns", "value": "www.a.example"}])],
             "order": [BARE_READY, BARE_VALID], "finalize": [BARE_VALID],
             "authz": [authorization_object(challenge_object(), identifier=identifier,
                                            status=status)]}
    if good:
        assert run(["www.a.example"], **asked)[0].chain == CHAIN
    else:
        with pytest.raises(ProtocolError, match="foreign identifier"):
            run(["www.a.example"], **asked)


def test_one_domain_above_may_stand_for_several() -> None:
    names: list[Identifier] = [("dns", "a.b.example"), ("dns", "c.b.example")]
    new = an_order(identifiers=[{"type": kind, "value": value} for kind, value in names],
                   authorizations=[f"{CA}/authz"] * 2)
    assert run([value for _, value in names], new=[new], order=[BARE_READY, BARE_VALID],
               finalize=[BARE_VALID], authz=[authorization_object(
                   status="valid", identifier={"type": "dns", "value": "b.example"})])


# --- what is remembered, and orders that are looked for -----------------------------------------

def test_the_master_is_told_where_the_order_is_finalized() -> None:
    told = run(order=[BARE_READY, BARE_VALID])[2]
    assert {item.finalize for item in told if isinstance(item, Progress)} == {f"{CA}/finalize"}


def test_an_earlier_order_is_finalized_where_it_was_said() -> None:
    """finalize-once, after a run that ended in between."""
    _, asked, told = run(url=f"{CA}/order", known=f"{CA}/other", order=[BARE_READY],
                         other=[BARE_VALID])
    assert "new" not in asked and "finalize" not in asked and asked[-2:] == ["other",
                                                                             "certificate"]
    assert all(item.finalize == f"{CA}/other" for item in told if isinstance(item, Progress))
    with pytest.raises(ProtocolError, match="ready, but can't be finalized: “finalize” is missing"):
        run(new=[{**PENDING, "finalize": None}], order=[BARE_READY])
    # what the server says now is newer
    assert "finalize" in run(url=f"{CA}/order", known=f"{CA}/other", order=[READY])[1]
    # and what a client gone wrong made the master remember leads nowhere
    for known in None, "https://evil.example/":
        assert "new" in run(url=f"{CA}/earlier", known=known, earlier=[BARE_READY])[1]


GATEWAY = refusal("", 502)
FOUND = {"kid": f"{CA}/account/1", "account/1": [{"status": "valid", "orders": f"{CA}/orders"}],
         "orders": [{"orders": [f"{CA}/{name}" for name in
                                ("other", "old", "bare", "broken", "order")]}],
         "other": [an_order(identifiers=[{"type": "dns", "value": "b.example"}])],
         "old": [VALID], "bare": [{"status": "pending"}], "broken": [refusal("malformed", 404)],
         "order": [PENDING, READY, VALID]}


@pytest.mark.parametrize("fault", [GATEWAY, CutOff("x"), NoAnswer("x")], ids=repr)
@pytest.mark.parametrize("mirrored", [False, True])
def test_an_order_whose_answer_never_came_is_looked_for(fault: Exception, mirrored: bool) -> None:
    """In the account's list (RFC 8555 §7.1.2.1), whichever end has the new ones."""
    urls = FOUND["orders"][0]["orders"]     # type: ignore[index]
    listed = [{"orders": urls[::-1] if mirrored else urls}]
    issued, asked, _ = run(new=[fault], **{**FOUND, "orders": listed})
    assert issued.chain == CHAIN and asked.count("new") == 1
    assert asked.count("finalize") == 1    # one that is done is for another key


@pytest.mark.parametrize("fault, lists", [(GATEWAY, 1), (CutOff("x"), 1), (NoAnswer("x"), 1),
                                          (refusal("serverInternal", 503), 0),
                                          (refusal("rateLimited", 429, 3), 0)], ids=repr)
@pytest.mark.parametrize("account", [{"status": "valid", "orders": None}, refusal("", 403),
                                     {"status": "valid", "orders": "https://b.example/"}],
                         ids=repr)
def test_without_a_list_it_is_asked_for_again(fault: Exception, lists: int,
                                              account: Any) -> None:
    """Servers answer with the same order; those that say themselves that they can't do it now
    have none."""
    _, asked, _ = run(kid=f"{CA}/account/1", new=[fault, PENDING], **{"account/1": [account]})
    assert asked.count("new") == 2 and asked.count("account/1") == lists


def test_what_never_answers_is_asked_twice() -> None:
    for resource in "new", "finalize":
        with pytest.raises(NoAnswer):
            run(**{resource: [NoAnswer("x")], "order": [READY]})


@pytest.mark.parametrize("fault", [GATEWAY, CutOff("x"), NoAnswer("x"), refusal("malformed")],
                         ids=repr)
def test_a_finalize_whose_answer_never_came_is_not_sent_again_without_need(
        fault: Exception) -> None:
    """slow-finalize: what the order is by now is seen by the order."""
    _, asked, _ = run(new=[READY], finalize=[fault], order=[{"status": "processing"}, VALID])
    assert asked.count("finalize") == 1
    if isinstance(fault, NoAnswer):
        _, asked, _ = run(new=[READY], finalize=[fault], order=[READY, READY, VALID])
        assert asked.count("finalize") == 1     # it was at work still


@pytest.mark.parametrize("fault", [GATEWAY, CutOff("x"), NoAnswer("x")], ids=repr)
def test_a_finalize_that_never_came_is_sent_again(fault: Exception) -> None:
    _, asked, _ = run(new=[READY], finalize=[fault, VALID], order=[READY])
    assert asked.count("finalize") == 2


@pytest.mark.parametrize("resource", ["new", "order", "authz", "challenge", "finalize",
                                      "certificate"])
@pytest.mark.parametrize("fault", [
    GATEWAY, refusal("", 503), refusal("", 504), refusal("", 408), CutOff("x"),
    refusal("rateLimited", 429, 2), refusal("", 500, 2), refusal("", 503, 1)], ids=repr)
def test_what_passes_ends_in_a_certificate(resource: str, fault: Exception) -> None:
    answers = GOOD[resource]
    _, asked, _ = run(**{resource: [fault, fault, *answers], "order": [fault, READY, VALID]})
    assert asked.count("new") == (3 if resource == "new" else 1)


@pytest.mark.parametrize("status", [429, 500])
def test_poll_429(status: int) -> None:
    """It was asked too early: what is refused without a moment to come back is asked again."""
    refused = refusal("rateLimited" if status == 429 else "", status)
    _, asked, _ = run(order=[refused, refused, READY, refused, VALID],
                      finalize=[{"status": "processing"}])
    assert asked.count("new") == 1 and asked.count("order") == 5
    # other requests aren't
    with pytest.raises(ProblemError):
        run(finalize=[refused], order=[READY])


def test_poll_429_drops_no_order() -> None:
    with pytest.raises(Error) as caught:
        run(order=[refusal("rateLimited", 429)])
    from letsencrypt_tiny.client import outcome
    assert outcome.of(caught.value, outcome.ORDER) == "busy"
