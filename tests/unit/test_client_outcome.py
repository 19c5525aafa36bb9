"""What became of a request that failed: the table, and orders that meet each fault."""

from typing import Any

import pytest

from harness.client import (CA, CHAIN, GREETING, Words, authorization_object, challenge_object,
                            finish, order_object, refusal)
from letsencrypt_tiny.client import outcome
from letsencrypt_tiny.client.account import NoAccount
from letsencrypt_tiny.client.authorization import Invalid
from letsencrypt_tiny.client.challenges.http01 import Http01
from letsencrypt_tiny.client.profiles import NotOffered
from letsencrypt_tiny.client.ordering import Gone, Ordering
from letsencrypt_tiny.client.outcome import ORDER, REQUEST, RUN
from letsencrypt_tiny.client.patience import Patience, TimedOut
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.client.scheduler import Interrupted
from letsencrypt_tiny.client.signer import Refused, SignerError
from letsencrypt_tiny.client.transport import CutOff, NoAnswer, TransportError
from letsencrypt_tiny.common.errors import (ConfigError, Error, LocalProtocolError,
                                            ProtocolError)
from letsencrypt_tiny.common.wire.failed import ELSEWHERE, OUTCOMES, Failed
from letsencrypt_tiny.common.wire.order import Order
from letsencrypt_tiny.common.wire.problems import Problem

# --- the table ---------------------------------------------------------------------------------

R, B, U, L = OUTCOMES
EXPECTED: list[tuple[Error, str]] = [
    (Invalid("dead", None), R + R + R), (Invalid("dead", Problem("rateLimited")), R + R + R),
    (Invalid("dead", Problem("serverInternal", status=500)), R + R + R),
    (NotOffered("no profile"), R + R + R), (Gone("no such order"), R + R + R),
    (refusal("rateLimited", 429, 30), B + B + B), (refusal("rateLimited", 403), B + B + B),
    (refusal("serverInternal", 500), B + B + B), (refusal("", 429), B + B + B),
    (refusal("", 503), B + B + B), (refusal("", 502), B + B + B),
    (refusal("malformed", 500), B + B + B), (refusal("serverInternal", 400), B + B + B),
    (refusal("badCSR", 400), L + R + U), (refusal("unauthorized"), L + R + U),
    (refusal("malformed", 400), L + R + U), (refusal("rejectedIdentifier"), L + R + U),
    (refusal("", 404), L + R + U), (refusal("https://ca.example/odd", 403), L + R + U),
    (refusal("", 408), B + B + B), (refusal("", 425), B + B + B),
    (refusal("badNonce", 400), U + U + U), (refusal("orderNotReady"), U + U + U),
    (refusal("invalidProfile", 400), R + R + R),
    (refusal("userActionRequired"), U + U + U), (refusal("accountDoesNotExist"), L + L + L),
    (refusal("badPublicKey", 400), L + L + L), (refusal("badSignatureAlgorithm", 400), L + L + L),
    (TimedOut("late", 60), U + U + U), (Interrupted("interrupted"), U + U + U),
    (NoAccount("none"), L + L + L), (SignerError("gone"), L + L + L),
    (Refused("not this one"), L + U + U), (TransportError("refused"), L + L + U),
    (ProtocolError("nonsense"), L + U + U), (LocalProtocolError("too long"), L + U + U),
    (ConfigError("no such file"), L + U + U), (Error("unexpected"), L + U + U),
]


@pytest.mark.parametrize("error, expected", EXPECTED, ids=lambda item: repr(item)[:60])
def test_the_outcome_of_each_error(error: Error, expected: str) -> None:
    assert "".join(outcome.of(error, where) for where in (RUN, REQUEST, ORDER)) == expected


def test_every_row_is_reached() -> None:
    """And none hides another: a row for a subclass stands before that of its base."""
    reached = {next(kind for kind, _ in outcome.TABLE if isinstance(error, kind))
               for error, _ in EXPECTED}
    assert reached == {kind for kind, _ in outcome.TABLE}
    assert {error.problem.type for error, _ in EXPECTED
            if isinstance(error, ProblemError)} >= set(outcome.PROBLEMS)
    used = {item for _, row in outcome.TABLE for item in row} | set(outcome.PROBLEMS.values())
    assert used | {B} == set(OUTCOMES)


