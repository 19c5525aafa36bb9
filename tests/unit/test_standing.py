"""What the orders of a run know of their server: one tries for all."""

from collections.abc import Iterator

import pytest

from harness.client import finish
from letsencrypt_tiny.client.nonces import Nonces
from letsencrypt_tiny.client.patience import PAUSES, Patience
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.client.standing import LATER, VAIN, Standing, concerns_all
from letsencrypt_tiny.client.transport import CutOff, NoAnswer, TransportError
from letsencrypt_tiny.common.errors import Error, ProtocolError
from letsencrypt_tiny.common.wire.problems import Problem


def problem(status: int, kind: str = "") -> ProblemError:
    return ProblemError(Problem(kind, "", status))


@pytest.mark.parametrize("error, common, own", [
    # what is said of newOrder is about the server; of a poll, about that order perhaps
    (problem(503), True, False), (problem(502), True, False), (problem(504), True, False),
    (problem(503, "serverInternal"), True, False), (problem(500), False, False),
    (problem(429, "rateLimited"), False, False), (problem(403, "unauthorized"), False, False),
    (problem(400, "badNonce"), True, True),
    (TransportError("refused"), True, True), (CutOff("cut"), True, False),
    (NoAnswer("silent"), True, False), (ProtocolError("junk"), False, False),
    (Error("any"), False, False)], ids=repr)
def test_what_concerns_all(error: Error, common: bool, own: bool) -> None:
    assert concerns_all(error, True) is common and concerns_all(error, False) is own


def held(standing: Standing, who: object) -> bool:
    """Whether somebody has to wait."""
    for _ in standing.admit(who):
        return True
    return False


def test_one_tries_and_the_others_wait() -> None:
    standing = Standing()
    assert not held(standing, "a") and not held(standing, "b")
    standing.failed("a", problem(503), True)
    standing.failed("b", problem(503), True)    # which was under way
    assert not held(standing, "a") and held(standing, "b") and held(standing, "c")
    standing.answered()                         # a poll, which says nothing of newOrder
    assert held(standing, "b")
    standing.answered(True)
    assert not held(standing, "b") and not standing.doubted


def test_what_fails_two_in_vain_fails_all() -> None:
    standing, last = Standing(), problem(503)
    standing.failed("a", problem(502), True)
    standing.left("b")                          # at its end, for another reason
    assert held(standing, "c") and not standing.doubted
    standing.left("a")
    assert not held(standing, "c") and standing.doubted
    standing.failed("c", last, True)
    standing.left("c")
    with pytest.raises(ProblemError) as raised:
        held(standing, "d")
    assert raised.value is last


def test_what_one_gets_alone_is_its_own() -> None:
    """The next one tries, and is answered."""
    standing = Standing()
    for who in "abcdefgh":
        standing.failed(who, problem(503), True)
        standing.left(who)
        standing.failed("x", problem(403), True)
        assert not held(standing, "y") and not standing.doubted


def test_one_that_has_taken_orders_may_dislike_these() -> None:
    standing, most = Standing(), 0
    standing.answered(common=True)
    with pytest.raises(ProblemError):
        for most in range(1000):
            assert not held(standing, most)
            standing.failed(most, problem(503), True)
            standing.left(most)
    assert most == LATER


def test_who_was_down_is_tried_once() -> None:
    standing = Standing(doubted=True)
    assert standing.doubted and not held(standing, "a") and held(standing, "b")
    standing.failed("a", problem(503), True)
    standing.left("a")
    with pytest.raises(ProblemError):
        held(standing, "b")
    assert VAIN == 2


def test_who_tries_alone_is_patient() -> None:
    """… and the next one asks once."""
    standing, asked = Standing(), []

    def request() -> None:
        asked.append(1)
        raise problem(503)

    def order(patience: Patience) -> Iterator[object]:
        try:
            while True:
                yield from patience.admit()
                try:
                    patience.timed(request, True)
                except ProblemError as exc:
                    yield patience.pause(exc, len(asked) - 1)
        finally:
            patience.end()

    counts = []
    for section in "abcd":
        before = len(asked)
        with pytest.raises(ProblemError):
            finish(order(Patience(section, 60, lambda _: None, standing=standing)))
        counts.append(len(asked) - before)
    assert counts == [len(PAUSES) + 1, 1, 0, 0]


def test_nonces_that_are_refused_are_counted_for_all() -> None:
    nonces = Nonces()
    assert [nonces.refused() for _ in range(5)] == [True] * 3 + [False] * 2
    nonces.taken()
    assert [nonces.refused() for _ in range(7)] == [True] * 6 + [False]
    doubted = Nonces()
    doubted.doubt()
    assert doubted.take() is None and len(doubted.invent() or "") == 22
    doubted.taken(busy=True)
    assert doubted.invent() and doubted.invent() is None
    doubted.taken()
    doubted.doubt()
    assert doubted.refused() and not doubted.refused()
