"""Master <-> ACME client: every message survives the way, and nothing else does."""

import json
from typing import Any

import pytest

from letsencrypt_tiny.common.wire import order as op
from letsencrypt_tiny.common.errors import LocalProtocolError, ProtocolError

DER = bytes(range(256)) * 4
NAMES = (("dns", "a.example"), ("ip", "192.0.2.1"))
REQUESTS: list[op.Request] = [
    op.Order("a", NAMES, DER),
    op.Order("ü \n", NAMES, b"", "https://x/o", "t" * 43, "tls", "a.b", True, (), "https://x/f"),
    op.AccountUpdate(), op.AccountUpdate(True, True, False, ("mailto:a@b.example",)),
    op.AccountUpdate(deactivate=True, contact=()), op.Revocation("/a/b.pem", DER),
    op.Revocation("f", DER, 0, True), op.Revocation("f", DER, 4)]
ANSWERS: list[op.Answer] = [
    op.Account("https://x/a", "t" * 43), op.Account("", ""), op.Progress("a", "pending"),
    op.Progress("a", "valid", "https://x/o", op.MAX_WAIT, "https://x/f"), op.Issued("a", "PEM\n"),
    op.Issued("a", "x" * op.MAX_CHAIN, ("y", "z")), op.AccountObject("u", {"a": [1, {"b": None}]}),
    op.AccountObject("u", {}, "https://x/tos"), op.Revoked("f"),
    op.Failed("", "no\x1b\n“”", "lost"), op.Failed("a", "m", "refused", "urn:x", 0),
    op.Failed("a", "m", "busy", None, op.MAX_WAIT), op.Log("info", "ü")]


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests(request_: op.Request) -> None:
    line = op.format_request(request_)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
    assert op.parse_request(line) == request_


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers(answer: op.Answer) -> None:
    line = op.format_answer(answer)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
    assert op.parse_answer(line) == answer and isinstance(op.parse_answer(line), type(answer))


def test_configuration() -> None:
    access = op.Access("https://x/dir", 0, False, "/ca", "TLSv1.2", "TLSv1.3", "A:!B",
                       "http://u:p@h:1", 64)
    config = op.ClientConfig(access, "required", "https://x/a", "t" * 43)
    assert op.parse_config(op.format_config(config)) == config
    plain = op.ClientConfig(op.Access("s"))
    assert op.parse_config(op.format_config(plain)) == plain


def test_the_largest_order_that_can_be_configured_fits() -> None:
    from letsencrypt_tiny.common.x509.fields import MAX_DER
    from letsencrypt_tiny.master.settings.certificates import MAX_NAMES
    # MAX_DER bounds the names of the request, so those of the order too
    names = tuple(("dns", f"{n:04}.{'x' * (MAX_DER // MAX_NAMES - 5)}") for n in range(MAX_NAMES))
    order = op.Order("\U0001f600" * 255, names, bytes(MAX_DER), "https://" + "x" * 2040)
    assert op.parse_request(op.format_request(order)) == order


def test_what_does_not_fit_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        op.format_request(op.Order("a", NAMES, bytes(op.MAX_REQUEST)))
    with pytest.raises(LocalProtocolError):
        op.format_answer(op.Issued("a", "x" * op.MAX_ANSWER))


def change(value: Any, **members: Any) -> bytes:
    """Return the line of a message with other members; ``...`` removes one."""
    format_ = op.format_answer if isinstance(value, op.Answer.__args__) else op.format_request
    obj: dict[str, Any] = {**json.loads(format_(value)), **members}
    return json.dumps({key: item for key, item in obj.items() if item is not ...}).encode()


LONG = "x" * (op.MAX_CHAIN + 1)


@pytest.mark.parametrize("line", [
    b"", b"\n", b"{}", b"[]", b"null", b"x", b'{"answer":1}', b'{"answer":"Order"}', b"\xff",
    b'{"answer":"Revoked","section":"a","section":"b"}', b'{"answer":"%s"}' % (b"x" * 100),
    b'{"answer":"' + b"[" * 100, b'{"answer":"Log","level":"info","text":"\\ud800"}',
    change(ANSWERS[0], url=None), change(ANSWERS[0], url="x" * 2049),
    change(ANSWERS[0], key="x" * 65), change(ANSWERS[0], key=...),
    change(ANSWERS[2], section=...), change(ANSWERS[2], section=["a"]),
    change(ANSWERS[2], section="x" * 4097), change(ANSWERS[2], state="x" * 33),
    change(ANSWERS[2], wait=-1), change(ANSWERS[2], wait=op.MAX_WAIT + 1),
    change(ANSWERS[2], wait=1.5), change(ANSWERS[2], wait=True), change(ANSWERS[2], wait="1"),
    change(ANSWERS[2], wait=...), change(ANSWERS[2], url=1), change(ANSWERS[2], url="x" * 2049),
    change(ANSWERS[4], chain=LONG), change(ANSWERS[4], chain=None), change(ANSWERS[4], chain=["x"]),
    change(ANSWERS[4], alternates=["x"] * 9), change(ANSWERS[4], alternates=[1]),
    change(ANSWERS[4], alternates=[LONG]), change(ANSWERS[4], alternates="x"),
    change(ANSWERS[6], account=[]), change(ANSWERS[6], account="x"), change(ANSWERS[6], url=1),
    change(ANSWERS[6], terms_of_service=1), change(ANSWERS[8], section=None),
    change(ANSWERS[9], message="x" * 16385), change(ANSWERS[9], message=...),
    change(ANSWERS[9], type="x" * 257), change(ANSWERS[9], retry_after=-1),
    change(ANSWERS[9], retry_after=op.MAX_WAIT + 1), change(ANSWERS[9], retry_after=0.5),
    change(ANSWERS[12], text="x" * 65537), change(ANSWERS[12], text=...),
    change(ANSWERS[12], level="x" * 17), change(ANSWERS[12], level=1),
    b'{"answer":"Log","level":"info","text":"' + b"x" * op.MAX_ANSWER])
def test_answers_that_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        op.parse_answer(line)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("line", [
    b"", b"{}", b"[]", b'{"request":"Issued"}', change(REQUESTS[0], csr="A"),
    change(REQUESTS[0], csr="AA=="), change(REQUESTS[0], csr="ü"), change(REQUESTS[0], csr=...),
    change(REQUESTS[0], identifiers="a"), change(REQUESTS[0], identifiers=["a"]),
    change(REQUESTS[0], identifiers=[["dns"]]), change(REQUESTS[0], identifiers=[["dns", 1]]),
    change(REQUESTS[0], identifiers=[["dns", "a", "b"]]), change(REQUESTS[0], url=1),
    change(REQUESTS[0], challenges=[1]), change(REQUESTS[0], challenges=None),
    change(REQUESTS[0], section=1), change(REQUESTS[0], alternates="yes"),
    change(REQUESTS[2], register=1), change(REQUESTS[2], contact="mailto:a"),
    change(REQUESTS[2], contact=[1]), change(REQUESTS[5], reason=11),
    change(REQUESTS[5], reason=-1), change(REQUESTS[5], reason="1"),
    change(REQUESTS[5], certificate=...), change(REQUESTS[5], with_certificate_key="no")])
def test_requests_that_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        op.parse_request(line)
