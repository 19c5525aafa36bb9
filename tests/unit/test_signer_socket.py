"""The signer's socket: whose it is, how many it serves at once, and where it may be."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.accountd import (AS_ROOT, GOOD, HELLO, PYTHON, Client, Home, Running, as_nobody, run,
                              write_key)
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.signer import server
from letsencrypt_tiny.signer.conversation import Signer


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "RSA:2048")


@pytest.fixture(name="running")
def _running(tmp_path: Path, key: Path) -> Iterator[Running]:
    with Running(tmp_path, key) as running:
        yield running


def test_no_wait_is_long() -> None:
    """Of a signal that comes right before a wait Python tells nobody until that is over."""
    waits: list[float] = []

    class Poll:
        """Notes how long it is to wait, and doesn't."""

        def poll(self, timeout: float, _events: int) -> list[tuple[int, int]]:
            """Nothing happens."""
            waits.append(timeout)
            return []

    with socket.create_server(("127.0.0.1", 0)) as listener:
        idle = server.Server([listener], Signer(Greeting("ES256", {}, ""), bytes, None))
        with idle._epoll:
            idle._epoll = Poll()    # type: ignore[assignment]
            idle.step()
            idle.step()
    assert waits == [server.PAUSE] * 2 and server.PAUSE <= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_socket(number: int, running: Running) -> None:
    info = running.path.lstat()
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600
    with running.connect() as client:
        client.sign(GOOD)
        assert running.stop(number) == 0
    assert not running.path.exists()
    log = running.log.read_text()
    assert f"[1] connection of user {os.getuid()}, process {os.getpid()}\n" in log
    assert "[1] SIGNED" in log and "Traceback" not in log and "error" not in log


def test_second_signal(tmp_path: Path, key: Path) -> None:
    """It does not keep the socket from being removed."""
    before = ("import os, time\n"
              "from letsencrypt_tiny.signer.place import Place\n"
              "close = Place.close\n"
              "def closing(self):\n"
              "    os.kill(os.getpid(), 15), os.kill(os.getpid(), 2), time.sleep(0.2)\n"
              "    close(self)\n"
              "Place.close = closing")
    with Running(tmp_path, key, "--confine=no", before=before) as running:
        with running.connect() as client:
            client.sign(GOOD)
            assert running.stop() == 0
        assert not running.path.exists() and "Exception" not in running.log.read_text()


@pytest.mark.skipif(not AS_ROOT, reason="needs another user")
def test_socket_is_for_its_owner_only(key: Path) -> None:
    with Home() as home, Running(home, key) as running:
        script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(running.path)!r})"

        def connect() -> str:
            return subprocess.run([PYTHON, "-c", script], stderr=subprocess.PIPE, text=True,
                                  timeout=30, **as_nobody()).stderr

        assert "PermissionError" in connect()
        running.path.chmod(0o666)   # it was the mode, and nothing else
        assert connect() == ""
        running.stop()


def test_socket_of_another_is_not_removed(running: Running) -> None:
    running.path.rename(running.path.with_name("moved"))
    running.path.write_text("another")
    assert running.stop() == 0
    assert running.path.read_text() == "another"


