"""systemd's journal daemon, where there is no systemd: in a mount namespace with a /run of its own.

It takes entries by the native protocol, from syslog(3), and from the standard error of services.
"""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from .run import ENVIRONMENT, Result, run

JOURNALD = "/usr/lib/systemd/systemd-journald"
# A /dev of its own, too, for the socket of syslog(3)
_PLACE = f"""set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal /run/dev
mount -t tmpfs tmpfs /run/dev
for name in null zero full random urandom tty ptmx; do
    : >/run/dev/$name; mount --bind /dev/$name /run/dev/$name
done
mkdir /run/dev/pts /run/dev/shm
ln -s /proc/self/fd /run/dev/fd
mount --bind /dev/pts /run/dev/pts
mount --move /run/dev /dev
ln -s /run/systemd/journal/dev-log /dev/log
exec {JOURNALD}
"""
# What systemd does before it starts a service (systemd.exec(5), StandardError=journal)
_SERVICE = """import os, socket, sys
stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
stream.connect("/run/systemd/journal/stdout")
stream.sendall(b"stream\\n\\n6\\n1\\n0\\n0\\n0\\n")
for name in 1, 2:
    os.dup2(stream.fileno(), name)
info = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{info.st_dev}:{info.st_ino}"
os.execv(sys.argv[1], sys.argv[1:])
"""
_SOCKETS = ("socket", "dev-log", "stdout")


class Journald:
    """The daemon; what is to log to it runs ``inside``."""

    def __enter__(self) -> "Journald":
        self._process = subprocess.Popen(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", "/usr/bin/unshare", "--mount", "--",
             "/bin/sh", "-c", _PLACE], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.root = f"/proc/{self._process.pid}/root"
        deadline = time.monotonic() + 20
        while not all(os.path.exists(f"{self.root}/run/systemd/journal/{name}")
                      for name in _SOCKETS) or not os.path.lexists(f"{self.root}/dev/log"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("systemd-journald does not start")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def inside(self, *argv: str, service: bool = False) -> list[str]:
        """Return an argv that runs ``argv`` beside the daemon; as a ``service`` its standard error
        is the journal's."""
        nsenter = ["/usr/bin/nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt", "--"]
        return [*nsenter, *(["/usr/bin/python3", "-I", "-c", _SERVICE] * service), *argv]

    def run(self, argv: Sequence[str], service: bool = False, **kwargs: Any) -> "Result[str]":
        """Run a command beside the daemon."""
        return run(self.inside(*argv, service=service), **kwargs)

    def entries(self, *match: str) -> list[dict[str, Any]]:
        """Return what others than the daemon and the kernel have logged, as journalctl(1) shows
        it."""
        self.run(["/usr/bin/journalctl", "--sync"])
        done = self.run(["/usr/bin/journalctl", "--no-pager", "--output=json", "--all",
                         "--directory=/run/log/journal", *match])
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [entry for entry in found if entry["_TRANSPORT"] not in ("driver", "kernel")]
