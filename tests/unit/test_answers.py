"""What a client writes, taken apart without a client: which answers hold, and what ends it."""

from collections.abc import Iterable
from typing import Any

import pytest

from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire.order import (MAX_ANSWER, Account, AccountObject, AccountUpdate,
                                                Answer, Failed, Issued, Log, Order, Progress,
                                                Request, Revocation, Revoked, format_answer)
from letsencrypt_tiny.master.peers import answers
from letsencrypt_tiny.master.peers.answers import Reader, section_of

A, B = (Order(name, (("dns", f"{name}.example"),), b"csr") for name in "ab")
UPDATE = AccountUpdate()
FILES = Revocation("/a.pem", b"der"), Revocation("/b.pem", b"der")
NEW = Progress("a", "new")


def written(*said: Answer) -> bytes:
    """Return what a client writes."""
    return b"".join(map(format_answer, said))


class Heard:
    """A reader, what came out of it, and what ended it."""

    def __init__(self, *requests: Request) -> None:
        self.reader = Reader(requests)
        self.answers: list[Answer] = []
        self.error = ""

    def feed(self, *pieces: bytes) -> "Heard":
        """Feed it until there is something wrong."""
        try:
            for piece in pieces:
                for answer in self.reader.feed(piece):
                    self.answers.append(answer)
        except ProtocolError as exc:
            self.error = str(exc)
        return self


# --- what holds ----------------------------------------------------------------------------------

def test_answers_of_every_kind() -> None:
    said: list[Answer] = [
        Account("https://ca.example/1", "k" * 43), Log("info", "x"), NEW, Issued("a", "PEM"),
        Failed("b", "no", "refused"), AccountObject("u", {"status": "valid"}),
        Revoked("/a.pem"), Failed("/b.pem", "no", "lost"), Log("info", "y")]
    heard = Heard(A, B, UPDATE, *FILES).feed(written(*said))
    assert heard.answers == said and heard.error == "" and not heard.reader.left
    heard.reader.end()


def test_what_is_left() -> None:
    heard = Heard(A, B).feed(written(NEW))
    assert heard.reader.left == {"a": A, "b": B}, "progress is no answer"
    heard.feed(written(Issued("b", "PEM")))
    assert heard.reader.left == {"a": A}
    heard.reader.end()   # that something is left is not this room's to judge


def test_lines_in_any_pieces() -> None:
    text = written(NEW, Issued("a", "PEM" * 100), Failed("b", "ä", "busy", retry_after=3))
    whole = Heard(A, B).feed(text).answers
    assert len(whole) == 3
    for size in (1, 2, 7, 100, len(text) - 1):
        pieces = [text[at:at + size] for at in range(0, len(text), size)]
        assert Heard(A, B).feed(*pieces).answers == whole


@pytest.mark.parametrize("bad", [b"junk\n", b"\n", written(Progress("c", "new")), b"\xff\n"])
def test_answers_before_a_bad_line_hold(bad: bytes) -> None:
    """In one write or in several; what comes after it does not."""
    good = written(NEW, Issued("a", "PEM"))
    after = written(Issued("b", "PEM"))
    for pieces in ([good + bad + after], [good, bad + after], [good + bad[:1], bad[1:] + after]):
        heard = Heard(A, B).feed(*pieces)
        assert heard.answers == [NEW, Issued("a", "PEM")] and heard.error
        assert heard.reader.left == {"b": B}


def test_an_answer_is_looked_at_when_its_turn_comes() -> None:
    """Not before the one ahead of it was dealt with."""
    reader = Reader([A, B])
    coming = reader.feed(written(Issued("a", "PEM")) + b"junk\n")
    assert next(coming) == Issued("a", "PEM") and reader.left == {"b": B}
    with pytest.raises(ProtocolError):
        next(coming)


# --- what does not -------------------------------------------------------------------------------

NOT_ASKED, OTHER_KIND = "a section that it was not asked for", "something that it was not asked for"


