"""Requests a second for one challenge file: our web server and nginx, with idle connections or not.

A small client of our own asks over several connections at once, from processes that leave the
server a processor.  Not only the clock is told, but also what the server's processor time would
allow: a client in Python may be slower than the server.
"""

import contextlib
import multiprocessing
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness import proc
from harness.daemon import Daemon
from harness.net import free_port
from harness.run import ENVIRONMENT, PARENT, WEBSERVER_USER, Prefix, as_user
from harness.sid import say
from harness.webserver import AUTHORIZATION, PATH, TOKEN

from . import measure

AT_ONCE = 16         # connections that ask
IDLE = 1000          # and some that ask for nothing
NGINX = Path("/usr/sbin/nginx")


class Rate(NamedTuple):
    """One line of the results."""

    program: str
    keep: bool            # the client asks to keep connections
    idle: int             # other connections meanwhile
    rate: float           # requests a second, by the clock
    cpu: float            # seconds of the server's processor time for one
    kept: int             # of the idle connections, those that were open at the end


class Server(NamedTuple):
    """One at work."""

    name: str
    port: int
    processes: list[int]


def throughput(prefix: Prefix, seconds: float, repeat: int) -> list[dict[str, Any]]:
    """Let each answer for about ``seconds``, ``repeat`` times in turn; the best of each counts."""
    with tempfile.TemporaryDirectory(prefix="web-", dir=PARENT) as directory, \
            contextlib.ExitStack() as stack:
        path = Path(directory)
        path.chmod(0o755)
        challenges = path / "root/.well-known/acme-challenge"
        challenges.mkdir(parents=True)
        (challenges / TOKEN).write_text(AUTHORIZATION)
        servers = [stack.enter_context(_ours(prefix, challenges))]
        if NGINX.exists():
            servers.append(stack.enter_context(_nginx(path)))
        rates = [max((_measure(server, keep, idle, seconds)
                      for server in [server] * repeat), key=lambda rate: rate.rate)
                 for idle in (0, IDLE) for keep in (False, True) for server in servers]
    for rate in rates:
        say(f"{rate.program}: {rate.idle} idle, {'kept' if rate.keep else 'closed'}: "
            f"{rate.rate:.0f} requests/s, {1e6 * rate.cpu:.0f} µs of CPU, {rate.kept} idle left")
    return [rate._asdict() for rate in rates]


@contextlib.contextmanager
def _ours(prefix: Prefix, challenges: Path) -> Iterator[Server]:
    """The web server as the master starts it."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        fd = listener.fileno()
        argv = as_user(WEBSERVER_USER, [
            str(prefix.webserver), "--confine=required",
            f"--thumbprint={AUTHORIZATION.partition('.')[2]}", str(fd)])
        process = subprocess.Popen(argv, pass_fds=[fd], cwd=challenges, env=ENVIRONMENT,
                                   stdin=subprocess.DEVNULL)
        try:
            yield Server("letsencrypt-tiny", listener.getsockname()[1], [process.pid])
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def _nginx(path: Path) -> Iterator[Server]:
    """nginx as Debian configures it, without its log of what it was asked."""
    port, pid = free_port(), path / "nginx.pid"
    config = path / "nginx.conf"
    config.write_text(f"""
        daemon off; worker_processes 1; pid {pid}; error_log {path}/error.log;
        user {WEBSERVER_USER} {WEBSERVER_USER};
        events {{ worker_connections 4096; }}
        http {{
            sendfile on; tcp_nopush on; access_log off; default_type application/octet-stream;
            keepalive_requests 1000000;
            server {{ listen 127.0.0.1:{port} backlog=4096; root {path}/root; }}
        }}
        """)
    daemon = Daemon([str(NGINX), "-c", str(config)], path / "nginx.log", [port])
    try:
        yield Server("nginx", port, [daemon.pid, *proc.descendants(daemon.pid)])
    finally:
        daemon.stop()


def _measure(server: Server, keep: bool, idle: int, seconds: float) -> Rate:
    socks = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(idle)]
    try:
        before = sum(map(measure.cpu_of, server.processes))
        count, elapsed = _ask(server.port, keep, seconds)
        cpu = sum(map(measure.cpu_of, server.processes)) - before
        return Rate(server.name, keep, idle, count / elapsed, cpu / count,
                    sum(map(_is_open, socks)))
    finally:
        for sock in socks:
            sock.close()


def _is_open(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _ask(port: int, keep: bool, seconds: float) -> tuple[int, float]:
    """Return how many requests were answered, and within how many seconds."""
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    client = fork.Process(target=lambda: queue.put(_client(port, keep, seconds)))
    client.start()
    client.join()
    if client.exitcode != 0:
        raise RuntimeError("the web server answered something else")
    found: tuple[int, float] = queue.get()
    return found


def _client(port: int, keep: bool, seconds: float) -> tuple[int, float]:
    """Ask over ``AT_ONCE`` connections; a connection that is closed is replaced."""
    lines = f"GET {PATH} HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    request = (lines + ("" if keep else "Connection: close\r\n") + "\r\n").encode()
    expected, poll = AUTHORIZATION.encode(), select.epoll()
    asking: dict[int, socket.socket] = {}

    def connect() -> None:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.send(request)
        asking[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)

    for _ in range(AT_ONCE):
        connect()
    count, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        for fd, _ in poll.poll():
            sock = asking[fd]
            answer = sock.recv(4096)
            if answer:
                if not answer.endswith(expected):
                    raise SystemExit(f"not the file: {answer[:200]!r}")
                count += 1
            if answer and keep and b"\r\nConnection: close" not in answer:
                sock.send(request)
            else:
                del asking[fd]
                sock.close()
                connect()
    elapsed = time.monotonic() - start
    for sock in asking.values():
        sock.close()
    return count, elapsed
