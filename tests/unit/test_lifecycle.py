"""A section's life: every row of the table, that no row is missing, and what it leaves behind."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.common.wire.order import OUTCOMES
from letsencrypt_tiny.master.plan import lifecycle
from letsencrypt_tiny.master.plan.lifecycle import (BUSY, CHAIN, DONE, DUE, INSTALLED, INSTALLING,
                                                    ISSUED, LOST, NOT_NOTIFIED, NOT_WRITTEN,
                                                    NOTIFIED, ORDERED, ORDERING, PROGRESS, REFUSED,
                                                    REJECTED, ROWS, UNFINISHED, VERIFIED, WRITTEN,
                                                    Facts, resume, step)
from letsencrypt_tiny.master.store.journal import SectionState

TREE = Path(__file__).resolve().parents[2]
COMMANDS = sorted((TREE / "letsencrypt_tiny/master/commands").glob("*.py"))

PHASES = {DUE, ORDERING, ISSUED, INSTALLING, INSTALLED, DONE}
# A state in which each member tells, and facts that differ from it in each
FULL = SectionState("d", "a", "o", "k", True, True, 7)
FACTS = Facts("d2", "a2", "o2", "k2", 9, False)
ORDER = FULL._replace(directory="d2", account="a2", order="o2", order_key="k2")
NO_ORDER = FULL._replace(order=None, order_key=None, not_before=0)

TABLE = {
    (DUE, ORDERED): (ORDERING, FULL),
    (ORDERING, PROGRESS): (ORDERING, ORDER),
    (ORDERING, CHAIN): (ISSUED, FULL),
    (ORDERING, REFUSED): (DUE, NO_ORDER),
    (ORDERING, BUSY): (DUE, FULL._replace(not_before=9)),
    (ORDERING, UNFINISHED): (DUE, FULL._replace(not_before=9)),
    (ORDERING, LOST): (DUE, FULL),
    (ISSUED, REJECTED): (DUE, NO_ORDER),
    (ISSUED, VERIFIED): (INSTALLING, FULL._replace(installing=True, notify=False)),
    (INSTALLING, NOT_WRITTEN): (DUE, FULL),
    (INSTALLING, WRITTEN): (INSTALLED, NO_ORDER._replace(installing=False)),
    (INSTALLED, NOTIFIED): (DONE, FULL._replace(notify=False)),
    (INSTALLED, NOT_NOTIFIED): (INSTALLED, FULL),
}


@pytest.mark.parametrize("phase, event", TABLE)
def test_rows(phase: str, event: str) -> None:
    assert step(phase, event, FULL, FACTS) == TABLE[phase, event]


def test_each_row_is_tested_and_there_is_one_of_each() -> None:
    assert [(row.phase, row.event) for row in ROWS] == list(TABLE)
    assert {row.phase for row in ROWS} | {row.next for row in ROWS} == PHASES


@pytest.mark.parametrize("phase", PHASES)
def test_what_cannot_happen(phase: str) -> None:
    for event in {event for _, event in TABLE} | {"x"}:
        if (phase, event) not in TABLE:
            with pytest.raises(KeyError):
                step(phase, event, FULL, FACTS)


# --- the table and the commands ------------------------------------------------------------------

def happenings() -> Iterator[str]:
    """Yield what commands say that happens: the events' names, or how else it is written."""
    for path in COMMANDS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) \
                    and node.func.attr == "happens":
                said = node.args[0]
                for case in (said.body, said.orelse) if isinstance(said, ast.IfExp) else (said,):
                    yield ast.unparse(case)


def test_every_event_that_commands_know_is_in_the_table() -> None:
    """And none is in the table that never comes.  A client's outcome is an event as it is."""
    said = set(happenings())
    assert "answer.outcome" in said
    events = {getattr(lifecycle, name.removeprefix("lifecycle."))
              for name in said - {"answer.outcome"}} | set(OUTCOMES)
    assert events == {row.event for row in ROWS}


def test_an_order_may_end_in_every_way_that_a_client_can_tell() -> None:
    assert set(OUTCOMES) == {REFUSED, BUSY, UNFINISHED, LOST}
    for outcome in OUTCOMES:
        assert (ORDERING, outcome) in TABLE


def test_from_everywhere_there_is_a_way_to_the_end() -> None:
    """And to every phase from where a run begins."""
    reached = {DUE}
    while more := {row.next for row in ROWS if row.phase in reached} - reached:
        reached |= more
    assert reached == PHASES
    ending = {DONE}
    while more := {row.phase for row in ROWS if row.next in ending} - ending:
        ending |= more
    assert ending == PHASES


