"""Probes and what is found, on the wire: what is written is read, and nothing else."""

import json
from typing import Any

import pytest

from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire import order
from letsencrypt_tiny.common.wire.order import AccountUpdate, Failed, Issued, Order, Progress
from letsencrypt_tiny.common.wire.probe import MAX_TEXT, Finding, Probe, Probed
from letsencrypt_tiny.master.peers.answers import Reader

PROBE = Probe("a.example", ("dns", "a.example"), "http-01", "t" * 43, "k" * 43, ("k" * 43,),
              ("192.0.2.1:53",), False)
FINDING = Finding("a.example", "caa", "ok", "text", "remedy", "subject")


@pytest.mark.parametrize("probe", [
    PROBE, Probe(""), Probe("x", ("ip", "2001:db8::1"), "tls-alpn-01"),
    Probe("*.x.example", ("dns", "*.x.example"), "dns-01")])
def test_probes(probe: Probe) -> None:
    assert order.parse_request(order.format_request(probe)) == probe


@pytest.mark.parametrize("answer", [FINDING, Finding("", "ca", "error", ""), Probed("a.example")])
def test_findings(answer: Finding | Probed) -> None:
    assert order.parse_answer(order.format_answer(answer)) == answer


@pytest.mark.parametrize("changes", [
    {"identifier": ["dns", "A.example"]}, {"identifier": ["dns", "x y"]}, {"identifier": ["dns"]},
    {"identifier": [1, 2]}, {"identifier": "x"}, {"identifier": ["ip", "1.2.3"]},
    {"token": "../x"}, {"token": "x" * 200}, {"thumbprint": "x"}, {"thumbprints": ["x"]},
    {"thumbprints": "x"}, {"section": None}, {"type": "x" * 33}, {"nameservers": [1]}])
def test_probes_that_are_none(changes: dict[str, Any]) -> None:
    obj = json.loads(order.format_request(PROBE))
    with pytest.raises(ProtocolError):
        order.parse_request(json.dumps({**obj, **changes}).encode())


@pytest.mark.parametrize("changes", [
    {"topic": "x"}, {"verdict": "fine"}, {"text": "x" * (MAX_TEXT + 1)}, {"remedy": 1},
    {"remedy": "x" * (MAX_TEXT + 1)}, {"subject": "x" * 301}, {"section": ["x"]}, {"text": None}])
def test_findings_that_are_none(changes: dict[str, Any]) -> None:
    obj = json.loads(order.format_answer(FINDING))
    with pytest.raises(ProtocolError):
        order.parse_answer(json.dumps({**obj, **changes}).encode())


# --- what a client may answer ----------------------------------------------------------------

ORDER = Order("a", (("dns", "a.example"),), b"csr")


def test_any_number_of_findings_and_one_end() -> None:
    reader = Reader([PROBE, Probe("")])
    said = [FINDING, FINDING, Probed("a.example"), Failed("", "no", "lost")]
    assert list(reader.feed(b"".join(map(order.format_answer, said)))) == said
    assert not reader.left


@pytest.mark.parametrize("request_, answer, why", [
    (PROBE, FINDING._replace(section="b"), "was not asked for"),
    (PROBE, Issued("a.example", "x"), "something that it was not asked for"),
    (PROBE, Progress("a.example", "new"), "the progress of what is no order"),
    (ORDER, FINDING._replace(section="a"), "what it was not to look at"),
    (AccountUpdate(), FINDING._replace(section=""), "what it was not to look at"),
    (ORDER, Probed("a"), "something that it was not asked for")])
def test_answers_of_another_kind(request_: order.Request, answer: order.Answer, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        list(Reader([request_]).feed(order.format_answer(answer)))


def test_findings_without_end() -> None:
    """Lines are counted, whatever they are."""
    reader, line = Reader([PROBE]), order.format_answer(FINDING)
    with pytest.raises(ProtocolError, match="without end"):
        for _ in range(3000):
            list(reader.feed(line))
