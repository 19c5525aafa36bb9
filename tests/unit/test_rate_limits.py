"""Limits of Let's Encrypt's that are known beforehand: a run says so and waits, unless forced."""

import json
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from harness import ca, words
from harness.machine import Machine
from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.common.wire.order import Failed, Progress
from letsencrypt_tiny.master.plan import limits
from letsencrypt_tiny.master.store.tally import Tally

LIVE = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
FIVE = limits.Limit(5, 7 * DAY, "things")
ORDER = "https://acme-v02.api.letsencrypt.org/order/1"
NAMES = (("dns", "a.example"), ("dns", "b.example"))


# --- the bucket ----------------------------------------------------------------------------------

def test_so_many_at_once_then_one_by_one() -> None:
    now = 1e9
    whole = 0.0
    for _ in range(5):
        assert limits.free(FIVE, whole, now) == now
        whole = limits.count(FIVE, whole, now)
    share = 7 * DAY / 5
    assert limits.free(FIVE, whole, now) == now + share
    assert limits.free(FIVE, whole, now + share - 1) == now + share
    assert limits.free(FIVE, whole, now + share) == now + share
    whole = limits.count(FIVE, whole, now + share)
    assert limits.free(FIVE, whole, now + share) == now + 2 * share
    assert limits.free(FIVE, whole, now + 30 * DAY) == now + 30 * DAY


def test_as_a_ca_counts() -> None:
    """Whoever asks whenever there is room never meets a full bucket; and never waits in vain."""
    host = random.Random(1)
    tokens, filled, whole, now, done, waited = 5.0, 0.0, 0.0, 1e9, 0, 0
    for _ in range(5000):
        now += host.expovariate(1 / (DAY / 2))
        tokens, filled = min(5.0, tokens + (now - filled) / (7 * DAY / 5)), now
        if limits.free(FIVE, whole, now) > now:
            waited += 1
            assert tokens < 1 + 1e-6
            continue
        assert tokens > 1 - 1e-6
        tokens, done = tokens - 1, done + 1
        whole = limits.count(FIVE, whole, now)
    assert done > 1000 and waited > 1000


def test_a_clock_that_was_wrong() -> None:
    assert limits.free(FIVE, 2e9, 1e9) == 1e9
    assert limits.count(FIVE, 2e9, 1e9) == 1e9 + 7 * DAY / 5


def test_whose_limits_are_known() -> None:
    assert limits.known(LIVE)[limits.ISSUED][:2] == (5, 7 * DAY)
    assert limits.known(LIVE)[limits.FAILED][:2] == (5, 3600)
    assert limits.known(STAGING)[limits.ISSUED].most > 1000
    for other in ("", "https://ca.example/acme-v02.api.letsencrypt.org",
                  "https://x.letsencrypt.org/",
                  "https://acme-v02.api.letsencrypt.org.example/directory"):
        assert limits.known(other) == {}


def test_names_in_any_order_are_the_same() -> None:
    assert limits.key(NAMES) == limits.key(NAMES[::-1])
    assert len({limits.key(NAMES), limits.key(NAMES[:1]), limits.key(NAMES[1:]),
                limits.key((("ip", "a.example"),))}) == 4


def test_the_tally_forgets_what_is_past(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path))
    tally.set(LIVE, limits.ISSUED, "a", 100.5, 1)
    tally.set(LIVE, limits.ISSUED, "b", 300, 1)
    tally.set(LIVE, limits.FAILED, "a", 200, 1)
    assert Tally(str(tmp_path)).of(LIVE, limits.ISSUED, "a") == 100
    tally.set(LIVE, limits.ISSUED, "c", 400, 200)
    assert [tally.of(LIVE, limits.ISSUED, name) for name in "abc"] == [0, 300, 400]
    assert tally.of(LIVE, limits.FAILED, "a") == 200 and tally.of(STAGING, limits.FAILED, "a") == 0
    for text in ("[]", '{"%s": 1}' % LIVE, '{"%s": {"issued": {"b": "x"}}}' % LIVE, "junk"):
        (tmp_path / "tally.json").write_text(text)
        tally = Tally(str(tmp_path))
        assert tally.of(LIVE, limits.ISSUED, "b") == 0
        tally.set(LIVE, limits.ISSUED, "b", 5, 1)
        assert Tally(str(tmp_path)).of(LIVE, limits.ISSUED, "b") == 5


# --- a run ---------------------------------------------------------------------------------------

def prepared(machine: Machine, server: str = LIVE, **settings: str) -> None:
    machine.main["client"]["server"] = server
    machine.section("a", CAfile="", ari="no", **settings)


