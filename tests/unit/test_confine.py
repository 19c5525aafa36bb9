"""What a confined process can and can't do, tried from inside on the running kernel.

Every refusal is tried under each Landlock ABI and with and without seccomp, and must occur
where a guard is there *and* be absent where none is: so no attempt fails for another reason.
"""

import ctypes
import errno
import http.client
import json
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from letsencrypt_tiny.client import main as client
from letsencrypt_tiny.common.sandbox import confine, landlock, seccomp
from letsencrypt_tiny.common.sandbox.confine import Plan
from letsencrypt_tiny.signer import main as signer
from letsencrypt_tiny.webserver import main as webserver

UID = 64077  # nobody has it; the directories below are its own, so that only confinement refuses
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MSG_FASTOPEN, AT_EMPTY_PATH = 0x20000000, 0x1000
CLONE = {"x86_64": 56, "i686": 120, "aarch64": 220}.get(os.uname().machine, 120)
libc = ctypes.CDLL(None, use_errno=True)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="drops from root to another user")

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


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
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


GUARDS = [(abi, with_seccomp) for abi in (0, 1, 3, 4, 6, 7) for with_seccomp in (True, False)]


@pytest.fixture(params=GUARDS, ids=lambda guard: f"landlock{guard[0]}-seccomp{guard[1]:d}")
def guards(request: Any) -> tuple[int, bool]:
    abi, with_seccomp = request.param
    if abi > KERNEL_ABI:
        pytest.skip(f"the kernel has Landlock ABI {KERNEL_ABI}")
    if with_seccomp and not HAS_SECCOMP:
        pytest.skip("python3-seccomp is not installed")
    return abi, with_seccomp


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


def client_plan(world: World, **more: Any) -> Plan:
    return unlimited(client.confinement("auto", [world.allowed], 10))._replace(**more)


