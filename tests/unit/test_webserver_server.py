"""The challenge web server: under load, its beginning and its end."""

import os
import resource
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness.flood import flood
from harness.webserver import (AS_ROOT, PATH, TOKEN, TREE, Address, WebServer, check_serving,
                               connect, directory, exchange, get, processor_time, read_all,
                               running, status, write_program)
from letsencrypt_tiny.common.errors import UsageError
from letsencrypt_tiny.common.serving import PAUSE, Connection, listening_socket, peer_of
from letsencrypt_tiny.webserver.challenges import Challenges
from letsencrypt_tiny.webserver.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with running() as made:
        yield made


# --- load --------------------------------------------------------------------------------------

@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as the machine allows us."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_slow_connections_and_one_validation(server: WebServer, descriptors: None) -> None:
    """A thousand have their places; who comes then has one, too."""
    idle = [connect(server.addresses[0]) for _ in range(1000)]
    try:
        for sock in idle[::2]:
            try:
                sock.sendall(b"GET /.well-known/")
            except ConnectionError:
                pytest.fail("it had to make room")
        for address in server.addresses:
            start = time.monotonic()
            assert status(exchange(address, get(PATH))) == 200
            assert time.monotonic() - start < 2
        if AS_ROOT:  # others can't look into a confined process
            number = len(os.listdir(f"/proc/{server.process.pid}/fd"))
            assert 1000 < number < Server.MAX_CONNECTIONS + 20
        assert all(map(is_open, idle))
        idle += [connect(server.addresses[0]) for _ in range(100)]
        assert status(exchange(server.addresses[0], get(PATH))) == 200
        # The oldest went, the newest stayed.
        idle[0].setblocking(True)
        assert idle[0].recv(1) == b""
        idle[-1].settimeout(0.05)
        with pytest.raises(socket.timeout):
            idle[-1].recv(1)
    finally:
        for sock in idle:
            sock.close()


ROUND_TRIP = 0.2   # seconds between a validator's connection and its request


def validations(address: Address, source: str) -> list[int]:
    """Return the status of five validations at once, over a long line; 0 if there is none."""
    socks = [connect(address, source=source) for _ in range(5)]
    time.sleep(ROUND_TRIP)
    found = []
    for sock in socks:
        with sock:
            try:
                sock.sendall(get(PATH))
                found.append(status(read_all(sock)))
            except (OSError, ValueError, AssertionError):
                found.append(0)
    return found


@pytest.mark.root
@pytest.mark.parametrize("index, source, others", [
    (0, "127.0.0.3", ["127.0.0.2"]),
    (1, "2001:db8:0:2::1", [f"2001:db8:0:1::{number:x}" for number in range(1, 9)]),
    (2, "", [])], ids=["TCP v4", "TCP v6", "UNIX"])
def test_a_flood_from_one_peer(index: int, source: str, others: list[str]) -> None:
    """A thousand new connections a second from one address, network or user: those of others
    are served, however long their line."""
    for address in [source, *others] if index == 1 else ():
        subprocess.run(["ip", "address", "replace", f"{address}/128", "dev", "lo"], check=True)
    with running() as server:
        (server.base / "www.socket").chmod(0o666)
        with flood(server.addresses[index], others) as reached:
            found = [code for _ in range(3)
                     for code in validations(server.addresses[index], source)]
        assert reached[0] > 800, "no flood"
        assert found == [200] * 15


PEERS = {"a": "192.0.2.1", "a mapped": "::ffff:192.0.2.1", "b": "2001:db8::1",
         "b again": "2001:db8::ffff:0:0:1", "c": "2001:db8:0:1::1", "d": "fe80::1%lo",
         "e": "192.0.2.2"}


def test_who_is_one_peer() -> None:
    """An IPv4 address, however it comes, an IPv6 /64, a user."""
    found = {}
    for name, address in PEERS.items():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as sock:
            found[name] = peer_of(sock, (address, 80))
    assert found["a mapped"] == found["a"] and found["b again"] == found["b"]
    assert len(set(found.values())) == 5
    one, two = socket.socketpair()
    with one, two:
        assert peer_of(one, "") == b"uid %d" % os.getuid()


def opened(listener: socket.socket, server: Server, source: str, count: int, request: bytes = b""
           ) -> list[socket.socket]:
    """Connect, and have the server see it."""
    socks = []
    for _ in range(count):
        socks.append(connect(listener.getsockname(), source=source))
        socks[-1].sendall(request)
        server.step()
    return socks


