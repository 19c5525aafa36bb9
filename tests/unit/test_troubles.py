"""What has failed stays visible, with since when, until it is mended."""

from typing import Any

import pytest

from harness import ca, words
from harness.machine import Machine
from letsencrypt_tiny.common.wire.order import Failed
from letsencrypt_tiny.master.store.troubles import KEPT, MAX_RUNS, Trouble, Troubles

pytestmark = pytest.mark.root

NOW = 1_800_000_000


@pytest.fixture
def known(tmp_path: Any) -> Troubles:
    """None yet."""
    return Troubles(str(tmp_path))


def test_since_and_how_often(known: Troubles, tmp_path: Any) -> None:
    known.learn({}, (), NOW)
    assert not list(tmp_path.iterdir()), "where all is well nothing is written"
    known.learn({"a": "first", "b": "x\x1b\n"}, (), NOW)
    known.learn({"a": "second"}, {"c"}, NOW + 100)
    assert Troubles(str(tmp_path)).of("a") == Trouble(NOW, NOW + 100, 2, "second")
    assert known.of("b") == Trouble(NOW, NOW, 1, "x\\x1b\\x0a"), "nobody has looked at it again"
    known.learn({"a": "third"}, {"a", "b"}, NOW + 200)
    assert known.known() == {"a"} and known.of("a") == Trouble(NOW, NOW + 200, 3, "third")
    known.learn({}, {"a"}, NOW + 300)
    assert Troubles(str(tmp_path)).known() == set() and not list(tmp_path.iterdir())


def test_clocks_and_old_ones(known: Troubles) -> None:
    known.learn({"a": "x", "b": "y"}, (), NOW)
    known.learn({"a": "x"}, (), NOW - 1000)
    assert known.of("a") == Trouble(NOW - 1000, NOW - 1000, 1, "x"), "the clock was ahead"
    known.learn({"a": "x"}, (), NOW + KEPT)
    assert known.known() == {"a"}, "no run has looked at the other one for a month"
    assert MAX_RUNS > 4 * 365 * 100


# --- in whole runs -------------------------------------------------------------------------------

def trouble(machine: Machine, section: str = "a") -> Trouble | None:
    """Return what is known of a section."""
    return Troubles(f"{machine.lib}/state").of(section)


def test_an_order_that_fails(machine: Machine) -> None:
    """While it waits, too; then it is mended."""
    authority = ca.CA(machine.path)
    machine.section("a", CAfile=str(authority.root))
    since = 0
    for number, (why, outcome) in enumerate((("no", "refused"), ("later", "unfinished")), 1):
        machine.client.plays(words.receive(), Failed("a", why, outcome))
        assert machine.run("newOrder").returncode == 1
        machine.at_once = True
        found = trouble(machine)
        assert found is not None and found.runs == number and why in found.why
        assert found.since == (since := since or found.since) <= found.last
        assert machine.run("newOrder").returncode == 1, "it waits, and there is no certificate"
        assert trouble(machine) == found, "nothing was tried"
        machine.at_once = False
    shown = machine.run("status").stdout
    assert "a: fails since " in shown and ", 2 runs, last " in shown
    machine.client.plays(words.receive(), words.issue(machine.path))
    assert machine.run("newOrder").returncode == 0
    assert trouble(machine) is None


def test_what_fails_before_an_order(machine: Machine) -> None:
    """A section that is wrong, too, until it isn't."""
    machine.section("a", ["a_.b..example"])
    machine.section("b", CAfile="/nonexistent")
    assert machine.run("newOrder").returncode == 1
    assert machine.run("newOrder", "b").returncode == 1
    wrong, missing = trouble(machine), trouble(machine, "b")
    assert wrong is not None and "a_.b..example" in wrong.why and wrong.runs == 1
    assert missing is not None and "CAfile = /nonexistent: cannot be read" in missing.why
    assert missing.runs == 2, "this run looked at it alone"


def test_a_notification_that_fails(machine: Machine) -> None:
    authority = ca.CA(machine.path)
    flag = machine.path / "flag"
    machine.section("a", CAfile=str(authority.root), notify=f"test -e {flag}")
    machine.client.plays(words.receive(), words.issue(machine.path))
    for runs in (1, 2):
        assert machine.run("newOrder").returncode == 1
        found = trouble(machine)
        assert found is not None and found.runs == runs
        assert found.why == f"the notification “test -e {flag}” ended with status 1"
    done = machine.run("status", "--check")
    assert done.returncode == 1 and "WARNING - a: the notification “test" in done.stdout
    flag.touch()
    assert machine.run("newOrder").returncode == 0
    assert trouble(machine) is None and machine.run("status", "--check").returncode == 0


def test_a_state_that_cannot_be_written(machine: Machine) -> None:
    """Is told of once, by what needs it."""
    machine.section("a")
    (machine.lib / "state").rmdir()
    (machine.lib / "state").touch()
    done = machine.run("newOrder")
    assert done.returncode == 1 and done.stderr.count("\n") <= 3 and "troubles" not in done.stderr
