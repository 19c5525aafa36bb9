"""What a confined process can and can't do, tried from inside on the running kernel."""

import ctypes
import http.client
import mmap
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import confined
from harness.confined import (AT_EMPTY_PATH, HAS_SECCOMP, KERNEL_ABI, UID, World, bind, check,
                              client_plan, connect, connect_abstract, create, exchange, fork,
                              in_thread, inside, judge, libc, listen_unbound, look, needs_landlock,
                              needs_seccomp, prepare, read, refused_by_seccomp, reopen, sockets,
                              unlimited, verdicts, write)
from harness.tlsserver import challenge, context as validator
from letsencrypt_tiny.client import main as client
from letsencrypt_tiny.signer import main as signer
from letsencrypt_tiny.tlsserver import main as tlsserver
from letsencrypt_tiny.tlsserver.handshake import Contexts, Handshake
from letsencrypt_tiny.webserver import main as webserver

MSG_FASTOPEN = 0x20000000

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="drops from root to another user")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with confined.world() as made:
        yield made


GUARDS = [(abi, with_seccomp) for abi in (0, 1, 3, 4, 6, 7) for with_seccomp in (True, False)]


@pytest.fixture(params=GUARDS, ids=lambda guard: f"landlock{guard[0]}-seccomp{guard[1]:d}")
def guards(request: Any) -> tuple[int, bool]:
    abi, with_seccomp = request.param
    if abi > KERNEL_ABI:
        pytest.skip(f"the kernel has Landlock ABI {KERNEL_ABI}")
    if with_seccomp and not HAS_SECCOMP:
        pytest.skip("python3-seccomp is not installed")
    return abi, with_seccomp


def test_a_client_that_has_no_challenge_directory(world: World) -> None:
    """It works in /, as for another command than newOrder: there and below it makes no file."""
    plan = client_plan(world, "/")
    assert not plan.create
    prepare(world)
    result = inside(plan, lambda: verdicts({
        "create": lambda: create("mine"), "remove": lambda: os.unlink("token")}),
        cwd=world.challenge)
    assert (result["create"], result["remove"]) == (False, False)


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


@needs_landlock
def test_a_client_without_challenge_files_makes_none(world: World) -> None:
    """Where no challenge is a file it works in /, and not even what anybody may is open to it."""
    before = os.getcwd()
    try:
        for directory, made in (world.challenge, True), ("/", False):
            os.chdir(directory)
            result = inside(unlimited(client.confinement("auto", [world.allowed], 1)),
                            lambda: verdicts({"create": lambda: create(
                                f"{world.challenge}/of a client")}), directory)
            assert result["create"] is made
            if made:
                os.unlink(f"{world.challenge}/of a client")
    finally:
        os.chdir(before)


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


def validated(handshake: Handshake) -> None:
    """Go through a handshake with a validating server's end of it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = validator().wrap_bio(incoming, outgoing, server_hostname="a.example")
    over = False
    while not over:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        answer, over = handshake.feed(outgoing.read())
        incoming.write(answer)
    assert client.selected_alpn_protocol() == "acme-tls/1"


def test_tlsserver(world: World, guards: tuple[int, bool]) -> None:
    """It makes certificates when asked to, which OpenSSL reads from a file that is nowhere."""
    abi, filtered = guards
    prepare(world)
    contexts = Contexts()
    validator()
    listener = socket.create_server(("127.0.0.1", 0))
    visitors = [socket.create_connection(listener.getsockname())]
    more = sockets("tlsserver")
    result = inside(unlimited(tlsserver.confinement("auto", 2)), lambda: verdicts({
        "handshake": lambda: validated(contexts.handshake(challenge())),
        "another": lambda: validated(contexts.handshake(challenge(token="x" * 22))),
        "accept": lambda: exchange(visitors[0], listener.accept()[0]),
        "read": lambda: read("token"),
        "read outside": lambda: read(world.outside),
        "write": lambda: write("token"),
        "create": lambda: write("new"),
        "remove": lambda: os.unlink("token"),
        "list": lambda: os.listdir("."),
        "write to the file anew": lambda: os.open(f"/proc/self/fd/{contexts._file}", os.O_RDWR),
        "TCP socket": lambda: socket.socket().close(),
        "UDP socket": lambda: socket.socket(type=socket.SOCK_DGRAM).close(),
        "connect": lambda: connect(world.allowed),
        "abstract socket": lambda: connect_abstract(world.abstract),
        "signal": lambda: os.kill(world.victim, 0),
        "fork": fork,
        "look": lambda: look("."),
        **more,
    }), world.challenge, abi, filtered)
    for sock in (listener, *visitors):
        sock.close()
    os.close(contexts._file)
    either = bool(abi) or filtered
    judge(result, guards, {
        "read": abi >= 1, "read outside": abi >= 1, "write": either, "create": either,
        "remove": either, "list": either, "write to the file anew": filtered,
        "TCP socket": filtered, "UDP socket": filtered,
        "connect": abi >= 4 or filtered, "abstract socket": abi >= 6 or filtered,
        "signal": abi >= 6 or filtered, "fork": filtered, "look": filtered,
        **(refused_by_seccomp(more) if filtered else {})})


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
@pytest.mark.parametrize("name", ["client", "webserver", "signer", "tlsserver"])
def test_an_attack_is_fatal(world: World, name: str, call: str) -> None:
    plan = {"client": client_plan(world), "webserver": webserver.confinement("auto", 1),
            "tlsserver": tlsserver.confinement("auto", 1),
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


@needs_seccomp
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other machines have fewer numbers")
@pytest.mark.parametrize("how", ["i386", "x32"])
def test_calls_by_other_numbers_are_fatal(world: World, how: str) -> None:
    """No list judges them: getpid() as a 32-bit program calls it, and as one of the x32 ABI.

    It is the process that is ended, not the thread alone.
    """
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")   # mov eax, 20; int 0x80; ret
    legacy = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    work = {"i386": legacy, "x32": lambda: libc.syscall(0x40000000 + 39)}[how]
    without = inside(client_plan(world), lambda: [work()], abi=0, with_seccomp=False)
    if without == "killed by SIGSEGV":
        pytest.skip("the kernel runs no 32-bit programs")
    assert len(without) == 1   # a process id, or -1 where the kernel has no x32
    thread = threading.Thread(target=work, daemon=True)

    def from_a_thread() -> list[bool]:
        thread.start()
        thread.join(10)
        return [thread.is_alive()]
    assert inside(client_plan(world), from_a_thread, abi=0) == "killed by SIGSYS"
