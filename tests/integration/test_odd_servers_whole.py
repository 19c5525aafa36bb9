"""The whole program and servers that are odd: words of shared tables, each by its name."""

import json
import re
import time

import pytest

from harness import judge, misbehaviour, oddities
from harness.hostile import Hostile, Response
from harness.judge import expect
from harness.run import Site


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """A site with an account and one section, "a"."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    return site


def remembered(site: Site) -> "dict[str, object]":
    """Return what is remembered of "a"."""
    found: dict[str, object] = json.loads((site.lib / "state/cert-a.json").read_text())
    return found


def test_a_certificate_can_be_had(ready: Site, hostile: Hostile) -> None:
    """One run, a section for each word; of each there is one order."""
    del ready.certs["a"]
    for word in oddities.OF_AN_ORDER:
        ready.certificate(word, [f"www.{word}.test"])
    misbehaviour.divide(hostile, {f"www.{word}.test": oddities.WORDS[word]
                                  for word in oddities.OF_AN_ORDER})
    done = ready.run("--quiet", "newOrder")
    assert (done.returncode, done.stderr) == (0, "")
    for word in oddities.OF_AN_ORDER:
        assert judge.names(ready.file(word)) == {f"www.{word}.test"}
        assert judge.matches(ready.file(word), ready.file(word, "privkey.pem"))
    assert len(hostile.orders) == len(hostile.certificates) == len(oddities.OF_AN_ORDER)


@pytest.mark.alike(2)
@pytest.mark.parametrize("word", ["nulls", "account-bare", "account-empty", "relative", "spaces"])
def test_an_account_can_be_had(site: Site, hostile: Hostile, word: str) -> None:
    """It is remembered, and a certificate follows."""
    oddities.WORDS[word](hostile)
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    before = len(hostile.asked("newAccount"))
    expect(site.run("--quiet", "newOrder"), 0)
    assert len(hostile.asked("newAccount")) == before and site.file("a").exists()


def test_finalize_once_and_a_later_run(ready: Site, hostile: Hostile) -> None:
    """Where the order is finalized stands in the journal, too."""
    oddities.finalize_once(hostile)
    bare = hostile.on["finalize"]
    hostile.on["finalize"] = lambda _request, _default: Response.problem(
        "rateLimited", "later", 429, {"Retry-After": "600"})
    assert ready.run("--quiet", "newOrder").returncode == 1
    assert hostile.url("finalize/0") in remembered(ready).values()
    hostile.on["finalize"] = bare
    expect(ready.run("--quiet", "newOrder", "--force"), 0)
    assert len(hostile.orders) == 1 and ready.file("a").exists()


def test_come_back(ready: Site, hostile: Hostile) -> None:
    """The message says that the CA asks for 600 s; the next run takes the order up."""
    ready.main["client"]["timeout"] = "90"
    hostile.processing, hostile.retry_after = 1, "600"
    began = time.monotonic()
    done = ready.run("--quiet", "newOrder")
    assert time.monotonic() - began < 60 and done.returncode == 1
    assert re.fullmatch(r"error: a: .*the CA asks to come back in 600 s, which is more than what "
                        r"is left of the 90 s of the setting “timeout”.*\n", done.stderr), done
    assert remembered(ready)["order"]
    expect(ready.run("--quiet", "newOrder"), 0)
    assert len(hostile.orders) == len(hostile.certificates) == 1


def test_json_problem_429(ready: Site, hostile: Hostile) -> None:
    """Detail shown; the moment is remembered, and the next run asks for nothing before it."""
    oddities.once(hostile, "newOrder",
                  oddities.told(429, "rateLimited", "3600", "application/json"), 9)
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 1 and "not now (rateLimited)" in done.stderr
    assert int(str(remembered(ready)["not_before"])) > time.time() + 3000
    asked = len(hostile.requests)
    ready.run("newOrder")
    assert len(hostile.requests) == asked


def test_agreement(ready: Site, hostile: Hostile) -> None:
    """Both URLs are shown (RFC 8555 §7.3.3)."""
    oddities.agreement(hostile)
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    for url in "https://ca.test/agree?token=x", "https://ca.test/terms-2":
        assert url in done.stderr


@pytest.mark.parametrize("fault, orders", [
    (oddities.page(504), 1), (oddities.told(404, "malformed"), 2)], ids=["504", "404"])
def test_gone(ready: Site, hostile: Hostile, fault: oddities.Fault, orders: int) -> None:
    """Taking up an earlier order: a gateway's word ends none, the server's does."""
    hostile.processing, hostile.retry_after = 1, "600"
    ready.main["client"]["timeout"] = "2"
    assert ready.run("newOrder").returncode == 1
    hostile.processing = 0
    oddities.once(hostile, "/order/0", fault, 99)
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 2 - orders and len(hostile.orders) == orders, done.stderr
    hostile.on.clear()
    expect(ready.run("--quiet", "newOrder"), 0)
    assert ready.file("a").exists() and len(hostile.orders) == orders
