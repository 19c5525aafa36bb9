"""A section's life: the table is whole, each row writes what it says, and a killed run resumes."""

import ast
from pathlib import Path

import pytest

from letsencrypt_tiny.common.wire.failed import OUTCOMES
from letsencrypt_tiny.master.plan import lifecycle
from letsencrypt_tiny.master.plan.lifecycle import ROWS, Facts, Row, resume, step
from letsencrypt_tiny.master.store.journal import SectionState

COMMANDS = Path(lifecycle.__file__).parents[1] / "commands"
ORDER = "https://ca.example/order/1"
FACTS = Facts("https://ca.example/dir", "t" * 43, ORDER, "ab" * 32, 2000, True)
EMPTY = SectionState()
ORDERED = SectionState(FACTS.directory, FACTS.account, ORDER, FACTS.order_key)


def after(phase: str, event: str, state: SectionState, facts: Facts = Facts()) -> SectionState:
    """Return what the journal has after an event."""
    return step(phase, event, state, facts)[1]


def test_no_event_is_ambiguous() -> None:
    assert len({(row.phase, row.event) for row in ROWS}) == len(ROWS)
    phases = {row.phase for row in ROWS} | {row.next for row in ROWS}
    assert phases == {row.phase for row in ROWS} | {lifecycle.DONE}, "a dead end"


def test_every_outcome_of_an_order_is_an_event() -> None:
    assert set(OUTCOMES) == {row.event for row in ROWS if row.phase == lifecycle.ORDERING} - {
        lifecycle.PROGRESS, lifecycle.CHAIN}


def test_every_event_that_is_told_has_a_row() -> None:
    """And each row's event is told somewhere in commands/."""
    told: set[str] = set()
    for path in COMMANDS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "happens":
                told |= {getattr(lifecycle, item.attr) for item in ast.walk(node.args[0])
                         if isinstance(item, ast.Attribute)
                         and getattr(item.value, "id", "") == "lifecycle"}
    # what isn't told by name is an order's outcome
    assert told | set(OUTCOMES) == {row.event for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.phase}-{row.event}")
def test_each_row(row: Row) -> None:
    assert step(row.phase, row.event, EMPTY, FACTS) == (row.next, row.edit(EMPTY, FACTS))
    assert row.edit is not lifecycle._keep or after(row.phase, row.event, ORDERED,
                                                    FACTS) == ORDERED


def test_what_cannot_happen() -> None:
    with pytest.raises(KeyError):
        step(lifecycle.DONE, lifecycle.WRITTEN, EMPTY)
    with pytest.raises(KeyError):
        step(lifecycle.DUE, lifecycle.VERIFIED, EMPTY)


def test_an_order_is_remembered_with_all_that_it_takes_to_go_on() -> None:
    assert after(lifecycle.ORDERING, lifecycle.PROGRESS, EMPTY, FACTS) == ORDERED
    assert after(lifecycle.ORDERING, lifecycle.PROGRESS, ORDERED, Facts()) == ORDERED


def test_an_order_is_asked_for_until_it_is_heard_of() -> None:
    """… or refused; where nobody can tell, the next run looks whether there is one."""
    asking = after(lifecycle.DUE, lifecycle.ORDERED, EMPTY, FACTS)
    assert asking == EMPTY._replace(asked=FACTS.directory)
    assert after(lifecycle.ORDERING, lifecycle.PROGRESS, asking, Facts()) == asking
    assert after(lifecycle.ORDERING, lifecycle.PROGRESS, asking, FACTS) == ORDERED
    for event in (lifecycle.LOST, lifecycle.UNFINISHED, lifecycle.BUSY, lifecycle.REFUSED):
        assert after(lifecycle.ORDERING, event, asking).asked
        assert after(lifecycle.ORDERING, event, asking, Facts(heard=True)).asked is None
    assert after(lifecycle.ORDERING, lifecycle.CHAIN, asking).asked is None
    # one that is taken up may be dead, and another be asked for
    again = after(lifecycle.DUE, lifecycle.ORDERED, ORDERED, FACTS)
    assert after(lifecycle.ORDERING, lifecycle.PROGRESS, again, FACTS).asked
    assert after(lifecycle.INSTALLING, lifecycle.WRITTEN, again).asked is None


def test_what_a_failed_order_leaves() -> None:
    """Refused: nothing.  Busy: the order, and when to come back.  Unfinished, lost: the order."""
    waiting = ORDERED._replace(not_before=1000)
    refused = after(lifecycle.ORDERING, lifecycle.REFUSED, waiting)
    assert (refused.order, refused.order_key, refused.not_before) == (None, None, 0)
    busy = after(lifecycle.ORDERING, lifecycle.BUSY, ORDERED, Facts(not_before=2000))
    assert busy == ORDERED._replace(not_before=2000)
    assert after(lifecycle.ORDERING, lifecycle.UNFINISHED, waiting) == ORDERED
    assert after(lifecycle.ORDERING, lifecycle.LOST, waiting) == waiting
    assert after(lifecycle.ISSUED, lifecycle.REJECTED, ORDERED).order is None


def test_installing() -> None:
    begun = after(lifecycle.ISSUED, lifecycle.VERIFIED, ORDERED, Facts(notify=True))
    assert begun.installing and begun.notify and begun.order == ORDER
    assert after(lifecycle.INSTALLING, lifecycle.NOT_WRITTEN, begun) == begun
    done = after(lifecycle.INSTALLING, lifecycle.WRITTEN, begun)
    assert not done.installing and done.notify and done.order is None
    assert not after(lifecycle.INSTALLED, lifecycle.NOTIFIED, done).notify
    assert after(lifecycle.INSTALLED, lifecycle.NOT_NOTIFIED, done).notify


@pytest.mark.parametrize("state, phase", [
    (EMPTY, lifecycle.DUE), (ORDERED, lifecycle.DUE),
    (ORDERED._replace(installing=True, notify=True), lifecycle.DUE),
    (EMPTY._replace(notify=True), lifecycle.INSTALLED)])
def test_where_the_next_run_takes_up_the_work(state: SectionState, phase: str) -> None:
    assert resume(state) == phase