def test_the_answer_holds_what_is_known() -> None:
    assert outcome.failed("s", refusal("rateLimited", 429, 30), ORDER) == Failed(
        "s", "No. (rateLimited)", B, "rateLimited", 30, "limited")
    assert outcome.failed("s", Invalid("x\n", Problem("caa")), ORDER) == Failed(
        "s", "x\\x0a", R, "caa", None, "refused")
    assert outcome.failed("", TimedOut("late", 60), REQUEST) == Failed("", "late", U, None, 60)
    assert outcome.failed("s", Invalid("x", None), ORDER).type is None
    assert outcome.failed("s", refusal("", 404), ORDER).type is None
    assert len(outcome.failed("s", Error("x" * 100000), ORDER).message) < 8100


@pytest.mark.parametrize("error, expected", [
    # run, request, order
    (TransportError("refused"), ("down", "down", "down")), (CutOff("cut"), ("down",) * 3),
    (NoAnswer("late"), ("down",) * 3), (refusal("", 503), ("down",) * 3),
    (refusal("serverInternal", 500), ("down",) * 3), (refusal("", 403), ("down", "down", "")),
    (ProtocolError("nonsense"), ("down", "", "")), (LocalProtocolError("too long"), ("",) * 3),
    (refusal("rateLimited", 429, 30), ("limited",) * 3), (refusal("", 429), ("limited",) * 3),
    (refusal("rateLimited", 403), ("limited",) * 3),
    (Invalid("dead", Problem("rateLimited")), ("limited",) * 3),
    (refusal("rejectedIdentifier"), ("refused",) * 3),
    (refusal("unsupportedIdentifier", 400), ("refused",) * 3), (refusal("caa"), ("refused",) * 3),
    (Invalid("dead", Problem("caa")), ("refused",) * 3), (NotOffered("x"), ("refused",) * 3),
    (refusal("invalidProfile", 400), ("refused",) * 3),
    (ProblemError(Problem("malformed", "No.", 400, subproblems=(
        Problem("dns"), Problem("rejectedIdentifier")))), ("refused",) * 3),
    # that a challenge failed, and what is ours
    *((Invalid("dead", Problem(kind)), ("",) * 3) for kind in (
        "connection", "dns", "unauthorized", "incorrectResponse", "tls", "serverInternal", "")),
    (Invalid("dead", None), ("",) * 3), (refusal("unauthorized"), ("",) * 3),
    (refusal("badCSR", 400), ("",) * 3), (refusal("userActionRequired"), ("",) * 3),
    (refusal("accountDoesNotExist"), ("",) * 3), (NoAccount("none"), ("",) * 3),
    (SignerError("gone"), ("",) * 3), (Refused("no"), ("",) * 3), (TimedOut("late", 6), ("",) * 3),
    (Interrupted("stop"), ("",) * 3), (Gone("no such order"), ("",) * 3), (Error("x"), ("",) * 3),
], ids=lambda item: repr(item)[:60])
def test_where_another_ca_may_do_better(error: Error, expected: tuple[str, ...]) -> None:
    assert tuple(outcome.elsewhere(error, where) for where in (RUN, REQUEST, ORDER)) == expected
    assert set(expected) <= set(ELSEWHERE)


# --- orders ------------------------------------------------------------------------------------

READY = order_object(status="ready")
VALID = order_object(status="valid", certificate=f"{CA}/certificate")
INVALID = order_object(status="invalid")
GOOD: dict[str, list[Any]] = {
    "new": [READY], "order": [VALID], "finalize": [VALID], "certificate": [{"chain": CHAIN}],
    "authz": [authorization_object(challenge_object())], "challenge": [challenge_object()]}


def ordered(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, url: str | None = None,
            account: str = "", **answers: list[Any]) -> tuple[str, Words]:
    """Order a certificate; return “issued” or the outcome, and the session."""
    monkeypatch.chdir(tmp_path)
    session = Words(**{**GOOD, **answers})
    request = Order("s", (("dns", "a.example"),), b"csr", url=url, account=account)
    patience = Patience("s", 10, lambda _: None)
    try:
        finish(Ordering(session, request, {"http-01": Http01()}, patience).run())
    except Error as exc:
        where = REQUEST if patience.url is None else ORDER
        return outcome.failed("s", exc, where).outcome, session
    finally:
        assert not list(tmp_path.iterdir())
    return "issued", session


