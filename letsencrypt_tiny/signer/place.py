"""The place of the signer's socket: one that others can't tamper with."""

import os
import signal
import socket
import stat

from ..common import log, trusted
from ..common.errors import ConfigError, Error
from .conversation import ENDING

BACKLOG = 4096             # that the kernel keeps; it may have a limit of its own


class Place:
    """A UNIX socket of mode 0600 that is listened on, and is removed at the end of its ``with``
    block.

    SIGINT and SIGTERM are blocked from the moment the socket is made until ``unblock``, and again
    when it is being removed.
    """

    def __init__(self, path: str) -> None:
        """Raises ConfigError for a place that others could tamper with, Error otherwise."""
        _check(path)
        self.path = os.path.abspath(path)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(0o177)
        try:
            self.listener.bind(path)
            info = os.lstat(path)
            self.listener.listen(BACKLOG)
        except OSError as exc:
            raise Error(f"socket {path}: cannot make it: {exc.strerror or exc}") from exc
        finally:
            os.umask(umask)
        self._identity = (info.st_dev, info.st_ino)
        self.listener.setblocking(False)

    def unblock(self) -> None:
        """Let signals through."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *exception: object) -> None:
        """Close and remove the socket, unless another one has taken its place meanwhile."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self.close()
        try:
            info = os.lstat(self.path)
            if (info.st_dev, info.st_ino) == self._identity:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            log.error(f"socket {self.path}: cannot remove it: {exc.strerror}")

    def close(self) -> None:
        """Listen no more."""
        self.listener.close()


def _check(path: str) -> None:
    """Raises ConfigError for a place that others could tamper with, Error for one that is taken."""
    directory = os.path.dirname(path) or "."
    try:
        info = os.stat(directory)
    except OSError as exc:
        raise ConfigError(f"socket {path}: {directory}: {exc.strerror}") from exc
    if not stat.S_ISDIR(info.st_mode):
        raise ConfigError(f"socket {path}: {directory} is not a directory")
    if info.st_mode & 0o022:
        raise ConfigError(f"socket {path}: others may write in {directory} "
                          f"(mode {stat.S_IMODE(info.st_mode):04o}): choose another directory")
    if info.st_uid not in (0, os.getuid()):
        raise ConfigError(f"socket {path}: {directory} belongs to another user (uid "
                          f"{info.st_uid}): choose another directory")
    try:   # and the way to it: who can rename a directory there decides who is connected to
        os.close(trusted.open_directory(trusted.absolute(directory)))
    except Error as exc:
        raise ConfigError(f"socket {path}: {exc}") from exc
    if os.path.lexists(path):
        raise Error(f"socket {path}: exists already; if no other account key manager runs there, "
                    "remove it")
