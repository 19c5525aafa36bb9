"""Master <-> ACME client: every message survives the way, and nothing else does."""

import json
from typing import Any

import pytest

from letsencrypt_tiny.common.wire import order as op
from letsencrypt_tiny.common.errors import LocalProtocolError, ProtocolError

DER = bytes(range(256)) * 4
NAMES = (("dns", "a.example"), ("ip", "192.0.2.1"))
ORDER, UPDATE, REVOCATION = op.Order("a", NAMES, DER), op.AccountUpdate(), op.Revocation("f", DER)
REQUESTS: list[op.Request] = [
    ORDER, op.Order("ü \n", NAMES, b"", "https://x/o", "t" * 43, "tls", "a.b", True, (),
                    "https://x/f"),
    UPDATE, op.AccountUpdate(True, True, False, ("mailto:a@b.example",)),
    op.AccountUpdate(deactivate=True, contact=()), REVOCATION,
    op.Revocation("/a/b.pem", DER, 0, True), op.Revocation("f", DER, 4),
    op.Revocation("f", DER, None, False, NAMES, ("http-01", "dns-01"))]
ACCOUNT, PROGRESS = op.Account("https://x/a", "t" * 43), op.Progress("a", "pending")
ISSUED, REVOKED = op.Issued("a", "PEM\n"), op.Revoked("f")
ACCOUNT_OBJECT = op.AccountObject("u", {"a": [1, {"b": None}]})
FAILED, LOG = op.Failed("", "no\x1b\n“”", "lost"), op.Log("info", "ü")
ANSWERS: list[op.Answer] = [
    ACCOUNT, op.Account("", ""), PROGRESS,
    op.Progress("a", "valid", "https://x/o", op.MAX_WAIT, "https://x/f"), ISSUED,
    op.Issued("a", "x" * op.MAX_CHAIN, ("y", "z")), ACCOUNT_OBJECT,
    op.AccountObject("u", {}, "https://x/tos"), REVOKED, FAILED,
    op.Failed("a", "m", "refused", "urn:x", 0), op.Failed("a", "m", "busy", None, op.MAX_WAIT), LOG]


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
    change(ACCOUNT, url=None), change(ACCOUNT, url="x" * 2049),
    change(ACCOUNT, key="x" * 65), change(ACCOUNT, key=...),
    change(PROGRESS, section=...), change(PROGRESS, section=["a"]),
    change(PROGRESS, section="x" * 4097), change(PROGRESS, state="x" * 33),
    change(PROGRESS, wait=-1), change(PROGRESS, wait=op.MAX_WAIT + 1),
    change(PROGRESS, wait=1.5), change(PROGRESS, wait=True), change(PROGRESS, wait="1"),
    change(PROGRESS, wait=...), change(PROGRESS, url=1), change(PROGRESS, url="x" * 2049),
    change(ISSUED, chain=LONG), change(ISSUED, chain=None), change(ISSUED, chain=["x"]),
    change(ISSUED, alternates=["x"] * 9), change(ISSUED, alternates=[1]),
    change(ISSUED, alternates=[LONG]), change(ISSUED, alternates="x"),
    change(ACCOUNT_OBJECT, account=[]), change(ACCOUNT_OBJECT, account="x"),
    change(ACCOUNT_OBJECT, url=1),
    change(ACCOUNT_OBJECT, terms_of_service=1), change(REVOKED, section=None),
    change(FAILED, message="x" * 16385), change(FAILED, message=...),
    change(FAILED, outcome="gone"), change(FAILED, outcome=...),
    change(FAILED, type="x" * 257), change(FAILED, retry_after=-1),
    change(FAILED, retry_after=op.MAX_WAIT + 1), change(FAILED, retry_after=0.5),
    change(LOG, text="x" * 65537), change(LOG, text=...),
    change(LOG, level="x" * 17), change(LOG, level=1),
    b'{"answer":"Log","level":"info","text":"' + b"x" * op.MAX_ANSWER])
def test_answers_that_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        op.parse_answer(line)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("line", [
    b"", b"{}", b"[]", b'{"request":"Issued"}', change(ORDER, csr="A"),
    change(ORDER, csr="AA=="), change(ORDER, csr="ü"), change(ORDER, csr=...),
    change(ORDER, identifiers="a"), change(ORDER, identifiers=["a"]),
    change(ORDER, identifiers=[["dns"]]), change(ORDER, identifiers=[["dns", 1]]),
    change(ORDER, identifiers=[["dns", "a", "b"]]), change(ORDER, url=1),
    change(ORDER, challenges=[1]), change(ORDER, challenges=None),
    change(ORDER, section=1), change(ORDER, alternates="yes"),
    change(UPDATE, register=1), change(UPDATE, contact="mailto:a"),
    change(UPDATE, contact=[1]), change(REVOCATION, reason=11),
    change(REVOCATION, reason=-1), change(REVOCATION, reason="1"),
    change(REVOCATION, certificate=...), change(REVOCATION, with_certificate_key="no")])
def test_requests_that_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        op.parse_request(line)
