"""Challenges that a process answers: the solver at one end of a socket pair, the test at the
other."""

import socket
from collections.abc import Callable, Iterator

import pytest

from harness.client import finish
from letsencrypt_tiny.client.challenges import responders, table
from letsencrypt_tiny.client.challenges.responders import Remote
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire import responder as wire
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.common.wire.order import ClientConfig, Door

KEY = "k" * 43
NAME = ("dns", "a.example.org")


def about(name: str = NAME[1], token: str = "t", kind: str = "dns-01") -> wire.Challenge:
    """Return a challenge."""
    return wire.Challenge(kind, ("dns", name), token, KEY)


class Process:
    """The responder's end of a door: it hears, and says what the test wants."""

    def __init__(self, zone: str = "", kind: str = "dns-01") -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(5)
        self.door = Door(kind, theirs.detach(), zone)
        self._lines = wire.Lines()
        _opened.append(self)

    def heard(self) -> list[wire.Asked]:
        """Return what was asked by now."""
        self.socket.setblocking(False)
        found: list[wire.Asked] = []
        try:
            while data := self.socket.recv(65536):
                found += map(wire.parse_asked, self._lines.feed(data))
        except BlockingIOError:
            pass
        return found

    def say(self, *messages: "wire.Answered | bytes") -> None:
        """Write answers, or anything."""
        for message in messages:
            self.socket.sendall(message if isinstance(message, bytes)
                                else wire.format_line(message))


_opened: list[Process | Remote] = []


def remote(doors: list[Door]) -> Remote:
    """Return a solver of dns-01."""
    made = Remote("dns-01", doors)
    _opened.append(made)
    return made


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Close both ends of every door."""
    yield
    while _opened:
        one = _opened.pop()
        (one.socket if isinstance(one, Process) else one).close()


@pytest.fixture
def process() -> Process:
    """Who answers for every name."""
    return Process()


def at(clock: list[float], *acts: Callable[[], object]) -> Callable[[float], None]:
    """Return what a solver waits with: one act a pause, and the clock goes on."""
    left = list(acts)

    def pause(seconds: float) -> None:
        clock[0] += seconds
        if left:
            left.pop(0)()
    return pause


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the solver sees."""
    now = [1000.0]
    monkeypatch.setattr(responders.time, "monotonic", lambda: now[0])
    return now


def nothing() -> None:
    """Let the time pass."""


# --- whose it is -------------------------------------------------------------------------------

def test_the_longest_zone_wins_and_others_have_none(clock: list[float]) -> None:
    processes = [Process(zone) for zone in ("example.org", "a.example.org", "example.net")]
    solver = remote([process.door for process in processes])
    for name, serves in (("example.org", 0), ("b.example.org", 0), ("a.example.org", 1),
                         ("x.a.example.org", 1), ("example.net", 2), ("ba.example.org", 0)):
        assert solver.serves(("dns", name))
        answer = at(clock, lambda name=name, which=serves:
                    processes[which].say(wire.Ready(about(name))))
        assert finish(solver.present(("dns", name), "t", KEY), answer) is True
        asked = [process.heard() for process in processes]
        assert asked[serves] == [wire.Present(about(name))] and sum(map(bool, asked)) == 1
    for name in "example.com", "notexample.org", "org":
        assert not solver.serves(("dns", name))
        with pytest.raises(Error, match=f"nobody answers the dns-01 challenge of {name}"):
            finish(solver.present(("dns", name), "t", KEY))
    solver.close()
    assert all(process.socket.recv(10) == b"" for process in processes)


def test_who_is_for_all_names_is_asked_last(clock: list[float]) -> None:
    every, one = Process(), Process("example.org")
    solver = remote([every.door, one.door])
    for name, process in (("www.example.org", one), ("xexample.org", every), ("org", every)):
        assert solver.serves(("dns", name))
        finish(solver.present(("dns", name), "t", KEY), at(
            clock, lambda name=name, process=process: process.say(wire.Ready(about(name)))))
        assert process.heard() == [wire.Present(about(name))]
    solver.close()


def test_addresses_have_no_dns_01() -> None:
    for kind, serves in (("dns-01", False), ("tls-alpn-01", True)):
        process = Process(kind=kind)
        made = table.solvers(ClientConfig(Access("https://x/"), doors=(process.door,)))[kind]
        assert made.serves(("ip", "192.0.2.1")) is serves and made.serves(NAME)
        assert made.has_token and made.fault({}, "") == "" and made.type == kind
        made.close()


