"""A throwaway Debian that is booted: a real systemd as process 1, in systemd-nspawn(1).

It shares the network of the tests, so that it meets their servers; its cgroups are below one of
its own, whatever the machine's own layout.
"""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import proc
from .run import ENVIRONMENT, Result
from .throwaway import Throwaway

PROGRAM = "/usr/bin/systemd-nspawn"
_HIERARCHIES = [path for path in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"),
                                  Path("/sys/fs/cgroup/unified"))
                if (path / "cgroup.procs").exists()]
_HALT = signal.SIGRTMIN + 4   # systemd(1)
_ENTER = ("echo $$ >{0}/cgroup.procs; ", "exec \"$@\"")


class NoBoot(Exception):
    """It can't be booted here; the reason, and what it said."""


class Booted:
    """The Debian, until ``stop``; raises NoBoot."""

    def __init__(self, debian: Throwaway, timeout: float = 120) -> None:
        self._name = debian.path.name[-20:].replace("_", "-")
        self._groups = [path / f"letsencrypt-tiny-{self._name}" for path in _HIERARCHIES]
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._leader = 0
        try:
            for group in self._groups:
                group.mkdir()
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", "".join(map(_ENTER[0].format, self._groups)) + _ENTER[1], "sh",
                 PROGRAM, f"--directory={debian.path}", f"--machine={self._name}", "--boot",
                 "--register=no", "--keep-unit", "--console=pipe", "--capability=CAP_NET_ADMIN"],
                env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=self._log,
                stderr=subprocess.STDOUT)
        except OSError as exc:
            self._tidy()
            raise NoBoot(f"{exc.filename}: {exc.strerror}") from exc
        self._wait(time.monotonic() + timeout)

    def _wait(self, deadline: float) -> None:
        state = ""
        while time.monotonic() < deadline and self._process.poll() is None:
            self._leader = next((pid for pid in proc.children(self._process.pid)
                                 if b"systemd" in Path(f"/proc/{pid}/cmdline").read_bytes()), 0)
            if self._leader:
                state = self.run("systemctl", "is-system-running").stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.2)
        self.stop()
        raise NoBoot(f"{state or 'not booted'}: {self.said[-2000:]}")

    @property
    def said(self) -> str:
        """What is written on the console."""
        self._log.seek(0)
        return self._log.read()

    def run(self, *argv: str, timeout: float = 120) -> "Result[str]":
        """Run a command in it."""
        return subprocess.run(
            ["/usr/bin/nsenter", f"--target={self._leader}", "--all", "--", *argv],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            env=ENVIRONMENT, timeout=timeout, check=False)

    def stop(self) -> None:
        """Halt it, and leave nothing."""
        if self._leader and self._process.poll() is None:
            os.kill(self._leader, _HALT)
        try:
            self._process.wait(60 if self._leader else 0.1)
        except subprocess.TimeoutExpired:
            for pid in (self._leader, self._process.pid):
                if pid:
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
        self._tidy()

    def _tidy(self) -> None:
        for group in self._groups:
            for path in sorted(group.rglob("*"), reverse=True) if group.exists() else ():
                if path.is_dir():
                    path.rmdir()
            if group.exists():
                group.rmdir()
        for directory in "propagate", "unix-export":
            left = Path("/run/systemd/nspawn", directory, self._name)
            if left.exists():
                left.rmdir()
