"""A standing signer and many hosts at once: all are served, whatever some of them do."""

import resource
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from harness.accountd import GOOD, HELLO, PYTHON, Client, Running, write_key
from harness.soak import SOAK
from letsencrypt_tiny.signer.turns import Turns

HOSTS, SIGNATURES = (150, 8) if SOAK else (60, 3)

# What a malicious host does with its connections, for ever
HOSTILE = {
    "asks and never reads": "sock.setblocking(False); more(b'%s\\r\\n' * 50)",
    "asks on and on": "sock.setblocking(False); more(b'%s\\r\\n' * 5); drain()",
    "one byte at a time": "more(b'A')",
    "half a line": "more(b'A' * 60000 if first else b'')",
    "says nothing": "pass",
    "junk": "more(b'junk\\r\\n'); drain()",
    "asks and hangs up": "more(b'%s\\r\\n'); sock.close(); come()",
    "comes and goes": "sock.close(); come()",
}
SCRIPT = """
import socket, sys, time
path, line, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
held = []
def come():
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    held.append(sock)
def more(data):
    try:
        sock.send(data.replace(b"%%s", line.encode()))
    except BlockingIOError:
        pass
def drain():
    try:
        sock.recv(65536)
    except BlockingIOError:
        pass
for _ in range(count):
    come()
first = True
print("here", flush=True)
while True:
    for sock in list(held):
        try:
            %s
        except OSError:
            come()
        if sock.fileno() < 0 or first is None:
            held.remove(sock)
    first = False
    time.sleep(0.01)    # it is about what they do; not to take the processor from all others
    del held[:-300]
"""


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "RSA:2048")


@contextmanager
def hostile(path: Path, does: str, count: int) -> Iterator[None]:
    """A process that does this on as many connections, and never lets go."""
    with subprocess.Popen([PYTHON, "-c", SCRIPT % HOSTILE[does], str(path), GOOD.decode(),
                           str(count)], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n", does
        try:
            yield
        finally:
            process.kill()


def fleet(running: Running, hosts: int, signatures: int) -> None:
    """So many hosts connect at once, and each asks as often; each gets what it asks for."""
    clients = [running.connect() for _ in range(hosts)]
    poll = select.poll()
    by_number = {client.sock.fileno(): client for client in clients}
    left = dict.fromkeys(by_number, signatures)
    for client in clients:
        client.sock.sendall(GOOD + b"\r\n")
        poll.register(client.sock, select.POLLIN)
    end = time.monotonic() + 120
    while left:
        assert time.monotonic() < end, f"{len(left)} hosts wait"
        for number, _ in poll.poll(1000):
            answer = by_number[number].lines.readline()
            assert len(answer) > 300 and not answer.startswith(b"NOSIGN"), answer
            left[number] -= 1
            if left[number]:
                by_number[number].sock.sendall(GOOD + b"\r\n")
            else:
                poll.unregister(number)
                del left[number]
    for client in clients:
        client.__exit__()


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_many_hosts_at_once(tmp_path: Path, key: Path) -> None:
    """All at the same moment, some of them hostile in every way: none of the others is refused."""
    with Running(tmp_path, key) as running, ExitStack() as stack:
        for does in HOSTILE:
            stack.enter_context(hostile(running.path, does, 20))
        fleet(running, HOSTS, SIGNATURES)
        assert running.stop() == 0
        log = running.log.read_text()
    assert "refused" not in log and "error" not in log and "Traceback" not in log


@pytest.mark.parametrize("does", HOSTILE)
def test_one_hostile_host(tmp_path: Path, key: Path, does: str) -> None:
    with Running(tmp_path, key) as running, hostile(running.path, does, 100):
        fleet(running, 20, 5)
        assert running.process.poll() is None
        assert running.stop() == 0 and "error" not in running.log.read_text()


def test_one_that_takes_no_answer(tmp_path: Path, key: Path) -> None:
    """Nothing more is read of it, and after some time it is hung up on."""
    before = "from letsencrypt_tiny.signer import server as s\ns.SEND_TIME = 1.0"
    with Running(tmp_path, key, before=before) as running, running.connect(hello=True) as client:
        client.sock.settimeout(20)
        line, sent = b"junk\r\n" * 1000, 0
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while sent < 64 << 20:
                sent += client.sock.send(line)
        assert sent < 4 << 20
        running.wait_for("] lost the client: it takes no answer\n")
        with running.connect() as other:
            other.sign(GOOD)


def test_lines_that_take_too_much_room(tmp_path: Path, key: Path) -> None:
    """Of the process that holds most of it one makes room; another's are not touched."""
    before = "from letsencrypt_tiny.signer import server as s\ns.MAX_HELD = 1000000"
    with Running(tmp_path, key, before=before) as running, running.connect() as patient:
        patient.sock.sendall(GOOD[:30])
        with hostile(running.path, "half a line", 40):
            running.wait_for("NOSIGN too much is waiting of this process\n")
            with running.connect() as other:
                other.sign(GOOD)
            patient.sock.sendall(GOOD[30:] + b"\r\n")
            assert len(patient.lines.readline()) > 300
        assert running.stop() == 0


def test_who_hangs_up_harms_nobody(tmp_path: Path, key: Path) -> None:
    """Whatever has been asked for then."""
    with Running(tmp_path, key) as running:
        for _ in range(30):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(running.path))
            client = Client(sock)
            sock.sendall((HELLO + (GOOD + b"\r\n") * 3))
            client.__exit__()
        with running.connect() as other:
            signature = other.sign(GOOD)
            assert other.sign(GOOD) == signature
        assert running.stop() == 0 and "error" not in running.log.read_text()


# --- whose turn it is ----------------------------------------------------------------------------

def test_turns() -> None:
    """Users in turn, then each one's processes, then their connections."""
    turns: Turns[str] = Turns()
    assert not turns
    for name in ("a1x", "a1y", "a1z", "a2x", "b1x", "b1y"):
        turns.add((name[0], name[1]), name)
    assert [turns.take() for _ in range(6)] == ["a1x", "b1x", "a2x", "b1y", "a1y", "a1z"]
    assert not turns
    with pytest.raises(IndexError):
        turns.take()


def test_who_asks_again_is_behind_others() -> None:
    turns: Turns[int] = Turns()
    order = []
    for item in (1, 2, 3):
        turns.add("u", item)
    for _ in range(9):
        order.append(turns.take())
        turns.add("u", order[-1])
    assert order == [1, 2, 3] * 3


def test_many_connections_have_one_share() -> None:
    """Of two processes each gets every second turn, however many connections wait."""
    turns: Turns[str] = Turns()
    for _ in range(1000):
        turns.add(("u", 1), "greedy")
    got = []
    for _ in range(20):
        turns.add(("u", 2), "modest")
        got += [turns.take(), turns.take()]
    assert got.count("modest") == 20