# --- what is left of it for the next run ---------------------------------------------------------

def live(*events: tuple[str, Facts] | str, state: SectionState = SectionState()
         ) -> tuple[str, SectionState]:
    """Go through events from DUE on; return the phase and what the journal has."""
    phase = DUE
    for event in events:
        name, facts = event if isinstance(event, tuple) else (event, Facts())
        phase, state = step(phase, name, state, facts)
    return phase, state


SEEN = PROGRESS, Facts("d", "a", "o", "k")
REMEMBERED = SectionState("d", "a", "o", "k")
GOOD = VERIFIED, Facts(notify=True)


def test_resume() -> None:
    assert resume(SectionState()) == resume(REMEMBERED) == DUE
    assert resume(SectionState(notify=True)) == INSTALLED
    assert resume(SectionState(installing=True, notify=True)) == DUE
    assert resume(SectionState(installing=True)) == DUE
    assert resume(SectionState(not_before=5)) == DUE


def test_a_life() -> None:
    """What is remembered after each step, and in which phase the next run would begin."""
    steps: list[tuple[str, Facts] | str] = [ORDERED, SEEN, SEEN, CHAIN, GOOD, WRITTEN,
                                            NOT_NOTIFIED, NOTIFIED]
    done = REMEMBERED._replace(order=None, order_key=None)
    installing = REMEMBERED._replace(installing=True, notify=True)
    expected = [(ORDERING, SectionState(), DUE), (ORDERING, REMEMBERED, DUE),
                (ORDERING, REMEMBERED, DUE), (ISSUED, REMEMBERED, DUE),
                (INSTALLING, installing, DUE), (INSTALLED, done._replace(notify=True), INSTALLED),
                (INSTALLED, done._replace(notify=True), INSTALLED), (DONE, done, DUE)]
    for number, (phase, state, begins) in enumerate(expected, 1):
        assert live(*steps[:number]) == (phase, state) and resume(state) == begins


def test_progress_without_a_url_is_nothing_new() -> None:
    """An order that is not made yet does not take the place of one that is."""
    for url in (None, ""):
        assert live(ORDERED, (PROGRESS, Facts("d2", "a2", url, "k2")), state=REMEMBERED) == (
            ORDERING, REMEMBERED)


def test_busy_keeps_the_order_and_the_moment_to_come_back() -> None:
    assert live(ORDERED, SEEN, (BUSY, Facts(not_before=99))) == (
        DUE, REMEMBERED._replace(not_before=99))
    # … and what the next answer says of it counts: no moment, no waiting
    assert live(ORDERED, SEEN, BUSY, state=SectionState(not_before=5)) == (DUE, REMEMBERED)
    assert live(ORDERED, UNFINISHED, state=REMEMBERED._replace(not_before=5)) == (DUE, REMEMBERED)


def test_refused_forgets_the_order() -> None:
    phase, state = live(ORDERED, SEEN, REFUSED, state=SectionState(not_before=5, notify=True))
    assert phase == DUE and (state.order, state.order_key, state.not_before) == (None, None, 0)
    assert state.notify, "a notification of the last certificate is still to be delivered"


def test_lost_keeps_everything() -> None:
    """Nobody knows what became of it: what was remembered still holds."""
    for state in (SectionState(), REMEMBERED, FULL):
        assert live(ORDERED, LOST, state=state) == (DUE, state)
    assert live(ORDERED, SEEN, LOST) == (DUE, REMEMBERED)


def test_a_chain_that_is_not_good_is_of_no_order_to_go_on_with() -> None:
    assert live(ORDERED, SEEN, CHAIN, REJECTED) == (DUE, SectionState("d", "a"))


def test_what_could_not_be_written_is_tried_again_from_the_same_order() -> None:
    phase, state = live(ORDERED, SEEN, CHAIN, GOOD, NOT_WRITTEN)
    assert phase == DUE and (state.order, state.order_key) == ("o", "k")
    assert state.installing and resume(state) == DUE, "some of the files may be new"


def test_a_notification_is_owed_until_it_was_delivered() -> None:
    phase, state = live(ORDERED, SEEN, CHAIN, GOOD, WRITTEN, NOT_NOTIFIED, NOT_NOTIFIED)
    assert phase == INSTALLED and state.notify
    assert step(phase, NOTIFIED, state)[1].notify is False
    # whoever has none is owed none, whatever was before
    phase, state = live(ORDERED, CHAIN, (VERIFIED, Facts()), state=SectionState(notify=True))
    assert not state.notify
