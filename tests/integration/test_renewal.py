"""When a certificate is renewed, and what becomes of a run that is killed, at any instant."""

import contextlib
import datetime
import os
import random
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pytest

from harness import ca, daemon, judge, proc, soak, verdict
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, NEW, expect
from harness.run import ENVIRONMENT, Result, Site, does_nothing

VALID = r"valid until [-0-9]{10} [:0-9]{5} UTC"
EXPIRES = r"it expires [-0-9]{10} [:0-9]{5} UTC"
FILES = {"privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"}


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """A site with an account and one section, "a", and its key."""
    site.use(hostile)
    site.genkey()
    expect(site.register(), 0, r"Terms of Service: \S+", r"Key ID: https://\S+",
           stdout=r"\{.*\}\n")
    site.certificate("a", ["a.example"])
    site.file("a", "").mkdir()
    site.file("a", "privkey.pem").write_text(ca.genkey())
    site.file("a", "privkey.pem").chmod(0o600)
    return site


@pytest.fixture
def issued(ready: Site) -> Site:
    """The same with the certificate, valid for 90 days from an hour ago."""
    expect(ready.run("newOrder"), 0, f"a: {NEW}", f"a: {INSTALLED}")
    return ready


def consistent(site: Site, complete: bool = True) -> None:
    """Check that all files of "a" go together, as far as there are any."""
    directory = site.file("a", "")
    certificates = [directory / name for name in FILES - {"privkey.pem"}
                    if (directory / name).exists()]
    assert len(certificates) == 3 or not complete
    for path in certificates:
        if path.name != "chain.pem":
            assert judge.matches(path, directory / "privkey.pem")
    if complete:
        assert set(os.listdir(directory)) - {"privkey.pem.old"} == FILES
        assert (directory / "fullchain.pem").read_text() == \
            (directory / "cert.pem").read_text() + (directory / "chain.pem").read_text()


def tidy(site: Site, processes: Any = ()) -> None:
    """Check that nothing of a run is left: no process, no socket, no directory, no half file."""
    deadline = time.monotonic() + 5
    while any(map(alive, processes)):
        assert time.monotonic() < deadline, [proc.read(pid) for pid in processes if alive(pid)]
        time.sleep(0.01)
    assert judge.tree(site.rundir) == {"lock"}
    assert not verdict.temporary(site)


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie doesn't)."""
    try:
        return bool(proc.read(pid))
    except (ProcessLookupError, PermissionError):
        return False


def orphans() -> set[int]:
    """Return the children of killed masters: this process adopts them."""
    return set(proc.children(os.getpid())) - {server.pid for server in daemon.running}


def wait_for(children: Iterable[int]) -> None:
    """Wait for the children of a killed master to end, as they do at once: one has a port."""
    deadline = time.monotonic() + 10
    while any(map(alive, children)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def orders(hostile: Hostile) -> int:
    """Return how many orders were made."""
    return len(hostile.asked("newOrder"))


# --- nothing due ---------------------------------------------------------------------------------

def test_nothing_due(issued: Site, hostile: Hostile, tmp_path: Path) -> None:
    """One process, no socket, no file changed, not a word."""
    requests = len(hostile.requests)
    does_nothing(issued, tmp_path / "trace")
    assert len(hostile.requests) == requests
    expect(issued.run("newOrder"), 0, f"a: {VALID}")
    del issued.certs["a"]
    expect(issued.run("--quiet", "newOrder"), 0)


# --- what is due ---------------------------------------------------------------------------------

@pytest.mark.alike(3)
@pytest.mark.parametrize("lifetime, left, min_days, options, due", [
    (90, 31, None, [], False), (90, 29, None, [], True),        # a third
    (6, 3.1, None, [], False), (6, 2.9, None, [], True),        # half of a short one
    (90, 21, "20", [], False), (90, 19, "20", [], True),
    (90, 41, "20", ["--min-days=40"], False), (90, 39, "20", ["--min-days=40"], True),
    (90, 25, "20", ["--min-days=10"], False), (90, 15, "20", ["--min-days=10"], False),
    (90, 0.1, "0", [], False), (90, 89, "-1", [], True),
    (90, 89, None, ["--force"], True)])
def test_moment(lifetime: float, left: float, min_days: str | None, options: list[str],
                due: bool, ready: Site, hostile: Hostile) -> None:
    """The days that are left decide."""
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=lifetime - left)
    csr = ca.request(["a.example"], ready.file("a", "privkey.pem").read_text())
    chain = hostile.issue(csr, not_before=begin, days=lifetime)
    leaf, mark, rest = chain.partition("-----END CERTIFICATE-----\n")
    for name, text in (("fullchain", chain), ("cert", leaf + mark), ("chain", rest)):
        ready.file("a", f"{name}.pem").write_text(text)
    if min_days is not None:
        ready.certs["a"]["min-days"] = min_days
    done = ready.run("newOrder", *options)
    if due:
        forced = "forced" if "-1" in (min_days, *options) or "--force" in options else EXPIRES
        expect(done, 0, f"a: {forced}", f"a: {INSTALLED}")
    else:
        expect(done, 0, f"a: {VALID}")
    assert orders(hostile) == due
    assert (ready.file("a").read_text() == chain) is not due


