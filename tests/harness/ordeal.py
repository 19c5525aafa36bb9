"""Runs that are killed: the master at each of its system calls that changes a file below the
directories of a site, anybody at each request; and what must hold afterwards.

>>> ordeal = Ordeal(site, hostile)
>>> for call in ordeal.calls():
...     ordeal.at_call(call)
>>> for number in range(ordeal.requests()):
...     ordeal.at_request("client", number)
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import judge, proc
from .hostile import Hostile, Request, Response
from .run import Prefix, Result, Site, run

CHANGING = ("openat", "write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link",
            "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "symlink", "symlinkat", "rmdir",
            "fchmod", "fchown", "chmod", "chown", "ftruncate")
ALL = "all"
# Who can be killed at a request, by the end of a program's name in argv
WHO = ("letsencrypt-tiny", "client", "webserver", "letsencrypt-tiny-accountd", ALL)
SECTION = "a"
_CALL = re.compile(r"([a-z0-9_]+)\(")
_READS = re.compile(r"O_RDONLY|O_PATH")


class Call(NamedTuple):
    """The ``number``-th call of that name in a run, from 1."""

    name: str
    number: int


class Ordeal:
    """A site with an account and no certificate, in which run after run is killed.

    After each kill the next run has to take the work up; then all is put back.
    """

    def __init__(self, site: Site, server: Hostile) -> None:
        self._site, self._server = site, server
        self._notified = site.path / "notified"
        site.certificate(SECTION, ["a.example"], notify=f"echo >> {self._notified}")
        self._saved = Path(tempfile.mkdtemp(prefix="ordeal-", dir=site.path))
        shutil.copytree(site.lib, self._saved / "lib", symlinks=True)
        self._owned = {path: path.stat() for path in site.lib.rglob("*")}
        self._undisturbed()

    def _undisturbed(self) -> None:
        """See what a run leaves that nobody disturbs."""
        self._ordered = len(self._server.orders)
        before = len(self._server.requests)
        with tempfile.NamedTemporaryFile("r", suffix=".strace", errors="replace") as trace:
            done = run(["/usr/bin/strace", "-y", "-qq", "-s", "300", "-e", "signal=none", "-e",
                        f"trace={','.join(CHANGING)}", "-o", trace.name, "--",
                        *self._site.command("newOrder")])
            self._trace = trace.read().splitlines()
        assert done.returncode == 0, done.stderr
        self._requests = [request.resource for request in self._server.requests[before:]]
        self._left = self._tree()
        self._notifications = self._count()
        self._put_back()

    def calls(self) -> list[Call]:
        """Return the master's calls that change something below the site's directories."""
        numbers: dict[str, int] = {}
        found = []
        for line in self._trace:
            match = _CALL.match(line)
            if match is None:
                continue
            name = match[1]
            numbers[name] = numbers.get(name, 0) + 1
            ours = any(f"{path}/" in line or f"{path}>" in line
                       for path in (self._site.lib, self._site.etc, self._site.rundir))
            if ours and not (name == "openat" and _READS.search(line)):
                found.append(Call(name, numbers[name]))
        return found

    def requests(self) -> int:
        """Return how many requests a run makes."""
        return len(self._requests)

    def number(self, resource: str) -> int:
        """Return the number of the first request for a resource."""
        return self._requests.index(resource)

    def at_call(self, call: Call) -> bool:
        """Kill the master as it begins a call; judge.  Says whether it came to that call."""
        done = run(["/usr/bin/strace", "-qq", "-e", "signal=none", "-e", f"trace={call.name}",
                    "-e", f"inject={call.name}:signal=KILL:when={call.number}", "-o", "/dev/null",
                    "--", *self._site.command("newOrder")])
        # some calls depend on how answers are cut into pieces
        assert done.returncode in (-9, 0), done.stderr
        self._judge(f"{call.name} {call.number}")
        return done.returncode != 0

    def at_request(self, who: str, number: int) -> None:
        """Kill somebody once the server has done what a request asks, before it answers; judge."""
        first = len(self._server.requests)
        killed: list[int] = []
        process: "subprocess.Popen[str]"
        default = self._server.default

        def answer(request: Request) -> Response:
            response = default(request)
            if len(self._server.requests) - first == number + 1 and not killed:
                for pid in self._pids(process.pid, who):
                    killed.append(pid)
                    with contextlib.suppress(ProcessLookupError):    # the master's death ended it
                        os.kill(pid, signal.SIGKILL)
            return response
        self._server.default = answer    # type: ignore[method-assign]
        try:
            with self._site.popen("newOrder") as process:
                output = process.communicate(timeout=90)[1]
        finally:
            self._server.default = default    # type: ignore[method-assign]
        assert killed and "Traceback" not in output, (who, number, output)
        self._judge(f"{who} at request {number}: {killed}")

    @staticmethod
    def _pids(master: int, who: str) -> list[int]:
        found = [master, *proc.descendants(master)]
        return [pid for pid in found if who == ALL or _program(pid) == who]

    # --- what must hold -----------------------------------------------------------------------

    def _judge(self, what: str) -> None:
        """Nothing is half, nothing is lost, and the next run takes up what there is."""
        site = self._site
        orders = len(self._server.orders) - self._ordered
        self._wait_for_lock(what)
        # of the first certificate one may be there, and the other not yet
        for name in ("fullchain.pem", "cert.pem"):
            if site.file(SECTION, name).exists():
                assert judge.matches(site.file(SECTION, name),
                                     site.file(SECTION, "privkey.pem")), (what, name)
        done = site.run("newOrder")
        self._check(what, done, orders)
        self._put_back()

    def _check(self, what: str, done: "Result[str]", orders: int) -> None:
        site = self._site
        assert done.returncode == 0 and "Traceback" not in done.stderr, (what, done.stderr)
        assert judge.matches(site.file(SECTION), site.file(SECTION, "privkey.pem")), what
        made = len(self._server.orders) - self._ordered
        assert made == max(orders, 1) == 1, f"{what}: {made} orders, {orders} at the kill"
        assert self._count() >= self._notifications, f"{what}: nobody was notified"
        assert self._tree() == self._left, (what, self._tree() ^ self._left)

    def _wait_for_lock(self, what: str) -> None:
        """Whoever lives on ends soon, and holds nothing."""
        end = time.monotonic() + 15
        for path in self._site.rundir.rglob("*lock*"):
            with open(path, "rb") as file:
                while True:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        assert time.monotonic() < end, f"{what}: the lock is held"
                        time.sleep(0.02)

    def _tree(self) -> set[str]:
        return {judge.timeless(f"{base.name}/{name}")
                for base in (self._site.lib, self._site.rundir) for name in judge.tree(base)}

    def _count(self) -> int:
        return len(self._notified.read_text()) if self._notified.exists() else 0

    def _put_back(self) -> None:
        self._ordered = len(self._server.orders)
        self._notified.unlink(missing_ok=True)
        shutil.rmtree(self._site.lib)
        shutil.copytree(self._saved / "lib", self._site.lib, symlinks=True)
        for path, was in self._owned.items():
            os.chown(path, was.st_uid, was.st_gid, follow_symlinks=False)


def _program(pid: int) -> str:
    """Return the name of the program that a process runs, as argv has it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    # python3 -I PROGRAM …
    names = [Path(os.fsdecode(word)).name for word in words[:4]
             if not word.startswith(b"-") and b"python" not in word]
    return names[0] if names else ""


@contextlib.contextmanager
def ordeal(prefix: Prefix, server: Hostile) -> Iterator[Ordeal]:
    """One at a site of its own."""
    site = Site(prefix)
    site.open_account(server)
    try:
        yield Ordeal(site, server)
    finally:
        site.remove()
