"""What the orders of a run know of their server: one tries for all."""

from collections.abc import Iterator

import pytest

from harness.client import finish
from letsencrypt_tiny.client.nonces import FEW, INVENTED, MOST, Nonces
from letsencrypt_tiny.client.patience import PAUSES, Patience
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.client import standing as room
from letsencrypt_tiny.client.standing import LATER, VAIN, Standing, concerns_all
from letsencrypt_tiny.client.transport import CutOff, NoAnswer, TransportError
from letsencrypt_tiny.common.errors import Error, ProtocolError
from letsencrypt_tiny.common.wire.problems import Problem


def problem(status: int, kind: str = "") -> ProblemError:
    return ProblemError(Problem(kind, "", status))


@pytest.mark.parametrize("error, common, own", [
    # what is said of newOrder is about the server; of a poll, about that order perhaps
    (problem(503), True, False), (problem(502), True, False), (problem(504), True, False),
    (problem(503, "serverInternal"), True, False), (problem(500), True, False),
    (problem(500, "serverInternal"), True, False), (problem(403), True, False),
    (problem(429, "rateLimited"), False, False), (problem(403, "unauthorized"), False, False),
    (problem(400, "badNonce"), True, True),
    (TransportError("refused"), True, True), (CutOff("cut"), True, False),
    (NoAnswer("silent"), True, False), (ProtocolError("junk"), False, False),
    (Error("any"), False, False)], ids=repr)
def test_what_concerns_all(error: Error, common: bool, own: bool) -> None:
    assert concerns_all(error, True) is common and concerns_all(error, False) is own


def held(standing: Standing, who: object, common: bool = True) -> bool:
    """Whether somebody has to wait."""
    for _ in standing.admit(who, common):
        return True
    return False


def test_the_first_one_is_alone_until_it_is_answered() -> None:
    standing = Standing()
    assert not held(standing, "a") and held(standing, "b")
    standing.failed("a", problem(403, "rejectedIdentifier"), True)    # which is about a alone
    assert not held(standing, "b") and not held(standing, "c")


def test_the_first_one_does_not_get_so_far() -> None:
    """Whatever became of it, the server has not been asked: that says nothing of it."""
    standing = Standing()
    for who in "abcd":
        assert not held(standing, who) and held(standing, "e")
        standing.left(who)
    assert not standing.failing and not held(standing, "e")


def test_a_slow_first_answer_holds_nobody_up_for_long() -> None:
    standing = Standing()
    assert not held(standing, "a")
    assert room.SLOW <= sum(standing.admit("b", True)) <= room.SLOW + room.LONGEST
    assert not held(standing, "c") and not standing.failing


@pytest.mark.parametrize("doubted", [False, True])
def test_who_tries_again_is_waited_for(doubted: bool) -> None:
    """However long: the server was, or is, out of order."""
    standing = Standing(doubted)
    assert not held(standing, "a")
    if not doubted:
        standing.failed("a", problem(503), True)
    waits = standing.admit("b", True)
    assert sum(next(waits) for _ in range(100)) > 10 * room.SLOW and held(standing, "c")


def test_polls_wait_for_no_newOrder() -> None:
    """The first to be answered lets all go on with what there is, and one order more."""
    standing = Standing()
    assert not held(standing, "a", common=False) and held(standing, "b", common=False)
    standing.answered()
    assert not held(standing, "b", common=False)
    assert not held(standing, "c") and held(standing, "d")
    standing.answered(common=True)
    assert not held(standing, "d")


def test_one_tries_and_the_others_wait() -> None:
    standing = Standing()
    standing.answered(common=True)
    assert not held(standing, "a") and not held(standing, "b")
    standing.failed("a", problem(503), True)
    standing.failed("b", problem(503), True)    # which was under way
    assert not held(standing, "a") and held(standing, "b") and held(standing, "c")
    # polls go on, and say nothing of newOrder
    assert not held(standing, "d", common=False)
    standing.answered()
    assert held(standing, "b")
    standing.answered(common=True)
    assert not held(standing, "b") and not standing.failing


def test_who_cannot_be_reached_is_not_polled() -> None:
    standing = Standing()
    standing.failed("a", TransportError("refused"), False)
    assert held(standing, "b", common=False) and held(standing, "c")
    standing.answered()
    assert not held(standing, "b", common=False) and not held(standing, "c")


def test_what_fails_two_in_vain_fails_all() -> None:
    standing, last = Standing(), problem(503)
    standing.failed("a", problem(502), True)
    standing.left("b")                          # at its end, for another reason
    assert held(standing, "c")
    standing.left("a")
    assert not held(standing, "c")
    standing.failed("c", last, True)
    # what is about it alone may pass
    assert standing.is_hopeless(last) and not standing.is_hopeless(problem(429))
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
        standing.failed("x", problem(403, "unauthorized"), True)
        assert not held(standing, "y")


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
    assert not held(standing, "a") and held(standing, "b")
    error = problem(503)
    standing.failed("a", error, True)
    assert standing.is_hopeless(error)
    standing.left("a")
    with pytest.raises(ProblemError):
        held(standing, "b")
    assert VAIN == 2


def test_who_was_down_may_answer_polls_and_take_no_orders() -> None:
    """What went on from before does so; one asks whether there are new ones."""
    standing, error = Standing(doubted=True), problem(503)
    assert not held(standing, "a", common=False) and held(standing, "b", common=False)
    standing.answered()
    assert not held(standing, "b", common=False)
    assert not held(standing, "c") and held(standing, "d")
    standing.failed("c", error, True)
    standing.answered()
    assert standing.is_hopeless(error) and not held(standing, "b", common=False)
    standing.left("c")
    with pytest.raises(ProblemError):
        held(standing, "d")
    assert not held(standing, "b", common=False)


def test_who_refuses_every_nonce_is_asked_no_more() -> None:
    standing = Standing()
    standing.failed("a", problem(400, "badNonce"), True)
    standing.left("a")
    with pytest.raises(ProblemError):
        held(standing, "b")


def test_who_tries_alone_is_patient() -> None:
    """… and the next one asks once."""
    standing, asked = Standing(), []

    def request() -> None:
        asked.append(1)
        raise problem(503)

    def order(patience: Patience) -> Iterator[object]:
        try:
            while True:
                yield from patience.admit(True)
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
    assert [nonces.refused() for _ in range(5)] == [True] * FEW + [False] * (5 - FEW)
    nonces.taken()
    assert [nonces.refused() for _ in range(MOST + 1)] == [True] * MOST + [False]


def test_who_was_down_is_asked_for_no_nonce() -> None:
    """One that is made up shows whether it is well; so it does after a 503."""
    nonces = Nonces()
    assert nonces.take() is None and nonces.invent() is None
    nonces.doubt()
    assert nonces.take() is None and nonces.refused() and not nonces.refused()
    invented = [nonces.invent() for _ in range(INVENTED + 1)]
    assert len(set(invented)) == INVENTED + 1 and invented[-1] is None
    assert len(invented[0] or "") == 22
    nonces.taken(busy=True)
    assert nonces.invent() and nonces.invent() is None
    nonces.taken()
    assert nonces.invent() is None
