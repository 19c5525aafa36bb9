"""The client program and hostile servers (SECURITY.md, A)."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from harness import misbehaviour
from harness.client import Master, Outcome
from harness.hostile import Hostile, Request, Response
from harness.run import Users
from letsencrypt_tiny.common.wire.order import Failed, Issued, Log, Progress


@pytest.fixture
def master(users: Users) -> Iterator[Master]:
    """A master, whose client runs as _letsencrypt-client."""
    with Master.made() as made:
        yield made


def refused(hostile: Hostile, master: Master, words: str, **how: Any) -> Outcome:
    """Order a certificate that mustn't come; the one answer is a line that holds ``words``."""
    outcome = master.run(master.order("s", "a.example", "b.example"), **how)
    failed = outcome.only(Failed)
    assert not outcome.of(Issued) and failed.section == "s"
    assert re.search(words, failed.message), failed
    assert failed.message.isprintable() and not re.search(r"\n[^\n]*\x1b", outcome.stderr)
    assert not hostile.handshake_errors
    return outcome


@pytest.fixture
def registered(hostile: Hostile, master: Master) -> Master:
    """A master whose account the hostile server knows."""
    master.use(hostile)
    master.register()
    hostile.requests.clear()
    return master


def test_the_hostile_server_works_if_left_alone(hostile: Hostile, registered: Master) -> None:
    assert registered.run(registered.order("s", "a.example", "b.example")).only(Issued)
    for request in hostile.requests:
        assert request.headers["user-agent"].startswith("letsencrypt-tiny/")
        assert request.headers["accept-language"] == "en"


@pytest.mark.alike(2)
@pytest.mark.parametrize("token", ["../x", "a/b", "a\0b", "a\nb", "", "x" * 10000, None])
def test_a1_bad_tokens(hostile: Hostile, registered: Master, token: str | None) -> None:
    misbehaviour.bad_token(hostile, token)
    refused(hostile, registered, "token")
    assert not hostile.asked("challenge")


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource", ["directory", "newOrder", "authz", "order", "certificate"])
def test_a3_control_characters(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.problem(hostile, resource)
    failed = refused(hostile, registered, r"\\x1b\[31mred").only(Failed)
    assert failed.type == "malformed"


def test_a3_control_characters_of_a_challenge(hostile: Hostile, registered: Master) -> None:
    misbehaviour.failed_challenge(hostile)
    hostile.edit("order", lambda order: order.update(status="invalid"))
    refused(hostile, registered, r"example: \\x1b\[31mred")


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource, where", [
    ("directory", "newNonce"), ("newAccount", "Location"), ("newOrder", "Location|authoriz"),
    ("authz", "url"), ("order", "authoriz|finalize")])
