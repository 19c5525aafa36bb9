"""The challenge web server: the real program on real sockets, as an unprivileged user."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from collections.abc import Iterator
from typing import Any

import pytest

from letsencrypt_tiny.common.errors import UsageError
from letsencrypt_tiny.webserver import main as webserver

TREE = Path(__file__).resolve().parents[2]

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"
AUTHORIZATION = TOKEN + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
AS_ROOT = os.getuid() == 0

Address = Any  # (host, port, …) or the path of a UNIX socket


class Running:
    """The program, started as ``nobody`` in a challenge directory it can't list by default."""

    def __init__(self, base: Path, confine: str = "auto", mode: int = 0o711) -> None:
        self.directory = base / "challenges"
        self.directory.mkdir()
        (self.directory / TOKEN).write_text(AUTHORIZATION)
        (self.directory / TOKEN).chmod(0o644)
        for module in ("json", "http", "socket", "selectors", "letsencrypt_tiny"):
            (self.directory / f"{module}.py").write_text("raise SystemExit('imported')\n")
        self.directory.chmod(mode)
        self.listeners = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.bind((address, 0))
            self.listeners.append(sock)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(base / "www.socket"))
        self.listeners.append(sock)
        for sock in self.listeners:
            sock.listen(1024)
        self.addresses: list[Address] = [s.getsockname() for s in self.listeners]
        # The program as shipped, but with the modules of this tree.
        source = (TREE / "programs/webserver").read_text()
        assert '"/usr/share/letsencrypt-tiny"' in source
        program = base / "webserver"
        program.write_text(source.replace('"/usr/share/letsencrypt-tiny"', repr(str(TREE))))
        program.chmod(0o755)
        self.log = base / "log"
        fds = [s.fileno() for s in self.listeners]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(program), "--debug", f"--confine={confine}", *map(str, fds)], pass_fds=fds,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(self.directory)},
                preexec_fn=become_nobody if AS_ROOT else None)

    def stop(self) -> None:
        """Kill what still runs, close everything."""
        self.process.kill()
        self.process.wait()
        for sock in self.listeners:
            sock.close()


def become_nobody() -> None:
    """Drop root in the child, for good."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/srv" if AS_ROOT else None) as name:
        os.chmod(name, 0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Running]:
    running = Running(base)
    yield running
    running.stop()


def connect(address: Address, timeout: float = 5) -> socket.socket:
    """Connect to a TCP or UNIX address."""
    family = (socket.AF_UNIX if isinstance(address, str) else
              socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    sock.connect(address)
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Read until the peer closes."""
    data = b""
    while True:
        chunk = sock.recv(65536)
        if not chunk:
            return data
        data += chunk


def exchange(address: Address, request: bytes) -> bytes:
    """Send ``request``, return everything that comes back."""
    with connect(address) as sock:
        sock.sendall(request)
        return read_all(sock)


def status(response: bytes) -> int:
    """Return the status, after checking that the response is well-formed and complete."""
    head, blank, body = response.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert blank and fields["Connection"] == "close"
    assert fields["Server"] == "letsencrypt-tiny"
    time.strptime(fields["Date"], "%a, %d %b %Y %H:%M:%S GMT")
    assert int(fields["Content-Length"]) == len(body)
    return int(lines[0].split(" ", 2)[1])


def get(path: str, method: str = "GET") -> bytes:
    """Return a request as a validation server sends it."""
    return (f"{method} {path} HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test\r\n"
            "Accept: */*\r\n\r\n").encode("latin-1")


