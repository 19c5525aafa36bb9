"""How http-01 is answered: opened, served, closed, in this order and from any point of it."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from harness import daemon, proc
from harness.responder import DAEMON, NOBODY, TOKEN, Host
from letsencrypt_tiny.common.errors import Error, LocalProtocolError
from letsencrypt_tiny.master.responders import challenge_directory
from letsencrypt_tiny.master.responders.firewall import Firewall
from letsencrypt_tiny.master.responders.listening import Listener

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    """A host without configuration."""
    with Host() as made:
        yield made


def test_contract_of_the_web_server(host: Host) -> None:
    responder = host.serving(f"listen = 127.0.0.1:8001 [::1]:8001 {host.path}/www\n"
                             "confine = required", "exec sleep 60")
    child = responder._child
    assert child is not None
    process = proc.read(child.pid)
    assert process.uids == (DAEMON.pw_uid,) * 4 and process.groups == (DAEMON.pw_gid,)
    assert process.cwd == responder.directory
    assert {n: target.partition(":")[0] for n, target in process.fds.items() if n < 6} == {
        0: "/dev/null", 1: "pipe", 2: "/dev/null", 3: "socket", 4: "socket", 5: "socket"}
    assert [n for n, target in process.fds.items() if target.startswith("socket")] == [3, 4, 5]
    assert responder._listener.sockets == [], "the web server has them, the master not any more"
    for family, address in ((socket.AF_INET, ("127.0.0.1", 8001)), (socket.AF_INET6, ("::1", 8001)),
                            (socket.AF_UNIX, f"{host.path}/www")):
        with socket.socket(family) as sock:
            sock.connect(address)
    responder.close()
    for family, address in ((socket.AF_INET, ("127.0.0.1", 8001)),
                            (socket.AF_INET6, ("::1", 8001))):
        with socket.socket(family) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(address)
    assert not os.path.lexists(host.path / "www") and daemon.strays() == []


def test_a_web_server_that_cannot_be_started(host: Host) -> None:
    made = host.responder(f"listen = {host.path}/www")
    (host.path / "webserver").unlink()
    with pytest.raises(Error, match="cannot run .*No such file"):
        made.open([])
        made.serve([])
    made.close()
    assert os.listdir(host.run) == [] and not (host.path / "www").exists()


def test_a_web_server_that_ends(host: Host) -> None:
    host.serving(f"listen = {host.path}/lives").check()
    responder = host.serving(f"listen = {host.path}/ends", "exit 3")
    with pytest.raises(Error, match="web server ended with status 3"):
        for _ in range(100):
            responder.check()
            time.sleep(0.05)


KEYS = ["A" * 43, "B" * 43]


@pytest.mark.parametrize("given, expected", [
    ([], []), (KEYS[:1], KEYS[:1]), (KEYS, KEYS), (KEYS[::-1], KEYS[::-1]),
    ([*KEYS, KEYS[0]], KEYS)])
def test_each_account_is_told_once(host: Host, given: list[str], expected: list[str]) -> None:
    responder = host.opened(f"listen = {host.path}/www\nconfine = required", "kill -STOP $$")
    responder.serve(given)
    child = responder._child
    assert child is not None
    assert list(proc.read(child.pid).argv[2:]) == [
        "--confine=required", *(f"--thumbprint={key}" for key in expected), "3"]


def test_open_starts_no_process(host: Host) -> None:
    """All else is there: the world can connect, and waits."""
    responder = host.opened(f"listen = 127.0.0.1:8006 {host.path}/www")
    assert daemon.strays() == [] and host.asked == [], "whose messages there are none of"
    assert os.path.isdir(responder.directory)
    responder.check()
    with socket.socket() as early:
        early.connect(("127.0.0.1", 8006))
        responder.serve([])
        assert host.asked == ["webserver"]
        responder.check()
    responder.close()
    assert daemon.strays() == [] and host.left() == []


def test_served_before_it_is_opened(host: Host) -> None:
    path = host.path / "acme"
    path.mkdir()
    for settings in (f"listen = {host.path}/www", f"challenge-directory = {path}"):
        responder = host.responder(settings)
        with pytest.raises(LocalProtocolError, match="to be opened before it serves"):
            responder.serve(KEYS)
        responder.check()
        responder.close()
        responder.open([])
        responder.close()
        with pytest.raises(LocalProtocolError, match="to be opened before it serves"):
            responder.serve(KEYS)
    assert host.asked == [] and host.left() == []


def test_served_twice(host: Host) -> None:
    responder = host.serving(f"listen = {host.path}/www")
    with pytest.raises(LocalProtocolError, match="served before"):
        responder.serve([])
    responder.check()
    responder.close()
    assert daemon.strays() == [] and host.left() == []


def test_the_web_server_of_an_administrator_is_not_started(host: Host) -> None:
    path = host.path / "acme"
    path.mkdir()
    responder = host.opened(f"challenge-directory = {path}")
    responder.serve(KEYS)
    assert daemon.strays() == [] and host.asked == []
    responder.check()
    (path / TOKEN).touch()
    os.chown(path / TOKEN, NOBODY.pw_uid, -1)
    responder.close()
    assert list(path.iterdir()) == []
    (path / TOKEN).touch()
    os.chown(path / TOKEN, NOBODY.pw_uid, -1)
    responder.close()   # the second time it is none of ours
    assert (path / TOKEN).exists()


class Stop(BaseException):
    """A signal's."""


@pytest.mark.parametrize("kind", [Error, Stop])
@pytest.mark.parametrize("room, step, before", [
    (challenge_directory, "make", True), (Listener, "bind", True), (Listener, "bind", False),
    (Firewall, "open", True), (Firewall, "open", False)])
def test_half_open(host: Host, room: object, step: str, kind: type[BaseException], before: bool,
                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever opening ends, before or after a step, all is taken back."""
    real = getattr(room, step)
    closed = []

    def failing(*arguments: object) -> None:
        if not before:
            real(*arguments)
        raise kind("no further")
    monkeypatch.setattr(room, step, failing)
    monkeypatch.setattr(Firewall, "close", lambda _: closed.append(True))
    responder = host.responder(f"listen = 127.0.0.1:8007 {host.path}/www\niptables = yes")
    with pytest.raises(kind, match="no further"):
        responder.open([])
    assert bool(host.left()) is (step != "make")
    responder.close()
    assert closed == [True] and host.left() == [] and not (host.path / "www").exists()
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(("127.0.0.1", 8007))
    with pytest.raises(LocalProtocolError):
        responder.serve(KEYS)


def test_the_firewall_is_closed_first(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is let in who would not be answered; and the directory goes last."""
    seen: list[tuple[object, ...]] = []
    responder = host.serving(f"listen = {host.path}/www")
    monkeypatch.setattr(Firewall, "close", lambda _: seen.append((
        "firewall", len(daemon.strays()), *os.listdir(host.run))))
    name = os.path.basename(responder.directory)
    responder.close()
    assert seen == [("firewall", 1, name)] and host.left() == []
