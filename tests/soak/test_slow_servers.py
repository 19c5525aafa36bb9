"""slow-order, slow-finalize, burst: servers that take their time, in real time, with no setting.

What takes longer than answer-timeout, which is shorter there: test_slow_answers in
tests/integration/test_odd_servers.py.
"""

import time
from typing import Any

import pytest

from harness import judge, oddities
from harness.hostile import Hostile, Request, Response
from harness.run import Site


def test_burst(site: Site, hostile: Hostile) -> None:
    """At most 3 POSTs a second: all of six sections in one run."""
    site.open_account(hostile)
    for name in "abcdef":
        site.certificate(name, [f"{name}.example"])
    oddities.burst(hostile)
    done = site.run("--quiet", "newOrder")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(site.file(name).exists() for name in "abcdef") and len(hostile.orders) == 6


@pytest.mark.parametrize("resource, seconds", [("newOrder", 35), ("finalize", 50)])
def test_slow_answers(site: Site, hostile: Hostile, resource: str, seconds: int) -> None:
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    assert "answer-timeout" not in site.main["client"]

    def handler(_request: Request, default: Any) -> Response:
        response: Response = default()
        hostile.stopping.wait(seconds)
        return response
    hostile.on[resource] = handler
    began = time.monotonic()
    done = site.run("--quiet", "newOrder", timeout=200)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began >= seconds and judge.names(site.file("a")) == {"a.example"}
    assert len(hostile.orders) == len(hostile.asked(resource)) == 1
