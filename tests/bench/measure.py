"""A command: wall clock, CPU time of the whole process tree, peak memory."""

import os
import resource
import select
import subprocess
import tempfile
import time
from pathlib import Path
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from harness import daemon, proc

LOOK = 0.02  # seconds between two looks at the memory

T = TypeVar("T")


class Usage(NamedTuple):
    """What a command took."""

    status: int | None     # exit status; None if it was killed for being too slow
    output: str            # standard output and error together
    wall: float            # seconds
    cpu: float             # seconds, user and system, of all processes of the tree
    peak: int              # bytes: greatest sum of PSS seen; 0 where nobody looked


def run(argv: Sequence[str], env: Mapping[str, str], timeout: float, *,
        look: bool = False, cwd: Path | None = None) -> Usage:
    """Run a command to its end, its orphans' included; ``look`` at its memory meanwhile.

    To look costs time of its own: a run that is timed should do without.  After ``timeout``
    seconds everything is killed.  The caller must have called ``netns.adopt_orphans``.
    """
    with tempfile.TemporaryFile() as output:
        before = _children_cpu()
        start = time.monotonic()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, env=dict(env), cwd=cwd)
        try:
            peak, in_time = _wait(process.pid, start + timeout, look)
            wall = time.monotonic() - start
            if not in_time:
                proc.kill_tree(process.pid)
            status = process.wait()
        except BaseException:
            proc.kill_tree(process.pid)
            process.wait()
            raise
        _reap_orphans()
        cpu = _children_cpu() - before
        output.seek(0)
        text = output.read().decode(errors="backslashreplace")
        return Usage(status if in_time else None, text, wall, cpu, peak)


def median(times: int, measure: Callable[[], T], key: Callable[[T], float]) -> T:
    """Measure an odd number of ``times``; return the result in the middle by ``key``."""
    return sorted((measure() for _ in range(times)), key=key)[times // 2]


def _wait(pid: int, deadline: float, look: bool) -> "tuple[int, bool]":
    peak = 0
    fd = os.pidfd_open(pid)  # subprocess would poll, at up to 50 ms
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return peak, False
            if poll.poll(1000 * (min(LOOK, left) if look else left)):
                return peak, True
            if look:
                peak = max(peak, memory(pid))
    finally:
        os.close(fd)


def memory(pid: int) -> int:
    """Return the sum of the tree's PSS in bytes: a page that n share counts 1/n for each."""
    total = 0
    for member in [pid, *proc.descendants(pid)]:
        try:
            with open(f"/proc/{member}/smaps_rollup", "rb") as file:
                for line in file:
                    if line.startswith(b"Pss:"):
                        total += 1024 * int(line.split()[1])
                        break
        except (FileNotFoundError, ProcessLookupError):
            pass  # ended, or a zombie
    return total


def _children_cpu() -> float:
    """CPU seconds of all children that were waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far, of threads that have ended, too (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def _reap_orphans() -> None:
    """Wait for what the command left behind: its CPU time counts too; kill it after 2 s."""
    servers = {server.pid for server in daemon.running}
    deadline = time.monotonic() + 2
    while True:
        orphans = set(proc.children(os.getpid())) - servers
        if not orphans:
            return
        for pid in orphans:
            if time.monotonic() > deadline:
                proc.kill_tree(pid)
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.005)