def test_without_a_door_there_is_no_solver() -> None:
    assert not {"dns-01", "tls-alpn-01"} & set(table.solvers(ClientConfig(Access("https://x/"))))


# --- one challenge, one order or more ------------------------------------------------------------

def test_presented_once_and_taken_back_with_the_last(process: Process, clock: list[float]) -> None:
    solver = remote([process.door])
    ready = at(clock, lambda: process.say(wire.Ready(about())))
    assert finish(solver.present(NAME, "t", KEY), ready) is True
    assert finish(solver.present(NAME, "t", KEY)) is False, "it is ready already"
    # another token of the same name is another challenge (a wildcard and its base name)
    other = at(clock, lambda: process.say(wire.Ready(about(token="u"))))
    assert finish(solver.present(NAME, "u", KEY), other) is True
    assert process.heard() == [wire.Present(about()), wire.Present(about(token="u"))]
    finish(solver.clean(NAME, "t"))
    assert process.heard() == []
    finish(solver.clean(NAME, "t"))
    assert process.heard() == [wire.Clean(about())]
    finish(solver.clean(NAME, "t"))   # once too often
    finish(solver.clean(NAME, "u"))
    assert process.heard() == [wire.Clean(about(token="u"))]


def test_two_wait_for_one_answer(clock: list[float]) -> None:
    """Who comes second while the first still waits asks nothing, and hears the same."""
    for answer, end in ((wire.Ready(about()), [True, False]),
                        (wire.Failed(about(), "no\x1b such zone"), "no\\x1b such zone")):
        process = Process()
        solver = remote([process.door])
        first, second = (solver.present(NAME, "t", KEY) for _ in range(2))
        assert next(first) > 0 and next(second) > 0
        assert process.heard() == [wire.Present(about())]
        process.say(answer)
        found = []
        for steps in first, second:
            try:
                finish(steps)
            except Error as exc:
                found.append(str(exc))
        if isinstance(end, str):
            assert found == [f"a.example.org: dns-01: {end}"] * 2
            assert process.heard() == [wire.Clean(about())], "told once, by the last"
        else:
            assert not found and process.heard() == []


def test_after_a_failure_it_is_asked_anew(process: Process, clock: list[float]) -> None:
    solver = remote([process.door])
    with pytest.raises(Error, match="refused"):
        finish(solver.present(NAME, "t", KEY),
               at(clock, lambda: process.say(wire.Failed(about(), "refused"))))
    assert finish(solver.present(NAME, "t", KEY),
                  at(clock, lambda: process.say(wire.Ready(about())))) is True
    assert process.heard() == [wire.Present(about()), wire.Clean(about()), wire.Present(about())]


def test_who_is_interrupted_takes_it_back(process: Process, clock: list[float]) -> None:
    solver = remote([process.door])
    steps = solver.present(NAME, "t", KEY)
    next(steps)
    steps.close()
    assert process.heard() == [wire.Present(about()), wire.Clean(about())]


# --- time ----------------------------------------------------------------------------------------

def test_silence_has_a_limit(process: Process, clock: list[float]) -> None:
    solver = remote([process.door])
    with pytest.raises(Error, match="a.example.org: dns-01: the DNS updater says nothing any more"):
        finish(solver.present(NAME, "t", KEY), at(clock))
    assert responders.SILENCE < clock[0] - 1000 < responders.SILENCE + 2


def test_who_says_how_long_has_that_long(process: Process, clock: list[float]) -> None:
    """Each time anew."""
    solver = remote([process.door])
    told = [wire.Waits(about(), 100, why) for why in ("one has it", "two have it", "two have it")]
    moments = [1000.1, 1120, 1200]

    def pause(seconds: float) -> None:
        clock[0] += seconds
        if moments and clock[0] > moments[0]:
            moments.pop(0)
            process.say(told.pop(0))
    with pytest.raises(Error, match="says nothing"):
        finish(solver.present(NAME, "t", KEY), pause)
    end = 1200 + 100 + responders.SILENCE
    assert not told and end < clock[0] < end + 3


