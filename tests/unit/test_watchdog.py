"""How long a client may be silent, and how many files it may make; no client is needed."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.peers import watchdog
from letsencrypt_tiny.master.peers.loop import TICK
from letsencrypt_tiny.master.peers.watchdog import GRACE, LONGEST, MORE_FILES, Crowd, Watchdog

SILENT = f"the ACME client has been silent for {90 + GRACE} seconds"
ENDLESS = "the ACME client does not come to an end"


def test_silence() -> None:
    dog = Watchdog(1000, 90, 1)
    end = 1000 + 90 + GRACE
    assert dog.deadline == end and dog.overdue(end - 0.1) == "" and dog.overdue(end) == SILENT


def test_one_answer_may_take_its_time() -> None:
    """And two in a row: a request may need a nonce first."""
    assert Watchdog(1000, 90, 1, 45).deadline == 1000 + 90 + 2 * 45 + GRACE
    assert Watchdog(1000, 0, 1, 45).deadline == 1000 + 2 * 45 + GRACE


def test_a_sign_of_life() -> None:
    dog = Watchdog(1000, 90, 1)
    dog.heard(1100, 0)
    assert dog.deadline == 1100 + 90 + GRACE
    assert dog.overdue(dog.deadline - 0.1) == "" and dog.overdue(dog.deadline) == SILENT


def test_an_announced_wait_is_granted_up_to_the_timeout() -> None:
    dog = Watchdog(1000, 90, 1)
    dog.heard(1000, 30)
    assert dog.deadline == 1000 + 30 + 90 + GRACE
    dog.heard(1000, 86400)
    assert dog.deadline == 1000 + 90 + 90 + GRACE
    dog.heard(1010, 0)   # a wait that was granted is not taken back
    assert dog.deadline == 1000 + 90 + 90 + GRACE


def test_every_conversation_has_an_end() -> None:
    for requests in (1, 50):
        dog = Watchdog(1000, 90, requests)
        end = 1000 + LONGEST + requests * (90 + GRACE)
        for now in range(1000, end, 20):
            assert dog.overdue(now) == ""
            dog.heard(now, 90)
        assert dog.deadline == end and dog.overdue(end) == ENDLESS


def test_no_timeout_is_no_end() -> None:
    """The administrator wants to wait; a silence is one all the same."""
    dog = Watchdog(0, 0, 1)
    assert dog.patience == GRACE and dog.overdue(GRACE).startswith("the ACME client has been")
    for now in range(0, 10_000_000, 10_000):
        dog.heard(now, 86400)
        assert dog.deadline == now + 86400 + GRACE and dog.overdue(now) == ""


# --- the crowd -----------------------------------------------------------------------------------

def fill(directory: Path, name: str, count: int) -> None:
    """Make files."""
    for number in range(count):
        (directory / f"{name}{number}").touch()


def test_files_without_end(tmp_path: Path) -> None:
    """The directory may lie in memory; what was there before is no fault of the client's."""
    fill(tmp_path, "old", 300)
    crowd = Crowd(str(tmp_path), 2)
    crowd.check(1)
    fill(tmp_path, "new", MORE_FILES + 2)
    crowd.check(2)
    (tmp_path / "one-more").touch()
    with pytest.raises(Error, match="^the ACME client makes files without end$"):
        crowd.check(3)
    (tmp_path / "old0").unlink()
    crowd.check(4)


def test_it_looks_a_few_times_a_second_and_at_what_changed(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(str(tmp_path), 0)
    looks: list[str] = []
    monkeypatch.setattr(watchdog, "os", SimpleNamespace(
        scandir=lambda path: looks.append("list") or os.scandir(path),
        stat=lambda path: looks.append("stat") or os.stat(path)))
    for now in (1, 1 + TICK / 2, 1 + TICK, 1 + TICK * 2):
        crowd.check(now)
    assert looks == ["stat", "list", "stat", "stat"]


def test_no_directory_of_challenges() -> None:
    Crowd("/", 0).check(1)
