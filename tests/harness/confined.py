"""A process that confines itself, what it may try, and the judgement of what it could do.

Every refusal is tried under each Landlock ABI and with and without seccomp, and must occur
where a guard is there *and* be absent where none is: so no attempt fails for another reason.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from letsencrypt_tiny.client import main as client
from letsencrypt_tiny.common.sandbox import confine, landlock, seccomp
from letsencrypt_tiny.common.sandbox.confine import Plan

UID = 64077  # nobody has it; the directories below are its own, so that only confinement refuses
AT_EMPTY_PATH = 0x1000
CLONE = {"x86_64": 56, "i686": 120, "aarch64": 220}.get(os.uname().machine, 120)
libc = ctypes.CDLL(None, use_errno=True)

try:
    KERNEL_ABI = landlock.abi()
except OSError:
    KERNEL_ABI = 0
try:
    seccomp._load_module()
    HAS_SECCOMP = True
except ImportError:
    HAS_SECCOMP = False

needs_seccomp = pytest.mark.skipif(not HAS_SECCOMP, reason="python3-seccomp is not installed")
needs_landlock = pytest.mark.skipif(KERNEL_ABI < 1, reason="the kernel has no Landlock")


class World(NamedTuple):
    """Where the attempts are made, and a process of the same user to make them on."""

    challenge: str
    outside: str        # a file
    log: str
    certificate: str
    allowed: int        # TCP port of an HTTPS server
    other: int          # TCP port that listens too
    udp: int
    abstract: str
    victim: int         # process of the same user


@contextmanager
def world() -> Iterator[World]:
    """Make it, and serve in it until the end."""
    base = tempfile.mkdtemp(dir="/srv")
    os.chmod(base, 0o755)
    for name in ("challenge", "elsewhere"):
        os.mkdir(f"{base}/{name}", 0o755)
        os.chown(f"{base}/{name}", UID, UID)
    for name in ("challenge/token", "elsewhere/file", "log"):
        with open(f"{base}/{name}", "w", encoding="ascii") as file:
            file.write("content\n")
        os.chown(file.name, UID, UID)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost", "-keyout", f"{base}/key.pem",
                    "-out", f"{base}/cert.pem"], check=True, stderr=subprocess.DEVNULL)
    https, other = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0confine-test-{os.getpid()}")
    abstract.listen()
    server = os.fork()
    if server == 0:
        try:
            serve(base, https, udp)
        finally:
            os._exit(1)
    try:
        yield World(f"{base}/challenge", f"{base}/elsewhere/file", f"{base}/log",
                    f"{base}/cert.pem", https.getsockname()[1], other.getsockname()[1],
                    udp.getsockname()[1], f"\0confine-test-{os.getpid()}", server)
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
        for listener in (https, other, udp, abstract):
            listener.close()
        shutil.rmtree(base)


def serve(base: str, https: socket.socket, udp: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{base}/cert.pem", f"{base}/key.pem")
    drop()

    def echo() -> None:
        while True:
            data, peer = udp.recvfrom(512)
            udp.sendto(data, peer)

    threading.Thread(target=echo, daemon=True).start()
    while True:
        plain = https.accept()[0]
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            plain.close()


def drop() -> None:
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)


def inside(plan: Plan, work: Callable[[], Any], cwd: str = "/", abi: int = 7,
           with_seccomp: bool = True, as_root: bool = False) -> Any:
    """Return what ``work`` returns in a confined child, or "killed by SIGNAL".

    Anything that goes wrong there comes back as {"error": …}.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            landlock.MAX_ABI = abi
            if not with_seccomp:
                seccomp.DIRECTORY = "/nonexistent"
            os.chdir(cwd)
            if not as_root:
                drop()
            confine.warm_up()
            enforced = confine.enter(plan)
            result = work()
            if isinstance(result, dict):
                result["enforced"] = enforced
        except BaseException as exc:
            result = {"error": f"{type(exc).__name__}: {exc}"}
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        text = file.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return json.loads(text)


