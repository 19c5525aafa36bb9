"""Starts a server, waits until it answers, and never leaves it behind."""

import atexit
import os
import subprocess
import time
from pathlib import Path
from collections.abc import Mapping, Sequence

from . import proc
from .net import is_listening

running: list["Daemon"] = []


class Daemon:
    """A server process with its output in ``log``, ready when all ``ports`` accept connections.

    It ends with ``stop()``, with the interpreter, and (PR_SET_PDEATHSIG) when the thread that
    started it is gone, even by kill -9.  Raises RuntimeError, with the log, if it isn't ready
    within ``timeout`` seconds.
    """

    def __init__(self, argv: Sequence[str], log: Path, ports: Sequence[int],
                 env: Mapping[str, str] | None = None, timeout: float = 20) -> None:
        self.name = log.stem
        self.log = log
        self._mark = 0
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *argv], cwd="/",
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **(env or {})},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        self.pid = self._process.pid
        running.append(self)
        deadline = time.monotonic() + timeout
        try:
            while not all(map(is_listening, ports)):
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended with status "
                                       f"{self._process.returncode}:\n{self.text()}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} isn't ready after {timeout} s:\n{self.text()}")
                time.sleep(0.01)
        except BaseException:
            self.stop()
            raise

    def text(self) -> str:
        """Return what the server wrote."""
        return self.log.read_text(errors="backslashreplace")

    def mark(self) -> None:
        """Let ``since_mark`` begin here."""
        self._mark = os.stat(self.log).st_size

    def since_mark(self) -> str:
        """Return what the server wrote since ``mark()``."""
        return self.log.read_bytes()[self._mark:].decode(errors="backslashreplace")

    def ended(self) -> bool:
        """Say whether it has ended by itself."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Terminate the server, kill it if it won't, and wait for it."""
        if self in running:
            running.remove(self)
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def strays() -> list[int]:
    """Return the process ids of the children of this process that are none of the servers."""
    servers = {server.pid for server in running}
    return [pid for pid in proc.children(os.getpid()) if pid not in servers]


@atexit.register
def _stop_all() -> None:
    for daemon in running[:]:
        daemon.stop()
