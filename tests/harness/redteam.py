"""A compromised child: becomes what the real program becomes, then tries everything.

Usage: redteam SETUP ROLE [ARGUMENT …], as ``command`` of [client], [webserver], [tlsserver], [dns]
or [accountd]

The master appends the real program's arguments and the descriptors are the real program's.  The
installed program's own ``main()`` runs up to the point where it listens to others; from there
on the code is the attacker's.  SETUP is a JSON file: where the installed package is, what to
attack, and the report to append to, which is opened before anything else.  A line of the
report is [attack, result]: the name of an error, or "did" and what was achieved.
"""

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import sys
import termios
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from . import actor

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, CLONE_NEWUSER = 16, 0x10000000
MSG_FASTOPEN = 0x20000000


def check(result: int) -> int:
    """Raise OSError if a function of the C library failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def ready_state(pid: int) -> str:
    """Return the command line of a process, as anybody may see it."""
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
        return file.read()


def siblings(master: int, own: int) -> list[int]:
    """Wait until the master's two other children have become programs; return their ids."""
    mine = ready_state(master)
    for _ in range(1000):
        found = []
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                if parent == master and int(name) != own \
                        and ready_state(int(name)) not in ("", mine):
                    found.append(int(name))
            except (OSError, ValueError):
                pass
        if len(found) == 2:
            return sorted(found)
        time.sleep(0.01)
    return []