FAULTS: list[tuple[dict[str, list[Any]], str]] = [
    ({}, "issued"),
    # newOrder
    ({"new": [refusal("rejectedIdentifier")]}, R), ({"new": [refusal("rateLimited", 429)]}, B),
    ({"new": [refusal("", 503)]}, B), ({"new": [TransportError("x")]}, L),
    ({"new": [Refused("x")]}, U), ({"new": [SignerError("x")]}, L), ({"new": [INVALID]}, R),
    # authorizations and challenges
    ({"new": [order_object()], "order": [READY, VALID]}, "issued"),
    ({"new": [order_object()], "authz": [authorization_object(status="invalid")]}, R),
    ({"new": [order_object()], "authz": [authorization_object(status="expired")]}, R),
    ({"new": [order_object()], "authz": [refusal("serverInternal", 500)]}, B),
    ({"new": [order_object()], "authz": [authorization_object(challenge_object("x-01"))]}, U),
    ({"new": [order_object()], "challenge": [refusal("unauthorized")]}, U),
    ({"new": [order_object()], "authz": [refusal("malformed", 404)]}, R),
    ({"new": [order_object()], "authz": [refusal("", 404)]}, U),
    ({"new": [order_object()], "order": [refusal("", 404)]}, R),
    ({"new": [order_object()], "order": [refusal("", 403)]}, U),
    ({"new": [order_object()], "order": [refusal("rateLimited", 429)]}, B),
    ({"new": [order_object()], "challenge": [TransportError("x")]}, U),
    ({"new": [order_object()], "challenge": [Refused("x")]}, U),
    ({"new": [order_object()], "order": [order_object()]}, U),    # TimedOut
    # an order that went invalid, with and without a problem, whatever else goes wrong then
    ({"new": [order_object()], "order": [INVALID]}, R),
    ({"new": [order_object()], "order": [{**INVALID, "error": {"detail": "No."}}]}, R),
    ({"new": [order_object()], "order": [{**INVALID, "error": {
        "type": "urn:ietf:params:acme:error:rateLimited", "status": 429}}]}, R),
    ({"new": [order_object()], "order": [INVALID], "authz": [
        GOOD["authz"][0], TransportError("x")]}, R),
    ({"new": [order_object()], "order": [INVALID], "authz": [
        GOOD["authz"][0], Interrupted("x")]}, R),
    # finalize: a live order lives on, and what lives is asked of the order
    ({"finalize": [refusal("rateLimited", 429)]}, B), ({"finalize": [refusal("rateLimited")]}, B),
    ({"finalize": [refusal("serverInternal", 500)], "order": [READY]}, B),
    ({"finalize": [refusal("serverInternal", 500)]}, "issued"),
    ({"finalize": [refusal("", 503)], "order": [READY]}, B),
    ({"finalize": [refusal("", 503)]}, "issued"), ({"finalize": [CutOff("x")]}, "issued"),
    ({"finalize": [CutOff("x")], "order": [READY]}, U),
    ({"finalize": [CutOff("x"), VALID], "order": [READY]}, "issued"),
    ({"finalize": [NoAnswer("x")]}, "issued"),
    ({"finalize": [NoAnswer("x")], "order": [READY]}, U),
    ({"finalize": [NoAnswer("x"), VALID], "order": [READY]}, "issued"),
    ({"finalize": [refusal("badCSR", 400)], "order": [READY]}, U),
    ({"finalize": [refusal("badCSR", 400)], "order": [INVALID]}, R),
    ({"finalize": [refusal("badCSR", 400)], "order": [refusal("malformed", 404)]}, R),
    ({"finalize": [refusal("unauthorized")], "order": [READY]}, U),
    ({"finalize": [refusal("malformed", 400)], "order": [READY]}, U),
    ({"finalize": [refusal("malformed", 404)], "order": [READY]}, R),
    ({"finalize": [INVALID]}, R),
    ({"finalize": [TransportError("x")]}, U),
    ({"finalize": [refusal("badNonce", 400)], "order": [READY]}, U),
    ({"finalize": [refusal("orderNotReady")]}, "issued"),
    ({"finalize": [refusal("orderNotReady")], "order": [order_object()]}, U),
    ({"finalize": [refusal("unauthorized"), VALID]}, "issued"),
    ({"finalize": [refusal("orderNotReady")], "order": [INVALID]}, R),
    # certificate
    ({"certificate": [refusal("", 503)]}, B), ({"certificate": [{"chain": "junk"}]}, U),
    ({"certificate": [SignerError("x")]}, L),
]