def test_names_changed(issued: Site, hostile: Hostile) -> None:
    issued.certificate("a", ["a.example", "b.example"])
    expect(issued.run("newOrder"), 0, "a: its names have changed", f"a: {INSTALLED}")
    assert judge.names(issued.file("a")) == {"a.example", "b.example"}
    issued.certificate("a", ["B.example", "a.example"])     # the same, in effect
    expect(issued.run("--quiet", "newOrder"), 0)
    issued.certificate("a", ["b.example"])
    expect(issued.run("--quiet", "newOrder"), 0)
    assert judge.names(issued.file("a")) == {"b.example"} and orders(hostile) == 3


def test_files_that_are_missing_or_broken(issued: Site, hostile: Hostile) -> None:
    full, cert, chain = (issued.file("a", f"{name}.pem") for name in ("fullchain", "cert", "chain"))
    for path, reason in ((full, NEW), (cert, f"{cert} is missing"), (chain, f"{chain} is missing")):
        path.unlink()
        expect(issued.run("newOrder"), 0, f"a: {reason}", f"a: {INSTALLED}")
        consistent(issued)
    full.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    expect(issued.run("newOrder"), 0, r"a: the installed certificate is not valid \(.*\)",
           f"a: {INSTALLED}")
    assert orders(hostile) == 5
    consistent(issued)


