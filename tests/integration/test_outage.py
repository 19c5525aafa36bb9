"""A CA that is out of order: one asks for all, one line tells of it, and it is remembered."""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from harness import soak
from harness.hostile import Default, Hostile, Request, Response
from harness.run import Prefix, Site

SECTIONS = [f"s{number:02}" for number in range(20)]
DAY = 86400


@pytest.fixture(name="site")
def _site(prefix: Prefix, hostile: Hostile) -> Iterator[Site]:
    """Twenty sections that want a certificate; no day goes by between two runs."""
    site = Site(prefix)
    site.open_account(hostile)
    for name in SECTIONS:
        site.certificate(name, [f"{name}.example"])
    site.at_once = True
    site.main["client"]["timeout"] = "5"    # that is how long one tries
    hostile.requests.clear()
    yield site
    site.remove()


def unavailable(_request: Request, _default: Default) -> Response:
    return Response.problem("serverInternal", "Closed.", 503)


def bad_nonce(_request: Request, _default: Default) -> Response:
    return Response.problem("badNonce", "No.", 400)


def cut(_request: Request, _default: Default) -> Response:
    return Response(raw=b"", reset=True)


FAULTS: dict[str, tuple[str, Callable[[Request, Default], Response]]] = {
    "directory, 503": ("directory", unavailable), "directory, cut": ("directory", cut),
    "newOrder, badNonce": ("newOrder", bad_nonce), "newOrder, 503": ("newOrder", unavailable),
    "newOrder, cut": ("newOrder", cut)}


# Requests of the first run, and of one that the CA is in doubt in.  Who doesn't know what became of
# newOrder looks for an order.
FIRST = {"directory, 503": 3, "directory, cut": 3, "newOrder, 503": 6, "newOrder, badNonce": 6,
         "newOrder, cut": 13}
NEXT = {"directory, 503": 1, "directory, cut": 1, "newOrder, 503": 1, "newOrder, badNonce": 2,
        "newOrder, cut": 1}
WEEK = 60


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def timer_period_later(site: Site) -> None:
    """Six hours go by for what is remembered of the CA."""
    path = site.lib / "state/outages.json"
    known = json.loads(path.read_text())
    for outage in known.values():
        outage["last"] -= DAY // 4
        outage["since"] -= DAY // 4
    path.write_text(json.dumps(known))


