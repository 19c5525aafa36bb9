"""Renewal information: on the wire between master and client, as the CA has it, and remembered."""

import json
from pathlib import Path
from typing import Any

import pytest

from letsencrypt_tiny.client import renewalinfo
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire import order
from letsencrypt_tiny.common.wire.order import Directory, Failed, Issued, Order
from letsencrypt_tiny.common.wire.renewal import RenewalInfo, RenewalQuery
from letsencrypt_tiny.master.peers.answers import Reader
from letsencrypt_tiny.master.store.journal import Journal
from letsencrypt_tiny.master.store.renewals import KEPT, NOTHING, Renewal, Renewals

QUERY = RenewalQuery("a", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
INFO = RenewalInfo("a", 1000, 2000, 21600, "https://ca.example/why")


# --- master and client ---------------------------------------------------------------------------

def test_what_is_written_is_read() -> None:
    assert order.parse_request(order.format_request(QUERY)) == QUERY
    for info in (INFO, RenewalInfo("a", 1, 2)):
        assert order.parse_answer(order.format_answer(info)) == info
    for told in (Directory(("ca.example",), True), Directory((), False)):
        assert order.parse_answer(order.format_answer(told)) == told
    assert order.parse_answer(b'{"answer":"Directory","issuers":[]}') == Directory((), False)


@pytest.mark.parametrize("cert_id", ["", ".", "a.", ".b", "a.b.c", "a/../b.c", "a.b?x", "ä.b",
                                     "a.b\n", "a" * 300 + ".b", None, 1])
def test_what_is_no_certificate(cert_id: object) -> None:
    """Nothing else becomes part of a URL."""
    obj = {**json.loads(order.format_request(QUERY)), "cert_id": cert_id}
    with pytest.raises(ProtocolError):
        order.parse_request(json.dumps(obj).encode())


@pytest.mark.parametrize("changes", [
    {"start": 2000}, {"start": 2001}, {"start": -1}, {"start": 0}, {"start": 1.5},
    {"start": "1000"}, {"end": 1 << 50}, {"end": None}, {"retry_after": -1},
    {"retry_after": 86401}, {"explanation": None}, {"explanation": "x" * 1001}, {"section": 1}])
def test_what_is_no_information(changes: dict[str, Any]) -> None:
    obj = {**json.loads(order.format_answer(INFO)), **changes}
    with pytest.raises(ProtocolError):
        order.parse_answer(json.dumps(obj).encode())


def test_one_answer_each() -> None:
    reader = Reader([QUERY, QUERY._replace(section="b")])
    lines = order.format_answer(INFO) + order.format_answer(Failed("b", "no", "refused"))
    assert list(reader.feed(lines)) == [INFO, Failed("b", "no", "refused")]
    assert reader.left == {}
    for request, answer in ((QUERY, Issued("a", "x")), (QUERY, INFO._replace(section="c")),
                            (Order("a", (), b""), INFO)):
        with pytest.raises(ProtocolError, match="not asked for"):
            list(Reader([request]).feed(order.format_answer(answer)))


# --- the CA --------------------------------------------------------------------------------------

def said(explanation: object = None, **window: object) -> dict[str, Any]:
    times = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z", **window}
    return {"suggestedWindow": times, "explanationURL": explanation}


def test_an_answer() -> None:
    assert renewalinfo.parse(said("https://ca.example/x")) == (
        1767225600, 1767312000, "https://ca.example/x")
    assert renewalinfo.parse({**said(), "new": []})[2] == ""


@pytest.mark.parametrize("explanation", [
    1, [], "", "javascript:alert(1)", "file:///etc/passwd", "https://x/\x1b[2J", "https://x/ y",
    "https://x/\u202e", "https://x/" + "y" * 1000, "https://x/\n"])
def test_an_explanation_that_is_not_shown(explanation: object) -> None:
    """The window counts all the same."""
    assert renewalinfo.parse(said(explanation)) == (1767225600, 1767312000, "")


@pytest.mark.parametrize("obj", [
    {}, {"suggestedWindow": None}, {"suggestedWindow": []}, said(start=None), said(end=1),
    said(end="2026-01-01T00:00:00Z"), said(end="2025-12-31T00:00:00Z"), said(start="soon"),
    said(start="1950-01-01T00:00:00Z"), said(end="9" * 100)])
def test_an_answer_that_is_none(obj: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="RFC 9773"):
        renewalinfo.parse(obj)


def test_who_needs_no_account() -> None:
    assert renewalinfo.is_about_renewal([QUERY, QUERY])
    for requests in ([], [QUERY, Order("a", (), b"")], [Order("a", (), b"")]):
        assert not renewalinfo.is_about_renewal(requests)


# --- what is remembered --------------------------------------------------------------------------

KNOWN = Renewal("a.b", 5000, 1000, 2000, 1500, 1600, 3, 10, 20, "https://ca.example/x")


def test_it_is_remembered(tmp_path: Path) -> None:
    renewals = Renewals(str(tmp_path))
    assert renewals.of("a") is NOTHING
    renewals.remember({"a": KNOWN, "b": NOTHING._replace(certificate="c.d", expires=1)}, 1)
    other = Renewals(str(tmp_path))
    assert other.of("a") == KNOWN and other.of("b").certificate == "c.d"
    other.remember({"c": KNOWN}, 2 + KEPT)
    assert Renewals(str(tmp_path)).of("b") is NOTHING              # of long ago
    assert Renewals(str(tmp_path)).of("a") == KNOWN
    assert (tmp_path / "renewals.json").stat().st_mode & 0o777 == 0o600


def test_who_suggests_is_remembered(tmp_path: Path) -> None:
    """Beside what a CA is called, which an empty list doesn't take away."""
    journal, path = Journal(str(tmp_path)), tmp_path / "directories.json"
    assert journal.suggests("D") is None
    journal.learn_directory("D", Directory(("ca.example",), True))
    assert journal.suggests("D") is True and journal.suggests("E") is None
    before = path.stat().st_ino
    journal.learn_directory("D", Directory((), True))
    assert path.stat().st_ino == before    # nothing new
    journal.learn_directory("D", Directory((), False))
    assert journal.suggests("D") is False and journal.issuers("D") == ("ca.example",)
    for text in ("x", '{"D": 1}', '{"D": {"renewal_info": "yes"}}', '{"D": {}}'):
        path.write_text(text)
        assert journal.suggests("D") is None


@pytest.mark.parametrize("text", [
    "", "x", "[]", '{"a": []}', '{"a": 1}', '{"a": "a.b"}', '{"a": ""}',
    '{"a": "a.b 1 2 3 4 5 6 7 x https://x"}', '{"a": "a.b 1 2 3 4 5 6 7 -8 https://x"}',
    '{"a": "a.b 1 2 3 4 5 6 7 8 9 10 https://x"}'])
def test_what_can_not_be_read_is_as_good_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "renewals.json").write_text(text)
    renewals = Renewals(str(tmp_path))
    assert renewals.of("a") == NOTHING
    renewals.remember({"a": KNOWN}, 1)
    assert Renewals(str(tmp_path)).of("a") == KNOWN