class RedTeam:
    """The attacks, and what they need."""

    def __init__(self, setup: dict[str, Any], role: str) -> None:
        self.setup = setup
        self.role = role
        self.report = os.open(setup["report"], os.O_WRONLY | os.O_APPEND)
        self.master = os.getppid()
        self.siblings: list[int] = []
        self.scout = -1

    def tell(self, attack: str, result: Any) -> None:
        os.write(self.report, json.dumps([attack, result]).encode() + b"\n")

    def begin(self) -> None:
        """Before it confines itself: what was it given?"""
        fds = {}
        for fd in range(1024):
            try:
                mode = os.fstat(fd).st_mode
            except OSError:
                continue
            if fd != self.report:
                fds[fd] = next((name for name in ("FIFO", "SOCK", "REG", "CHR", "DIR")
                                if getattr(stat, f"S_IS{name}")(mode)), "other")
        self.tell("descriptors", fds)
        self.tell("environment", dict(os.environ))
        self.tell("inheritable", os.get_inheritable(self.report))
        if not self.setup.get("siblings", True):
            return
        if self.role == "signer":   # the others are started when it is confined and has greeted
            self.scout, writer = os.pipe()
            own = os.getpid()
            if os.fork() == 0:
                os.write(writer, json.dumps(siblings(self.master, own)).encode())
                os._exit(0)
            os.close(writer)
        else:
            self.siblings = siblings(self.master, os.getpid())

    def attack(self) -> None:
        """Try what was asked for, else everything that one survives."""
        if self.scout >= 0:
            self.siblings = json.loads(os.read(self.scout, 100))
        self.tell("siblings", len(self.siblings))
        chosen = self.setup.get("only") or [name for name, _ in self.attacks()]
        attacks = {**dict(self.attacks()), **dict(self.fatal())}
        for name in chosen:
            try:
                result = attacks[name]()
                self.tell(name, "did" if result is None else f"did: {result}")
            except OSError as exc:
                self.tell(name, errno.errorcode.get(exc.errno or 0, str(exc)))
        self.tell("end", None)

    # --- attacks ---

    def attacks(self) -> list[tuple[str, Callable[[], Any]]]:
        found: list[tuple[str, Callable[[], Any]]] = []
        for name, path in self.setup["secrets"].items():
            found += [(f"read {name}", lambda p=path: read(p)),
                      (f"write {name}", lambda p=path: os.close(os.open(p, os.O_WRONLY)))]
        for name, path in self.setup["directories"].items():
            found += [(f"create in {name}", lambda p=path: create(f"{p}/redteam")),
                      (f"replace in {name}", lambda p=path: os.rename(p, f"{p}.old"))]
        for name, pid in (("master", self.master), *zip(("sibling 1", "sibling 2"),
                                                        self.siblings)):
            for file in "mem", "environ", "maps":
                found.append((f"{file} of {name}", lambda p=pid, f=file: read(f"/proc/{p}/{f}")))
            found += [
                (f"fd of {name}", lambda p=pid: os.listdir(f"/proc/{p}/fd")),
                (f"root of {name}", lambda p=pid: os.stat(f"/proc/{p}/root/etc")),
                (f"signal {name}", lambda p=pid: os.kill(p, 0)),
                (f"stop {name}", lambda p=pid: check(libc.tgkill(p, p, signal.SIGSTOP))),
                (f"limit {name}", lambda p=pid: check(libc.prlimit(
                    p, 7, ctypes.byref((ctypes.c_ulong * 2)(3, 3)), None)))]
        found += [
            ("read a public file", lambda: read(self.setup["public"])),
            ("look at a public file", lambda: os.stat(self.setup["public"])),
            ("list the directory", lambda: os.listdir(".")),
            ("create a file", lambda: create("redteam")),
            ("create a symlink", lambda: os.symlink("/etc/shadow", "redteam-symlink")),
            ("create a FIFO", lambda: os.mkfifo("redteam-fifo")),
            ("create a directory", lambda: os.mkdir("redteam-directory")),
            ("create a socket", lambda: bind_unix("redteam-socket")),
            ("create a device", lambda: os.mknod("redteam-device", stat.S_IFBLK | 0o666, 0x801)),
            ("create a setuid file", self.create_setuid),
            ("link a file of others", lambda: os.link(self.setup["public"], "redteam-link")),
            ("link within", self.link_within), ("rename within", self.rename_within),
            ("chmod the directory", lambda: os.chmod(".", 0o777)),
            ("open the lock", lambda: read("../lock")),
            ("unlink the lock", lambda: os.unlink("../lock")),
            ("connect elsewhere", lambda: connect(self.setup["trap"], self.setup["host"])),
            ("connect fast", lambda: fast_open(self.setup["trap"])),
            ("send a datagram", lambda: datagram(self.setup["trap"])),
            ("connect to an abstract socket", lambda: abstract(self.setup["abstract"])),
            ("connect to a signer", lambda: unix(self.setup["socket"])),
            ("listen", listen), ("bind", lambda: listen(True)), ("bind UDP", bind_udp),
            ("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
            ("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
            ("make a large file", large),
            ("fork", fork), ("type on the terminal", type_in)]
        return found

    def fatal(self) -> list[tuple[str, Callable[[], Any]]]:
        """What ends a confined process."""
        return [("execute", self.execute),
                ("ptrace", lambda: check(libc.ptrace(PTRACE_ATTACH, self.master, 0, 0))),
                ("process_vm_readv", lambda: peek(self.master)),
                ("unshare", lambda: check(libc.unshare(CLONE_NEWUSER))),
                ("setuid", lambda: os.setresuid(0, 0, 0)),
                ("setgroups", lambda: os.setgroups([0]))]

    def create_setuid(self) -> None:
        create("redteam-setuid", keep=True)
        os.chmod("redteam-setuid", 0o4755)

    def link_within(self) -> None:
        create("redteam-1", keep=True)
        os.link("redteam-1", "redteam-2")

    def rename_within(self) -> None:
        create("redteam-3", keep=True)
        os.rename("redteam-3", "redteam-4")

    def execute(self) -> str:
        """Execute a set-user-ID program of root's, which reports its effective user id."""
        os.close(1)
        fcntl.fcntl(self.report, fcntl.F_DUPFD_CLOEXEC, 1)   # confined, there is no dup2()
        fcntl.fcntl(1, fcntl.F_SETFD, 0)
        os.execv(self.setup["setuid"], [self.setup["setuid"], "-u"])


class Mouthpiece(actor.Actor):
    """What the client can tell the master, and do in its directory: more than other stand-ins."""

    def do_plant(self, victims: dict[str, str]) -> None:
        """Fill the challenge directory with whatever could mislead who reads or removes it."""
        for name, target in victims.items():
            os.symlink(target, name)
        os.mkfifo("fifo")
        os.makedirs("deep/deeper/deepest")
        create("deep/deeper/file", keep=True)
        os.symlink("../../..", "deep/deeper/up")
        os.chmod("deep/deeper", 0)
        bind_unix("socket")
        with open("huge", "wb") as file:
            file.truncate(4096)   # all that RLIMIT_FSIZE lets pass
        with open("json.py", "w", encoding="ascii") as file:
            file.write("raise SystemExit('imported')\n")
        os.chmod(".", 0o777)

    def do_dig(self, depth: int) -> None:
        """Nest directories, more than a recursion or its descriptors get through."""
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")

    def do_survive(self, seconds: float) -> None:
        """Leave processes that hold on to nothing of the master's."""
        if os.fork() == 0:
            os.setsid()
            os.fork()
            os.closerange(0, 1024)
            time.sleep(seconds)
            os._exit(0)

    def do_refill(self, seconds: float, word: str) -> None:
        """Put files back, by several threads, while the master, after that word, removes them."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        deadline = time.monotonic() + seconds

        def work() -> None:
            number = 0
            while time.monotonic() < deadline:
                number += 1
                try:
                    create(f"redteam-{number % 10}-{threading.get_ident()}", keep=True)
                except OSError:
                    pass
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        self.do_say("answers", word)
        for thread in threads:
            thread.join()


def read(path: str) -> str:
    """Read a file or list a directory, by no call that a filter could mind but what it takes."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return f"{len(os.read(fd, 100))} bytes"
    except IsADirectoryError:
        return f"{len(os.listdir(fd))} entries"
    finally:
        os.close(fd)


def create(path: str, keep: bool = False) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    if not keep:
        os.unlink(path)


def large() -> None:
    """Two pages, of which the second is too much; EFBIG is the limit's."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fd = os.open("redteam-large", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        actor.write(fd, bytes(8192))
    finally:
        os.close(fd)
        os.unlink("redteam-large")


def connect(port: int, host: str) -> None:
    with socket.socket() as sock:
        sock.settimeout(2)
        sock.connect((host, port))


def fast_open(port: int) -> None:
    with socket.socket() as sock:
        sock.sendto(b"x", MSG_FASTOPEN, ("127.0.0.1", port))


def datagram(port: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", port))


def abstract(name: str) -> None:
    unix("\0" + name)


def unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def bind_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)


def listen(bind: bool = False) -> None:
    with socket.socket() as sock:
        if bind:
            sock.bind(("127.0.0.1", 0))
        else:
            sock.listen()   # without bind(): at a port the kernel chooses


def bind_udp() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def type_in() -> None:
    """Have the shell behind the controlling terminal read something."""
    fd = os.open("/dev/tty", os.O_RDWR)
    try:
        fcntl.ioctl(fd, termios.TIOCSTI, b"x")
    finally:
        os.close(fd)


def peek(pid: int) -> None:
    data = ctypes.create_string_buffer(8)
    entry = (ctypes.c_void_p * 2)(ctypes.addressof(data), 8)
    check(libc.process_vm_readv(pid, entry, 1, entry, 1, 0))


def as_dns(team: RedTeam) -> int:
    """Attack, and say afterwards of everything that it is published."""
    from letsencrypt_tiny.common.wire.responder import Challenge, Ready
    from letsencrypt_tiny.dns import doors, main as dns
    serve = doors.Doors.serve

    class Liar:
        """It publishes nothing."""

        def __init__(self, at: doors.Doors) -> None:
            self.at = at

        def present(self, door: int, about: Challenge) -> None:
            self.at.say(door, Ready(about))

        def clean(self, *_: Any) -> None:
            pass

        leave = clean

    def attack_first(self: doors.Doors, _presenter: Any) -> None:
        team.attack()
        serve(self, Liar(self))  # type: ignore[arg-type]
    doors.Doors.serve = attack_first  # type: ignore[method-assign]
    return dns.main()


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        setup = json.load(file)
    role = sys.argv[2]
    team = RedTeam(setup, role)
    team.begin()
    sys.argv[:] = [role, *sys.argv[3:]]
    sys.path.insert(0, setup["package"])
    # What replaces the part that listens to others
    if role == "client":
        from letsencrypt_tiny.client import main as client

        def run(*_: Any) -> None:
            team.attack()
            Mouthpiece({"answers": 1, "messages": 2}, team.tell).play(setup.get("words", []))
        client.run = run
        return client.main()
    if role in ("webserver", "tlsserver"):
        from importlib import import_module
        server: Any = import_module(f"letsencrypt_tiny.{role}.main")
        serve = server.Server.serve

        def attack_first(self: Any) -> NoReturn:
            team.attack()
            serve(self)
        server.Server.serve = attack_first
        return server.main()  # type: ignore[no-any-return]
    if role == "dns":
        return as_dns(team)
    from letsencrypt_tiny.signer import conversation, main as signer
    serve_requests = conversation._serve_requests

    def attack_then_serve(*arguments: Any) -> None:
        team.attack()
        serve_requests(*arguments)
    conversation._serve_requests = attack_then_serve
    return signer.main()