def processor_time(pid: int) -> int:
    """Return the clock ticks a process has used so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def check_serving(running: Running) -> None:
    """A validation succeeds, within two seconds."""
    start = time.monotonic()
    assert exchange(running.addresses[0], get(PATH)).endswith(AUTHORIZATION.encode())
    assert time.monotonic() - start < 2


# --- what it answers ---------------------------------------------------------------------------

@pytest.mark.parametrize("index", [0, 1, 2], ids=["TCP v4", "TCP v6", "UNIX"])
def test_get(server: Running, index: int) -> None:
    response = exchange(server.addresses[index], get(PATH))
    assert status(response) == 200
    assert response.partition(b"\r\n\r\n")[2] == AUTHORIZATION.encode()
    assert b"Content-Type: application/octet-stream\r\n" in response


def test_http_1_0(server: Running) -> None:
    request = f"GET {PATH} HTTP/1.0\r\n\r\n".encode()
    assert status(exchange(server.addresses[0], request)) == 200


def test_head_has_no_body(server: Running) -> None:
    response = exchange(server.addresses[0], get(PATH, "HEAD"))
    assert response.startswith(b"HTTP/1.1 200 ") and response.endswith(b"\r\n\r\n")
    assert f"Content-Length: {len(AUTHORIZATION)}\r\n".encode() in response
    response = exchange(server.addresses[0], get("/", "HEAD"))
    assert response.startswith(b"HTTP/1.1 404 ") and response.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get",
                                    "PROPFIND", "X" * 200])
def test_other_methods(server: Running, method: str) -> None:
    response = exchange(server.addresses[0], get(PATH, method))
    assert status(response) == 405 and b"\r\nAllow: GET, HEAD\r\n" in response


@pytest.mark.parametrize("path", [
    "/", "*", "/favicon.ico", "/.well-known/acme-challenge", "/.well-known/acme-challenge/",
    PATH + "/", PATH + "?", PATH + "?a=b", PATH + "#", PATH + ".", PATH + ";x", PATH[:-1],
    PATH.replace("-", "%2d"), PATH.upper(), "/" + PATH, PATH[1:], "http://example.org" + PATH,
    "/.well-known/acme-challenge/.", "/.well-known/acme-challenge/..",
    "/.well-known/acme-challenge/../../../../../../etc/passwd",
    "/.well-known/acme-challenge/..%2f..%2fetc%2fpasswd", "/.well-known/acme-challenge//etc/passwd",
    "/.well-known/acme-challenge/" + "a" * 129, "/.well-known/acme-challenge/json.py",
    "/x/.." + PATH, "/.well-known/./acme-challenge/" + TOKEN, PATH + "%00", PATH + "%0d%0aX:y",
])
def test_other_paths(server: Running, path: str) -> None:
    response = exchange(server.addresses[0], get(path))
    assert status(response) == 404
    assert response.endswith(b"\r\n\r\n404 Not Found\n")


@pytest.mark.parametrize("request_", [
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET " + PATH.encode() + b"\r\n", b"GET  / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1 \r\n\r\n", b" GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n",
    b"GET / HTTP/1.1\n\n", b"GET /\0 HTTP/1.1\r\n\r\n", b"GET /\xe9 HTTP/1.1\r\n\r\n",
    b"GET /\r X HTTP/1.1\r\n\r\n", b"GET /\t HTTP/1.1\r\n\r\n", b"GET\x0b/ HTTP/1.1\r\n\r\n",
    b"GET / http/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506),
    b"\0" * 100, b"\x1b[2J", b"\xff\xf4\xff\xfd\x06",
], ids=repr)
def test_malformed(server: Running, request_: bytes) -> None:
    assert status(exchange(server.addresses[0], request_)) == 400


def test_nothing_is_reflected(server: Running) -> None:
    for request in (get("/canary<script>"), get(PATH, "CANARY"), b"canary\r\n\r\n"):
        assert b"canary" not in exchange(server.addresses[0], request).lower()


def test_long_head(server: Running) -> None:
    for address in server.addresses:
        head = b"GET " + PATH.encode() + b" HTTP/1.1\r\nX: " + b"x" * 60000
        assert status(exchange(address, head)) == 431
        assert status(exchange(address, b"GET /" + b"x" * 60000)) == 431
    head = get(PATH)[:-2] + b"X: " + b"x" * 8000
    assert status(exchange(server.addresses[0], head[:8188] + b"\r\n\r\n")) == 200
    assert status(exchange(server.addresses[0], head + b"x" * 300 + b"\r\n\r\n")) == 431


def test_a_second_request_is_ignored(server: Running) -> None:
    response = exchange(server.addresses[0], get(PATH) + get(PATH) + get("/"))
    assert status(response) == 200 and response.count(b"HTTP/1.1 ") == 1


def test_a_body_does_not_lose_the_answer(server: Running) -> None:
    request = get(PATH, "POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 40000\r\n\r\n")
    for _ in range(20):
        with connect(server.addresses[0]) as sock:
            sock.sendall(request)
            time.sleep(0.002)
            sock.sendall(b"x" * 40000)
            assert status(read_all(sock)) == 405


def test_an_endless_body_is_cut_off(server: Running) -> None:
    start = time.monotonic()
    with connect(server.addresses[0]) as sock, pytest.raises(ConnectionError):
        sock.sendall(get(PATH))
        while time.monotonic() - start < 5:
            sock.sendall(b"x" * 65536)


def test_in_pieces(server: Running) -> None:
    with connect(server.addresses[0]) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in get(PATH):
            sock.send(bytes([byte]))
            time.sleep(0.001)
        assert status(read_all(sock)) == 200


def test_half_closed(server: Running) -> None:
    with connect(server.addresses[0]) as sock:
        sock.sendall(get(PATH))
        sock.shutdown(socket.SHUT_WR)
        assert status(read_all(sock)) == 200
    with connect(server.addresses[0]) as sock:
        sock.sendall(get(PATH)[:-1])
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""


# --- what it must not open ---------------------------------------------------------------------

def test_unusual_files(server: Running, base: Path) -> None:
    """Nothing but a small plain file is served, and nothing makes the server wait."""
    directory = server.directory
    (base / "outside").write_text("secret")
    (directory / "link").symlink_to(directory / TOKEN)
    (directory / "out").symlink_to(base / "outside")
    (directory / "dangling").symlink_to("nowhere")
    (directory / "directory").mkdir()
    os.mkfifo(directory / "fifo", 0o666)
    with open(directory / "huge", "wb") as huge:
        huge.truncate(8 << 30)
    (directory / "big").write_bytes(b"x" * 1025)
    (directory / "largest").write_bytes(b"x" * 1024)
    (directory / "private").write_text(AUTHORIZATION)
    (directory / "private").chmod(0)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(directory / "socket"))
    names = ["link", "out", "dangling", "directory", "fifo", "huge", "big", "socket"]
    if AS_ROOT:
        os.mknod(directory / "device", 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
        names += ["device", "private"]
    with sock:
        for name in names:
            path = f"/.well-known/acme-challenge/{name}"
            assert status(exchange(server.addresses[0], get(path))) == 404, name
    path = "/.well-known/acme-challenge/largest"
    assert status(exchange(server.addresses[0], get(path))) == 200


def test_new_and_removed_files(server: Running) -> None:
    """Challenges come and go while the server runs."""
    file = server.directory / "later"
    request = get("/.well-known/acme-challenge/later")
    assert status(exchange(server.addresses[0], request)) == 404
    file.write_text("x")
    file.chmod(0o644)
    assert status(exchange(server.addresses[0], request)) == 200
    file.unlink()
    assert status(exchange(server.addresses[0], request)) == 404


# --- load --------------------------------------------------------------------------------------

def test_slow_connections_and_one_validation(server: Running) -> None:
    idle = [connect(server.addresses[0]) for _ in range(600)]
    try:
        for sock in idle[::2]:
            try:
                sock.sendall(b"GET /.well-known/")
            except ConnectionError:
                pass  # had to make room already
        for address in server.addresses:
            start = time.monotonic()
            assert status(exchange(address, get(PATH))) == 200
            assert time.monotonic() - start < 2
        if AS_ROOT:  # others can't look into a confined process
            descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))
            assert 100 < descriptors < webserver.Server.MAX_CONNECTIONS + 20
        # The oldest went, the newest stayed.
        assert idle[0].recv(1) == b""
        idle[-1].settimeout(0.05)
        with pytest.raises(socket.timeout):
            idle[-1].recv(1)
    finally:
        for sock in idle:
            sock.close()


def test_many_validations_at_once(server: Running) -> None:
    socks = [connect(server.addresses[0]) for _ in range(100)]
    for sock in socks:
        sock.sendall(get(PATH))
    assert [status(read_all(sock)) for sock in socks] == [200] * 100
    for sock in socks:
        sock.close()


def test_idle_costs_nothing(server: Running) -> None:
    """With a silent connection, and with one half-way, the server sleeps."""
    with connect(server.addresses[0]) as one, connect(server.addresses[0]) as two:
        one.sendall(b"GET /")
        two.sendall(get(PATH))
        read_all(two)  # answered, and not closed by us
        before = processor_time(server.process.pid)
        time.sleep(0.3)
        assert processor_time(server.process.pid) - before <= 2


class ShortServer(webserver.Server):
    """The same with less patience."""

    DEADLINE = 0.5


@pytest.fixture
def short() -> Iterator[tuple[ShortServer, Address]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = ShortServer([listener])
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
    for conn in list(server.connections):
        server.close(conn)
    server.selector.close()
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
    assert webserver.Server.DEADLINE == 10
    with connect(address) as sock:
        start = time.monotonic()
        assert sock.recv(1) == b""
        assert 0.4 < time.monotonic() - start < 2
    assert 0.4 < cut_off(address, None) < 2            # one byte after the other
    assert 0.4 < cut_off(address, b"GET /\r\n\r\n") < 2  # … and after the answer
    assert not server.connections


# --- beginning and end -------------------------------------------------------------------------

def test_log_is_printable(server: Running) -> None:
    exchange(server.addresses[0], b"GET /\x1b]0;evil\x07\x9b31m\x85 HTTP/1.1\r\n\r\n")
    exchange(server.addresses[0], get("/" + "y" * 5000))
    exchange(server.addresses[2], get("/unix"))
    text = server.log.read_bytes()
    assert b"\\x1b]0;evil\\x07" in text and b'unix "GET /unix HTTP/1.1" 404\n' in text
    lines = text.decode().split("\n")
    assert all(line.isprintable() and len(line) < 1000 for line in lines)


def test_modules_beside_the_challenges_are_not_imported() -> None:
    """Not even if the environment says so, and the directory could be listed."""
    with tempfile.TemporaryDirectory(dir="/srv" if AS_ROOT else None) as name:
        os.chmod(name, 0o711)
        running = Running(Path(name), mode=0o755)
        try:
            assert (running.directory / "socket.py").exists()
            check_serving(running)
            assert "imported" not in running.log.read_text()
        finally:
            running.stop()


@pytest.mark.parametrize("confine", ["no", "auto", "required"])
def test_confined_and_terminated(confine: str) -> None:
    """Whatever confinement there is: it serves, and leaves cleanly when told so."""
    if confine == "required":
        pytest.importorskip("seccomp")
    with tempfile.TemporaryDirectory(dir="/srv" if AS_ROOT else None) as name:
        os.chmod(name, 0o711)
        running = Running(Path(name), confine)
        try:
            check_serving(running)
            process = Path(f"/proc/{running.process.pid}/status").read_text()
            assert "NoNewPrivs:\t1\n" in process
            assert confine != "required" or "Seccomp:\t2\n" in process
            running.process.send_signal(signal.SIGINT)
            check_serving(running)
            with connect(running.addresses[0]) as idle:
                idle.sendall(b"GET /")
                start = time.monotonic()
                running.process.terminate()
                assert running.process.wait(5) == 0
                assert time.monotonic() - start < 1
            assert "Traceback" not in running.log.read_text()
        finally:
            running.stop()


def test_ends_with_its_parent(base: Path) -> None:
    """The master is killed: no web server may stay behind."""
    directory = base / "orphan"
    directory.mkdir()
    script = (TREE / "programs/webserver").read_text()
    program = base / "orphan.py"
    program.write_text(script.replace('"/usr/share/letsencrypt-tiny"', repr(str(TREE))))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        pid = os.fork()
        if pid == 0:
            child = subprocess.Popen(["/usr/bin/python3", "-IS", str(program), str(fd)],
                                     pass_fds=[fd], cwd=directory)
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


def test_key_authorizations_of_other_accounts(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes the files can't have names validated for an account of his own (§8.1)."""
    monkeypatch.chdir(tmp_path)
    own = AUTHORIZATION.partition(".")[2]
    bad = [f"{TOKEN}.{TOKEN}", f"{AUTHORIZATION}\n", f"x{AUTHORIZATION}", own, TOKEN, "",
           AUTHORIZATION[:-1], f"x.{own}"]
    for content in [AUTHORIZATION, *bad]:
        (tmp_path / TOKEN).write_text(content)
        monkeypatch.setattr(webserver, "thumbprint", own.encode())
        found = webserver.read_challenge(TOKEN.encode())
        assert found == (content.encode() if content == AUTHORIZATION else None)
        monkeypatch.setattr(webserver, "thumbprint", b"")   # none given
        assert webserver.read_challenge(TOKEN.encode()) == content.encode()


def test_connected_socket_is_refused() -> None:
    one, two = socket.socketpair()
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with one, two, datagram:
        for sock in (one, datagram):
            copy = os.dup(sock.fileno())
            with pytest.raises(UsageError):
                webserver.listening_socket(str(copy))
