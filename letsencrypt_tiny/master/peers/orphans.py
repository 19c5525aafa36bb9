"""What a child leaves behind by forking becomes ours, and ends with the run."""

import os
import signal

from ...common import log
from . import child

_PR_SET_CHILD_SUBREAPER = 36   # prctl(2)


def adopt() -> None:
    """From now on processes that children leave become children of ours."""
    import ctypes
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(uid: int) -> None:
    """Kill every orphan that runs as ``uid``, and what it leaves, unless that is root.

    A client that isn't confined can fork; what it leaves could lie in wait for the next one,
    into which, being of the same user, it can look until that has confined itself.  Children
    that the master started, another CA's client for one, are no orphans.
    """
    for _ in range(1000):   # each may have had children, which are ours then
        left = [pid for pid in _own_children()
                if uid != 0 and pid not in child.running and _uid(pid) == uid]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if not left:
            return
    log.warning(f"processes of uid {uid} are left")


def _own_children() -> list[int]:
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
        except OSError:
            pass   # the thread has ended, or the kernel doesn't tell
    return found


def _uid(pid: int) -> int:
    """The real user id of a process; -1 if it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return int(next(line for line in file if line.startswith("Uid:")).split()[1])
    except (OSError, StopIteration):
        return -1
