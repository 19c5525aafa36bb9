"""What the confined updater of DNS records can and can't do, under each guard (test_confine.py)."""

import mmap
import os
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from harness import confined
from harness.confined import (HAS_SECCOMP, KERNEL_ABI, World, bind, connect, connect_abstract,
                              create, fork, in_thread, inside, judge, libc, listen_unbound, look,
                              needs_seccomp, prepare, read, refused_by_seccomp, sockets, unlimited,
                              verdicts, write)
from letsencrypt_tiny.common.sandbox.confine import Plan
from letsencrypt_tiny.dns import main as dns
from letsencrypt_tiny.dns.asking import Server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="drops from root to another user")
GUARDS = [(abi, with_seccomp) for abi in (0, 1, 3, 4, 6, 7) for with_seccomp in (True, False)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with confined.world() as made:
        yield made


@pytest.fixture(params=GUARDS, ids=lambda guard: f"landlock{guard[0]}-seccomp{guard[1]:d}")
def guards(request: Any) -> tuple[int, bool]:
    abi, with_seccomp = request.param
    if abi > KERNEL_ABI:
        pytest.skip(f"the kernel has Landlock ABI {KERNEL_ABI}")
    if with_seccomp and not HAS_SECCOMP:
        pytest.skip("python3-seccomp is not installed")
    return abi, with_seccomp


def plan(world: World, *modules: str) -> Plan:
    """Return that of one way to update, with a server at the port that is allowed."""
    update: Any = SimpleNamespace(ports=(world.allowed,), modules=modules)
    return dns.confinement("auto", update, [Server("127.0.0.1", world.allowed)])


def test_ports() -> None:
    """53, its server's, and those of other name servers that are asked."""
    update: Any = SimpleNamespace(ports=(443,), modules=())
    assert dns.confinement("no", update, [Server("192.0.2.1", 5353)]).connect == (53, 443, 5353)


@pytest.mark.parametrize("loads", [False, True])
def test_updater(world: World, guards: tuple[int, bool], loads: bool) -> None:
    """Of files it has the journal; if it loads modules late, it reads those, and nothing else."""
    abi, filtered = guards
    prepare(world)
    journal = os.open(f"{world.challenge}/token", os.O_RDWR | os.O_APPEND)

    def remember() -> None:
        os.write(journal, b"line\n")
        os.fdatasync(journal)
        assert os.pread(journal, 100, 0).endswith(b"line\n")
        os.ftruncate(journal, 0)

    more = sockets("dns")
    attempts: dict[str, Callable[[], Any]] = {
        "remember": remember,
        "remember in a thread": lambda: in_thread(remember),
        "connect": lambda: connect(world.allowed),
        "connect elsewhere": lambda: connect(world.other),
        "load": lambda: read(f"{world.challenge}/module"),
        "list modules": lambda: os.listdir(world.challenge),
        "read": lambda: read(world.outside),
        "read /etc/passwd": lambda: read("/etc/passwd"),
        "list": lambda: os.listdir(os.path.dirname(world.outside)),
        "look": lambda: look(world.outside),
        "write": lambda: write(world.outside),
        "write a module": lambda: write(f"{world.challenge}/module"),
        "create": lambda: create(f"{world.challenge}/new"),
        "remove": lambda: os.unlink(f"{os.path.dirname(world.outside)}/gone"),
        "UDP": lambda: socket.socket(type=socket.SOCK_DGRAM).close(),
        "UNIX socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "bind": lambda: bind(socket.SOCK_STREAM), "listen": listen_unbound,
        "abstract socket": lambda: connect_abstract(world.abstract),
        "signal": lambda: os.kill(world.victim, 0), "fork": fork,
        "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_READ),
        **more}
    write(f"{world.challenge}/module", "content\n")
    os.chmod(f"{world.challenge}/module", 0o666)
    result = inside(unlimited(plan(world, *([world.challenge] if loads else []))),
                    lambda: verdicts(attempts), "/", abi, filtered)
    os.close(journal)
    closed = bool(abi) or filtered
    judge(result, guards, {
        "connect elsewhere": abi >= 4, "load": closed and not loads,
        "list modules": closed and not loads, "look": filtered and not loads,
        "read": closed if not loads else abi >= 1,
        "read /etc/passwd": closed if not loads else abi >= 1,
        "list": closed if not loads else abi >= 1,
        "write": closed, "write a module": closed, "create": closed, "remove": closed,
        "UDP": filtered, "UNIX socket": filtered, "bind": abi >= 4 or filtered,
        "listen": filtered, "abstract socket": abi >= 6 or filtered,
        "signal": abi >= 6 or filtered, "fork": filtered, "executable memory": filtered,
        **(refused_by_seccomp(more) if filtered else {})})


FATAL: dict[str, Callable[[World], Any]] = {
    "execve": lambda world: os.execv("/bin/true", ["true"]),
    "ptrace": lambda world: libc.ptrace(16, world.victim, 0, 0),
    "setresuid": lambda world: libc.setresuid(1, 1, 1)}


@needs_seccomp
@pytest.mark.parametrize("call", FATAL)
def test_an_attack_is_fatal(world: World, call: str) -> None:
    work = FATAL[call]
    assert inside(plan(world), lambda: (work(world), None)[1], abi=0) == "killed by SIGSYS"
