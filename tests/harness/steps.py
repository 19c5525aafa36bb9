"""A function in a process of its own that is killed at one of its changes to a file system.

>>> steps = 0
>>> while killed(steps, work):
...     steps += 1
"""

import os
import signal
import traceback
from collections.abc import Callable

from letsencrypt_tiny.master.store import versions

CHANGES = ("mkdir", "link", "symlink", "unlink", "rmdir", "rename", "fsync", "fchown", "fchmod",
           "write", "fork")


def killed(at: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is killed at its change ``at``; say whether there was one.

    A process that it forks is killed at the same one, too.
    """
    pid = os.fork()
    if pid == 0:
        left = [at]

        def watched(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **more: object) -> object:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **more)
            return call
        try:
            for name in CHANGES:
                setattr(os, name, watched(getattr(os, name)))
            setattr(versions, "exchange", watched(getattr(versions, "exchange")))
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0
