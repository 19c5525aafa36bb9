"""What is seen while orders run, and what the first ^C does."""

import re
import signal
import time
from typing import Any

import pytest

from harness import terminal
from harness.hostile import Hostile, Response
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, Site

pytestmark = pytest.mark.root


@pytest.fixture
def several(site: Site, pebble: Pebble) -> Site:
    site.use(pebble)
    site.genkey()
    for number in range(3):
        site.certificate(f"s{number}", [f"p{number}-{time.monotonic_ns()}.example"])
    assert site.register().returncode == 0
    return site


def test_a_terminal_shows_one_line_that_counts(several: Site) -> None:
    status, output = terminal.shown(several.command("newOrder"), ENVIRONMENT)
    assert status == 0
    lines = re.findall(r"\[[#-]{24}\] (\d)/3 done", output)
    assert lines and lines[0] == "0" and lines == sorted(lines)
    assert "3 new" in output or "pending" in output
    # it is gone at the end, and every message stands on a line of its own
    assert "[" not in output.rpartition("\r\x1b[K")[2]
    shown = [line.rpartition("\x1b[K")[2] for line in output.replace("\r\n", "\n").split("\n")]
    assert sum("certificate installed" in line for line in shown) == 3
    assert all(re.match(r"s\d: |3 installed, 0 failed|$", line) for line in shown), shown


def test_quiet_and_debug_show_no_such_line(several: Site) -> None:
    assert terminal.shown(several.command("--quiet", "newOrder"), ENVIRONMENT) == (0, "")
    status, output = terminal.shown(several.command("--debug", "newOrder", "--force", "s0"),
                                    ENVIRONMENT)
    assert status == 0 and "\x1b" not in output


def test_not_on_a_terminal_there_are_plain_lines(several: Site) -> None:
    done = several.run("newOrder")
    assert done.returncode == 0 and "\x1b" not in done.stderr and "\r" not in done.stderr
    assert "3 installed, 0 failed" in done.stderr


def test_interrupted_once_it_finishes_what_can_be_finished(site: Site, hostile: Hostile) -> None:
    """The order that only waits is left for the next run, which takes it up."""
    site.open_account(hostile)
    site.certificate("quick", ["quick.example"])
    site.certificate("slow", ["slow.example"])
    held: dict[str, bool] = {"hold": True}

    def order(request: Any, default: Any) -> Response:
        answer: Response = default()
        if held["hold"] and b"slow.example" in bytes(answer.body):    # type: ignore[arg-type]
            for state in (b'"ready"', b'"valid"', b'"processing"'):
                answer = answer._replace(body=bytes(answer.body)      # type: ignore[arg-type]
                                         .replace(state, b'"pending"'))
            answer = answer._replace(headers={**answer.headers, "Retry-After": "20"})
        return answer

    hostile.on["order"] = order
    with site.popen("newOrder") as process:
        deadline = time.monotonic() + 30
        while not site.file("quick").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode == 1
    assert "quick: certificate installed" in stderr
    assert re.search(r"^error: slow: interrupted", stderr, re.M)
    assert not site.file("slow").exists() and "Traceback" not in stderr
    orders = len(hostile.asked("newOrder"))
    held["hold"] = False
    assert site.run("newOrder").returncode == 0
    assert site.file("slow").exists() and len(hostile.asked("newOrder")) == orders