def test_key_changed(issued: Site, hostile: Hostile) -> None:
    """A new key wants a new certificate, be it put there or missing; a touched one does not."""
    key = issued.file("a", "privkey.pem")
    key.chmod(0o400)
    expect(issued.run("newOrder"), 0, f"a: {VALID}")
    key.unlink()
    key.write_text(ca.genkey("rsa:2048"))
    key.chmod(0o600)
    expect(issued.run("newOrder"), 0, f"a: it is not for the private key {key}", f"a: {INSTALLED}")
    consistent(issued)
    key.unlink()
    expect(issued.run("newOrder"), 0, f"a: its private key {key} is missing",
           rf"a: generating the private key {key} \(ec:P-256\)", f"a: {INSTALLED}")
    consistent(issued)
    expect(issued.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 3


# --- notifications -------------------------------------------------------------------------------

def test_notification_is_tried_until_it_succeeds(ready: Site, hostile: Hostile) -> None:
    told = ready.path / "told"
    ready.certs["a"]["notify"] = command = f"echo tried >>{told}; test -e {told}.go"
    failed = rf"error: a: “{re.escape(command)}” ended with status 1; it is tried again by the " \
             "next run"
    running = f"running “{re.escape(command)}” for a"
    expect(ready.run("newOrder"), 1, f"a: {NEW}", f"a: {INSTALLED}", running, failed)
    expect(ready.run("--quiet", "newOrder"), 1, failed)
    Path(f"{told}.go").touch()
    expect(ready.run("newOrder"), 0, f"a: {VALID}", running)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert told.read_text() == "tried\n" * 3 and orders(hostile) == 1


def test_killed_before_the_notification_was_delivered(ready: Site, hostile: Hostile) -> None:
    told = ready.path / "told"
    ready.certs["a"]["notify"] = f"test -e {told} && echo $LETSENCRYPT_TINY_SECTIONS >{told} || " \
                                 f"{{ touch {told}; kill -9 $PPID; }}"
    with ready.popen("--quiet", "newOrder") as process:
        assert process.wait(30) == -signal.SIGKILL
    assert told.read_text() == ""
    expect(ready.run("--quiet", "newOrder"), 0)
    assert told.read_text() == "a\n" and orders(hostile) == 1
    tidy(ready)


# --- killed in the middle of an order ------------------------------------------------------------

class Held(NamedTuple):
    """A run in the middle of its order."""

    process: "subprocess.Popen[str]"
    children: list[int]
    go_on: Callable[[], None]   # let the server answer

    def end(self) -> "Result[str]":
        """Wait for the end."""
        stdout, stderr = self.process.communicate(timeout=30)
        return subprocess.CompletedProcess([], self.process.returncode, stdout, stderr)


@contextlib.contextmanager
def held(site: Site, hostile: Hostile, resource: str = "authz") -> Iterator[Held]:
    """A quiet run that waits for the answer of ``resource``, its order being remembered."""
    reached, go_on = threading.Event(), threading.Event()

    def handler(_request: Request, default: Default) -> Response:
        reached.set()
        go_on.wait(60)
        return default()
    hostile.on[resource] = handler
    with site.popen("--quiet", "newOrder") as process:
        try:
            assert reached.wait(30), process.communicate()
            deadline = time.monotonic() + 5
            state = site.lib / "state/cert-a.json"
            while not (state.exists() and "/order/" in state.read_text()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            del hostile.on[resource]
            yield Held(process, proc.descendants(process.pid), go_on.set)
        finally:
            go_on.set()
            process.kill()


RESOURCES = ["authz", "challenge", "finalize", "order", "certificate"]


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource", RESOURCES)
def test_killed_master(resource: str, ready: Site, hostile: Hostile) -> None:
    """The next run finishes the same order, and nothing is left of the first."""
    hostile.processing = 1
    hostile.retry_after = "0"
    with held(ready, hostile, resource) as run:
        assert {proc.read(pid).program for pid in run.children} == {
            "client", "webserver", "letsencrypt-tiny-accountd"}
        run.process.kill()
        run.process.wait()
        wait_for(run.children)
        assert any(name.startswith("challenges-") for name in os.listdir(ready.rundir))
        assert not ready.file("a").exists()
        expect(ready.run("--quiet", "newOrder"), 0)
        tidy(ready, run.children)
    assert orders(hostile) == 1 and len(hostile.asked("finalize")) <= 2
    consistent(ready)
    expect(ready.run("--quiet", "newOrder"), 0)


@pytest.mark.parametrize("victim, message", [
    ("client", "the ACME client ended with status 137"),
    ("letsencrypt-tiny-accountd",
     r"the account key manager \(letsencrypt-tiny-accountd\) failed: "
     r"(it closed the connection|Broken pipe|Connection reset by peer)")])
def test_killed_child(victim: str, message: str, ready: Site, hostile: Hostile) -> None:
    """The master says so and cleans up; the next run finishes the same order."""
    with held(ready, hostile) as run:
        os.kill(next(pid for pid in run.children if proc.read(pid).program == victim),
                signal.SIGKILL)
        run.go_on()
        expect(run.end(), 1, f"error: a: {message}")
        tidy(ready, run.children)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 1
    consistent(ready)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_stopped(number: signal.Signals, ready: Site, hostile: Hostile) -> None:
    """Everything is cleaned up before the master ends; and meanwhile nobody else may run."""
    with held(ready, hostile) as run:
        for command in (["newOrder"], ["account"], ["revokeCert", str(hostile.ca_file)]):
            expect(ready.run(*command), 75,
                   rf"error: another run is under way \(it holds {ready.rundir}/lock\)")
        expect(ready.run("status"), 0, stdout=r"SECTION .*\na +- +- +due: .* a\.example\n")
        run.process.send_signal(number)
        expect(run.end(), -number, f"error: stopped by {number.name}; what was not finished is "
                                   "taken up by the next run")
        assert not any(map(alive, run.children))
        tidy(ready)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 1
    consistent(ready)


# --- killed anywhere -----------------------------------------------------------------------------

def killed_at(site: Site, call: str, number: int) -> bool:
    """Run newOrder, the master being killed at its ``number``th ``call``; False if it wasn't."""
    done = subprocess.run(
        ["/usr/bin/strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", "signal=none",
         "-e", f"inject={call}:signal=KILL:when={number}", "--",
         *site.command("--quiet", "newOrder")], stdin=subprocess.DEVNULL, env=ENVIRONMENT,
        capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGKILL:
        wait_for(orphans())
        return True
    expect(done, 0)
    return False


def test_killed_at_every_change_of_a_file(ready: Site, hostile: Hostile) -> None:
    """Before each file is synced, and before each gets its name: all of it fits afterwards."""
    told = ready.path / "told"
    ready.certs["a"]["notify"] = f"echo >>{told}"
    kills = 0
    for call in ("fsync", "renameat"):
        number = 1 if call == "renameat" else soak.stride(12)
        killed = True
        while killed:
            for path in [*ready.file("a", "").iterdir(), ready.lib / "state/cert-a.json", told]:
                path.unlink(missing_ok=True)
            before = orders(hostile)
            killed = killed_at(ready, call, number)
            consistent(ready, complete=not killed)
            expect(ready.run("--quiet", "newOrder"), 0)
            consistent(ready)
            tidy(ready)
            assert told.exists()
            assert orders(hostile) - before <= 2
            kills += killed
            number += soak.stride(12)
    assert kills >= 3


def test_killed_at_any_moment(ready: Site) -> None:
    """Fifteen times (by the soak), wherever the run happens to be."""
    duration = 0.6
    for _ in soak.some(range(15), 5):
        with ready.popen("--quiet", "newOrder", "--force") as process:
            try:
                process.wait(random.uniform(0.05, duration))
            except subprocess.TimeoutExpired:
                process.kill()
            children = proc.descendants(process.pid)
        wait_for(orphans())
        consistent(ready, complete=False)
    expect(ready.run("--quiet", "newOrder"), 0)
    consistent(ready)
    tidy(ready, children)
