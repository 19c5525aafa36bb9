"""Challenges of the updater and the threads that see to them, with a zone in memory."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire.responder import Answered, Challenge, Failed, Ready, Waits
from letsencrypt_tiny.dns import presenting
from letsencrypt_tiny.dns.journal import Journal
from letsencrypt_tiny.dns.places import Authority, Place
from letsencrypt_tiny.dns.presenting import MAX_WORKERS, Presenter
from letsencrypt_tiny.dns.records import Record, value
from letsencrypt_tiny.dns.updates.update import Refused

THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"


class Zone:
    """A way to update that publishes nowhere; ``gate`` holds updates up."""

    how = "memory"
    ports: tuple[int, ...] = ()
    modules: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.all: list[Record] = []    # ever published
        self.gate = threading.Event()
        self.gate.set()
        self.fails: dict[str, Exception] = {}
        self.most = self.now = 0
        self._lock = threading.Lock()

    def servers(self) -> list[Any]:
        return []

    def _do(self, what: str, change: Callable[[Record], object], record: Record) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.gate.wait(20)
        with self._lock:
            self.now -= 1
        if what in self.fails:
            raise self.fails[what]
        change(record)

    def add(self, record: Record, zone: str) -> None:
        self._do("add", self.records.append, record)
        self.all.append(record)

    def remove(self, record: Record, zone: str) -> None:
        self._do("remove", self.records.remove, record)


class Places:
    """Everything is in one zone; ``gate`` holds up who asks."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0

    def find(self, name: str) -> Place:
        self.asked += 1
        assert self.gate.wait(20)
        if name.startswith("nowhere"):
            raise Error("no such place")
        return Place(f"_acme-challenge.{name}", Authority("example", ()))


class Bench:
    """A presenter, and what doors have heard."""

    def __init__(self, path: Path) -> None:
        self.zone = Zone()
        self.path = path
        self.file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self.journal = Journal(self.file, 0)
        self.heard: list[tuple[int, Answered]] = []
        self.places: Any = Places()
        self.presenter = Presenter(self.places, self.zone, self.journal, 5, 0,
                                   lambda door, said: self.heard.append((door, said)))

    def final(self) -> list[tuple[int, Answered]]:
        """What was said but for Waits."""
        return [pair for pair in self.heard if not isinstance(pair[1], Waits)]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, (self.heard, self.zone.records)
            time.sleep(0.005)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    before = threading.active_count()
    made = Bench(tmp_path / "journal")
    yield made
    made.zone.gate.set()
    made.places.gate.set()
    made.zone.fails.clear()
    made.presenter.finish(5)
    made.until(lambda: threading.active_count() == before)   # no thread is left
    os.close(made.file)


def about(name: str, token: str = "t") -> Challenge:
    return Challenge("dns-01", ("dns", name), token, THUMBPRINT)


def test_published_and_taken_back(bench: Bench) -> None:
    one = about("a.example")
    bench.presenter.present(1, one)
    bench.until(lambda: bool(bench.final()))
    assert bench.final() == [(1, Ready(one))]
    assert bench.zone.records == [("_acme-challenge.a.example", value(one))]
    assert value(one) in bench.path.read_text()
    bench.presenter.present(2, one)
    assert bench.final()[1:] == [(2, Ready(one))]
    bench.presenter.clean(1, one)
    bench.presenter.leave(3)
    time.sleep(0.1)
    assert bench.zone.records
    bench.presenter.leave(2)
    bench.until(lambda: not bench.zone.records and not bench.path.read_text())
    assert bench.presenter.finish(5)


def test_a_record_is_remembered_before_it_is_published(bench: Bench) -> None:
    bench.zone.gate.clear()
    one = about("a.example")
    bench.presenter.present(1, one)
    bench.until(lambda: bench.zone.now == 1)
    assert value(one) in bench.path.read_text() and not bench.zone.records


def test_clients_are_reminded(bench: Bench) -> None:
    bench.zone.gate.clear()
    one = about("a.example")
    bench.presenter.present(1, one)
    bench.until(lambda: bench.zone.now == 1)
    bench.heard.clear()
    bench.presenter.remind()
    (door, said), = bench.heard
    assert door == 1 and isinstance(said, Waits) and "is being published" in said.why
    bench.zone.gate.set()
    bench.until(lambda: bool(bench.final()))
    bench.heard.clear()
    bench.presenter.remind()
    assert bench.heard == []


