"""Answers to the master, the command line, and a conversation without a signer."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from harness.client import Words, finish
from letsencrypt_tiny.client import main as client
from letsencrypt_tiny.client import outcome, requests
from letsencrypt_tiny.client.replies import Replies, section_of
from letsencrypt_tiny.client.session import Session
from letsencrypt_tiny.common.errors import Error, LocalProtocolError, UsageError
from letsencrypt_tiny.common.wire import order as order_protocol
from letsencrypt_tiny.common.wire.order import (MAX_ANSWER, Access, AccountUpdate, Answer,
                                                ClientConfig, Failed, Issued, Order, Revocation)


class Pipe:
    """Replies, and what the master reads."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.replies = Replies(self.writing)

    def answers(self) -> list[Answer]:
        """Everything that was written; nothing can be after that."""
        os.close(self.writing)
        with open(self.reading, "rb") as stream:
            return [order_protocol.parse_answer(line) for line in stream]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    yield Pipe()


def an_order(section: str = "s") -> Order:
    return Order(section, (("dns", "a.example"),), b"")


def test_each_request_has_one_final_answer(pipe: Pipe) -> None:
    """Also two that are alike, and one whose answer is too long to be sent."""
    first, second, third = an_order(), an_order(), an_order("long")
    for request in (first, first, second):
        pipe.replies.final(request, Issued("s", "chain"))
    with pytest.raises(LocalProtocolError):
        pipe.replies.final(third, Issued("long", "x" * MAX_ANSWER))
    pipe.replies.failed(third, LocalProtocolError("too long"), outcome.ORDER)
    pipe.replies.failed(first, Error("late"), outcome.RUN)
    assert pipe.answers() == [Issued("s", "chain")] * 2 + [
        Failed("long", "too long", "unfinished")]


def test_final_answers_cost_the_same_however_many_there_are() -> None:
    """Counted, not timed: calls and lines of Python."""
    def steps(count: int) -> int:
        replies = Replies(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        asked = [an_order() for _ in range(count)]
        seen = 0

        def trace(*_: Any) -> Any:
            nonlocal seen
            seen += 1
            return trace
        sys.settrace(trace)
        try:
            for request in asked:
                replies.final(request, Issued("s", ""))
        finally:
            sys.settrace(None)
        os.close(replies._fd)
        return seen
    assert steps(400) <= steps(100) * 4.1


def test_an_unexpected_error_is_told_as_one(pipe: Pipe, capfd: pytest.CaptureFixture[str]) -> None:
    pipe.replies.failed(AccountUpdate(), ValueError("odd"), outcome.REQUEST)
    assert pipe.answers() == [Failed("", "unexpected ValueError in the ACME client: odd",
                                     "unfinished")]
    assert "unexpected ValueError" in capfd.readouterr().err


def test_sections() -> None:
    assert [section_of(request) for request in (an_order("a"), AccountUpdate(),
                                                Revocation("b", b""))] == ["a", "", "b"]


# --- one task for all requests -----------------------------------------------------------------

def run_in_turn(pipe: Pipe, perform: Any, *asked: order_protocol.Request) -> list[Answer]:
    finish(requests.in_turn(asked, perform, 10, pipe.replies))
    return pipe.answers()


def test_where_it_failed_is_seen_by_the_orders_url(pipe: Pipe) -> None:
    def perform(request: Any, patience: Any) -> Any:
        yield 0.0
        patience.url = None if request.section == "none" else "https://ca.example/1"
        raise outcome.TransportError("cut")
    answers = run_in_turn(pipe, perform, an_order("none"), an_order("some"))
    assert answers == [Failed("none", "cut", "lost", elsewhere="down"),
                       Failed("some", "cut", "unfinished", elsewhere="down")]


def test_an_answer_too_long_is_a_failure_of_its_request_only(pipe: Pipe) -> None:
    def perform(request: Any, _patience: Any) -> Any:
        yield 0.0
        return Issued(request.section, "x" * (MAX_ANSWER if request.section == "long" else 1))
    first, second = run_in_turn(pipe, perform, an_order("long"), an_order("short"))
    assert isinstance(first, Failed) and "more than" in first.message
    assert second == Issued("short", "x")


# --- without a signer --------------------------------------------------------------------------

@pytest.mark.parametrize("argv, expected", [
    (["3"], (False, 3, None)), (["3", "4"], (False, 3, 4)), (["--debug", "3"], (True, 3, None)),
    (["--debug", "3", "4"], (True, 3, 4))])
def test_the_command_line(argv: list[str], expected: Any) -> None:
    assert client.parse_arguments(argv) == expected


@pytest.mark.parametrize("argv", [[], ["--debug"], ["3", "4", "5"], ["x"], ["-1"], ["3", "٣"],
                                  ["3", "--debug"]])
def test_a_command_line_that_makes_no_sense(argv: list[str]) -> None:
    with pytest.raises(UsageError, match=r"client \[--debug\] CONFIG_FD \[SIGNER_FD\]"):
        client.parse_arguments(argv)


def test_without_a_signer_nothing_is_signed() -> None:
    session = Words()
    for how in ({"with_jwk": True}, {}):
        with pytest.raises(LocalProtocolError, match="newOrder needs a signature.*no account key "
                                                     "manager"):
            Session.post(session, "https://ca.example/new", {}, "newOrder", **how)
    with pytest.raises(LocalProtocolError, match="no account key manager"):
        Session.greeting.fget(session)  # type: ignore[attr-defined]


class NoSigner(Words):
    """A session without one, that has its directory."""

    greeting = Session.greeting     # type: ignore[assignment]
    post = Session.post             # type: ignore[assignment]

    def fetch_directory(self) -> None:
        """It is there."""


@pytest.mark.parametrize("asked", [[an_order()], [AccountUpdate()], [Revocation("c", b"")]])
def test_what_needs_one_says_so(pipe: Pipe, asked: list[order_protocol.Request]) -> None:
    session = NoSigner()
    session._directory = session.directory._replace(revoke_cert="https://ca.example/revoke")
    task = requests.whole_run(ClientConfig(Access("x")), session, asked, pipe.replies, {})
    if isinstance(asked[0], Order):
        with pytest.raises(LocalProtocolError, match="no account key manager"):
            finish(task)
        assert not pipe.answers()
    else:
        finish(task)
        answer, = pipe.answers()
        assert isinstance(answer, Failed) and "no account key manager" in answer.message
