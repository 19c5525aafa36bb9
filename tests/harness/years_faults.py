"""What goes wrong in the years of ``years``: drawn by seeded dice, and done to the machine."""

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import daemon
from .redated import DAY

HOUR = 3600
CALM = 20 * DAY          # at the end, so that all that was late has come
# Seconds that the host's clock is wrong by
SKEWS = (-400 * DAY, -3 * DAY, -2 * HOUR, 2 * HOUR, 3 * DAY, 400 * DAY)
# Calls that a run is killed at
CALLS = ("rename", "replace", "fsync", "write", "unlink", "link", "mkdir", "open")


class Fault(NamedTuple):
    """Something is wrong for some time (moments since the epoch of the simulation)."""

    kind: str       # down, closed, nonces: a CA; refused, limited: a section; full, clock, notify
    begin: float
    end: float
    whom: str = ""  # CA or section
    by: int = 0     # of a clock

    def at(self, moment: float) -> bool:
        return self.begin <= moment < self.end


def faults(dice: random.Random, cas: Sequence[str], sections: Sequence[str], length: float
           ) -> list[Fault]:
    """Draw what goes wrong in ``length`` seconds."""
    found: list[Fault] = []

    def draw(kind: str, every: float, shortest: float, longest: float, whom: str = "",
             by: int = 0) -> None:
        begin = dice.expovariate(1 / every)
        while begin < length - CALM:
            # as many of some hours as of some days
            seconds = shortest * (longest / shortest) ** dice.random()
            found.append(Fault(kind, begin, min(begin + seconds, length - CALM), whom, by))
            begin += seconds + dice.expovariate(1 / every)

    for name in cas:
        draw("down", 30 * DAY, HOUR, 7 * DAY, name)
        draw("closed", 60 * DAY, HOUR, 3 * DAY, name)
        draw("nonces", 60 * DAY, HOUR, DAY, name)
    for name in sections:
        draw("refused", 400 * DAY, HOUR, 6 * DAY, name)
        draw("limited", 400 * DAY, HOUR, 2 * DAY, name)
    draw("full", 45 * DAY, HOUR, 2 * DAY)
    draw("notify", 20 * DAY, HOUR, 3 * DAY)
    for by in SKEWS:
        draw("clock", 180 * DAY, HOUR, DAY, by=by)
    return sorted(found, key=lambda fault: fault.begin)


def fill(path: Path) -> None:
    """Leave no byte to others."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def killed_at(number: int) -> None:
    """Have this process killed at that call of those that change files."""
    left = [number]

    def counted(call: Any) -> Any:
        def instead(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)
        return instead
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def reap() -> None:
    """Whoever outlives a run that was killed is ours: wait for them to end."""
    end = time.monotonic() + 20
    while daemon.strays() and time.monotonic() < end:
        for pid in daemon.strays():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.01)
