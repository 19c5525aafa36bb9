"""Runs many generators over a few threads, so that their waits overlap.

A task is a generator.  It yields seconds, to be resumed no sooner than then, or a list of
tasks, to be resumed with their ``Outcome``s once the last of them is done.  Between
two yields it holds its worker, and with it that worker's connection to the server.

The calling thread is the first worker; another one is started when a task is due, nobody
is idle, and there are fewer than ``jobs``.  Among tasks that are due the one that
became due first goes first, then the one queued first; before them all goes one that has
waited for its own tasks, for what it waits for next is to begin.
"""

import heapq
import threading
import time
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

from ..common.errors import Error

T = TypeVar("T")

# What a task yields: seconds, or tasks.  It is resumed with their outcomes.
Wait = float | list["Task"]
# A task, or part of one (``yield from``), that returns a T
Steps = Generator[Wait, list["Outcome"], T]
Task = Steps[object]

# Seconds an idle worker sleeps at most: how soon it notices ``cancel``, which is called by a
# signal handler and so may not take a lock.
_NAP = 0.5


class Interrupted(Error):
    """Thrown into tasks that wait, or have not begun, when the run is cancelled."""


class Outcome(NamedTuple):
    """How a task ended: ``value`` returned, or ``error`` raised."""

    value: object = None
    error: Exception | None = None


class _Entry:
    """A task, its place among the tasks that its parent joins, and what it is resumed with."""

    def __init__(self, task: Task, parent: "_Entry | None", index: int) -> None:
        self.task = task
        self.parent = parent
        self.index = index
        self.waiting = True    # for the clock (or to begin), not for its own tasks
        self.resume_with: list[Outcome] | None = None    # None to begin, or after seconds
        self.outcomes: list[Outcome] = []
        self.missing = 0


class Scheduler:
    """Runs one task, and all that it yields, over at most as many threads as ``jobs`` says."""

    def __init__(self, jobs: Callable[[], int]) -> None:
        """``jobs`` is asked whenever there is work for one more, and may answer otherwise then."""
        self._jobs = jobs
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, _Entry]] = []
        self._queued = 0
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._cancelled = False
        self._result: Outcome | None = None

    def run(self, task: Steps[T]) -> T:
        """Run ``task`` to its end; return what it returned or raise what it raised."""
        values: list[T] = []

        def whole() -> Steps[None]:
            values.append((yield from task))

        self._push(_Entry(whole(), None, 0), 0.0)
        self._work()
        for thread in self._threads:
            thread.join()
        if self._result is None:
            raise RuntimeError("the scheduler stopped before its task")
        if self._result.error is not None:
            raise self._result.error
        return values[0]

    def cancel(self) -> None:
        """Let every task that waits or has not begun end with Interrupted (signal-safe)."""
        self._cancelled = True

    @property
    def workers(self) -> int:
        """How many threads there are."""
        return 1 + len(self._threads)

    def _push(self, entry: _Entry, seconds: float) -> None:
        self._queued += 1
        heapq.heappush(self._heap, (time.monotonic() + max(0.0, seconds), self._queued, entry))

    def _work(self) -> None:
        while True:
            with self._changed:
                entry = self._next_due()
                if entry is None:
                    return
            self._step(entry)

    def _next_due(self) -> _Entry | None:
        """Wait for the next task that is due; None at the end.  The lock is held."""
        while self._result is None:
            now = time.monotonic()
            if self._heap and (self._cancelled or self._heap[0][0] <= now):
                entry = heapq.heappop(self._heap)[2]
                if self._heap and self._heap[0][0] <= now:
                    self._call_for_help()
                elif self._heap and self._idle:
                    self._changed.notify()    # somebody else has to mind the clock
                return entry
            self._idle += 1
            try:
                self._changed.wait(min(self._heap[0][0] - now, _NAP) if self._heap else _NAP)
            finally:
                self._idle -= 1
        return None

    def _call_for_help(self) -> None:
        if self._idle:
            self._changed.notify()
        elif self.workers < self._jobs():
            thread = threading.Thread(target=self._work, daemon=True)
            try:
                thread.start()
            except RuntimeError:   # the limit of the user's processes
                workers = self.workers
                self._jobs = lambda: workers
                return
            self._threads.append(thread)

    def _step(self, entry: _Entry) -> None:
        """Resume a task until it yields, returns or raises."""
        resume, entry.resume_with = entry.resume_with, None
        wanted: Wait = 0.0
        outcome: Outcome | None = None
        try:
            if self._cancelled and entry.waiting:
                wanted = entry.task.throw(Interrupted("interrupted"))
            else:
                # A generator that begins, or waited for the clock, takes nothing but None
                wanted = next(entry.task) if resume is None else entry.task.send(resume)
        except StopIteration as stop:
            outcome = Outcome(stop.value)
        except Exception as exc:    # the boundary: one task's failure is its parent's to judge
            outcome = Outcome(error=exc)
        with self._changed:
            if outcome is not None:
                self._finish(entry, outcome)
            elif isinstance(wanted, list):
                entry.waiting = False
                self._fork(entry, wanted)
            else:
                entry.waiting = True
                self._push(entry, wanted)

    def _fork(self, entry: _Entry, tasks: list[Task]) -> None:
        entry.outcomes = [Outcome()] * len(tasks)
        entry.missing = len(tasks)
        for index, task in enumerate(tasks):
            self._push(_Entry(task, entry, index), 0.0)
        if not tasks:
            self._resume(entry)

    def _finish(self, entry: _Entry, outcome: Outcome) -> None:
        parent = entry.parent
        if parent is None:
            self._result = outcome
            self._changed.notify_all()
            return
        parent.outcomes[entry.index] = outcome
        parent.missing -= 1
        if not parent.missing:
            self._resume(parent)

    def _resume(self, entry: _Entry) -> None:
        entry.resume_with = entry.outcomes
        self._queued += 1
        heapq.heappush(self._heap, (0.0, self._queued, entry))    # before all that became due