def test_concurrent_connections(running: Running) -> None:
    clients = [running.connect() for _ in range(6)]
    signatures: list[bytes] = []

    def use(client: Client) -> None:
        signatures.extend(client.sign(GOOD) for _ in range(5))

    threads = [threading.Thread(target=use, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.__exit__()
    assert len(signatures) == 30 and len(set(signatures)) == 1


def test_many_requests_in_one_write(running: Running) -> None:
    with running.connect() as client:
        signature = client.sign(GOOD)
        client.sock.sendall((GOOD + b"\r\n") * 100)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.lines.read() == (signature + b"\r\n") * 100


def test_endless_line(running: Running) -> None:
    with running.connect() as other, running.connect() as client:
        sent = 0
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while sent < 64 << 20:
                sent += client.sock.send(b"A" * 65536)
        assert sent < 4 << 20
        assert client.rest() == b""
        other.sign(GOOD)
    running.wait_for("NOSIGN line longer than 65544 bytes\n")


def test_half_line_harms_nobody(running: Running) -> None:
    with running.connect() as client:
        client.sock.sendall(GOOD[:20])
    with running.connect() as client:
        client.sign(GOOD)
    running.wait_for("NOSIGN the client ended in the middle of a line\n")


def test_limits(tmp_path: Path, key: Path) -> None:
    """The time for a line; room for new connections is made by idle ones, not by busy ones."""
    before = ("from letsencrypt_tiny.signer import conversation as c, room as r, server as s\n"
              "s.MAX_CONNECTIONS, r.IDLE_TIME, c.LINE_TIME = 2, 0.3, 1.5")
    with Running(tmp_path, key, before=before) as running:
        slow, idle = running.connect(hello=True), running.connect()
        idle.sign(GOOD)
        with pytest.raises((AssertionError, ConnectionError)):
            running.connect()  # nobody has been idle for long
        began = time.monotonic()
        slow.sock.sendall(b"A")
        time.sleep(0.4)
        third = running.connect()
        assert idle.lines.readline() == b"", "the idle one has made room"
        slow.sock.sendall(b"A")
        assert slow.lines.readline().startswith(b"NOSIGN no whole line within")
        assert 1.4 < time.monotonic() - began < 4
        third.sign(GOOD)
        for client in (slow, idle, third):
            client.__exit__()
        assert running.stop() == 0
        log = running.log.read_text()
        assert "[3] refused: 2 connections are busy" in log and "error" not in log


KNOCK = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
print("knocked", flush=True)
sock.settimeout(30)
print(sock.recv(4096)[:4].decode(), flush=True)
sys.stdin.read()
"""


def test_a_newcomer_waits_for_room(tmp_path: Path, key: Path) -> None:
    """Nobody has more than others, nobody is idle: it waits, and so do those behind it."""
    before = "from letsencrypt_tiny.signer import server as s\ns.MAX_CONNECTIONS = 1"
    with Running(tmp_path, key, before=before) as running, contextlib.ExitStack() as stack:
        client = running.connect()
        client.sign(GOOD)
        waiting = []
        for _ in range(3):
            process = stack.enter_context(subprocess.Popen(
                [PYTHON, "-c", KNOCK, str(running.path)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True))
            assert process.stdout and process.stdout.readline() == "knocked\n"
            waiting.append(process)
        time.sleep(2.5)   # until it has looked again
        client.sign(GOOD)
        assert "refused" not in running.log.read_text()
        client.__exit__()
        for process in waiting:   # in the order of their coming
            assert process.stdout and process.stdout.readline() == "1 OK\n"
            process.communicate()
        assert running.stop() == 0
        assert "connections are busy" not in running.log.read_text()


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_a_conversation_that_fails(tmp_path: Path, key: Path, options: list[str]) -> None:
    """For a reason nobody thought of: it ends, in a line, and the others go on."""
    before = ("from letsencrypt_tiny.signer import conversation as c\n"
              "answer = c.Talk._answer\n"
              "def changed(self, line):\n"
              "    if line == b'odd':\n"
              "        raise ValueError('nobody thought of that')\n"
              "    return answer(self, line)\n"
              "c.Talk._answer = changed")
    with Running(tmp_path, key, *options, before=before) as running, running.connect() as other:
        with running.connect() as client:
            assert client.ask(b"odd") == b""
        other.sign(GOOD)
        assert running.stop() == 0
        log = running.log.read_text()
    assert log.count("error: a conversation failed: ValueError('nobody thought of that')\n") == 1
    assert ("Traceback" in log) is bool(options)


def test_no_memory_for_a_conversation(tmp_path: Path, key: Path) -> None:
    """There would be none for the others: it ends, and is started anew."""
    before = ("from letsencrypt_tiny.signer import conversation as c\n"
              "def changed(self, line):\n"
              "    raise MemoryError\n"
              "c.Talk._answer = changed")
    with Running(tmp_path, key, before=before) as running, running.connect() as client:
        assert client.ask(GOOD) == b""
        assert running.process.wait(20) == 1 and not running.path.exists()


def test_connections_beyond_those_that_are_logged(tmp_path: Path, key: Path) -> None:
    """They can't fill the disk; what is signed for them is in the log, and their number."""
    before = ("from letsencrypt_tiny.signer import conversation as c\n"
              "c.LOGGED, c.HOUR = 3, 6.0")

    def one(*lines: bytes) -> None:
        with running.connect() as client:
            client.sock.sendall(b"".join(line + b"\r\n" for line in lines))
            client.sock.shutdown(socket.SHUT_WR)
            assert client.rest().count(b"\r\n") == lines.count(GOOD)

    with Running(tmp_path, key, before=before) as running:
        for _ in range(3):
            one(GOOD, b"junk")
        first = running.log.read_text()
        assert first.count("NOSIGN") == first.count("connection of user") == 3
        for _ in range(20):
            one(b"junk")
            one(b"A" * 70000)
        one(GOOD, b"junk")
        added = running.log.read_text()[len(first):]
        assert added.count("more than 3 connections and refusals within an hour: of further ones "
                           "only what is signed is logged") == 1
        assert added.count("[44] SIGNED") == 1 and "NOSIGN" not in added
        assert added.count("\n") <= 3   # “end of connection” of the third
        time.sleep(6)
        one(b"junk")
        added = running.log.read_text()[len(first):]
        assert "warning: 41 connections and refusals were not logged\n" in added
        assert "[45] NOSIGN" in added
        assert running.stop() == 0


def refused_socket(key: Path, path: Path, **options: Any) -> tuple[int, str]:
    """Exit status and message of a program that must not start to listen."""
    done = run(f"--privkey=file:{key}", f"--socket={path}", **options)
    return done.returncode, done.stderr.decode()


def test_existing_path(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "S"
    stale = socket.socket(socket.AF_UNIX)
    makers: list[Callable[[], object]] = [
        lambda: stale.bind(str(path)), lambda: path.symlink_to("nowhere"), path.mkdir,
        lambda: path.write_text("mine")]
    for make in makers:
        make()
        before = path.lstat()
        status, message = refused_socket(key, path)
        assert status == 1 and f"socket {path}: exists already" in message
        assert path.lstat() == before
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    stale.close()


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o702])
def test_directory_that_others_may_write(mode: int, tmp_path: Path, key: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    status, message = refused_socket(key, place / "S")
    assert status == 2 and f"others may write in {place} (mode {mode:04o})" in message
    assert not list(place.iterdir())


def test_bad_directory(tmp_path: Path, key: Path) -> None:
    status, message = refused_socket(key, tmp_path / "none/S")
    assert status == 2 and f"{tmp_path}/none: No such file or directory" in message
    status, message = refused_socket(key, key / "S")
    assert status == 2 and "Not a directory" in message or "is not a directory" in message
    (tmp_path / ("long" * 30)).mkdir()
    status, message = refused_socket(key, tmp_path / ("long" * 30) / "S")
    assert status == 1 and "AF_UNIX path too long" in message


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
def test_directory_of_another(tmp_path: Path, key: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 65534, -1)
    status, message = refused_socket(key, place / "S")
    assert status == 2 and "belongs to another user (uid 65534)" in message


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
@pytest.mark.parametrize("change, told", [
    (lambda path: path.chmod(0o777), "writable by everybody"),
    (lambda path: (os.chown(path, 0, 65533), path.chmod(0o775)), "writable by its group"),
    (lambda path: os.chown(path, 65534, -1), "belongs to uid 65534")])
def test_directory_below_one_of_others(change: Callable[[Path], object], told: str,
                                       tmp_path: Path, key: Path) -> None:
    """They could put another in its place, with a signer of theirs."""
    above = tmp_path / "above"
    (above / "place").mkdir(parents=True)
    change(above)
    status, message = refused_socket(key, above / "place/S")
    assert status == 2 and f"socket {above}/place/S: {above}: {told}" in message
    above.chmod(0o1777)   # nobody else can rename what is ours there
    os.chown(above, 0, 0)
    with Running(above / "place", key) as running, running.connect() as client:
        client.sign(GOOD)


def kernel_status(pid: int) -> dict[str, str] | None:
    """/proc/PID/status as a dictionary."""
    lines = Path(f"/proc/{pid}/status").read_text().split("\n")
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_confined_while_it_serves(running: Running) -> None:
    pytest.importorskip("seccomp")
    status = kernel_status(running.process.pid)
    assert status and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    with running.connect() as client:
        client.sign(GOOD)
    assert running.stop() == 0 and not running.path.exists()


CROWD = """
import socket, sys, time
path, count, said = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
held = []
def more():
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.settimeout(10)
    sock.recv(4096)
    held.append(sock)
    try:
        sock.sendall(said)
    except OSError:
        pass
for _ in range(count):
    more()
print("crowded", flush=True)
while True:      # and whenever one is hung up on, it comes again
    time.sleep(0.005)
    more()
    del held[:-200]
"""


@contextlib.contextmanager
def crowd(path: Path, said: bytes, count: int = 32) -> Iterator[None]:
    """Another process that takes every place, and never lets go."""
    with subprocess.Popen([PYTHON, "-c", CROWD, str(path), str(count), said.hex()],
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"crowded\n"
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("said", [b"", GOOD[:20], HELLO, (GOOD + b"\r\n") * 30],
                         ids=["idle", "half a line", "hello", "busy"])
def test_one_peer_does_not_take_the_places_of_others(tmp_path: Path, key: Path,
                                                     said: bytes) -> None:
    """70 of 70 are served, whatever it does with them; and one that was there before, too."""
    limit = "from letsencrypt_tiny.signer import server as s\ns.MAX_CONNECTIONS = 32"
    with Running(tmp_path, key, before=limit) as running, running.connect() as before:
        with crowd(running.path, said):
            for _ in range(70):
                with running.connect() as client:
                    client.sign(GOOD)
        before.sign(GOOD)
        assert running.stop() == 0


@pytest.mark.skipif(not AS_ROOT, reason="needs another user")
def test_one_user_does_not_take_the_places_of_others(key: Path) -> None:
    """However many processes he has."""
    limit = "from letsencrypt_tiny.signer import server as s\ns.MAX_CONNECTIONS = 6"
    with contextlib.ExitStack() as stack, Home() as home, \
            Running(home, key, before=limit) as running:
        running.path.chmod(0o666)
        script = ("import socket, sys\nsock = socket.socket(socket.AF_UNIX)\n"
                  f"sock.connect({str(running.path)!r})\nsock.recv(4096)\n"
                  "print(flush=True)\nsys.stdin.read()")
        for _ in range(6):
            other = stack.enter_context(subprocess.Popen(
                [PYTHON, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                **as_nobody()))
            assert other.stdout.readline()
        for _ in range(3):   # their ends may be noticed late: half of the places are ours then
            with running.connect() as client:
                client.sign(GOOD)
        assert running.stop() == 0


def test_who_has_asked_for_nothing_goes_first(tmp_path: Path, key: Path) -> None:
    """Of the greediest peer: then who waits, and who is in the middle of a line last."""
    limit = "from letsencrypt_tiny.signer import server as s\ns.MAX_CONNECTIONS = 3"
    with Running(tmp_path, key, before=limit) as running:
        waits, silent, busy = (running.connect() for _ in range(3))
        waits.sign(GOOD)
        busy.sign(GOOD)
        busy.sock.sendall(b"x")
        time.sleep(0.2)
        with crowd(running.path, b"", 1):
            assert silent.lines.readline() == b""
            busy.sock.sendall(b"\r\n")
        for client in (waits, silent, busy):
            client.__exit__()
        assert running.stop() == 0
