"""Who answers challenges ends in mid-run: that is a matter of the sections that need it."""

import os
import signal
import threading
import time

import pytest

from harness import proc
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import expect
from harness.net import free_port
from harness.run import Site
from test_renewal import Held, held, tidy

WHAT = {"webserver": "the challenge web server", "tlsserver": "the challenge TLS server"}


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """An account, and sections of two types, each of which one process answers."""
    site.use(hostile)
    site.main["tlsserver"] = {"listen": f"127.0.0.1:{free_port()}"}
    site.genkey()
    assert site.register().returncode == 0
    site.certificate("a", ["a.example"], challenge="http-01")
    site.certificate("b", ["b.example"], challenge="tls-alpn-01")
    return site


def kill(site: Site, children: list[int], victim: str) -> None:
    """Kill a process; the master knows of it when its directory or address is gone."""
    os.kill(next(pid for pid in children if proc.read(pid).program == victim), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while victim == "webserver" and any(
            name.startswith("challenges-") for name in os.listdir(site.rundir)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("victim, lost, other, why", [
    ("webserver", "a", "b", "cannot write into the challenge directory"),
    ("tlsserver", "b", "a", "the challenge TLS server can't be talked to")])
def test_only_who_needs_it_fails(victim: str, lost: str, other: str, why: str, ready: Site,
                                 hostile: Hostile) -> None:
    """And the CA isn't asked to validate in vain; the next run takes the order up."""
    reached, go_on = threading.Barrier(3), threading.Event()   # each order is held, and here

    def authz(_request: Request, default: Default) -> Response:
        if not go_on.is_set():
            reached.wait(30)
            go_on.wait(30)
        return default()
    hostile.on["authz"] = authz
    with ready.popen("--quiet", "newOrder") as process:
        run = Held(process, [], go_on.set)
        try:
            reached.wait(30)
            run = run._replace(children=proc.descendants(process.pid))
            kill(ready, run.children, victim)
        finally:
            go_on.set()
        kind = ready.certs[lost]["challenge"]
        expect(run.end(), 1, f"warning: {WHAT[victim]} ended with status 137: {kind} is not "
               "answered any more", f"error: {lost}: .*{why}.*")
        tidy(ready, run.children)
    assert ready.file(other).exists() and not ready.file(lost).exists()
    assert [hostile.name(request) for request in hostile.asked("challenge")] == [f"{other}.example"]
    assert ready.run("--quiet", "newOrder").returncode == 0
    assert ready.file(lost).exists() and len(hostile.asked("newOrder")) == 2


@pytest.mark.parametrize("victim, kind", [("webserver", "http-01"), ("tlsserver", "tls-alpn-01")])
def test_all_need_it(victim: str, kind: str, ready: Site, hostile: Hostile) -> None:
    """The run ends at once, however long the CA takes."""
    del ready.certs["b"]
    ready.certs["a"]["challenge"] = kind
    with held(ready, hostile) as run:
        kill(ready, run.children, victim)
        expect(run.end(), 1, f"error: a: {WHAT[victim]} ended with status 137")
        tidy(ready, run.children)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert len(hostile.asked("newOrder")) == 1
