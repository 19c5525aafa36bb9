"""When orders are looked at: early, rarely, and ahead of the server's wish for no request more."""

import heapq
import random
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from harness.client import finish
from letsencrypt_tiny.client.distance import Distance
from letsencrypt_tiny.client.pace import (EARLY, FIRST, FOLLOWING, LONGEST, SCOUTS, SOON, VAIN,
                                          Pace, Watch)
from letsencrypt_tiny.client.patience import Patience, TimedOut
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.common.wire.order import Answer, Progress
from letsencrypt_tiny.common.wire.problems import Problem


def waits(patience: Patience, retry_after: int | None = None) -> list[float]:
    """What is waited until the next poll."""
    found: list[float] = []
    finish(patience.until_poll(retry_after), found.append)
    return found


def looks(over: Callable[[], float], orders: int, starts: Callable[[int], float],
          state: str = "pending", asked: int | None = None) -> tuple[int, float]:
    """Orders each of which leaves a state ``over()`` seconds after it has entered it, and until
    then is told to come back after those ``asked``: how often they were looked at, and how long
    after the end it was noticed at the latest."""
    pace, looked, late = Pace(), 0, 0.0
    todo: list[tuple[float, int, float, Iterator[float]]] = []

    def order(begun: float, end: float) -> Iterator[float]:
        nonlocal looked, late
        watch, now = Watch(pace, state), begun
        yield begun
        while True:
            seconds, due = watch.next(asked)
            now += seconds
            yield now
            if due:
                looked += 1
                if now >= end:
                    break
        late = max(late, now - end)
        watch.end(seen=True)
    for number in range(orders):
        begun = starts(number)
        end = begun + over()
        heapq.heappush(todo, (begun, number, end, order(begun, end)))
    while todo:
        _, number, end, steps = heapq.heappop(todo)
        for moment in steps:
            heapq.heappush(todo, (moment, number, end, steps))
            break
    return looked, late


def test_a_server_that_is_fast_is_not_waited_for() -> None:
    looked, late = looks(lambda: 0.005, 1, lambda _: 0.0)
    assert looked == 1 and late <= FIRST


def test_the_looks_at_one_order_are_few_and_never_late_by_more_than_it_took() -> None:
    for seconds in 0.06, 0.3, 1.0, 3.0, 9.0, 27.0:
        looked, late = looks(lambda: seconds, 1, lambda _: 0.0)
        assert looked <= 10 and late <= min(seconds + FIRST, LONGEST) + 1e-6
    assert looks(lambda: 3600.0, 1, lambda _: 0.0)[0] <= 3600 / LONGEST + 8


@pytest.mark.parametrize("state", EARLY)
@pytest.mark.parametrize("orders", [50, 500])
@pytest.mark.parametrize("seconds", [0.005, 0.3, 1.0, 3.0, 9.0])
def test_many_orders_are_looked_at_once_each(seconds: float, orders: int, state: str) -> None:
    """7 requests an order with one look, and no more than 7.5 on the average."""
    looked, late = looks(lambda: seconds, orders, lambda number: number / 150, state)
    assert looked <= 1.4 * orders
    assert late <= 2 * seconds + FIRST


def test_a_server_whose_time_differs() -> None:
    chance = random.Random(8)
    looked, late = looks(lambda: 3 * chance.random(), 100, lambda number: number / 150)
    assert looked <= 1.6 * 100 and late <= 4


def test_what_scouts_never_see_the_end_of_keeps_nobody() -> None:
    """Scouts whose validation hangs, or that give up: the others look themselves."""
    pace = Pace()
    scouts = [Watch(pace, "pending") for _ in range(SCOUTS)]
    other, waited, due = Watch(pace, "pending"), 0.0, False
    while not due:
        seconds, due = other.next()
        waited += seconds
    assert FOLLOWING <= waited <= FOLLOWING + 1
    another = Watch(pace, "pending")
    assert not another.next()[1]
    for scout in scouts:
        scout.end(seen=False)
    assert another.next()[1]
    scouts[0].end(seen=False)   # however often it is told
    assert [Watch(pace, "pending").next() for _ in range(SCOUTS + 1)] == [(FIRST, True)] * 3


def test_states_do_not_mix() -> None:
    pace = Pace()
    for _ in range(SCOUTS):
        watch = Watch(pace, "pending")
        watch.next()
        watch.end(seen=True)
    assert [Watch(pace, "processing").next()[1] for _ in range(SCOUTS + 1)] == [True, True, False]
    # what lags behind itself is given time
    assert [Watch(pace, "ready").next() for _ in range(SCOUTS + 1)] == [(0.5, True)] * 3


def test_polls_grow_and_end_with_the_timeout() -> None:
    answers: list[Answer] = []
    patience = Patience("s", 10, answers.append)
    patience.enter("pending")
    assert [waits(patience) for _ in range(7)] == [[pytest.approx(0.05 * 2 ** n)] for n in range(7)]
    assert waits(patience) == [pytest.approx(3.65)]   # the last at the end, not beyond
    with pytest.raises(TimedOut, match="still pending"):
        waits(patience)
    assert answers[0] == Progress("s", "pending", None, 0)
    # of what is over at once the master hears nothing
    assert [cast(Progress, answer).wait for answer in answers[1:]] == [2, 4, 4]
    patience.enter("processing")
    with pytest.raises(TimedOut, match="still processing"):
        waits(patience)


