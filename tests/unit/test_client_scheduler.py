"""The scheduler: waits overlap, nothing starves, a failure stays where it is."""

import threading
import time
from collections.abc import Generator
from typing import Any

import pytest

from letsencrypt_tiny.client.scheduler import Interrupted, Outcome, Scheduler

Task = Generator[Any, Any, Any]


def waits(*seconds: float) -> Task:
    for wait in seconds:
        yield wait
    return len(seconds)


def fails(message: str) -> Task:
    yield 0
    raise ValueError(message)


def test_result_and_error_of_the_task() -> None:
    assert Scheduler(lambda: 1).run(waits(0, 0)) == 2
    with pytest.raises(ValueError, match="no"):
        Scheduler(lambda: 1).run(fails("no"))


def test_outcomes_come_in_the_order_asked_for() -> None:
    def parent() -> Task:
        return (yield [waits(0.03), fails("x"), waits(), waits(0, 0)])
    first, second, third, fourth = Scheduler(lambda: 3).run(parent())
    assert [first, third, fourth] == [Outcome(1), Outcome(0), Outcome(2)]
    assert isinstance(second.error, ValueError)


def test_nothing_to_join() -> None:
    def parent() -> Task:
        return (yield [])
    assert Scheduler(lambda: 2).run(parent()) == []


def test_waits_overlap_even_on_one_thread() -> None:
    def parent() -> Task:
        yield [waits(0.1, 0.1) for _ in range(50)]
    scheduler = Scheduler(lambda: 1)
    start = time.monotonic()
    scheduler.run(parent())
    assert 0.2 <= time.monotonic() - start < 3, "of ten seconds"
    assert scheduler.workers == 1


def test_without_another_thread_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the user has too many processes."""
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, "start", start)

    def parent() -> Task:
        return (yield [waits(0), waits(0), waits(0)])
    scheduler = Scheduler(lambda: 4)
    assert len(scheduler.run(parent())) == 3 and scheduler.workers == 1


def test_a_wait_is_never_shortened() -> None:
    ends: list[float] = []

    def task(seconds: float) -> Task:
        start = time.monotonic()
        yield seconds
        ends.append(time.monotonic() - start - seconds)

    def parent() -> Task:
        yield [task(seconds / 100) for seconds in (5, 1, 3, 1, 0, 2)]
    Scheduler(lambda: 4).run(parent())
    assert len(ends) == 6 and min(ends) >= 0


def test_first_come_first_served() -> None:
    steps: list[str] = []

    def task(name: str) -> Task:
        for number in range(3):
            steps.append(f"{name}{number}")
            yield 0

    def parent() -> Task:
        yield [task("a"), task("b"), task("c")]
    Scheduler(lambda: 1).run(parent())
    assert steps == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_one_order_of_one_name_is_one_thread() -> None:
    def name() -> Task:
        yield 0.01

    def parent() -> Task:
        yield 0
        yield [name()]
        yield 0.01
    scheduler = Scheduler(lambda: 4)
    scheduler.run(parent())
    assert scheduler.workers == 1


def test_no_more_threads_than_jobs_and_all_of_them() -> None:
    running: list[int] = []
    most: list[int] = []
    lock, three = threading.Lock(), threading.Barrier(3)

    def task() -> Task:
        with lock:
            running.append(1)
            most.append(len(running))
        three.wait(20)    # a request, which takes until there are as many
        with lock:
            running.pop()
        yield 0.01

    def parent() -> Task:
        yield [task() for _ in range(12)]
    before = threading.active_count()
    scheduler = Scheduler(lambda: 3)
    scheduler.run(parent())
    assert max(most) == scheduler.workers == 3
    assert threading.active_count() == before


def test_trees_of_tasks() -> None:
    def tree(depth: int) -> Task:
        yield 0
        if not depth:
            return 1
        outcomes = yield [tree(depth - 1) for _ in range(3)]
        return sum(outcome.value for outcome in outcomes)
    assert Scheduler(lambda: 4).run(tree(5)) == 3 ** 5


def test_cancelled_tasks_end_at_their_wait_and_clean_up() -> None:
    scheduler = Scheduler(lambda: 2)
    events: list[str] = []

    def waiting() -> Task:
        try:
            yield 60
        finally:
            events.append("cleaned up")

    def busy() -> Task:
        yield 0
        scheduler.cancel()
        events.append("finished")
        return 1

    def parent() -> Task:
        outcomes = yield [waiting(), waiting(), busy()]
        events.append("joined")
        return outcomes
    start = time.monotonic()
    first, second, third = scheduler.run(parent())
    assert time.monotonic() - start < 5
    assert isinstance(first.error, Interrupted) and isinstance(second.error, Interrupted)
    assert third == Outcome(1)
    assert sorted(events) == ["cleaned up", "cleaned up", "finished", "joined"]
    assert events[-1] == "joined"


def test_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's limit of processes is reached: the one there is does all of the work."""
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def task(number: int) -> Any:
        yield 0
        return number

    def all_of_them() -> Any:
        return [outcome.value for outcome in (yield [task(number) for number in range(20)])]

    monkeypatch.setattr(threading.Thread, "start", start)
    scheduler = Scheduler(lambda: 8)
    assert scheduler.run(all_of_them()) == list(range(20))
    assert scheduler.workers == 1


def test_who_has_waited_for_tasks_goes_first() -> None:
    """What it waits for next is not to begin after all that others have to do."""
    steps: list[str] = []

    def child() -> Task:
        steps.append("child")
        yield 0
        steps.append("done")

    def waiting() -> Task:
        yield [child()]
        steps.append("resumed")

    def other(number: int) -> Task:
        for _ in range(4):
            steps.append(f"other {number}")
            yield 0

    def parent() -> Task:
        yield [waiting(), *(other(number) for number in range(3))]
    Scheduler(lambda: 1).run(parent())
    assert len(steps) == 15 and steps[steps.index("done") + 1] == "resumed"


def test_more_threads_as_soon_as_they_are_worth_it() -> None:
    """How many there may be is asked each time."""
    jobs, three = [1], threading.Barrier(3)

    def task() -> Task:
        if jobs[0] == 3:
            three.wait(20)
        yield 0

    def parent() -> Task:
        yield [task() for _ in range(4)]
        first = scheduler.workers
        jobs[0] = 3
        yield [task() for _ in range(6)]
        return first
    scheduler = Scheduler(lambda: jobs[0])
    assert (scheduler.run(parent()), scheduler.workers) == (1, 3)
