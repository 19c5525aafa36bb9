"""Challenges that a process of their own answers, from the client's side; the process may lie."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from letsencrypt_tiny.client.challenges import responders
from letsencrypt_tiny.client.challenges.responders import Remote
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire import responder as wire
from letsencrypt_tiny.common.wire.order import Door
from letsencrypt_tiny.common.wire.responder import (Challenge, Clean, Failed, Lines, Present, Ready,
                                                    Waits)

THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
NAME = ("dns", "a.example")


class Process:
    """The responder's end of a door."""

    def __init__(self, kind: str = "dns-01", zone: str = "") -> None:
        self.socket, client = socket.socketpair()
        self.door = Door(kind, client.detach(), zone)
        self.socket.settimeout(0.2)
        self._lines = Lines()

    def heard(self) -> list[Any]:
        """Return what the client has asked since."""
        try:
            return [wire.parse_asked(line) for line in self._lines.feed(self.socket.recv(65536))]
        except TimeoutError:
            return []

    def say(self, message: Any) -> None:
        self.socket.sendall(wire.format_line(message))


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process()
    yield made
    made.socket.close()


@pytest.fixture
def remote(process: Process) -> Iterator[Remote]:
    made = Remote("dns-01", [process.door])
    yield made
    made.close()


def about(token: str = "t", identifier: tuple[str, str] = NAME) -> Challenge:
    return Challenge("dns-01", identifier, token, THUMBPRINT)


def begin(remote: Remote, token: str = "t") -> Any:
    steps = remote.present(NAME, token, THUMBPRINT)
    assert next(steps) > 0
    return steps


def end(steps: Any) -> Any:
    """Go on until it ends; return what it returns."""
    for _ in range(50):
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
    raise AssertionError("it does not end")


def test_ready(remote: Remote, process: Process) -> None:
    steps = begin(remote)
    assert process.heard() == [Present(about())]
    process.say(Waits(about(), 5, "a while"))
    next(steps)
    process.say(Ready(about()))
    assert end(steps) is True
    end(remote.clean(NAME, "t"))
    assert process.heard() == [Clean(about())]


def test_failed(remote: Remote, process: Process) -> None:
    steps = begin(remote)
    process.say(Failed(about(), "no \x1b[31mway"))
    with pytest.raises(Error, match=r"^a.example: dns-01: no \\x1b\[31mway$"):
        end(steps)
    assert process.heard() == [Present(about()), Clean(about())]
    steps = begin(remote)      # what was said earlier counts no more
    process.say(Ready(about()))
    assert end(steps) is True


def test_shared_by_two_orders(remote: Remote, process: Process) -> None:
    """One responds to it, and it is taken back with the last."""
    one, two = begin(remote), begin(remote)
    assert process.heard() == [Present(about())]
    process.say(Ready(about()))
    assert (end(one), end(two)) == (True, False)
    end(remote.clean(NAME, "t"))
    assert process.heard() == []
    end(remote.clean(NAME, "t"))
    assert process.heard() == [Clean(about())]


@pytest.mark.parametrize("said", [b"junk\n", b"x" * 5000, b"{}\n", None])
def test_a_process_that_is_lost(said: bytes | None, remote: Remote, process: Process) -> None:
    steps = begin(remote)
    if said is None:
        process.socket.close()
    else:
        process.socket.sendall(said)
    with pytest.raises(Error, match="the responder can't be talked to: "):
        end(steps)


def test_a_process_that_says_nothing(remote: Remote, process: Process,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """… beyond what it announced."""
    monkeypatch.setattr(responders, "SILENCE", 0.05)
    steps = begin(remote)
    process.say(Waits(about(), 1, "a while"))
    next(steps)
    time.sleep(0.2)
    next(steps)     # it said a second
    time.sleep(1)
    with pytest.raises(Error, match="says nothing any more"):
        end(steps)


def test_another_s_answer_is_not_this_one_s(remote: Remote, process: Process) -> None:
    one, two = begin(remote, "one"), begin(remote, "two")
    process.say(Ready(about("two")))
    process.say(Ready(about("t", ("dns", "b.example"))))
    assert end(two) is True
    process.say(Failed(about("one"), "no"))
    with pytest.raises(Error, match="dns-01: no"):
        end(one)


def test_the_longest_zone() -> None:
    every, one, sub = Process(), Process(zone="example.org"), Process(zone="sub.example.org")
    remote = Remote("dns-01", [one.door, every.door, sub.door])
    for name, process in (("x.sub.example.org", sub), ("example.org", one),
                          ("xexample.org", every)):
        steps = remote.present(("dns", name), "t", THUMBPRINT)
        next(steps)
        assert process.heard() == [Present(about("t", ("dns", name)))]
        steps.close()
    remote.close()
    for process in (every, one, sub):
        process.socket.close()


def test_whom_it_serves() -> None:
    """RFC 8738 §7: addresses are none of dns-01's."""
    one = Process(zone="example.org")
    remote = Remote("dns-01", [one.door])
    assert remote.serves(("dns", "www.example.org")) and not remote.serves(("dns", "example.net"))
    assert not remote.serves(("ip", "192.0.2.1"))
    with pytest.raises(Error, match="nobody answers the dns-01 challenge of example.net"):
        next(remote.present(("dns", "example.net"), "t", THUMBPRINT))
    other = Process("tls-alpn-01")
    assert Remote("tls-alpn-01", [other.door]).serves(("ip", "192.0.2.1"))
    remote.close()
    for process in (one, other):
        process.socket.close()
