"""Renewal by suggestion (RFC 9773) with a server that wasn't made by us: Pebble 2.10 (sid's)."""

import json
import re
import ssl
import time
import urllib.request
from collections.abc import Iterator

import pytest

from harness import judge, pebble
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import Site
from harness.suggestions import timestamp
from letsencrypt_tiny.master.store.renewals import Renewals

DAY = 86400
MOMENT = r"[-0-9]{10} [:0-9]{5} UTC"
WANTED = rf"a: its CA wants it renewed between {MOMENT} and {MOMENT}"
PLANNED = rf"a: valid until {MOMENT}, to be renewed {MOMENT}"


@pytest.fixture(scope="module")
def newest() -> Iterator[Pebble]:
    with pebble.newest() as server:
        yield server


@pytest.fixture
def issued(site: Site, newest: Pebble) -> Site:
    site.open_account(newest)
    site.certificate("a", ["a.example"])
    expect(site.run("newOrder"), 0, f"a: {NEW}", "a: generating .*", f"a: {INSTALLED}")
    return site


def suggest(server: Pebble, site: Site, start: float, end: float, explanation: str) -> None:
    """Let Pebble have an answer for what is installed."""
    answer = {"suggestedWindow": {"start": timestamp(start), "end": timestamp(end)},
              "explanationURL": explanation}
    body = json.dumps({"Certificate": site.file("a", "cert.pem").read_text(),
                       "ARIResponse": json.dumps(answer)}).encode()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=str(server.ca_file))))
    with opener.open(f"{server.management}/set-renewal-info/", body, timeout=10) as response:
        assert response.status == 200


def forget_the_answer(site: Site) -> None:
    renewals = Renewals(str(site.lib / "state"))
    renewals.remember({"a": renewals.of("a")._replace(again=1)}, time.time())


def test_from_the_question_to_the_replacement(issued: Site, newest: Pebble) -> None:
    """Its own window comes first; then one that has begun."""
    expect(issued.run("newOrder"), 0, WANTED, PLANNED)
    known = Renewals(str(issued.lib / "state")).of("a")
    assert known.start < known.moment < known.end < known.expires
    assert 21000 < known.again - time.time() <= 21601
    expect(issued.run("newOrder"), 0, PLANNED)
    shown, = json.loads(issued.run("status", "--json").stdout)["sections"]
    assert shown["renewal"]["start"] < shown["renewal"]["moment"] < shown["renewal"]["end"]
    assert "valid, to be renewed" in issued.run("status").stdout
    forget_the_answer(issued)
    now = time.time()
    suggest(newest, issued, now - 60, now + 60, "https://ca.example/incident")
    serial = judge.serial(issued.file("a"))
    expect(issued.run("newOrder"), 0,
           rf"{WANTED} \(see https://ca\.example/incident\)", f"a: {INSTALLED}")
    assert judge.serial(issued.file("a")) != serial
    assert len(re.findall(r'ARI: order ".+" is a replacement of ".+"', newest.log)) == 1
    assert issued.run("status", "--json").stdout.count('"renewal": null') == 1
    expect(issued.run("newOrder"), 0, WANTED, PLANNED)


def test_revoked_by_the_ca(issued: Site, newest: Pebble) -> None:
    """Its window is past then: the next run that asks replaces it."""
    issued.run("newOrder")
    assert issued.run("revokeCert", str(issued.file("a", "cert.pem"))).returncode == 0
    (issued.lib / "state/revoked.json").unlink()    # as if it had been the CA
    expect(issued.run("newOrder"), 0, PLANNED)
    forget_the_answer(issued)
    expect(issued.run("newOrder"), 0, WANTED, f"a: {INSTALLED}")
    expect(issued.run("newOrder"), 0, WANTED, PLANNED)


def test_already_replaced(issued: Site, newest: Pebble) -> None:
    """Pebble takes no two orders for one certificate: the second goes without saying."""
    old = {name: issued.file("a", name).read_bytes()
           for name in ("cert.pem", "chain.pem", "fullchain.pem")}
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    for name, content in old.items():
        issued.file("a", name).write_bytes(content)
    done = issued.run("--debug", "newOrder", "--force")
    assert done.returncode == 0
    assert "newOrder again without “replaces”" in done.stderr, done.stderr
