"""Runs in which one system call of the master fails, whichever it is; and what must hold then.

>>> faults = Injected(site, hostile)
>>> for call in faults.calls:
...     for error in call.errors:
...         faults.fail(call, error)

Two sections are ordered, one in the short form and one in the explicit one, so that what is wrong
with one is seen to leave the other alone.  The master has one processor, so that what it does in
threads it does in its first one, and in the same order each time.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from letsencrypt_tiny.common import shortage

from . import judge
from .hostile import Hostile
from .run import Prefix, Result, Site, run
from .verdict import errors

# What can fail, and how; nothing is lost if a call of the kind is not made by some release
ERRORS = {
    "openat": ("EIO", "EMFILE", "ENOMEM", "EINTR"), "write": ("EIO", "ENOSPC", "EINTR"),
    "fsync": ("EIO", "ENOSPC"), "renameat": ("EIO", "ENOSPC"), "renameat2": ("EIO", "ENOSPC"),
    "rename": ("EIO", "ENOSPC"), "clone": ("EAGAIN", "ENOMEM"), "clone3": ("EAGAIN", "ENOMEM"),
    "vfork": ("EAGAIN", "ENOMEM"), "fork": ("EAGAIN", "ENOMEM"), "read": ("EIO",),
    "pread64": ("EIO",), "pipe2": ("EMFILE",), "memfd_create": ("EMFILE",),
    "socket": ("EMFILE",), "socketpair": ("EMFILE",), "mkdir": ("ENOSPC",),
    "mkdirat": ("ENOSPC",), "link": ("ENOSPC",), "linkat": ("ENOSPC",), "unlinkat": ("EIO",),
    "symlinkat": ("ENOSPC",), "fchmod": ("EIO",), "fchown": ("EDQUOT",), "getdents64": ("EIO",),
    "flock": ("ENOLCK",), "bind": ("ENOMEM",), "listen": ("EADDRINUSE",), "poll": ("ENOMEM",),
    "pidfd_open": ("EMFILE",), "statfs": ("EIO",)}
SECTIONS = "a", "b"
SECONDS = 60     # that no run takes longer than, whatever fails
_CALL = re.compile(r"([a-z0-9_]+)\(")
# The interpreter's own, as it loads what the program is made of
_CODE = re.compile(r"[<\"](?:/usr/lib|/lib|/etc/ld\.so|/usr/local/lib)|/letsencrypt_tiny[/\">]")


class Call(NamedTuple):
    """The ``number``-th call of that name in a run, from 1; ``line`` is how strace shows it."""

    name: str
    number: int
    line: str

    @property
    def errors(self) -> tuple[str, ...]:
        """How it may fail."""
        return ERRORS[self.name]

    @property
    def section(self) -> str:
        """The section that it is about, "" if that can't be told."""
        line = self.line.partition(', "')[0] if self.name in ("read", "write", "pread64") \
            else self.line
        found = {name for name in SECTIONS if re.search(
            rf"/certs/{name}[/\">]|\b(?:cert|issued|csr|request)-{name}\.|/{name}\.(?:pem|key)",
            line)}
        return found.pop() if len(found) == 1 else ""