def failing(machine: Machine, *arguments: str, kind: str = "dns") -> Any:
    machine.client.plays(words.receive(), Progress("a", "pending", ORDER),
                         Failed("a", "no such name", "refused", kind))
    return machine.run("newOrder", *arguments)


def test_failed_validations(machine: Machine) -> None:
    """The sixth run in an hour starts nothing, says why, and fails; --force tries."""
    prepared(machine)
    for count in range(1, 6):
        assert failing(machine).returncode == 1
        assert len(machine.client.told("requests")) == count
    done = failing(machine)
    assert done.returncode == 1
    assert "a: the CA allows 5 failed validations of these names in an hour, which is reached: " \
        "it is not ordered before " in done.stderr and "--force" in done.stderr
    assert len(machine.client.told("requests")) == 5
    row, = json.loads(machine.run("status", "--json").stdout)["sections"]
    assert row["waits"] > row["trouble"]["last"] and row["waits_why"] == \
        "the CA allows 5 failed validations of these names in an hour, which is reached"
    assert failing(machine, "a").returncode == 1
    assert len(machine.client.told("requests")) == 5
    assert "no such name" in failing(machine, "--force").stderr
    assert len(machine.client.told("requests")) == 6
    machine.section("a", ["b.example"], CAfile="", ari="no", ca="default, letsencrypt-staging")
    row, = json.loads(machine.run("status", "--json").stdout)["sections"]
    assert row["due"] and row["waits"] is None, "there is another CA, and other names"
    machine.section("a", ["other.example"], CAfile="", ari="no")    # of other names it says nothing
    assert "no such name" in failing(machine).stderr
    machine.clean()


@pytest.mark.alike(2)
@pytest.mark.parametrize("server, kind", [(LIVE, "rejectedIdentifier"), (STAGING, "dns"),
                                          ("https://ca.example/dir", "dns")])
def test_what_does_not_count(server: str, kind: str, machine: Machine) -> None:
    prepared(machine, server)
    for count in range(1, 8):
        failing(machine, kind=kind)
        assert len(machine.client.told("requests")) == count


def test_duplicates(machine: Machine, hostile_ca: ca.CA) -> None:
    """With a certificate in place it is a warning; what is certified counts, however it was."""
    prepared(machine, min_days="-1")
    key = limits.key([("dns", "a.example")])
    for count in range(1, 6):
        machine.client.plays(words.receive(), words.issue(hostile_ca.root.parent))
        done = machine.run("newOrder")
        assert done.returncode == 0 and "installed" in done.stderr, done.stderr
        assert Tally(str(machine.lib / "state")).of(LIVE, limits.ISSUED, key) > 0
    before = machine.file("a").read_bytes()
    done = machine.run("newOrder")
    assert done.returncode == 0
    assert "warning: a: the CA allows 5 certificates for just these names in a week" in done.stderr
    assert len(machine.client.told("requests")) == 5 and machine.file("a").read_bytes() == before
    assert machine.run("newOrder", "--force").returncode == 0
    assert len(machine.client.told("requests")) == 6


def test_another_ca_is_asked(machine: Machine) -> None:
    """Where there is one, of which no limit is known; it takes both to keep it from being asked."""
    machine.main["ca other"] = {"server": "https://ca.example/dir"}
    prepared(machine, ca="default, other")
    tally, key = Tally(str(machine.lib / "state")), limits.key([("dns", "a.example")])
    tally.set(LIVE, limits.FAILED, key, time.time() + 3600, 1)
    done = failing(machine)
    assert re.search("^a: acme-v02.api.letsencrypt.org: the CA allows 5 failed validations .*; "
                     "other is asked$", done.stderr, re.M), done.stderr
    assert len(machine.client.told("requests")) == 1
    assert Tally(str(machine.lib / "state")).of("https://ca.example/dir", limits.FAILED, key) == 0
    machine.main["ca other"]["server"] = STAGING
    tally.set(STAGING, limits.FAILED, key, time.time() + 3600, 1)
    done = failing(machine)
    assert done.returncode == 1 and "--force" in done.stderr
    assert len(machine.client.told("requests")) == 1


def test_what_was_begun_is_finished(machine: Machine) -> None:
    """An order there is has been counted."""
    prepared(machine)
    machine.client.plays(words.receive(), Progress("a", "pending", ORDER),
                         Failed("a", "later", "unfinished"))
    assert machine.run("newOrder").returncode == 1
    tally = Tally(str(machine.lib / "state"))
    tally.set(LIVE, limits.FAILED, limits.key([("dns", "a.example")]), time.time() + 3600, 1)
    assert "later" in machine.run("newOrder").stderr
    assert len(machine.client.told("requests")) == 2
