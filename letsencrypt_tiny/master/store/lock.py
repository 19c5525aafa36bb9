"""One run at a time: the lock in the run directory."""

import fcntl
import os

from ...common import trusted
from ...common.errors import Error, LockedError
from ..settings.main import Config


def acquire(config: Config) -> int:
    """Take the lock; returns its descriptor.

    The lock is released when the descriptor is closed, at the latest by the process's end.
    Raises LockedError if another run holds it, Error if it can't be taken.
    """
    run = config.run_directory
    try:
        trusted.make_directory(run)
    except FileNotFoundError as exc:
        raise Error(f"{exc.filename}: no such directory; create it, or set run-directory") from exc
    directory = trusted.open_directory(run)
    try:
        # O_NOFOLLOW: root alone can write here, but a link would be a sign of something wrong
        descriptor = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                             dir_fd=directory)
    except OSError as exc:
        raise Error(f"{run}/lock: cannot open it: {exc.strerror}") from exc
    finally:
        os.close(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LockedError(f"another run is under way (it holds {run}/lock)") from None
    except OSError as exc:   # of a file system without locks, or that has no room for one more
        os.close(descriptor)
        raise Error(f"{run}/lock: cannot lock it: {exc.strerror}") from exc
    return descriptor