@pytest.mark.parametrize("kind", ["http", "foreign"])
def test_a4_a5_urls(hostile: Hostile, registered: Master, resource: str, where: str,
                    kind: str) -> None:
    if kind == "http":
        misbehaviour.http_urls(hostile, resource)
        refused(hostile, registered, f"({where}).* is not an https URL")
    else:
        with Hostile(authority=hostile.ca) as other:
            misbehaviour.foreign_urls(hostile, resource, other.base)
            refused(hostile, registered, f"({where}).* another origin")
            assert not other.requests and not other.handshake_errors


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource", ["directory", "newNonce", "newAccount", "newOrder"])
def test_a6_redirects(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.redirect(hostile, resource)
    refused(hostile, registered, "redirect")
    assert not hostile.asked("elsewhere")


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource", ["directory", "newOrder", "authz", "certificate"])
def test_a7_endless_answers(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.endless_body(hostile, resource)
    refused(hostile, registered, "more than [0-9]+ bytes" if resource != "certificate"
            else "more than [0-9]+ bytes|instead of a certificate")


def test_a7_endless_headers(hostile: Hostile, registered: Master) -> None:
    misbehaviour.endless_headers(hostile, "newOrder")
    refused(hostile, registered, "header")


def test_a9_retry_after(hostile: Hostile, registered: Master) -> None:
    registered.access["timeout"] = 5
    for value in ("1000000000", "-1", "", "soon", "Fri, 31 Dec 9999 23:59:59 GMT"):
        misbehaviour.retry_after(hostile, value)
        outcome = registered.run(registered.order("s", "a.example"))
        for failed in outcome.of(Failed):
            assert failed.retry_after == 86400 and "timeout" in failed.message
        assert len(outcome.of(Failed)) + len(outcome.of(Issued)) == 1


def test_a9_overload_is_waited_for_rate_limits_are_told(hostile: Hostile,
                                                        registered: Master) -> None:
    misbehaviour.busy(hostile, "newOrder", "1", times=1)
    assert registered.run(registered.order("s", "a.example")).only(Issued)
    misbehaviour.busy(hostile, "newOrder", "7200")
    assert refused(hostile, registered, "too busy").only(Failed).retry_after == 7200
    misbehaviour.busy(hostile, "newOrder", "3600", status=429)
    failed = refused(hostile, registered, "too busy").only(Failed)
    assert (failed.type, failed.retry_after, failed.outcome) == ("rateLimited", 3600, "busy")


@pytest.mark.alike(2)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_finalize_leaves_the_order_alive(hostile: Hostile, registered: Master,
                                                status: int) -> None:
    misbehaviour.busy(hostile, "finalize", "7200", status=status)
    request = registered.order("s", "a.example")
    outcome = registered.run(request)
    failed = outcome.only(Failed)
    assert (failed.outcome, failed.retry_after) == ("busy", 7200)
    del hostile.on["finalize"]
    url = outcome.of(Progress)[-1].url
    assert registered.run(request._replace(url=url)).only(Issued)
    assert len(hostile.asked("newOrder")) == 1


def test_an_order_that_is_invalid_is_dead_without_a_reason(hostile: Hostile,
                                                           registered: Master) -> None:
    hostile.edit("order", lambda order: order.update(status="invalid"))
    failed = refused(hostile, registered, "does not say why").only(Failed)
    assert (failed.outcome, failed.type) == ("refused", None)


def test_a10_bad_nonces(hostile: Hostile, registered: Master) -> None:
    misbehaviour.bad_nonce(hostile, "newOrder", times=3)
    assert registered.run(registered.order("s", "a.example")).only(Issued)
    hostile.requests.clear()
    misbehaviour.bad_nonce(hostile, "newOrder")
    assert refused(hostile, registered, "badNonce").only(Failed).type == "badNonce"
    assert len(hostile.asked("newOrder")) == 11


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource", ["directory", "newOrder", "authz", "order"])
def test_a16_nested_json(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.nested_json(hostile, resource)
    refused(hostile, registered, "nested too deeply")


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource", ["newOrder", "order", "authz"])
def test_a17_foreign_identifiers(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.foreign_identifier(hostile, resource)
    refused(hostile, registered, "victim.example")
    if resource != "order":
        assert not hostile.asked("finalize")


def test_a18_valid_without_certificate(hostile: Hostile, registered: Master) -> None:
    misbehaviour.valid_without_certificate(hostile)
    refused(hostile, registered, "names no certificate")


def test_a19_untrusted_servers(hostile: Hostile, registered: Master) -> None:
    registered.access["ca_file"] = "/etc/ssl/certs/ca-certificates.crt"
    outcome = registered.run(registered.order("s", "a.example"))
    assert outcome.status == 1 and "not trusted" in outcome.only(Failed).message
    registered.access.update(ca_file=str(hostile.ca_file))
    with Hostile(["other.example"], hostile.ca) as other:
        registered.access["server"] = other.directory
        outcome = registered.run(registered.order("s", "a.example"))
        assert outcome.status == 1 and "not trusted" in outcome.only(Failed).message
        assert not other.requests
        registered.access["verify"] = False
        outcome = registered.run(registered.order("s", "a.example"))
        assert other.requests and "not verified" in outcome.only(Log).text


@pytest.mark.parametrize("extensions", [[], ["subjectAltName=IP:127.0.0.1"],
                                        ["subjectAltName=email:a@b.test"]])
def test_a19_a_common_name_is_no_name(hostile: Hostile, registered: Master,
                                      extensions: list[str]) -> None:
    """RFC 9525 §2: only subjectAltName says whose certificate it is."""
    identity = hostile.ca.nominal_server("localhost", *extensions)
    with Hostile(authority=hostile.ca, identity=identity) as other:
        other.directory = f"https://localhost:{other.port}/directory"
        registered.access["server"] = other.directory
        outcome = registered.run(registered.order("s", "a.example"))
        assert outcome.status == 1 and not other.requests
        assert re.search("not trusted: Hostname mismatch", outcome.only(Failed).message)


def test_a20_too_many_authorizations(hostile: Hostile, registered: Master) -> None:
    misbehaviour.many_authorizations(hostile)
    refused(hostile, registered, "authorizations")
    assert not hostile.asked("authz")
    misbehaviour.many_authorizations(hostile, 2)
    refused(hostile, registered, "two authorizations for")


def test_truncated_and_huge_chains(hostile: Hostile, registered: Master) -> None:
    misbehaviour.truncated_chain(hostile)
    refused(hostile, registered, "closed in the middle")
    misbehaviour.huge_pem(hostile)
    refused(hostile, registered, "more than 262144 bytes")


def test_a_state_that_goes_back(hostile: Hostile, registered: Master) -> None:
    hostile.edit("finalize", lambda order: order.update(status="pending"))
    refused(hostile, registered, "from ready to pending")
    hostile.edit("newOrder", lambda order: order.update(status="$(id)"))
    refused(hostile, registered, "unknown status")


def test_a_connection_closed_between_requests_is_opened_again(hostile: Hostile,
                                                              registered: Master) -> None:
    """As a server does with one that has been idle."""
    def closing(_request: Request, default: Any) -> Response:
        response: Response = default()
        headers = {**response.headers, "Connection": "close"}
        return response._replace(headers=headers)
    hostile.on["authz"] = closing
    assert registered.run(registered.order("s", "a.example")).only(Issued)


def test_replaces_and_profiles(hostile: Hostile, registered: Master) -> None:
    unknown = registered.run(registered.order("s", "a.example", profile="tiny",
                                              profile_required=True)).only(Failed)
    assert "no profile" in unknown.message
    hostile.edit("directory", lambda directory: directory.update(
        renewalInfo=hostile.url("renewalInfo"), meta={"profiles": {"tiny": "x"}}))

    def picky(request: Request, default: Any) -> Response:
        if "replaces" in request.payload:
            return Response.problem("alreadyReplaced", "No.", 409)
        response: Response = default()
        return response
    hostile.on["newOrder"] = picky
    hostile.requests.clear()
    assert registered.run(registered.order("s", "a.example", profile="tiny",
                                           replaces="a.b")).only(Issued)
    first, second = (request.payload for request in hostile.asked("newOrder"))
    assert first == {**second, "replaces": "a.b"} and second["profile"] == "tiny"


def test_no_server(master: Master, hostile: Hostile) -> None:
    master.use(hostile)
    for url, words in (("https://127.0.0.1:1/dir", "cannot connect"),
                       ("http://127.0.0.1/", "not an https URL"),
                       ("https://no.such.name.invalid/", "cannot resolve")):
        master.access["server"] = url
        outcome = master.run(master.order("a.example"), master.order("b.example"))
        assert outcome.status == 1 and len(outcome.of(Failed)) == 2
        assert words in outcome.of(Failed)[0].message
