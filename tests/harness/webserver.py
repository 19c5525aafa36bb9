"""The challenge web server, the real program on real sockets, and how a validation asks it."""

import os
import pwd
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

TREE = Path(__file__).resolve().parents[2]

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"
AUTHORIZATION = TOKEN + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
AS_ROOT = os.getuid() == 0

Address = Any  # (host, port, …) or the path of a UNIX socket


def write_program(path: Path) -> Path:
    """Write the program as it is shipped, but with the modules of this tree; return ``path``."""
    source = (TREE / "programs/webserver").read_text()
    assert '"/usr/share/letsencrypt-tiny"' in source
    path.write_text(source.replace('"/usr/share/letsencrypt-tiny"', repr(str(TREE))))
    path.chmod(0o755)
    return path


class WebServer:
    """The program, started as ``nobody`` in a challenge directory it can't list by default."""

    def __init__(self, base: Path, confine: str = "auto", mode: int = 0o711,
                 thumbprints: Sequence[str] = ()) -> None:
        self.base = base
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
        program = write_program(base / "webserver")
        self.log = base / "log"
        fds = [s.fileno() for s in self.listeners]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(program), "--debug", f"--confine={confine}",
                 *(f"--thumbprint={key}" for key in thumbprints), *map(str, fds)],
                pass_fds=fds, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
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


def connect(address: Address, timeout: float = 5, source: str = "") -> socket.socket:
    """Connect to a TCP or UNIX address, from ``source``."""
    family = (socket.AF_UNIX if isinstance(address, str) else
              socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    if source:
        sock.bind((source, 0))
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


def get(path: str, method: str = "GET", close: bool = False) -> bytes:
    """Return a request as a validation server sends it; ``close``: it says that it is the last."""
    return (f"{method} {path} HTTP/1.1\r\nHost: example.org\r\nUser-Agent: test\r\n"
            "Accept: */*\r\n" + "Connection: close\r\n" * close + "\r\n").encode("latin-1")


def processor_time(pid: int) -> int:
    """Return the clock ticks a process has used so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def check_serving(running: WebServer) -> None:
    """A validation succeeds, within two seconds."""
    start = time.monotonic()
    assert exchange(running.addresses[0], get(PATH)).endswith(AUTHORIZATION.encode())
    assert time.monotonic() - start < 2


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that others can search but not list."""
    with tempfile.TemporaryDirectory(dir="/srv" if AS_ROOT else None) as name:
        os.chmod(name, 0o711)
        yield Path(name)


@contextmanager
def running(confine: str = "auto", mode: int = 0o711,
            thumbprints: Sequence[str] = ()) -> Iterator[WebServer]:
    """A web server of its own, ended afterwards."""
    with directory() as base:
        server = WebServer(base, confine, mode, thumbprints)
        try:
            yield server
        finally:
            server.stop()