def test_client(world: World, guards: tuple[int, bool]) -> None:
    abi, filtered = guards
    context = ssl.create_default_context(cafile=world.certificate)
    "localhost".encode("idna")   # loads the codec
    victim = os.open(world.outside, os.O_RDONLY)  # what was open before stays open
    memory = os.memfd_create("configuration")     # the master's; anybody may open it again

    def fetch() -> None:
        connection = http.client.HTTPSConnection("localhost", world.allowed)
        connection.sock = context.wrap_socket(socket.create_connection(
            ("127.0.0.1", world.allowed), timeout=5), server_hostname="localhost")
        connection.request("GET", "/directory")
        assert connection.getresponse().read() == b"ok"
        connection.close()

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(5)
            udp.connect(("127.0.0.1", world.udp))
            udp.send(b"question")
            assert udp.recv(64) == b"question"

    def fast_open() -> None:
        with socket.socket() as tcp:
            tcp.sendto(b"x", MSG_FASTOPEN, ("127.0.0.1", world.other))

    def make_special() -> None:
        os.close(os.open("special", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o4755))

    def change_later() -> None:
        file = os.open("later", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.fchmod(file, 0o600)

    def lengthen() -> None:
        os.ftruncate(os.open("long", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), 1 << 30)

    def bind_path() -> None:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("socket")

    attempts: dict[str, Callable[[], Any]] = {
        "create": lambda: create("mine"),
        "create another": lambda: create("gone"),
        "remove": lambda: os.unlink("gone"),
        "overwrite": lambda: os.close(os.open("mine", os.O_WRONLY)),
        "truncate": lambda: write("mine"),
        "nameless file": lambda: os.close(os.open(".", os.O_WRONLY | os.O_TMPFILE, 0o600)),
        "nameless new file": lambda: os.close(os.open(
            ".", os.O_WRONLY | os.O_TMPFILE | os.O_EXCL, 0o600)),
        "path": lambda: os.close(os.open(".", os.O_PATH)),
        "open again": lambda: reopen(memory),
        "look elsewhere": lambda: look(world.outside),
        "look with a flag": lambda: look(world.outside, AT_EMPTY_PATH),
        "lengthen": lengthen,
        "fetch": fetch,
        "fetch in a thread": lambda: in_thread(fetch),
        "UDP": ask,
        "read what is open": lambda: os.pread(victim, 1, 0),
        "random": lambda: os.urandom(8),
        "connect elsewhere": lambda: connect(world.other),
        "fast open elsewhere": fast_open,
        "MPTCP": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close(),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
        "read /etc/passwd": lambda: read("/etc/passwd"),
        "read outside": lambda: read(world.outside),
        "read inside": lambda: read("token"),
        "write outside": lambda: write(world.outside),
        "create outside": lambda: create(world.outside + ".new"),
        "truncate outside": lambda: os.truncate(world.outside, 4),
        "remove outside": lambda: os.unlink(f"{os.path.dirname(world.outside)}/gone"),
        "list": lambda: os.listdir("."),
        "symlink": lambda: os.symlink("/etc/passwd", "symlink"),
        "FIFO": lambda: os.mkfifo("fifo"),
        "mkdir": lambda: os.mkdir("directory"),
        "socket in directory": bind_path,
        "hard link": lambda: os.link("mine", "link"),
        "hard link from outside": lambda: os.link(world.outside, "link2"),
        "rename": lambda: os.rename("mine", "renamed"),
        "set-uid file": make_special,
        "change mode later": change_later,
        "chmod": lambda: os.chmod("token", 0o600),
        "bind TCP": lambda: bind(socket.SOCK_STREAM),
        "bind UDP": lambda: bind(socket.SOCK_DGRAM),
        "listen unbound": listen_unbound,
        "abstract socket": lambda: connect_abstract(world.abstract),
        "signal": lambda: os.kill(world.victim, 0),
        "fork": fork,
        "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_READ),
        "dumpable again": lambda: check("prctl", 4, 1, 0, 0, 0),
    }
    attempts.update(sockets("client"))
    either = bool(abi) or filtered
    refused = {
        "connect elsewhere": abi >= 4, "read /etc/passwd": either, "read outside": either,
        "read inside": either, "write outside": either, "create outside": abi >= 1,
        "remove outside": abi >= 1, "truncate outside": abi >= 3 or filtered, "list": either,
        "symlink": either, "FIFO": either, "mkdir": either, "socket in directory": either,
        "hard link": filtered, "rename": filtered, "set-uid file": filtered,
        "change mode later": filtered, "chmod": filtered, "lengthen": filtered or abi >= 3,
        "overwrite": filtered, "truncate": filtered or abi >= 3, "nameless file": filtered,
        "nameless new file": filtered, "path": filtered, "open again": filtered,
        "look elsewhere": filtered, "look with a flag": filtered, "bind TCP": abi >= 4 or filtered,
        "UDP": filtered, "bind UDP": filtered, "listen unbound": filtered, "MPTCP": filtered,
        "netlink": filtered, "abstract socket": abi >= 6 or filtered,
        "signal": abi >= 6 or filtered, "fork": filtered, "executable memory": filtered,
        "dumpable again": filtered,
    }
    if filtered:
        refused.update(refused_by_seccomp(sockets("client")))
    # Moving a file between directories is a right of its own from ABI 2 on, and never given
    refused["hard link from outside"] = either
    prepare(world)
    result = inside(client_plan(world), lambda: verdicts(attempts), world.challenge, abi,
                    filtered)
    os.close(victim)
    os.close(memory)
    # Without seccomp it depends on the kernel whether this asks Landlock
    assert "error" in result or not (result.pop("fast open elsewhere") and filtered)
    judge(result, guards, refused)


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


def test_webserver(world: World, guards: tuple[int, bool]) -> None:
    abi, filtered = guards
    prepare(world)
    listener = socket.create_server(("127.0.0.1", 0))
    # The handshake is the kernel's: they wait to be accepted
    visitors = [socket.create_connection(listener.getsockname()) for _ in range(2)]

    def serve_one(visitor: socket.socket) -> None:
        connection = listener.accept()[0]
        connection.settimeout(5)
        assert exchange(visitor, connection)
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def read_token() -> None:
        token = os.open("token", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        assert os.pread(token, 100, 0) == b"content\n"
        os.close(token)

    more = sockets("webserver")
    result = inside(unlimited(webserver.confinement("auto", 2)), lambda: verdicts({
        "read": read_token,
        "read in a thread": lambda: in_thread(read_token),
        "accept": lambda: serve_one(visitors[0]),
        "accept in a thread": lambda: in_thread(lambda: serve_one(visitors[1])),
        "read outside": lambda: read(world.outside),
        "write": lambda: write("token"),
        "append": lambda: os.open("token", os.O_WRONLY | os.O_APPEND),
        "create": lambda: write("new"),
        "remove": lambda: os.unlink("token"),
        "list": lambda: os.listdir("."),
        "TCP socket": lambda: socket.socket().close(),
        "UDP socket": lambda: socket.socket(type=socket.SOCK_DGRAM).close(),
        "connect": lambda: connect(world.allowed),
        "abstract socket": lambda: connect_abstract(world.abstract),
        "signal": lambda: os.kill(world.victim, 0),
        "fork": fork,
        "look": lambda: look("."),
        "look with a flag": lambda: look(world.outside, AT_EMPTY_PATH),
        **more,
    }), world.challenge, abi, filtered)
    for visitor in (listener, *visitors):
        visitor.close()
    either = bool(abi) or filtered
    judge(result, guards, {
        "read outside": abi >= 1, "write": either, "append": either, "create": either,
        "remove": either, "list": either, "TCP socket": filtered, "UDP socket": filtered,
        "connect": abi >= 4 or filtered, "abstract socket": abi >= 6 or filtered,
        "signal": abi >= 6 or filtered, "fork": filtered, "look": filtered,
        "look with a flag": filtered, **(refused_by_seccomp(more) if filtered else {})})


@pytest.fixture(scope="module")
def keys() -> tuple[Any, Any]:
    pytest.importorskip("Cryptodome")
    from Cryptodome.PublicKey import ECC, RSA
    return RSA.generate(2048), ECC.generate(curve="P-256")


@pytest.mark.parametrize("listens", [True, False])
def test_signer(world: World, guards: tuple[int, bool], keys: tuple[Any, Any],
                listens: bool) -> None:
    from Cryptodome.Hash import SHA256
    from Cryptodome.Signature import DSS, pkcs1_15
    abi, filtered = guards
    prepare(world)
    before, after = socket.socketpair()
    path = f"{world.challenge}/S.socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    visitor = socket.socket(socket.AF_UNIX)
    visitor.connect(path)

    def sign() -> None:
        digest = SHA256.new(b"protected.payload")
        pkcs1_15.new(keys[0]).sign(digest)
        DSS.new(keys[1], "fips-186-3").sign(digest)

    def accept() -> None:
        connection = listener.accept()[0]
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert exchange(visitor, connection)

    def converse() -> None:
        """As with --stdio."""
        os.write(before.fileno(), b"ping")
        assert os.read(after.fileno(), 4) == b"ping"

    sign()
    log = os.open(world.log, os.O_WRONLY | os.O_APPEND)
    attempts: dict[str, Callable[[], Any]] = {
        "sign": sign,
        "sign in a thread": lambda: in_thread(sign),
        "converse": converse,
        "talk": lambda: exchange(before, after),
        "accept": accept,
        "accept in a thread": lambda: in_thread(lambda: visitor.getpeername()),
        "random": lambda: os.urandom(8),
        "look at its socket": lambda: os.lstat(path),
        "remove its socket": lambda: os.unlink(path),
        "log": lambda: os.write(log, b"line\n"),
        "log to another": lambda: os.open(world.log, os.O_WRONLY | os.O_APPEND),
        "look with a flag": lambda: look(world.outside, AT_EMPTY_PATH),
        "truncate the log": lambda: write(world.log),
        "read": lambda: read(world.outside),
        "read /etc/passwd": lambda: read("/etc/passwd"),
        "create": lambda: write(f"{world.challenge}/new"),
        "TCP socket": lambda: socket.socket().close(),
        "UNIX socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "socket pair": lambda: socket.socketpair(),
        "signal": lambda: os.kill(world.victim, 0),
        "fork": fork,
        "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_READ),
    }
    more = sockets("signer")
    attempts.update(more)
    if not listens:
        for name in ("accept", "accept in a thread", "remove its socket"):
            del attempts[name]
    plan = unlimited(signer.confinement("auto", *((path, 4) if listens else ())))
    result = inside(plan, lambda: verdicts(attempts), "/", abi, filtered)
    os.close(log)
    for end in (before, after, listener, visitor):
        end.close()
    closed, silent = bool(abi) or filtered, filtered and not listens
    judge(result, guards, {
        "talk": silent, "send": silent, "receive": silent, "look at its socket": silent,
        "look with a flag": silent, **(refused_by_seccomp(more) if filtered else {}),
        "log to another": closed, "truncate the log": closed, "read": closed,
        "read /etc/passwd": closed, "create": closed, "TCP socket": filtered,
        "UNIX socket": filtered, "socket pair": filtered, "signal": abi >= 6 or filtered,
        "fork": filtered, "executable memory": filtered})


FATAL: dict[str, Callable[[World], Any]] = {
    "execve": lambda world: os.execv("/bin/true", ["true"]),
    "ptrace": lambda world: libc.ptrace(16, world.victim, 0, 0),  # PTRACE_ATTACH
    "process_vm_readv": lambda world: libc.process_vm_readv(world.victim, 0, 0, 0, 0, 0),
    "setresuid": lambda world: libc.setresuid(UID, UID, UID),
    "unshare": lambda world: libc.unshare(0x10000000),
    "setns": lambda world: libc.setns(0, 0),
    "mount": lambda world: libc.mount(b"none", b"/", b"tmpfs", 0, 0),
    "io_uring_setup": lambda world: libc.syscall(425, 0, 0),
}
if os.uname().machine == "x86_64":   # getpid() of another ABI: no rule of ours judges it
    FATAL["x32"] = lambda world: libc.syscall(0x40000000 | 39)


@needs_seccomp
@pytest.mark.parametrize("call", FATAL)
@pytest.mark.parametrize("name", ["client", "webserver", "signer"])
def test_an_attack_is_fatal(world: World, name: str, call: str) -> None:
    plan = {"client": client_plan(world), "webserver": webserver.confinement("auto", 1),
            "signer": signer.confinement("auto")}[name]
    work = FATAL[call]
    assert inside(plan, lambda: (work(world), None)[1], abi=0) == "killed by SIGSYS"
    # Not by the call itself
    assert inside(plan, lambda: {}, abi=0)["enforced"]
    if call != "execve":
        assert inside(plan, lambda: (work(world), None)[1], abi=0, with_seccomp=False) is None


@needs_landlock
def test_landlock_alone_refuses_execve(world: World) -> None:
    result = inside(client_plan(world), lambda: verdicts({"exec": lambda: FATAL["execve"](world)}),
                    with_seccomp=False)
    assert result["exec"] is False


@needs_landlock
@needs_seccomp
def test_required_is_satisfied() -> None:
    enforced = inside(Plan("webserver", "required"), dict, abi=KERNEL_ABI)["enforced"]
    # what an old Landlock lacks is said, but not refused: Debian 12 has ABI 2
    assert [what for what in enforced if not what.startswith("no ")] == [
        "no_new_privs", "not dumpable", "rlimits", f"landlock {min(KERNEL_ABI, 7)}", "seccomp"]


def test_required_names_what_is_missing() -> None:
    without_landlock = inside(Plan("client", "required"), dict, abi=0)["error"]
    assert without_landlock.startswith(
        "ConfinementError: client: confine = required, but there is no landlock (ENOSYS)")
    without_seccomp = inside(Plan("client", "required"), dict, with_seccomp=False)["error"]
    assert "python3-seccomp is not installed" in without_seccomp


def test_auto_says_what_is_missing() -> None:
    enforced = inside(Plan("client"), dict, abi=0, with_seccomp=False)["enforced"]
    assert enforced == ["no_new_privs", "not dumpable", "rlimits",
                        "no seccomp (python3-seccomp is not installed)", "no landlock (ENOSYS)"]


@needs_landlock
def test_auto_says_what_an_old_kernel_lacks() -> None:
    enforced = inside(Plan("client", connect=(443,)), dict, abi=1)["enforced"]
    assert "no TCP ports in landlock" in enforced and "no signals in landlock" in enforced


def state() -> dict[str, Any]:
    """What even mode = no must change, as seen by the process itself."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {"limits": [resource.getrlimit(which) for which in (
                resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC,
                resource.RLIMIT_DATA)],
            "nnp": status["NoNewPrivs"], "owner": os.stat("/proc/self/environ").st_uid,
            "seccomp": status["Seccomp"], "locked": int(status["VmLck"].split()[0])}


def test_no_still_limits() -> None:
    plan = Plan("client", "no", files=50, processes=7, memory=1 << 32)

    def work() -> dict[str, Any]:
        with pytest.raises(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (51, 51))
        return state()

    result = inside(plan, work)
    assert result["enforced"] == ["no_new_privs", "not dumpable", "rlimits"]
    assert result["limits"] == [[0, 0], [50, 50], [7, 7], [1 << 32, 1 << 32]]
    # Files in /proc belong to root, and not to the user, when the process is not dumpable
    assert (result["nnp"], result["owner"], result["seccomp"]) == ("1", 0, "0")


@pytest.mark.parametrize("plan", [client.confinement("no", [443], 4), signer.confinement("no"),
                                  webserver.confinement("no", 4)], ids=lambda plan: plan.name)
def test_memory_has_a_limit(plan: Plan) -> None:
    with open("/proc/self/status", encoding="ascii") as file:   # which the child has, too
        taken = next(int(line.split()[1]) for line in file if line.startswith("VmData:")) << 10

    def work() -> dict[str, Any]:
        data = bytearray(plan.memory // 2)   # so much it may have
        with pytest.raises(MemoryError):
            bytearray(plan.memory)
        return {"had": len(data)}

    limited = plan._replace(memory=taken + plan.memory)
    assert inside(limited, work)["had"] == plan.memory // 2


def test_not_dumpable_is_ours() -> None:
    def dumpable_first() -> int:
        check("prctl", 4, 1, 0, 0, 0)
        before = os.stat("/proc/self/environ").st_uid
        confine.enter(Plan("client", "no"))
        return before * 1000000 + os.stat("/proc/self/environ").st_uid

    assert inside(Plan("client", "no"), dumpable_first) == UID * 1000000


def test_locked_memory() -> None:
    result = inside(Plan("signer", "no", lock_memory=True), state, as_root=True)
    assert "locked memory" in result["enforced"] and result["locked"] > 1000

    def with_little_allowed() -> dict[str, Any]:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
        return {"then": confine.enter(Plan("signer", "no", lock_memory=True)), **state()}

    result = inside(Plan("signer", "no"), with_little_allowed)
    assert "no locked memory (ENOMEM)" in result["then"] and result["locked"] == 0


def test_network_namespace_while_privileged(world: World) -> None:
    def work() -> dict[str, Any]:
        with pytest.raises(OSError):
            connect(world.other)
        return {}

    plan = Plan("signer", network=False)
    result = inside(plan, work, abi=0, with_seccomp=False, as_root=True)
    assert "network namespace" in result["enforced"]
    assert "network namespace" not in inside(plan, dict)["enforced"]


def test_threads_before_are_refused() -> None:
    def work() -> dict[str, Any]:
        stop = threading.Event()
        threading.Thread(target=stop.wait, daemon=True).start()
        confine.enter(Plan("client", "no"))
        return {}

    assert "threads run" in inside(Plan("client", "no"), work)["error"]


@needs_landlock
@needs_seccomp
def test_missing_paths_are_skipped(world: World) -> None:
    plan = Plan("client", "required", read=("/nonexistent", "/etc/hosts/below", world.outside))
    assert inside(plan, lambda: {"text": read(world.outside)})["text"] == "content\n"


@needs_landlock
@needs_seccomp
def test_a_file_may_stand_where_directories_do(world: World) -> None:
    assert inside(Plan("client", "required", create=(world.outside,)), dict)["enforced"]


@needs_seccomp
@pytest.mark.parametrize("mode", [0o755, 0o775])
def test_seccomp_from_where_others_write_is_not_loaded(tmp_path: Any, monkeypatch: Any,
                                                       mode: int) -> None:
    for name in os.listdir(seccomp.DIRECTORY):
        if name.startswith("seccomp."):
            shutil.copy(f"{seccomp.DIRECTORY}/{name}", tmp_path)
    tmp_path.chmod(mode)
    monkeypatch.setattr(seccomp, "DIRECTORY", str(tmp_path))
    if mode == 0o755:
        assert seccomp._load_module()
    else:
        with pytest.raises(PermissionError, match="others than root"):
            seccomp._load_module()


def test_die_with_parent() -> None:
    reader, writer = os.pipe()
    ready, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        mine = os.getpid()
        if os.fork() == 0:
            confine.die_with_parent(mine)
            os.write(tell, b"x")
            signal.alarm(20)
            signal.pause()
        os.read(ready, 1)
        os._exit(0)
    os.close(writer)
    os.waitpid(parent, 0)
    # Its last writer is gone at once: the grandchild was killed
    assert select.select([reader], [], [], 5)[0] and os.read(reader, 1) == b""
    for end in (reader, ready, tell):
        os.close(end)


def test_die_with_parent_that_is_dead() -> None:
    def work() -> dict[str, Any]:
        confine.die_with_parent(os.getppid() + 1)
        return {}

    assert "has ended" in inside(Plan("client", "no"), work)["error"]


@needs_landlock
@needs_seccomp
def test_fresh_interpreter(world: World) -> None:
    """As the programs are started: no site-packages, and none afterwards."""
    script = f"""
import sys
sys.path.insert(0, {ROOT!r})
from letsencrypt_tiny.common.sandbox import confine
plan = confine.Plan("client", "required", read=(".",), connect=(443,))
before = sys.path[:]
confine.warm_up()
assert "seccomp" in confine.enter(plan)
assert sys.path == before
try:
    import Cryptodome
except ImportError:
    print("confined", open("token").read().strip())
"""
    prepare(world)
    done = subprocess.run(["/usr/bin/python3", "-IS", "-c", script], cwd=world.challenge,
                          capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("confined content\n", "", 0)


@needs_seccomp
def test_every_name_is_a_system_call() -> None:
    """A misspelt one would be passed over in silence."""
    module = seccomp._load_module()
    names = [name for name, _ in (*seccomp._always(), *seccomp._files(True, True, True),
                                  *seccomp._sockets(), *seccomp._connections())]
    names += f"{seccomp._MISSING} {seccomp._FATAL} {seccomp._ACCEPT}".split()
    assert [name for name in names if module.resolve_syscall(module.Arch(), name) == -1] == []


@needs_seccomp
def test_a_failure_in_a_confined_process_ends_as_any_other(world: World) -> None:
    """Traceback, daemon threads and all: the C library must not want to load anything."""
    script = f"""
import sys, threading, time
sys.path.insert(0, {ROOT!r})
from letsencrypt_tiny.common.sandbox import confine
plan = confine.Plan("signer", network=False)
confine.warm_up()
confine.enter(plan)
def spin():
    while True:
        time.sleep(0.0001)
for _ in range(4):
    threading.Thread(target=spin, daemon=True).start()
raise KeyError("lost")
"""
    done = subprocess.run(["/usr/bin/python3", "-IS", "-c", script], cwd=world.challenge,
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr.endswith("\nKeyError: 'lost'\n") and done.returncode == 1


@needs_seccomp
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other machines have fewer numbers")
@pytest.mark.parametrize("how", ["i386", "x32"])
def test_calls_by_other_numbers_are_fatal(world: World, how: str) -> None:
    """No list judges them: getpid() as a 32-bit program calls it, and as one of the x32 ABI."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")   # mov eax, 20; int 0x80; ret
    legacy = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    work = {"i386": legacy, "x32": lambda: libc.syscall(0x40000000 + 39)}[how]
    without = inside(client_plan(world), lambda: [work()], abi=0, with_seccomp=False)
    if without == "killed by SIGSEGV":
        pytest.skip("the kernel runs no 32-bit programs")
    assert len(without) == 1   # a process id, or -1 where the kernel has no x32
    assert inside(client_plan(world), lambda: [work()], abi=0) == "killed by SIGSYS"
