"""Killed right before and right after each row of a section's life that writes the journal.

The master here is patched where it is installed: it kills itself at the row that a file names.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import judge, soak
from harness import misbehaviour as bad
from harness.hostile import Default, Hostile, Request, Response
from harness.mortal import Mortal, mortal as made_mortal
from harness.run import Site, Users
from letsencrypt_tiny.master.plan import lifecycle
from letsencrypt_tiny.master.plan.lifecycle import ROWS

WRITING = [f"{row.phase}, {row.event}" for row in ROWS if row.edit is not lifecycle._keep]
SETTLING = [row for row in WRITING if row.endswith(lifecycle.SETTLED)]   # without an order
HOOKING = [row for row in WRITING if row.endswith(lifecycle.HOOKED)]
STEP = "        self.phase, state = lifecycle.step("
WRITE = "            self._journal.remember(self.name, state)\n"


def _edit(package: Path, where: Path) -> None:
    path = package / "master/commands/life.py"
    source = path.read_text()
    assert source.count(STEP) == 1 and source.count(WRITE) == 1
    source = source.replace(STEP, f"        row = f\"{{self.phase}}, {{event}}\"\n{STEP}")
    path.write_text(source.replace(WRITE, f"            _die(f\"{{row}}, before\")\n{WRITE}"
                                   "            _die(f\"{row}, after\")\n") + f"""

def _die(here: str) -> None:
    import os
    if open({str(where)!r}).read() == here:
        open({str(where)!r}, "w").close()
        os.kill(os.getpid(), 9)