class Injected:
    """A site with an account and two sections, neither of which has a certificate yet."""

    def __init__(self, site: Site, server: Hostile) -> None:
        self._site, self._server = site, server
        out = site.path / "out"
        out.mkdir()
        self._out = out
        site.certificate("a", ["a.example"], notify=f"echo a >> {site.path}/notified")
        site.certificate("b", ["b.example"], certificate_chain=str(out / "b.pem"),
                         certificate=str(out / "b-cert.pem"), certificate_key=str(out / "b.key"))
        self._saved = Path(tempfile.mkdtemp(prefix="injected-", dir=site.path))
        shutil.copytree(site.lib, self._saved / "lib", symlinks=True)
        self._owned = {path: path.stat() for path in site.lib.rglob("*")}
        self.calls = self._undisturbed()

    def _strace(self, *options: str) -> list[str]:
        return ["/usr/bin/taskset", "-c", "0", "/usr/bin/strace", "-y", "-qq", "-s", "300", "-e",
                "signal=none", *options, "--", *self._site.command("--quiet", "newOrder")]

    def _undisturbed(self) -> list[Call]:
        """Return the calls of a run that nobody disturbs, once the program is loaded."""
        with tempfile.NamedTemporaryFile("r", suffix=".strace", errors="replace") as trace:
            done = run(self._strace("-e", f"trace={','.join(f'?{name}' for name in ERRORS)}",
                                    "-o", trace.name), SECONDS)
            lines = trace.read().splitlines()
        assert (done.returncode, done.stderr) == (0, ""), done
        self._left = self._tree()
        self._put_back()
        numbers: dict[str, int] = {}
        found: list[Call] = []
        begun = False
        for line in lines:
            match = _CALL.match(line)
            if match is None:
                continue
            numbers[match[1]] = numbers.get(match[1], 0) + 1
            begun = begun or str(self._site.config) in line
            if begun and not _CODE.search(line):
                found.append(Call(match[1], numbers[match[1]], line))
        return found

    def fail(self, call: Call, error: str) -> "Result[str]":
        """Let a call fail, judge; return what was told."""
        with tempfile.NamedTemporaryFile("r", suffix=".strace", errors="replace") as trace:
            done = run(self._strace(
                "-e", f"trace={call.name}", "-e",
                f"inject={call.name}:error={error}:when={call.number}", "-o", trace.name), SECONDS)
            hit = [line for line in trace.read().splitlines() if line.endswith("(INJECTED)")]
        # certificates arrive in any order, and answers in other pieces: it may be another call
        call = call._replace(line=hit[0] if hit else "")
        where = f"{call.number}: {call.line} → {error}"
        faults = [*self._faults(call, done)]
        orders = len(self._server.orders) - self._ordered
        after = self._site.run("--quiet", "newOrder")
        faults += self._next_faults(after, orders, call.name == "unlinkat")
        self._put_back()
        assert not faults, f"{where}\n{done.stderr}{faults}"
        return done

    def _faults(self, call: Call, done: "Result[str]") -> Iterator[str]:
        try:
            told = errors(done)
        except AssertionError as exc:
            yield f"not fit to be read: {exc}"
            return
        if done.returncode not in (0, 1, 2):
            yield f"status {done.returncode}"
        if done.returncode and not 1 <= len(told) <= 2:
            yield f"{len(told)} lines"
        for line in told:
            named = re.search(r"/|\b[ab]: |accountd|client|webserver", line) or \
                line == f"error: {shortage.MESSAGE}"    # which names what there is too little of
            if "[Errno" in line or not named:
                yield f"it names nothing: {line}"
        others = [name for name in SECTIONS if name != call.section]
        for name in SECTIONS:
            certificate, key = self._pair(name)
            if certificate.exists():
                if not (key.exists() and judge.matches(certificate, key)):
                    yield f"{name}: certificate and key are no pair"
            elif done.returncode == 0:
                yield f"{name}: status 0, but there is no certificate"
            elif call.section and name in others:
                yield f"{name} is harmed"

    def _next_faults(self, done: "Result[str]", orders: int, stuck: bool) -> Iterator[str]:
        """``stuck``: something could not be removed, and it was tried once."""
        if (done.returncode, done.stderr) != (0, ""):
            yield f"the next run: {done}"
        if orders > len(SECTIONS):
            yield f"{orders} orders"
        made = len(self._server.orders) - self._ordered
        if made > max(orders, len(SECTIONS)):
            yield f"{made} orders in all, {orders} of the first run"
        for name in SECTIONS:
            certificate, key = self._pair(name)
            if not (certificate.exists() and key.exists() and judge.matches(certificate, key)):
                yield f"{name}: the next run has not put it right"
        left = {name for name in self._tree() ^ self._left
                if not (stuck and re.search(r"/\.[^/]+\.(?:new|try)$", name))}
        if left:
            yield f"left: {left}"
        if not (self._site.path / "notified").exists():
            yield "nobody was notified"

    def _pair(self, name: str) -> tuple[Path, Path]:
        if name == "a":
            return self._site.file("a"), self._site.file("a", "privkey.pem")
        return self._out / "b.pem", self._out / "b.key"

    def _tree(self) -> set[str]:
        # a CSR that could not be kept is made again by the next renewal
        return {judge.timeless(f"{base.name}/{name}")
                for base in (self._site.lib, self._site.rundir, self._out)
                for name in judge.tree(base) if not name.startswith("state/requests")}

    def _put_back(self) -> None:
        self._ordered = len(self._server.orders)
        (self._site.path / "notified").unlink(missing_ok=True)
        shutil.rmtree(self._site.lib)
        shutil.rmtree(self._out)
        self._out.mkdir()
        shutil.copytree(self._saved / "lib", self._site.lib, symlinks=True)
        for path, was in self._owned.items():
            os.chown(path, was.st_uid, was.st_gid, follow_symlinks=False)


@contextlib.contextmanager
def injected(prefix: Prefix, server: Hostile) -> Iterator[Injected]:
    """One at a site of its own."""
    site = Site(prefix)
    site.open_account(server)
    try:
        yield Injected(site, server)
    finally:
        site.remove()
