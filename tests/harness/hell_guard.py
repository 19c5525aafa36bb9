"""Usage: hell_guard.py REPORT SECONDS COMMAND…

Runs a command and writes what is to be said of it to the file REPORT, as JSON: its status, the
seconds it took, the most memory that it or any process it waited for had (KiB, as of wait4(2)),
and the command lines of what it left behind, which are killed.  Beyond SECONDS it is killed.

A small process of its own, for what is forked counts its parent's memory as its own.
"""

import ctypes
import json
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
GRACE = 2.0      # seconds that an orphan may take to end


def orphans() -> dict[int, str]:
    """Return our children that live, and what they are."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if int(parent) == os.getpid() and state not in b"ZX":
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    found[int(name)] = file.read().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError):
            continue    # it has ended
    return found


def reap(seconds: float) -> bool:
    """Wait for all orphans; False if some live on."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not pid:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)


def main(report: str, seconds: str, *argv: str) -> None:
    """The program."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        try:
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    _, status, usage = os.wait4(pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.monotonic() - began
    left: dict[int, str] = {}
    if not reap(GRACE):
        left = orphans()
        for one in left:
            os.kill(one, signal.SIGKILL)
        reap(GRACE)
    with open(report, "w", encoding="utf-8") as file:
        json.dump({"status": os.waitstatus_to_exitcode(status), "seconds": took,
                   "memory": usage.ru_maxrss, "left": list(left.values())}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