""")


@pytest.fixture(scope="module")
def mortal(users: Users) -> Iterator[Mortal]:
    """One installation for all."""
    with made_mortal(_edit) as made:
        yield made


@pytest.fixture
def host(mortal: Mortal, hostile: Hostile) -> Iterator[Site]:
    """A section with a certificate, and a notification that counts."""
    site = Site(mortal.prefix)
    site.open_account(hostile)
    site.certificate("a", ["a.example"], notify=f"echo >> {site.path}/notified")
    assert site.run("newOrder").returncode == 0
    yield site
    site.remove()


def once(answer: Callable[[Request, Default], Response]) -> Callable[[Request, Default], Response]:
    """Answer so the first time, as usual from then on."""
    asked: list[Request] = []

    def handler(request: Request, default: Default) -> Response:
        asked.append(request)
        return answer(request, default) if len(asked) == 1 else default()
    return handler


def busy(_request: Request, _default: Default) -> Response:
    return Response.problem("rateLimited", "Later.", 429, {"Retry-After": "3600"})


def no_account(_request: Request, _default: Default) -> Response:
    return Response.problem("accountDoesNotExist", "Who?", 400)


def invalid(server: Hostile) -> None:
    """The first order that is asked for is dead, and stays so."""
    dead: list[str] = []

    def handler(request: Request, default: Default) -> Response:
        dead[:] = dead or [request.id]
        status = {"status": "invalid"} if request.id in dead else {}
        return Response.json({**default().object(), **status})
    server.on["order"] = handler


def unfinished(server: Hostile) -> None:
    """The order says "processing" for longer than anybody waits."""
    def handler(_request: Request, default: Default) -> Response:
        order = {**default().object(), "status": "processing"}
        order.pop("certificate", None)
        return Response.json(order, headers={"Retry-After": "3000"})
    server.on.update(order=handler, finalize=handler)


# How the CA behaves, so that a run with --force comes to the row
SCENES: dict[str, Callable[[Hostile], Any]] = {
    "due, ordered": lambda server: None,
    "ordering, progress": lambda server: None,
    "ordering, refused": invalid,
    "ordering, busy": lambda server: server.on.update(finalize=once(busy)),
    "ordering, unfinished": unfinished,
    "ordering, lost": lambda server: server.on.update(newOrder=no_account),
    "ordering, chain": lambda server: None,
    "issued, rejected": bad.certificate_for_another_key,
    "issued, verified": lambda server: None,
    "installing, written": lambda server: None,
    "installed, notified": lambda server: None,
}


TOLD = "due, told"


def test_each_row_that_writes_has_a_scene() -> None:
    assert {*SCENES, *SETTLING, *HOOKING, TOLD} == set(WRITING)


DONE = {"directory", "account", "issuer", "issuer_account", "key_type", "ca_file", "access",
        "installed"}


def state(site: Site) -> dict[str, Any]:
    """What the journal has of the section."""
    found: dict[str, Any] = json.loads((site.lib / "state/cert-a.json").read_text())
    return found


@pytest.mark.alike(2)
@pytest.mark.parametrize("row, when", [
    (row, when) for number, row in enumerate(SCENES) for when in soak.some(
        ("before", "after")[number % 2:] + ("before", "after")[:number % 2], 2)])
def test_killed(mortal: Mortal, host: Site, hostile: Hostile, row: str, when: str) -> None:
    """The pair is whole; what was ordered is taken up; who is to be notified is."""
    if row == "ordering, unfinished":   # it only writes if there was a wait
        hostile.on["finalize"] = once(busy)
        assert host.run("newOrder", "--force").returncode == 1 and state(host)["not_before"]
    SCENES[row](hostile)
    old, told = host.file("a").read_bytes(), len((host.path / "notified").read_text())
    mortal.where.write_text(f"{row}, {when}")
    orders = len(hostile.orders)
    done = host.run("newOrder", "--force", "a")
    assert done.returncode == -9 and mortal.where.read_text() == "", done.stderr
    ordered = len(hostile.orders) > orders
    key = host.file("a", "privkey.pem")
    assert judge.matches(host.file("a"), key)
    installed = host.file("a").read_bytes() != old
    assert installed == (row in ("installing, written", "installed, notified"))
    left = state(host)
    if row != "ordering, refused":
        hostile.on.clear()
    hostile.issuer = lambda csr, _names: hostile.issue(csr)
    before = len(hostile.requests)
    done = host.run("newOrder", *([] if installed else ["--force"]), "a")
    assert done.returncode == 0, done.stderr
    assert judge.matches(host.file("a"), key) and judge.matches(host.file("a", "cert.pem"), key)
    assert host.file("a").read_bytes() != old
    asked = {request.resource for request in hostile.requests[before:]}
    if not installed or (row, when) == ("installing, written", "before"):
        # an order that is remembered is asked for, and no other is made while it lives
        dead = row in ("ordering, refused", "issued, rejected")
        known = left.get("order") or left.get("asked") and ordered   # or found in the list
        assert ("newOrder" not in asked) == (bool(known) and not dead)
    else:
        assert not asked
    assert len((host.path / "notified").read_text()) > told
    assert state(host).keys() <= DONE


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("row", SETTLING)
def test_killed_while_settling(mortal: Mortal, host: Site, hostile: Hostile, row: str, when: str
                               ) -> None:
    """Files are given another mode, be there a notification to deliver or not."""
    path = host.lib / "state/cert-a.json"
    path.write_text(json.dumps({**state(host), "notify": row.startswith(lifecycle.INSTALLED)}))
    host.certs["a"]["mode"] = "0640"
    mortal.where.write_text(f"{row}, {when}")
    assert host.run("newOrder").returncode == -9
    assert ("0640" in state(host)["access"]) is (when == "after")
    assert host.run("newOrder").returncode == 0
    assert judge.mode(host.file("a")) == 0o640 and "0640" in state(host)["access"]
    assert judge.matches(host.file("a"), host.file("a", "privkey.pem"))
    assert len(hostile.asked("newOrder")) == 1 and state(host).keys() <= DONE


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_is_told_that_it_waits(mortal: Mortal, host: Site, hostile: Hostile,
                                               when: str) -> None:
    """Told again at most; it waits still."""
    host.file("a").unlink()
    (host.lib / "state/cert-a.json").write_text(
        json.dumps({**state(host), "not_before": int(time.time()) + 3600}))
    mortal.where.write_text(f"{TOLD}, {when}")
    assert host.run("newOrder").returncode == -9
    done = host.run("--quiet", "newOrder")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == (when == "before")
    assert len(hostile.asked("newOrder")) == 1 and state(host)["not_before"]
    assert host.run("newOrder", "a").returncode == 0
    assert state(host).keys() <= DONE


@pytest.mark.alike(2)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("row", HOOKING)
def test_killed_once_the_hooks_have_run(mortal: Mortal, host: Site, hostile: Hostile, row: str,
                                        when: str) -> None:
    """They are run again where nobody has written down that they were."""
    hooks, out = host.path / "hooks", host.path / "hooked"
    hooks.mkdir(mode=0o755)
    (hooks / "hook").write_text(f"#!/bin/sh\necho >> {out}\n")
    (hooks / "hook").chmod(0o755)
    host.main[""]["run-hooks"] = str(hooks)
    options = ["--force"]
    if row.startswith(lifecycle.INSTALLED):
        host.certs["a"]["notify"] = "false"
    elif row.startswith(lifecycle.DUE):   # left by an earlier run
        (host.lib / "state/cert-a.json").write_text(json.dumps({**state(host), "hooks": True}))
        options = []
    mortal.where.write_text(f"{row}, {when}")
    assert host.run("newOrder", *options).returncode == -9
    assert mortal.where.read_text() == "" and out.read_text() == "\n"
    assert judge.matches(host.file("a"), host.file("a", "privkey.pem"))
    host.certs["a"]["notify"] = "true"
    assert host.run("newOrder").returncode == 0
    assert out.read_text() == ("\n\n" if when == "before" else "\n")
    assert state(host).keys() <= DONE and len(hostile.asked("newOrder")) == 1 + len(options)