def test_what_is_stuck_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hoster that answers a byte at a time holds up nobody for ever; what it published in the
    end is taken back."""
    bench.zone.gate.clear()
    one, two = about("a.example"), about("b.example")
    bench.presenter.present(1, one)
    bench.presenter.present(2, two)
    bench.until(lambda: bench.zone.now == 2)
    bench.presenter.remind()
    assert bench.final() == []
    monkeypatch.setattr(presenting, "STUCK", -6)   # seconds; an update has 5
    bench.presenter.remind()
    assert [(door, type(said), said.challenge) for door, said in bench.final()] == [
        (1, Failed, one), (2, Failed, two)]
    assert "is being published: nothing comes of it" in str(bench.final()[0][1])
    bench.heard.clear()
    bench.presenter.remind()
    assert bench.heard == []
    assert not bench.presenter.finish(0.05)
    bench.zone.gate.set()
    bench.until(lambda: not bench.path.read_text())
    assert bench.zone.records == []


def test_what_is_left_is_told(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """… when time is up."""
    bench.zone.gate.clear()
    bench.presenter.present(1, about("a.example"))
    bench.until(lambda: bench.zone.now == 1)
    assert not bench.presenter.finish(0.05)
    assert ("1 records are left, the next run will try to take them back: _acme-challenge.a.example"
            in capfd.readouterr().err)


def test_not_published_when_it_is_found_too_late(bench: Bench) -> None:
    """Where it belongs was found out after the client had left."""
    bench.places.gate.clear()
    bench.presenter.present(1, about("a.example"))
    bench.until(lambda: bench.places.asked == 1)
    bench.presenter.leave(1)
    bench.places.gate.set()
    bench.until(lambda: not bench.presenter._entries)
    assert bench.zone.all == [] and bench.path.read_text() == ""


def test_without_more_threads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that there are do the work, if there is any."""
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")
    bench.presenter.present(1, about("a.example"))
    bench.until(lambda: len(bench.final()) == 1)
    bench.zone.gate.clear()
    monkeypatch.setattr(threading.Thread, "start", start)
    for number in range(3):
        bench.presenter.present(1, about(f"{number}.example"))
    bench.zone.gate.set()
    bench.until(lambda: len(bench.final()) == 4)
    places: Any = Places()
    other = Presenter(places, bench.zone, bench.journal, 5, 0, lambda door, said: None)
    with pytest.raises(Error, match="no thread can be started"):
        other.present(1, about("a.example"))


def test_who_takes_back_what_another_wants(bench: Bench) -> None:
    """… takes back nothing."""
    one = about("a.example")
    bench.presenter.present(1, one)
    bench.until(lambda: bool(bench.final()))
    bench.presenter.clean(2, one)
    bench.presenter.clean(2, about("unknown.example"))
    assert bench.presenter._entries[one].doors == {1} and not bench.presenter._entries[one].busy


def test_not_published_any_more_when_it_is_not_wanted(bench: Bench) -> None:
    """… nor wanted again meanwhile, however often that changes."""
    bench.zone.gate.clear()
    one = about("a.example")
    for _ in range(5):
        bench.presenter.present(1, one)
        bench.presenter.clean(1, one)
    bench.presenter.present(1, one)
    bench.zone.gate.set()
    bench.until(lambda: bool(bench.final()))
    assert bench.final() == [(1, Ready(one))] and len(bench.zone.records) == 1


@pytest.mark.parametrize("error, left", [
    (Error("it may be there"), True), (Refused("it is not"), False), (KeyError("x"), True)])
def test_what_fails(error: Exception, left: bool, bench: Bench) -> None:
    """What may be published is removed before the failure is told."""
    told: list[bool] = []

    def remove(_record: Record, _zone: str) -> None:
        time.sleep(0.1)
        told.append(bool(bench.final()))
    bench.zone.remove = remove  # type: ignore[method-assign]
    bench.zone.fails["add"] = error
    one = about("a.example")
    bench.presenter.present(1, one)
    bench.until(lambda: bool(bench.final()))
    (door, said), = bench.final()
    assert isinstance(said, Failed) and said.challenge == one
    assert told == [False] * left and bench.path.read_text() == ""


def test_what_cannot_be_removed_is_remembered(bench: Bench) -> None:
    one = about("a.example")
    bench.presenter.present(1, one)
    bench.until(lambda: bool(bench.final()))
    bench.zone.fails["remove"] = Error("no")
    bench.presenter.clean(1, one)
    assert not bench.presenter.finish(5)
    assert value(one) in bench.path.read_text()


def test_nowhere(bench: Bench) -> None:
    bench.presenter.present(1, about("nowhere.example"))
    bench.until(lambda: bool(bench.final()))
    assert bench.final() == [(1, Failed(about("nowhere.example"), "no such place"))]
    assert bench.path.read_text() == ""


def test_what_an_earlier_run_left(tmp_path: Path, bench: Bench) -> None:
    records = [Record(f"_acme-challenge.{number}.example", "A" * 43) for number in range(50)]
    for record in records:
        bench.journal.publishing(record, "example", "how")
        bench.zone.records.append(record)
    bench.presenter.recover(10)
    assert bench.zone.records == [] and bench.path.read_text() == ""


def test_many_at_once_but_not_too_many(bench: Bench) -> None:
    bench.zone.gate.clear()
    for number in range(2 * MAX_WORKERS):
        bench.presenter.present(1, about(f"{number}.example"))
    bench.until(lambda: bench.zone.now == MAX_WORKERS)
    time.sleep(0.1)
    assert bench.zone.most == MAX_WORKERS
    bench.zone.gate.set()
    bench.until(lambda: len(bench.final()) == 2 * MAX_WORKERS)
