"""Accounts: their orders, contacts, giving one up on a terminal, and which are known."""

import json
import os
import pty
import re
import select
import time

import pytest

from harness import sid
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import expect
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, Site

SHOWN = (r"Terms of Service: \S+", r"Key ID: https://\S+")
JSON = r"\{\n.*\n\}\n"


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """A site with an account at a server that tells orders."""
    site.open_account(hostile)
    return site


def test_orders(ready: Site, hostile: Hostile) -> None:
    """A list on standard output, in place of the account."""
    assert json.loads(ready.run("account", "--orders").stdout) == []
    for section in "ab":
        ready.certificate(section, [f"{section}.orders.example"])
    assert ready.run("newOrder").returncode == 0
    done = ready.run("account", "--orders")
    assert done.returncode == 0 and len(done.stderr.splitlines()) == 2
    found = json.loads(done.stdout)
    assert sorted(order["identifiers"][0] for order in found) == [
        "a.orders.example", "b.orders.example"]
    assert {order["status"] for order in found} == {"valid"}
    assert {order["expires"] for order in found} == {"2099-01-01T00:00:00Z"}
    assert all(order["url"].startswith(hostile.url("order/")) for order in found)


def test_orders_on_pages(ready: Site, hostile: Hostile) -> None:
    """Until there is no further one (§7.1.2.1); a circle has an end, and so has what is shown."""
    ready.certificate("a", ["a.pages.example"])
    assert ready.run("newOrder").returncode == 0
    one = hostile.url("order/0")

    def pages(request: Request, _default: Default) -> Response:
        number = int(request.path.partition("page=")[2] or 0)
        links = "" if number == 3 else f'<{hostile.url("orders/0")}?page={number + 1}>;rel="next"'
        return Response.json({"orders": [one]}, headers={"Link": links} if links else {})
    hostile.on["orders"] = pages
    assert len(json.loads(ready.run("account", "--orders").stdout)) == 4
    hostile.on["orders"] = lambda request, _default: Response.json(
        {"orders": [one]}, headers={"Link": f'<{hostile.url(request.path[1:])}>;rel="next"'})
    assert len(json.loads(ready.run("account", "--orders").stdout)) == 1
    hostile.on["orders"] = lambda _request, _default: Response.json({"orders": [one] * 502})
    hostile.on["order"] = lambda _request, _default: Response.problem("malformed", "Gone.", 404)
    done = ready.run("account", "--orders")
    assert "warning: there are more than 500 orders" in done.stderr
    assert json.loads(done.stdout)[499] == {"url": one, "status": "", "expires": "",
                                            "identifiers": []}
    hostile.on["orders"] = lambda _request, _default: Response.json(
        {"orders": ["https://evil.example/order/1"]})
    done = ready.run("account", "--orders")
    assert done.returncode == 1 and "another origin" in done.stderr and done.stdout == ""


def test_a_ca_without_orders(ready: Site, hostile: Hostile) -> None:
    hostile.edit("newAccount", lambda account: account.pop("orders"))
    expect(ready.run("account", "--orders"), 1,
           r"error: the CA at \S+ does not list the orders of an account")


def test_contact(site: Site, pebble: Pebble) -> None:
    """As an argument or an option, which can also take them all away."""
    site.use(pebble)
    site.genkey()
    done = site.run("account", "--register", "--tos-agreed", "--contact=mailto:a@example.org",
                    "--contact=mailto:b@example.org")
    assert json.loads(done.stdout)["contact"] == ["mailto:a@example.org", "mailto:b@example.org"]
    done = site.run("account", "--contact=mailto:c@example.org")
    assert json.loads(done.stdout)["contact"] == ["mailto:c@example.org"]
    assert not json.loads(site.run("account", "--contact=").stdout).get("contact")
    expect(site.run("account", "--contact=c@example.org"), 2, "error: “c@example.org” is not a .*")


def test_others_that_are_known(site: Site, hostile: Hostile) -> None:
    """Of other keys, and at other CAs, from earlier runs."""
    with Pebble(nosleep=True, program=sid.newest("pebble")) as pebble:
        site.genkey()
        site.use(pebble)
        first = re.findall(r"Key ID: (\S+)", site.register().stderr)[0]
        site.use(hostile)
        done = site.register()
        expect(done, 0, *SHOWN, rf"also known: {first} at {pebble.directory}, of the key with the "
               r"thumbprint [A-Za-z0-9_-]{43}", stdout=JSON)
        site.genkey()
        done = site.register()
        assert done.stderr.count("also known: ") == 2


def test_giving_up_without_a_terminal(ready: Site, hostile: Hostile) -> None:
    """Nobody can be asked."""
    done = ready.run("account", "--deactivate", stdin="yes\n")
    expect(done, 2, "error: account --deactivate gives the account up for ever: add --yes")
    expect(ready.run("account", "--yes"), 2, "error: account: --yes is for --deactivate")
    assert json.loads(ready.run("account").stdout)["status"] == "valid"
    assert json.loads(ready.run("account", "--deactivate", "--yes").stdout)["status"] == (
        "deactivated")


@pytest.mark.alike(2)
@pytest.mark.parametrize("typed, status", [("yes", 0), ("no", 2), ("", 2), ("y", 2)])
def test_giving_up_on_a_terminal(typed: str, status: int, ready: Site) -> None:
    """Only who types the word; the account is named."""
    account = re.findall(r"Key ID: (\S+)", ready.run("account").stderr)[0]
    words = ready.command("account", "--deactivate")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, ENVIRONMENT)
    shown, answered, end = b"", False, time.monotonic() + 60
    while time.monotonic() < end and select.select([terminal], [], [], 60)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        shown += data
        if not answered and b"[yes/no] " in shown:
            os.write(terminal, typed.encode() + b"\n")
            answered = True
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    assert answered and f"Deactivate the account {account} at " in shown.decode()
    assert (b"the account stays as it is" in shown) == (status == 2)
    left = json.loads(ready.run("account", "--register", "--tos-agreed").stdout)["status"]
    assert left == ("valid" if status else "deactivated")