def is_open(sock: socket.socket) -> bool:
    """Whether the server has left it open."""
    sock.setblocking(False)
    try:
        return sock.recv(65536) != b""
    except BlockingIOError:
        return True


def test_who_makes_room() -> None:
    """The peer with most connections: the oldest without a whole request, else the oldest."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = SmallServer([listener], Challenges().find)
        answered = opened(listener, server, "127.0.0.2", 1, get("/"))
        greedy = opened(listener, server, "127.0.0.2", 2, b"GET")
        other = opened(listener, server, "127.0.0.3", 1, b"GET")
        another = opened(listener, server, "127.0.0.4", 1, b"GET")
        assert not is_open(greedy[0]) and len(server.connections) == server.MAX_CONNECTIONS
        third = opened(listener, server, "127.0.0.3", 1, b"GET")   # two of two of them
        assert not is_open(greedy[1]) and is_open(other[0]) and is_open(another[0])
        fourth = opened(listener, server, "127.0.0.2", 1, get("/"))   # again
        assert not is_open(other[0]) and is_open(third[0])
        fifth = opened(listener, server, "127.0.0.2", 1, get("/"))
        assert read_all(answered[0])
        assert [conn.trailer >= 0 for conn in server.connections.values()] == [
            False, False, True, True]
        for sock in answered + greedy + other + another + third + fourth + fifth:
            sock.close()
        while server.connections:
            server.step()
        assert not server.places
        server.poll.close()


def test_who_asks_at_once_and_no_more_takes_no_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = SmallServer([listener], Challenges().find)
        idle = opened(listener, server, "127.0.0.2", 4)
        asked = opened(listener, server, "127.0.0.3", 1, get("/", close=True))
        assert status(read_all(asked[0])) == 404 and all(map(is_open, idle))
        assert len(server.connections) == 4
        again = opened(listener, server, "127.0.0.3", 1, get("/"))    # may ask for more
        assert status(read_all(again[0])) == 404 and not is_open(idle[0])
        for sock in idle + asked + again:
            sock.close()
        while server.connections:
            server.step()
        server.poll.close()


def test_no_wait_is_long() -> None:
    """Of a signal that comes right before a wait Python tells nobody until that is over."""
    class Poll(list[float]):
        """Notes how long it is to wait, and doesn't."""

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            """Nothing happens."""
            self.append(timeout)
            return []

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = SmallServer([listener], Challenges().find)
        waits = Poll()
        with server.poll:
            server.poll = waits    # type: ignore[assignment]
            server.step()
        one, two = socket.socketpair()
        with one, two:
            server.connections[one.fileno()] = Connection(one, b"", time.monotonic() + 10)
            server.step()
            server.connections[one.fileno()].deadline = time.monotonic() + PAUSE / 2
            server.step()
    assert waits[:2] == [PAUSE, PAUSE] and 0 < waits[2] <= PAUSE / 2


def test_many_validations_at_once(server: WebServer) -> None:
    socks = [connect(server.addresses[0]) for _ in range(100)]
    for sock in socks:
        sock.sendall(get(PATH))
    assert [status(read_all(sock)) for sock in socks] == [200] * 100
    for sock in socks:
        sock.close()


def test_idle_costs_nothing(server: WebServer) -> None:
    """With a silent connection, and with one half-way, the server sleeps."""
    with connect(server.addresses[0]) as one, connect(server.addresses[0]) as two:
        one.sendall(b"GET /")
        two.sendall(get(PATH))
        read_all(two)  # answered, and not closed by us
        before = processor_time(server.process.pid)
        time.sleep(0.3)
        assert processor_time(server.process.pid) - before <= 2


class SmallServer(Server):
    """The same with little room."""

    MAX_CONNECTIONS = 4


class ShortServer(Server):
    """The same with less patience."""

    DEADLINE = 0.5


