"""Killed between newOrder and its answer: an order that nobody heard of is found again, in the list
of the account's orders (RFC 8555 §7.1.2.1), and no second one is made where a CA has such a list.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness import judge
from harness.hostile import Default, Hostile, Request, Response
from harness.run import Prefix, Site

NAMES = ["a", "b", "c"]


@pytest.fixture(name="site")
def _site(prefix: Prefix, hostile: Hostile) -> Iterator[Site]:
    site = Site(prefix)
    site.open_account(hostile)
    for name in NAMES:
        site.certificate(name, [f"{name}.example"])
    yield site
    site.remove()


def state(site: Site, name: str) -> dict[str, Any]:
    """What the journal has of a section."""
    found: dict[str, Any] = json.loads((site.lib / f"state/cert-{name}.json").read_text())
    return found


def killed(site: Site, hostile: Hostile, *sections: str) -> None:
    """Kill a run when the server has made each order, and not answered yet."""
    made: list[Request] = []
    wanted = len(sections)

    def newOrder(request: Request, default: Default) -> Response:
        response = default()
        made.append(request)
        hostile.stopping.wait(30)    # nobody is there any more by then
        return response
    site.main["client"]["jobs"] = "8"
    hostile.on["newOrder"] = newOrder
    process = site.popen("newOrder", *sections)
    with process:
        end = time.monotonic() + 60
        while len(made) < wanted and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert len(made) == wanted
    hostile.on.clear()


def pages(hostile: Hostile, size: int, loop: bool = False) -> None:
    """The list comes in pages of so many orders; ``loop``: the last one leads back to the first."""
    def orders(request: Request, default: Default) -> Response:
        listed = default().object()["orders"]
        _, _, start = request.path.partition("from=")
        at = int(start or 0)
        more = at + size < len(listed)
        following = f"<?from={at + size if more else 0}>;rel=\"next\""
        return Response.json({"orders": listed[at:at + size]},
                             headers={"Link": following} if more or loop else {})
    hostile.on["orders"] = orders


def test_found_again(site: Site, hostile: Hostile) -> None:
    """One order each, though all three were killed; the list is read once."""
    killed(site, hostile, *NAMES)
    assert [state(site, name).get("asked") for name in NAMES] == [hostile.directory] * 3
    before = len(hostile.requests)
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    assert len(hostile.orders) == 3 and len(hostile.asked("newOrder")) == 3
    asked = [request.resource for request in hostile.requests[before:]]
    assert asked.count("orders") == asked.count("account") == 1
    for name in NAMES:
        assert judge.names(site.file(name)) == {f"{name}.example"}
        assert "asked" not in state(site, name)


def test_looked_at_twice(site: Site, hostile: Hostile) -> None:
    """What can't be understood of it once is asked for again, before there is another order."""
    killed(site, hostile, "a")
    looks: list[Request] = []

    def garbled(request: Request, default: Default) -> Response:
        looks.append(request)
        return Response(200, {"Content-Type": "application/json"}, b"{") if len(looks) == 1 \
            else default()
    hostile.on["order"] = garbled
    done = site.run("newOrder", "a")
    assert done.returncode == 0 and len(hostile.orders) == 1, done.stderr


def test_looked_for_only_then(site: Site, hostile: Hostile) -> None:
    assert site.run("newOrder").returncode == 0
    assert not hostile.asked("orders") and not hostile.asked("account")


@pytest.mark.parametrize("loop", [False, True], ids=["pages", "loop"])
def test_on_a_later_page(site: Site, hostile: Hostile, loop: bool) -> None:
    assert site.run("newOrder", "b", "c").returncode == 0
    killed(site, hostile, "a")
    pages(hostile, 1, loop)
    done = site.run("newOrder", "a")
    assert done.returncode == 0, done.stderr
    assert len(hostile.orders) == 3 and len(hostile.asked("orders")) == 3 + loop


def test_one_of_another_origin_hides_no_other(site: Site, hostile: Hostile) -> None:
    killed(site, hostile, "a")
    hostile.edit("orders", lambda listed: listed["orders"].append("https://other.example/order/1"))
    done = site.run("newOrder", "a")
    assert done.returncode == 0, done.stderr
    assert len(hostile.orders) == 1


def no_list(hostile: Hostile) -> None:
    hostile.edit("account", lambda account: account.pop("orders"))


def refused(hostile: Hostile) -> None:
    hostile.on["orders"] = lambda request, default: Response.problem("malformed", "No.", 404)


def elsewhere(hostile: Hostile) -> None:
    hostile.edit("orders", lambda listed: {"orders": ["https://other.example/order/0", 7]})


def dead(hostile: Hostile) -> None:
    hostile.orders[0]["status"] = "invalid"


@pytest.mark.alike(2)
@pytest.mark.parametrize("how", [no_list, refused, elsewhere, dead])
def test_where_none_is_found(how: Any, site: Site, hostile: Hostile) -> None:
    """Another is made, and nobody complains."""
    killed(site, hostile, "a")
    how(hostile)
    done = site.run("newOrder", "a")
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
    assert len(hostile.orders) == 2 and "asked" not in state(site, "a")
