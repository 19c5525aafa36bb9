"""Several things at once: results in order, errors kept apart, work really overlapping."""

import os
import threading
import time

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.peers import parallel


def test_results_are_in_the_order_of_the_items() -> None:
    def slowly(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number
    assert parallel.each(slowly, range(50)) == [number * number for number in range(50)]
    assert parallel.each(slowly, []) == []


def test_an_error_is_a_result_like_any_other() -> None:
    def picky(number: int) -> int:
        if number % 2:
            raise Error(f"{number} is odd")
        return number
    results = parallel.each(picky, range(6))
    assert [str(result) for result in results] == ["0", "1 is odd", "2", "3 is odd", "4",
                                                   "5 is odd"]
    assert isinstance(results[1], Error) and results[0] == 0


def test_a_mistake_of_ours_is_not_swallowed() -> None:
    seen: list[int] = []

    def wrong(number: int) -> int:
        seen.append(number)
        raise KeyError(number)
    with pytest.raises(KeyError):
        parallel.each(wrong, range(100))
    assert len(seen) < 10


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_as_many_at_once_as_there_are_processors() -> None:
    both = threading.Barrier(2, timeout=5)
    assert parallel.each(lambda number: both.wait() >= 0, range(2)) == [True, True]
    assert threading.active_count() == 1


def test_one_thing_needs_no_thread() -> None:
    assert parallel.each(lambda number: threading.current_thread(), [1]) == [
        threading.main_thread()]