@pytest.mark.parametrize("fault", soak.some(FAULTS, 2))
def test_one_asks_for_all(site: Site, hostile: Hostile, fault: str) -> None:
    resource, answer = FAULTS[fault]
    hostile.on[resource] = answer
    done = site.run("newOrder")
    # whoever doesn't know what became of newOrder looks through the list of orders
    asked = [one.resource for one in hostile.requests]
    assert done.returncode == 1 and len(asked) <= FIRST[fault], (asked, done.stderr)
    assert len(errors(done.stderr)) == 1, done.stderr
    assert "s00, s01, s02, s03, s04 and 15 more: " in errors(done.stderr)[0]
    assert re.search(r"127\.0\.0\.1|localhost", errors(done.stderr)[0]), done.stderr

    # the next one does not ask, and says why
    hostile.requests.clear()
    done = site.run("newOrder", "--quiet")
    assert done.returncode == 1 and not hostile.requests
    assert len(errors(done.stderr)) == 1 and "is out of order since" in done.stderr, done.stderr
    assert "s00, s01, s02, s03, s04 and 15 more: there is no valid certificate" in done.stderr
    # … nor, within a day, says it again
    done = site.run("newOrder", "--quiet")
    assert (done.returncode, done.stderr, hostile.requests) == (1, "", [])
    rows = json.loads(site.run("status", "--json").stdout)["sections"]
    assert all(row["waits"] and "out of order" in row["waits_why"] for row in rows)

    # the timer's next one asks once
    timer_period_later(site)
    done = site.run("newOrder", "--quiet")
    asked = [one.resource for one in hostile.requests]
    assert done.returncode == 1 and 0 < len(asked) <= NEXT[fault], asked
    assert len(errors(done.stderr)) == 1, done.stderr
    assert FIRST[fault] + (7 * 4 - 1) * NEXT[fault] <= WEEK    # four runs of the timer a day

    # it is well again
    hostile.on.clear()
    hostile.requests.clear()
    timer_period_later(site)
    done = site.run("newOrder", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(site.file(name).exists() for name in SECTIONS)
    assert not json.loads((site.lib / "state/outages.json").read_text())


def test_no_second_order_after_an_outage(site: Site, hostile: Hostile) -> None:
    """Whoever was cut off last, and asks no more, remembers that there may be an order."""
    def unheard(request: Request, default: Default) -> Response:
        if len(hostile.asked("newOrder")) > 2:    # the last try of the first one, that of the next
            default()
        return cut(request, default)
    hostile.on["newOrder"] = unheard
    site.main["client"]["jobs"] = "1"
    assert site.run("newOrder").returncode == 1
    assert len(hostile.asked("newOrder")) == 4 and len(hostile.orders) == 2
    hostile.on.clear()
    timer_period_later(site)
    done = site.run("newOrder", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(hostile.orders) == len(SECTIONS)


def test_a_directory_that_has_moved(site: Site, hostile: Hostile) -> None:
    """What is remembered of it is not believed where it leads nowhere."""
    hostile.on["newOrder"] = unavailable
    assert site.run("newOrder").returncode == 1
    hostile.on.clear()
    path = site.lib / "state/outages.json"
    text = path.read_text()
    assert "/newOrder" in text
    path.write_text(text.replace("/newOrder", "/was/newOrder"))
    timer_period_later(site)
    done = site.run("newOrder", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(site.file(name).exists() for name in SECTIONS)
    assert len(hostile.asked("directory")) == 2


def test_who_names_it_does_not_wait(site: Site, hostile: Hostile) -> None:
    hostile.on["newOrder"] = unavailable
    assert site.run("newOrder").returncode == 1
    hostile.on.clear()
    done = site.run("newOrder", "s03")
    assert done.returncode == 0 and site.file("s03").exists()
    # it was answered: so the others need not wait any more
    assert site.run("newOrder").returncode == 0 and site.file("s04").exists()


def test_force_does_not_wait(site: Site, hostile: Hostile) -> None:
    hostile.on["directory"] = unavailable
    assert site.run("newOrder").returncode == 1
    hostile.on.clear()
    assert site.run("newOrder", "--force").returncode == 0
    assert all(site.file(name).exists() for name in SECTIONS)


def test_what_one_gets_alone_stops_no_other(site: Site, hostile: Hostile) -> None:
    """Whoever's newOrder is answered with 503 alone fails alone, and waits by itself."""
    def alone(request: Request, default: Default) -> Response:
        if {"type": "dns", "value": "s03.example"} in request.payload["identifiers"]:
            return unavailable(request, default)
        return default()
    hostile.on["newOrder"] = alone
    done = site.run("newOrder")
    assert done.returncode == 1 and len(errors(done.stderr)) == 1, done.stderr
    assert [name for name in SECTIONS if not site.file(name).exists()] == ["s03"]
    state = site.lib / "state/outages.json"
    assert not state.exists() or not json.loads(state.read_text())


@pytest.mark.alike(3)
@pytest.mark.parametrize("resource", ["newOrder", "authz", "challenge", "order", "finalize",
                                      "certificate"])
def test_what_passes_is_waited_for(site: Site, hostile: Hostile, resource: str) -> None:
    """A 503 now and then: every section has its certificate in the same run."""
    asked: list[Request] = []

    def now_and_then(request: Request, default: Default) -> Response:
        asked.append(request)
        return unavailable(request, default) if len(asked) % 7 == 3 else default()
    hostile.on[resource] = now_and_then
    done = site.run("newOrder")
    assert done.returncode == 0 and len(asked) > 20, done.stderr
    assert all(site.file(name).exists() for name in SECTIONS)


def test_a_section_that_fails_waits(site: Site, hostile: Hostile) -> None:
    """The others don't; a change of what it asks for, its name and --force let it be tried."""
    def refuse(request: Request, default: Default) -> Response:
        if {"type": "dns", "value": "s03.example"} in request.payload["identifiers"]:
            return Response.problem("rejectedIdentifier", "Not that name.", 403)
        return default()
    hostile.on["newOrder"] = refuse
    assert site.run("newOrder").returncode == 1
    hostile.requests.clear()
    done = site.run("newOrder", "--quiet")
    assert done.returncode == 1 and not hostile.requests
    assert len(errors(done.stderr)) == 1 and "s03: there is no valid certificate, and its order " \
        "has failed" in done.stderr and "Not that name." in done.stderr, done.stderr
    row = next(row for row in json.loads(site.run("status", "--json").stdout)["sections"]
               if row["section"] == "s03")
    assert row["failures"] == 1 and row["failed"] and row["waits"]
    assert "s03: waits until" in site.run("status").stdout
    assert "Not that name." in site.run("newOrder", "s03").stderr and hostile.requests
    hostile.requests.clear()
    assert "Not that name." in site.run("newOrder", "--force").stderr and hostile.requests
    site.certificate("s03", ["t03.example"])
    assert site.run("newOrder").returncode == 0 and site.file("s03").exists()