def verdicts(attempts: dict[str, Callable[[], Any]]) -> dict[str, bool | None]:
    """Try each: True if it could be done, False if it was refused (and not otherwise failed)."""
    result: dict[str, bool | None] = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            result[name] = True
        except OSError as exc:
            if exc.errno not in (errno.EACCES, errno.EPERM, errno.EXDEV):
                raise RuntimeError(f"{name}: {exc!r}") from exc
            result[name] = False
    return result


def in_thread(work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def write(path: str, text: str = "x") -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def connect_abstract(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(name)


def listen_unbound() -> None:
    with socket.socket() as listener:
        listener.listen()


def bind(kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as bound:
        bound.bind(("127.0.0.1", 0))


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)  # waiting for it would be refused, too


def check(function: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError if it fails."""
    if getattr(libc, function)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), function)


def exchange(left: socket.socket, right: socket.socket) -> bool:
    left.sendall(b"ping")
    got = right.recv(4)
    right.sendall(b"pong")
    return got == b"ping" and left.recv(4) == b"pong"


def create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))


def look(path: str, flags: int = 0) -> None:
    """As fstatat(2) does; os.stat() knows no flags."""
    buffer = ctypes.create_string_buffer(512)
    check("fstatat", -100, path.encode(), buffer, flags)


def reopen(descriptor: int) -> None:
    os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY))


def odd_thread() -> None:
    """Begin a thread as only the kernel would know; it refuses, and so must the filter."""
    try:
        check("syscall", CLONE, 0x10000, 0, 0, 0, 0)   # CLONE_THREAD alone
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise


def sockets(name: str) -> dict[str, Callable[[], Any]]:
    """Attempts on sockets that it has: to pass descriptors, and what makes more of them."""
    left, right = socket.socketpair()
    tcp = socket.socket()
    return {
        "send": lambda: left.sendall(b"x"),
        "receive": lambda: right.recv(1),
        "pass a descriptor": lambda: socket.send_fds(left, [b"x"], [0]),
        "take a descriptor": lambda: socket.recv_fds(right, 1, 1),
        "peer's process": lambda: left.getsockopt(socket.SOL_SOCKET, 77, 4),   # SO_PEERPIDFD
        "filter": lambda: tcp.getsockopt(socket.SOL_SOCKET, 26, 0),            # SO_GET_FILTER
        "reuse the port": lambda: tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1),
        "buffers": lambda: tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20),
        "memory": lambda: os.close(os.memfd_create(name)),
        "pipe": lambda: os.pipe(), "send a file": lambda: os.sendfile(left.fileno(), 0, 0, 0),
        "odd thread": odd_thread,
        "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 0)}


def refused_by_seccomp(attempts: dict[str, Any]) -> dict[str, bool]:
    return {name: True for name in attempts if name not in ("send", "receive")}


def judge(result: dict[str, Any], guards: tuple[int, bool], refused: dict[str, bool]) -> None:
    """Compare: what ``refused`` names is refused just where it says so, all else works."""
    assert "error" not in result, result
    enforced = result.pop("enforced")
    assert (f"landlock {guards[0]}" in enforced) == bool(guards[0])
    assert ("seccomp" in enforced) == guards[1]
    assert result == {name: not refused.get(name, False) for name in result}
    assert not set(refused) - set(result)


def unlimited(plan: Plan) -> Plan:
    """Return a program's own plan but for its limits: the attempts leak more than that."""
    return plan._replace(files=64, file_size=None, processes=None, memory=0)


def client_plan(world: World, directory: str = "", **more: Any) -> Plan:
    """Return the client's plan in a directory, that of the challenges if none is given."""
    before = os.getcwd()
    os.chdir(directory or world.challenge)
    try:
        return unlimited(client.confinement("auto", [world.allowed], 10))._replace(**more)
    finally:
        os.chdir(before)


def prepare(world: World) -> None:
    """Put everything back as the attempts expect it."""
    elsewhere = os.path.dirname(world.outside)
    for directory in (world.challenge, elsewhere):
        shutil.rmtree(directory)
        os.mkdir(directory, 0o755)
        os.chown(directory, UID, UID)
    for path in (world.outside, f"{elsewhere}/gone", f"{world.challenge}/token"):
        write(path, "content\n")
        os.chown(path, UID, UID)