@pytest.mark.parametrize("answers, expected", FAULTS, ids=lambda item: repr(item)[:90])
def test_what_becomes_of_an_order(tmp_path: Any, monkeypatch: pytest.MonkeyPatch,
                                  answers: dict[str, list[Any]], expected: str) -> None:
    assert ordered(tmp_path, monkeypatch, **answers)[0] == expected


def test_one_dead_authorization_outweighs_what_else_failed(
        tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    two = order_object(authorizations=[f"{CA}/one", f"{CA}/two"], identifiers=[
        {"type": "dns", "value": name} for name in ("a.example", "b.example")])
    session = Words(new=[two], one=[TransportError("x")], two=[authorization_object(
        status="invalid", identifier={"type": "dns", "value": "b.example"})])
    request = Order("s", (("dns", "a.example"), ("dns", "b.example")), b"")
    with pytest.raises(Invalid):
        finish(Ordering(session, request, {"http-01": Http01()},
                        Patience("s", 10, lambda _: None)).run())


@pytest.mark.parametrize("account, taken", [
    ("", True), (GREETING.thumbprint, True), ("B" * 43, False)])
def test_an_earlier_order_is_taken_up_by_its_own_account(
        tmp_path: Any, monkeypatch: pytest.MonkeyPatch, account: str, taken: bool) -> None:
    """Another one's could only be refused (RFC 8555 §7.1.3), and isn't asked for."""
    result, session = ordered(tmp_path, monkeypatch, f"{CA}/earlier", account, earlier=[READY],
                              order=[READY])
    assert result == "issued"
    asked = [path for path, _ in session.asked]
    assert ("earlier" in asked) is taken and ("new" in asked) is not taken


@pytest.mark.parametrize("answer, expected, anew", [
    (refusal("", 503), B, False), (refusal("rateLimited", 429), B, False),
    (refusal("serverInternal", 500), B, False), (TransportError("x"), U, False),
    (Refused("x"), U, False),
    (refusal("malformed", 404), "issued", True), (refusal("unauthorized"), "issued", True),
    (INVALID, "issued", True), (refusal("", 404), "issued", True),
    (refusal("", 403), U, False), (refusal("userActionRequired"), U, False), ({}, "issued", True),
    (ProtocolError("a page of a gateway's"), U, False), (CutOff("x"), U, False),
    (order_object(status="odd"), U, False),
    # what an order can't be gone on with, or is none: an authorization, an account
    (authorization_object(challenge_object()), "issued", True),
    ({"status": "valid"}, "issued", True), ({"status": "ready"}, "issued", True),
    ({"status": "processing"}, U, False),
    (order_object(identifiers=[{"type": "dns", "value": "b.example"}]), "issued", True),
    (order_object(status="valid"), "issued", True),
    # an account, an authorization …: what a client gone wrong would have remembered
    *(({"status": status, "challenges": []}, "issued", True)
      for status in ("pending", "valid", "deactivated", "revoked"))])
def test_an_earlier_order_is_left_only_if_it_is_of_no_use(
        tmp_path: Any, monkeypatch: pytest.MonkeyPatch, answer: Any, expected: str,
        anew: bool) -> None:
    result, session = ordered(tmp_path, monkeypatch, f"{CA}/earlier", earlier=[answer])
    assert result == expected
    assert ("new" in [path for path, _ in session.asked]) is anew


def test_if_a_new_order_fails_after_an_earlier_one_was_left(
        tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none any more, so nothing waits."""
    assert ordered(tmp_path, monkeypatch, f"{CA}/earlier", earlier=[INVALID],
                   new=[TransportError("x")])[0] == L
