"""The one loop: what can be read, the clock, and nothing that is asked for twice."""

import os
import time
from collections.abc import Iterator

import pytest

from letsencrypt_tiny.master.peers import loop as loops
from letsencrypt_tiny.master.peers.loop import TICK, Loop, Source, Tick


class Pipe:
    """A source that tells what was read; its silence ends at ``until``."""

    def __init__(self, until: float = float("inf")) -> None:
        self.reader, self.writer = os.pipe()
        self.until = until

    def fileno(self) -> int:
        return self.reader

    def deadline(self) -> float:
        return self.until

    def receive(self) -> Iterator[object]:
        yield os.read(self.reader, 100)

    def expire(self) -> Iterator[object]:
        self.until = float("inf")
        yield "expired"

    def close(self) -> None:
        """Close both ends."""
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    """Two sources."""
    made = [Pipe(), Pipe()]
    yield made
    for pipe in made:
        pipe.close()


def some(loop: Loop, count: int) -> list[object]:
    """Return the first events that are no ticks; fewer if they don't come in a while."""
    found: list[object] = []
    end = time.monotonic() + 5
    for event in loop.events(lambda: len(found) < count and time.monotonic() < end):
        if not isinstance(event, Tick):
            found.append(event)
    return found


def test_events_of_all_sources(pipes: list[Pipe]) -> None:
    loop = Loop()
    for number, pipe in enumerate(pipes):
        loop.add(pipe)
        os.write(pipe.writer, b"%d" % number)
    assert sorted(some(loop, 2), key=str) == [b"0", b"1"]


def test_the_first_event_is_a_tick_and_then_they_come_by_the_clock(pipes: list[Pipe]) -> None:
    """However much there is to read."""
    loop = Loop()
    loop.add(pipes[0])
    os.write(pipes[0].writer, b"x" * 50000)   # 500 pieces
    moments: list[float] = []
    begin = time.monotonic()
    for event in loop.events(lambda: time.monotonic() < begin + 3 * TICK):
        if isinstance(event, Tick):
            moments.append(event.now)
        elif len(moments) == 1:
            time.sleep(0.002)
    assert moments[0] - begin < TICK and 2 <= len(moments) <= 4
    assert all(after - before >= TICK for before, after in zip(moments, moments[1:]))


def test_it_goes_on_only_as_long_as_it_is_wanted(pipes: list[Pipe],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "TICK", 5)
    loop = Loop()
    loop.add(pipes[0])
    assert list(loop.events(lambda: False)) == []
    begin = time.monotonic()
    left = [True]
    for event in loop.events(lambda: bool(left)):
        assert isinstance(event, Tick)
        left.clear()
    assert time.monotonic() - begin < 4, "it does not wait once it isn't wanted"


def test_a_silence_that_is_too_long(pipes: list[Pipe], monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends when it should, between two ticks; a source that speaks hides no other."""
    monkeypatch.setattr(loops, "TICK", 5)
    loop = Loop()
    now = time.monotonic()
    pipes[1].until = now + 0.05
    loop.add(pipes[0])
    loop.add(pipes[1])
    assert some(loop, 1) == ["expired"]
    assert 0.05 <= time.monotonic() - now < 4
    pipes[1].until = 0
    os.write(pipes[0].writer, b"x" * 1000)
    assert "expired" in some(loop, 2)


def test_one_that_is_removed_is_not_heard_any_more(pipes: list[Pipe]) -> None:
    loop = Loop()
    for pipe in pipes:
        loop.add(pipe)
        os.write(pipe.writer, b"x")
    found = []
    for event in loop.events(lambda: not found):
        if not isinstance(event, Tick):
            found.append(event)
            loop.remove(pipes[0])
            loop.remove(pipes[1])   # both were ready
    assert found == [b"x"]
    for event in loop.events(lambda: False):
        raise AssertionError(event)
    loop.remove(pipes[0])   # again


def test_a_number_that_is_anothers_by_now(pipes: list[Pipe]) -> None:
    """Who is gone takes no successor along that has its descriptor."""
    loop = Loop()
    loop.add(pipes[0])
    stranger = Pipe()
    os.dup2(pipes[0].reader, stranger.reader)
    gone: Source = pipes[0]
    loop.remove(gone)
    heir = Pipe()
    heir.close()
    heir.reader = gone.fileno()
    heir.writer = pipes[0].writer
    loop.add(heir)
    loop.remove(gone)
    os.write(heir.writer, b"x")
    assert some(loop, 1) == [b"x"]
    loop.remove(heir)
    stranger.close()


def test_what_a_source_raises_comes_out(pipes: list[Pipe], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Iterator[object]:
        raise KeyError("x")
    loop = Loop()
    loop.add(pipes[0])
    os.write(pipes[0].writer, b"x")
    monkeypatch.setattr(pipes[0], "receive", fail)
    with pytest.raises(KeyError):
        some(loop, 1)


def test_drained_without_waiting(pipes: list[Pipe]) -> None:
    loop = Loop()
    loop.add(pipes[0])
    os.write(pipes[0].writer, b"x" * 1000)
    os.write(pipes[1].writer, b"y")
    loop.drain(pipes)
    assert not loops._ready(pipes[0].reader) and loops._ready(pipes[1].reader), "its own alone"
