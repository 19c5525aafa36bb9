"""A running child: its status, and its end."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.parent import Parent, parent
from letsencrypt_tiny.master.peers import child as children
from letsencrypt_tiny.master.peers.child import Child

pytestmark = pytest.mark.root


@pytest.fixture
def master() -> Iterator[Parent]:
    """The parent; it leaks nothing and leaves no zombie."""
    with parent() as made:
        yield made


def test_status(master: Parent) -> None:
    for code in (0, 1, 127, 255):
        assert master.spawn(("/bin/sh", "-c", f"exit {code}")).wait(5) == code
    child = master.spawn(("/bin/sh", "-c", "kill -9 $$"))
    assert child.wait(None) == child.wait(0) == child.stop() == 128 + 9


def test_wait_has_an_end(master: Parent) -> None:
    child = master.spawn()
    start = time.monotonic()
    assert child.wait(0) is None and child.wait(0.2) is None and child.wait(-1) is None
    assert 0.2 <= time.monotonic() - start < 2
    assert child.stop() == 128 + signal.SIGTERM
    assert child.stop() == child.wait(0) == 128 + signal.SIGTERM


def ready(master: Parent, script: str) -> Child:
    """Start a shell script that says when it is ready."""
    reader, writer = os.pipe()
    child = master.spawn(("/bin/sh", "-c", f"{script}; echo; while :; do sleep 0.1; done"),
                         descriptors=[master.null, writer, master.null])
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    return child


def test_one_that_ignores_sigterm(master: Parent) -> None:
    child = ready(master, "trap '' TERM INT HUP")
    start = time.monotonic()
    assert child.stop(0.2) == 128 + signal.SIGKILL
    assert 0.2 <= time.monotonic() - start < 2


def test_one_that_cleans_up(master: Parent) -> None:
    child = ready(master, "trap 'exit 3' TERM")
    assert child.stop(5) == 3


def test_one_that_is_stopped(master: Parent) -> None:
    child = master.spawn()
    os.kill(child.pid, signal.SIGSTOP)
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)
    start = time.monotonic()
    assert child.stop(3) == 128 + signal.SIGTERM and time.monotonic() - start < 2


def test_who_runs_is_known_until_its_status_is(master: Parent) -> None:
    before = set(children.running)
    child, other = master.spawn(), master.spawn()
    assert children.running == before | {child.pid, other.pid}
    child.stop(0)
    assert children.running == before | {other.pid}
    other.stop(0)
    assert children.running == before