def test_the_servers_wish_is_honoured_or_the_order_given_up() -> None:
    patience = Patience("s", 10, lambda _: None)
    patience.enter("ready")
    assert waits(patience, 7) == [7]
    assert waits(patience, 0) == [0.1]    # never in a tight circle
    with pytest.raises(TimedOut) as caught:
        waits(patience, 4)
    assert caught.value.retry_after == 4
    assert waits(Patience("s", 0, lambda _: None), 86400) == [86400]


def test_an_order_that_ends_is_no_scout_any_more() -> None:
    pace = Pace()
    orders = [Patience("s", 10, lambda _: None, pace) for _ in range(SCOUTS + 1)]
    for order in orders:
        order.enter("pending")
        waits(order) if order is not orders[-1] else None
    for order in orders[:-1]:
        order.leave()
    assert waits(orders[-1]) == [0.05]


def far(seconds: float) -> Distance:
    """A server whose round trip is known."""
    distance = Distance()
    distance.answered(seconds)
    return distance


def test_scouts_look_a_few_times_ahead_of_the_servers_wish() -> None:
    patience = Patience("s", 60, lambda _: None, Pace(far(0.01)))
    patience.enter("pending")
    ahead = [0.05, 0.25, 1.25]
    assert [waits(patience, 3) for _ in ahead] == [[pytest.approx(seconds)] for seconds in ahead]
    assert waits(patience, 3) == [pytest.approx(3 - sum(ahead))]    # when the server wanted it
    assert [waits(patience, 3) for _ in range(3)] == [[3]] * 3
    patience.enter("processing")    # which has lasted for a round trip
    assert [waits(patience, 3) for _ in range(2)] == [[pytest.approx(0.04)], [pytest.approx(0.25)]]
    another = Patience("s", 60, lambda _: None, Pace(far(0.1)))
    another.enter("processing")
    assert waits(another, 3) == [0]    # the round trip is time enough


def test_the_time_that_is_named_anew_is_kept_to_where_it_is_long() -> None:
    patience = Patience("s", 60, lambda _: None)
    patience.enter("processing")
    assert waits(patience, 3) == [pytest.approx(FIRST)]
    assert waits(patience, SOON + 1) == [SOON + 1]


@pytest.mark.parametrize("state", EARLY)
@pytest.mark.parametrize("orders", [1, 4, 50, 500])
@pytest.mark.parametrize("seconds", [0.005, 0.3, 1.0, 2.5])
def test_many_orders_are_looked_at_ahead_by_what_scouts_have_seen(
        seconds: float, orders: int, state: str) -> None:
    looked, late = looks(lambda: seconds, orders, lambda number: number / 150, state, 3)
    assert looked <= orders + max(3 * SCOUTS, 0.2 * orders)
    assert late <= min(5 * seconds + FIRST, 3 - seconds + FIRST)


def test_looks_ahead_that_are_in_vain_come_to_an_end() -> None:
    """Scouts that are fast, and others that are not: each is looked at once more, at most."""
    chance = random.Random(8)
    assert looks(lambda: 2.9 * chance.random(), 100, lambda number: number / 150, asked=3
                 )[0] <= 1.5 * 100
    times = iter([0.01] * SCOUTS + [2.0] * 1000)
    looked, _ = looks(lambda: next(times), 1000, lambda number: number / 20, asked=3)
    assert looked <= 1000 + 2 * VAIN


@pytest.mark.parametrize("state, retry_after", [
    ("ready", 3),                # which lags behind itself
    ("processing", SOON + 1),    # a person, perhaps, or another CA's queue
    ("processing", 0),           # sooner than we would
])
def test_the_servers_wish_is_kept_to_where_a_look_ahead_is_worth_nothing(
        state: str, retry_after: int) -> None:
    patience = Patience("s", 60, lambda _: None, Pace(far(0.01)))
    patience.enter(state)
    assert waits(patience, retry_after) == [max(retry_after, 0.1)]


def test_a_look_ahead_is_within_the_timeout() -> None:
    patience = Patience("s", 2, lambda _: None)
    patience.enter("processing")
    for seconds in 0.05, 0.25, 1.25:
        assert waits(patience, 3) == [pytest.approx(seconds)]
    with pytest.raises(TimedOut, match="still processing"):
        waits(patience, 3)


def test_a_server_that_has_enough_to_do_is_not_looked_at_ahead() -> None:
    pace = Pace(far(0.01))
    asking, ordering = (Patience("s", 60, lambda _: None, pace) for _ in range(2))
    assert asking.pause(ProblemError(Problem("rateLimited", "too many", 429), 5), 0) == 5
    ordering.enter("pending")
    assert waits(ordering, 3) == [3]