def test_who_does_not_listen_yet_hears_everything_later(process: Process, clock: list[float]
                                                        ) -> None:
    """It may have to tidy up first, and a socket has room for a few hundred messages only."""
    solver = remote([process.door])
    names = [f"{number}.example.org" for number in range(2000)]
    steps = [solver.present(("dns", name), "t", KEY) for name in names]
    for one in steps:
        assert next(one) > 0
    heard: list[wire.Asked] = []
    while len(heard) < len(names):
        new = process.heard()
        assert new, "what had no room is sent when somebody looks"
        heard += new
        next(steps[0])
    assert heard == [wire.Present(about(name)) for name in names]
    process.say(wire.Ready(about(names[-1])))
    assert finish(steps[-1]) is True
    for one in steps:
        one.close()
    solver.close()


def test_who_never_listens(process: Process, clock: list[float],
                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responders, "MAX_OUTPUT", 10000)
    solver = remote([process.door])
    steps = [solver.present(NAME, f"t{number}", KEY) for number in range(2000)]
    with pytest.raises(Error, match="the DNS updater can't be talked to: it does not listen"):
        for one in steps:
            next(one)


# --- hostile or broken ---------------------------------------------------------------------------

@pytest.mark.parametrize("garbage", [
    b"x\n", b"{}\n", b"\n", b"\xff\xfe\n", b'{"message":"Ready"}\n', b"[" * 4000 + b"\n",
    b"x" * (wire.MAX_LINE + 1), wire.format_line(wire.Present(about())),
    wire.format_line(wire.Ready(about())).replace(b"dns-01", b"http-01"),
    wire.format_line(wire.Ready(about())).replace(b"a.example", b"*.example"),
    wire.format_line(wire.Waits(about(), 5, "")).replace(b"5", b"-5")], ids=range(11))
def test_garbage_ends_the_conversation(process: Process, clock: list[float],
                                       garbage: bytes) -> None:
    """With all challenges: who talks so is believed nothing any more."""
    solver = remote([process.door])
    for act in (lambda: process.say(garbage)), nothing:
        with pytest.raises(Error, match="the DNS updater can't be talked to"):
            finish(solver.present(NAME, "t", KEY), at(clock, act))
    with pytest.raises(Error, match="can't be talked to"):
        finish(solver.present(("dns", "b.example.org"), "t", KEY), at(clock))


def test_answers_about_others_change_nothing(process: Process, clock: list[float]) -> None:
    solver = remote([process.door])
    others = [about("b.example.org"), about(token="u"), about(kind="tls-alpn-01"),
              about()._replace(thumbprint="l" * 43)]
    with pytest.raises(Error, match="says nothing"):
        finish(solver.present(NAME, "t", KEY), at(clock, *(
            lambda other=other: process.say(wire.Ready(other)) for other in others)))


def test_what_nobody_asked_for_is_not_kept(process: Process, clock: list[float]) -> None:
    """Nor what was answered before it was asked: a flood of answers takes no memory."""
    solver = remote([process.door])
    process.say(wire.Ready(about(token="early")), *(
        wire.Waits(about(token=str(number)), 1, "") for number in range(20)))
    finish(solver.present(NAME, "t", KEY), at(clock, lambda: process.say(wire.Ready(about()))))
    (line, _), = solver._lines
    assert list(line._heard) == [about()]
    with pytest.raises(Error, match="says nothing"):
        finish(solver.present(NAME, "early", KEY), at(clock))


def test_what_was_ready_stays_so_if_the_process_ends(process: Process, clock: list[float]) -> None:
    """That it takes everything back then is its own business; the CA will tell."""
    solver = remote([process.door])
    finish(solver.present(NAME, "t", KEY), at(clock, lambda: process.say(wire.Ready(about()))))
    process.socket.close()
    with pytest.raises(Error, match="can't be talked to"):
        finish(solver.present(NAME, "u", KEY), at(clock))
    with pytest.raises(Error, match="can't be talked to"):
        finish(solver.clean(NAME, "t"))
    solver.close()


def test_a_process_that_ends_while_it_is_waited_for(process: Process, clock: list[float]) -> None:
    solver = remote([process.door])
    with pytest.raises(Error, match="can't be talked to: (it has ended|Connection reset)"):
        finish(solver.present(NAME, "t", KEY), at(clock, process.socket.close))
    assert clock[0] < 1001, "at once"
