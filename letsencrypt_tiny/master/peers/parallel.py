"""Work that mostly waits for other processes, done for several things at once."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...common.errors import Error

T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Sequence[T]) -> list[R | Error]:
    """Return what ``function`` returns for each of ``items``, or the Error that it raises.

    As many run at once as there are processors; what else it raises ends the whole.
    """
    results: list[R | Error | None] = [None] * len(items)
    fatal: list[BaseException] = []
    todo = list(enumerate(items))[::-1]

    def work() -> None:
        while not fatal:
            try:
                index, item = todo.pop()
            except IndexError:   # all are taken
                return
            try:
                results[index] = function(item)
            except Error as exc:
                results[index] = exc
            except BaseException as exc:   # raised again below, in the caller's thread
                fatal.append(exc)

    workers = min(len(items), len(os.sched_getaffinity(0)))
    threads: list[threading.Thread] = []
    try:
        for _ in range(workers - 1):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:   # a limit (pids.max, ulimit -u): it takes longer, then
        pass
    work()
    for thread in threads:
        thread.join()
    if fatal:
        raise fatal[0]
    return [result for result in results if result is not None]
