"""A running child, until its status is collected."""

import os
import select
import signal
import time

_LOOK = 0.02   # seconds


running: set[int] = set()   # process ids of those that were started and not collected yet


class Child:
    """A running child; ``stop`` ends it and collects its status."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = name
        self.status: int | None = None      # exit status; 128 + N after signal N
        running.add(pid)

    def wait(self, seconds: float | None) -> int | None:
        """Wait for the child to end; None if it still runs after ``seconds``."""
        if self.status is None:
            if seconds is not None and not _ends(self.pid, seconds):
                return None
            _, status = os.waitpid(self.pid, 0)
            running.discard(self.pid)
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else 128 - code
        return self.status

    def stop_group(self, grace: float = 2.0) -> int | None:
        """The same for all in the process group that it leads: what it started ends with it."""
        if self.status is None:
            for number in (signal.SIGTERM, signal.SIGCONT):
                os.killpg(self.pid, number)
            _ends(self.pid, grace)   # not collected yet: so far the number is nobody else's
            os.killpg(self.pid, signal.SIGKILL)
            self.wait(None)
        return self.status

    def stop(self, grace: float = 2.0) -> int | None:
        """Ask the child to end; after ``grace`` seconds make it.  Returns its status."""
        if self.status is None:
            for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, None)):
                try:
                    os.kill(self.pid, number)
                    os.kill(self.pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
                if self.wait(seconds) is not None:
                    break
        return self.status


def _ends(pid: int, seconds: float) -> bool:
    """Say whether a child of ours ends within that time; its status is left to be collected."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return _ends_as_seen(pid, seconds)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0, seconds) * 1000))
    except OSError:
        return _ends_as_seen(pid, seconds)
    finally:
        os.close(descriptor)


def _ends_as_seen(pid: int, seconds: float) -> bool:
    """The same where there is no descriptor, or no memory, left to wait with."""
    end = time.monotonic() + seconds
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= end:
            return False
        time.sleep(_LOOK)
    return True
