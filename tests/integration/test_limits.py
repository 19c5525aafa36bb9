"""A run ends within its limits, whatever is connected to it, and says what keeps a section."""

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness import proc
from harness.hostile import Hostile, Response
from harness.judge import expect
from harness.run import Site

LATER = {"Retry-After": "3600"}


@pytest.fixture
def full() -> Iterator[int]:
    """The writing end of a pipe that is full, and that nobody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(4096))
    yield writer
    os.close(reader)
    os.close(writer)


@contextmanager
def killed(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Kill a process in the end: if it hangs, the suite must not."""
    try:
        yield
    finally:
        if process.poll() is None:
            proc.kill_tree(process.pid)


# --- standard error that nobody reads ------------------------------------------------------------

def test_nobody_reads_standard_error(good: Site, full: int) -> None:
    """It is waited for once, then the work goes on, and is done."""
    before = good.file("a").read_bytes()
    start = time.monotonic()
    with good.popen("--debug", "newOrder", "--force", stderr=full) as process, killed(process):
        assert process.wait(30) == 0
    assert 4 < time.monotonic() - start < 15
    assert good.file("a").read_bytes() != before


@pytest.mark.parametrize("seconds", [0.5, 7])
def test_a_signal_ends_it_even_so(seconds: float, good: Site, server: Hostile, full: int) -> None:
    """While it waits for a reader, and later while the CA is silent."""
    server.on["newOrder"] = lambda _request, _default: Response.problem(
        "serverInternal", "later", 503, {"Retry-After": "30"})
    before = good.file("a").read_bytes()
    with good.popen("--debug", "newOrder", "--force", stderr=full) as process, killed(process):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
    assert time.monotonic() - start < 10
    assert good.file("a").read_bytes() == before
    assert not [name for name in os.listdir(good.rundir) if name.startswith("challenges-")]


def test_a_reader_that_comes_late(good: Site) -> None:
    """Nothing is lost of what it could read in time."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with good.popen("--debug", "newOrder", "--force", stderr=writer) as process:
        os.close(writer)
        time.sleep(2)
        with open(reader, encoding="utf-8") as file:
            text = file.read()
        assert process.wait(30) == 0
    assert "a: certificate installed" in text and "a: forced" in text


# --- a wait that the server asked for ------------------------------------------------------------

def test_a_wait_without_a_certificate_is_told_once_a_day(site: Site, hostile: Hostile) -> None:
    """20 sections, 429: each run fails while a certificate is missing, and says so once a day."""
    site.open_account(hostile)
    names = [f"s{number}" for number in range(20)]
    for name in names:
        site.certificate(name, [f"{name}.example"])
    hostile.on["newOrder"] = lambda _request, _default: Response.problem(
        "rateLimited", "too many", 429, LATER)
    done = site.run("--quiet", "newOrder")
    assert done.returncode == 1 and re.match(
        "error: s0, s1, s2, s3, s4 and 15 more: newOrder: too many .*; a limit of the CA is "
        r"reached.*\n\Z", done.stderr), done.stderr
    asked = len(hostile.requests)
    moment = r"[-0-9]{10} [:0-9]{5} UTC"
    told = r"error: s0, s1, s2, s3, s4 and 15 more: there is no valid certificate, and the " \
           rf"CA asked not to order again before {moment} " \
           r"\(name the section to try all the same\)"
    expect(site.run("--quiet", "newOrder"), 1, told)
    expect(site.run("--quiet", "newOrder"), 1)
    assert len(hostile.requests) == asked, "the server is not troubled"
    done = site.run("status")
    assert len(re.findall(rf"^s\d+ .* waits until {moment}", done.stdout, re.M)) == 20, done.stdout
    assert json.loads(site.run("status", "--json").stdout)["sections"][0]["waits"]
    # a day later
    for name in names:
        path = site.lib / f"state/cert-{name}.json"
        state = json.loads(path.read_text())
        path.write_text(json.dumps({**state, "told": state["told"] - 86400}))
    expect(site.run("--quiet", "newOrder"), 1, told)
    expect(site.run("--quiet", "newOrder"), 1)
    hostile.on.clear()
    expect(site.run("--quiet", "newOrder", *names), 0)
    expect(site.run("--quiet", "newOrder"), 0)