@pytest.fixture
def short() -> Iterator[tuple[ShortServer, Address]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = ShortServer([listener], Challenges().find)
    stopping = False

    def run() -> None:
        while not stopping:
            server.step()

    thread = threading.Thread(target=run)
    thread.start()
    yield server, listener.getsockname()
    stopping = True
    connect(listener.getsockname()).close()  # wakes it up
    thread.join(5)
    for conn in list(server.connections.values()):
        server.close(conn)
    server.poll.close()
    listener.close()
    assert not thread.is_alive()


def cut_off(address: Address, request: bytes | None) -> float:
    """Return the seconds until the server ends a connection that is kept busy."""
    start = time.monotonic()
    with connect(address) as sock:
        try:
            if request:
                sock.sendall(request)
                read_all(sock)
            while time.monotonic() - start < 5:
                sock.sendall(b"G")
                time.sleep(0.02)
        except ConnectionError:
            pass
    return time.monotonic() - start


def test_deadline(short: tuple[ShortServer, Address]) -> None:
    server, address = short
    assert Server.DEADLINE == 10
    with connect(address) as sock:
        start = time.monotonic()
        assert sock.recv(1) == b""
        assert 0.4 < time.monotonic() - start < 2
    assert 0.4 < cut_off(address, None) < 2            # one byte after the other
    assert 0.4 < cut_off(address, b"GET /\r\n\r\n") < 2  # … and after the answer
    assert not server.connections


# --- beginning and end -------------------------------------------------------------------------

def test_log_is_printable(server: WebServer) -> None:
    exchange(server.addresses[0], b"GET /\x1b]0;evil\x07\x9b31m\x85 HTTP/1.1\r\n\r\n")
    exchange(server.addresses[0], get("/" + "y" * 5000))
    exchange(server.addresses[2], get("/unix"))
    text = server.log.read_bytes()
    assert b"\\x1b]0;evil\\x07" in text and b'unix "GET /unix HTTP/1.1" 404\n' in text
    lines = text.decode().split("\n")
    assert all(line.isprintable() and len(line) < 1000 for line in lines)


def test_modules_beside_the_challenges_are_not_imported() -> None:
    """Not even if the environment says so, and the directory could be listed."""
    with running(mode=0o755) as server:
        assert (server.directory / "socket.py").exists()
        check_serving(server)
        assert "imported" not in server.log.read_text()


@pytest.mark.parametrize("confine", ["no", "auto", "required"])
def test_confined_and_terminated(confine: str) -> None:
    """Whatever confinement there is: it serves, and leaves cleanly when told so."""
    if confine == "required":
        pytest.importorskip("seccomp")
    with running(confine) as server:
        check_serving(server)
        process = Path(f"/proc/{server.process.pid}/status").read_text()
        assert "NoNewPrivs:\t1\n" in process
        assert confine != "required" or "Seccomp:\t2\n" in process
        server.process.send_signal(signal.SIGINT)
        check_serving(server)
        with connect(server.addresses[0]) as idle:
            idle.sendall(b"GET /")
            start = time.monotonic()
            server.process.terminate()
            assert server.process.wait(5) == 0
            assert time.monotonic() - start < PAUSE + 1
        assert "Traceback" not in server.log.read_text()


def test_ends_with_its_parent() -> None:
    """The master is killed: no web server may stay behind."""
    with directory() as base, socket.create_server(("127.0.0.1", 0)) as listener:
        program = write_program(base / "orphan.py")
        fd = listener.fileno()
        pid = os.fork()
        if pid == 0:
            child = subprocess.Popen(["/usr/bin/python3", "-IS", str(program), str(fd)],
                                     pass_fds=[fd], cwd=base)
            (base / "orphan.pid").write_text(str(child.pid))
            exchange(listener.getsockname(), get("/"))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        orphan = int((base / "orphan.pid").read_text())
        for _ in range(100):
            if not alive(orphan):
                return
            time.sleep(0.02)
        os.kill(orphan, signal.SIGKILL)
        pytest.fail("it still runs")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie doesn't)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("arguments", [[], ["--debug"], ["--confine=maybe", "0"],
                                       ["--thumbprint="], [f"--thumbprint={TOKEN}x"],
                                       [f"--thumbprint={TOKEN[:-1]}."], ["x"], ["-1"],
                                       ["99"], ["0"], ["99999999999999999999"], ["--help"]])
def test_usage(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    code = (f"import sys; sys.path.insert(0, {str(TREE)!r})\n"
            "from letsencrypt_tiny.webserver.main import main\nsys.exit(main())")
    result = subprocess.run(["/usr/bin/python3", "-ISc", code, *arguments],
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    assert result.returncode == 2
    assert result.stderr.startswith(b"error: ") and result.stderr.count(b"\n") == 1


def test_connected_socket_is_refused() -> None:
    one, two = socket.socketpair()
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with one, two, datagram:
        for sock in (one, datagram):
            copy = os.dup(sock.fileno())
            with pytest.raises(UsageError):
                listening_socket(str(copy))