@pytest.mark.parametrize("requests, said, match", [
    ([A], [Issued("a", "PEM"), Issued("a", "PEM")], NOT_ASKED),       # twice
    ([A], [Failed("a", "x", "lost"), Issued("a", "PEM")], NOT_ASKED),
    ([A], [Issued("a", "PEM"), Failed("a", "x", "lost")], NOT_ASKED),
    ([A], [Issued("a", "PEM"), NEW], NOT_ASKED),
    ([UPDATE], [AccountObject("u", {}), AccountObject("u", {})], NOT_ASKED),
    ([FILES[0]], [Revoked("/a.pem"), Revoked("/a.pem")], NOT_ASKED),
    ([A], [Issued("b", "PEM")], NOT_ASKED),                           # asked by nobody
    ([A], [Failed("b", "x", "lost")], NOT_ASKED), ([A], [Failed("", "x", "lost")], NOT_ASKED),
    ([A], [Progress("b", "new")], NOT_ASKED), ([A], [AccountObject("u", {})], NOT_ASKED),
    ([FILES[0]], [Revoked("/b.pem")], NOT_ASKED), ([], [Issued("a", "PEM")], NOT_ASKED),
    ([UPDATE], [Issued("", "PEM")], OTHER_KIND),                      # of another kind
    ([UPDATE], [Revoked("")], OTHER_KIND), ([A], [Revoked("a")], OTHER_KIND),
    ([FILES[0]], [Issued("/a.pem", "PEM")], OTHER_KIND),
    ([Order("", A.identifiers, b"csr")], [AccountObject("u", {})], OTHER_KIND),
    ([UPDATE], [Progress("", "new")], "the progress of what is no order"),
    ([FILES[0]], [Progress("/a.pem", "new")], "the progress of what is no order")])
def test_what_was_not_asked(requests: list[Request], said: list[Answer], match: str) -> None:
    heard = Heard(*requests).feed(written(*said))
    assert heard.answers == said[:-1] and heard.error.endswith(match)
    assert heard.error.startswith("the ACME client ")


def test_sections_of_what_has_none() -> None:
    for item in (UPDATE, AccountObject("u", {}), Account("u", "k"), Log("info", "x")):
        assert section_of(item) == ""


@pytest.mark.parametrize("size, error", [(MAX_ANSWER, ""), (MAX_ANSWER + 1, "a line longer than ")])
def test_a_line_without_end(size: int, error: str) -> None:
    for pieces in ([b" " * size], [b" " * 1000] * (size // 1000) + [b" " * (size % 1000)]):
        heard = Heard(A).feed(*pieces)
        assert heard.error.startswith(error) and bool(heard.error) is bool(error)


def test_the_end_in_the_middle_of_a_line() -> None:
    heard = Heard(A).feed(written(Issued("a", "PEM"))[:-1])
    assert heard.answers == []
    with pytest.raises(ProtocolError, match="^the ACME client ended in the middle of an answer$"):
        heard.reader.end()
    heard.feed(b"\n")
    heard.reader.end()
    assert heard.answers == [Issued("a", "PEM")]


# --- quotas --------------------------------------------------------------------------------------

def test_so_many_lines_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LINES", 3)
    monkeypatch.setattr(answers, "LINES_EACH", 2)
    for requests, most in ([], 3), ([A], 5), ([A, B], 7):
        for each in (written(*[Log("info", "x")] * 20), *[[written(Log("info", "x"))] * 20]):
            pieces: Iterable[bytes] = [each] if isinstance(each, bytes) else each
            heard = Heard(*requests).feed(*pieces)
            assert len(heard.answers) == most
            assert heard.error == "the ACME client answers without end"


def test_so_many_bytes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    line = written(Log("info", "x"))
    monkeypatch.setattr(answers, "BYTES", 3 * len(line))
    monkeypatch.setattr(answers, "BYTES_EACH", 2 * len(line))
    for requests, most in ([], 3), ([A], 5), ([A, B], 7):
        heard = Heard(*requests).feed(*[line] * most)
        assert len(heard.answers) == most and heard.error == ""
        heard.feed(b"x")
        assert len(heard.answers) == most and heard.error == "the ACME client answers without end"


class Counting(bytearray):
    """Counts the bytes that are looked through and moved."""

    work = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        found = super().find(sub, start)
        Counting.work += (len(self) if found < 0 else found + 1) - start
        return found

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        Counting.work += len(found) if isinstance(index, slice) else 1
        return found


@pytest.mark.parametrize("size", [1, 10, 1000, 100000])
def test_linear_in_what_comes(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Each byte is looked at once for the end of its line, however few of them come at a time."""
    monkeypatch.setattr(answers, "bytearray", Counting, raising=False)
    text = written(Log("info", "x" * 60000), *[NEW] * 500, Log("info", "y" * 60000))
    Counting.work = 0
    heard = Heard(A).feed(*(text[at:at + size] for at in range(0, len(text), size)))
    assert len(heard.answers) == 502 and heard.error == ""
    assert len(text) <= Counting.work <= 3 * len(text)
