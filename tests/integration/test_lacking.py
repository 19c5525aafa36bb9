"""What every system has, and this one lacks; what stands still or jumps meanwhile."""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import proc, soak
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import expect
from harness.run import ENVIRONMENT, Prefix, Result, Site, Users

pytestmark = pytest.mark.root
YEAR = 366 * 86400

_CLOCK = """import mmap
import os
import sys
import time
with open({path!r}, "rb") as file:
    ahead = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
time.time = lambda real=time.time: real() + int.from_bytes(ahead[:8], "little", signed=True)
"""


@pytest.fixture(name="host")
def _host(site: Site, hostile: Hostile) -> Site:
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    return site


def without(site: Site, script: str, *args: str, way: str = "--mount") -> "Result[str]":
    """Run letsencrypt-tiny in a namespace of its own, in which a shell script comes first."""
    return subprocess.run(
        ["/usr/bin/unshare", way, "/bin/sh", "-ec", f'{script}\nexec "$@"', "sh",
         *site.command(*args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=ENVIRONMENT, timeout=90, check=False)


@pytest.mark.parametrize("command", ["newOrder", "check", "status"])
def test_without_proc(command: str, host: Site, hostile: Hostile) -> None:
    """It is not the configuration that is missing."""
    before = len(hostile.requests)
    done = without(host, "umount -l /proc", command)
    assert done.returncode != 0 and done.stderr.count("\n") == 1
    assert "error: /proc is not mounted (mount -t proc proc /proc)" in done.stderr
    assert len(hostile.requests) == before
    expect(host.run("--quiet", "newOrder"), 0)


@pytest.mark.parametrize("script", [
    "mount -t tmpfs none /dev",
    "mount -t tmpfs none /dev; mknod -m 666 /dev/urandom c 1 9; ln -s /proc/self/fd /dev/fd"])
def test_without_null(script: str, host: Site, hostile: Hostile) -> None:
    before = len(hostile.requests)
    expect(without(host, script, "--quiet", "newOrder"), 1,
           f"error: a: cannot make the private key {host.file('a', 'privkey.pem')} and a signing "
           "request with it: /usr/bin/openssl: cannot run it: /dev/null: No such file or directory")
    assert len(hostile.asked("newOrder")) == 0 and len(hostile.requests) == before
    done = without(host, script, "check")
    assert done.returncode != 0 and done.stderr.count("/dev/null is not there") == 1
    assert without(host, script, "status").returncode == 0
    expect(host.run("--quiet", "newOrder"), 0)


def test_null_is_a_file(host: Site) -> None:
    """What is written to it is kept, and nothing fails because of that."""
    script = "mount -t tmpfs none /dev; : >/dev/null; chmod 666 /dev/null; " \
             "mknod -m 666 /dev/urandom c 1 9; ln -s /proc/self/fd /dev/fd"
    assert "no device (mknod -m 666 /dev/null c 1 3)" in without(host, script, "check").stderr
    expect(without(host, script, "--quiet", "newOrder"), 0)


@pytest.mark.parametrize("user, setting", soak.some([
    ("_letsencrypt-client", "client"), ("_letsencrypt-accountd", "accountd"),
    ("_letsencrypt-www", "webserver")], 2))
def test_without_a_user(user: str, setting: str, host: Site, hostile: Hostile) -> None:
    """It was deleted after the installation: which one, and in which section, is told."""
    before = len(hostile.requests)
    script = 'grep -v "^$0:" /etc/passwd >"$1"; mount --bind "$1" /etc/passwd; shift'
    passwd = host.path / "passwd"
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", f'{script}\nexec "$@"', user, passwd,
         *host.command("--quiet", "newOrder")], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, env=ENVIRONMENT, timeout=90, check=False)
    assert done.returncode != 0 and done.stderr.count("\n") == 1, done.stderr
    assert user in done.stderr and setting in done.stderr and "there is no such user" in done.stderr
    assert len(hostile.requests) == before
    expect(host.run("--quiet", "newOrder"), 0)


def test_without_a_network(host: Site, hostile: Hostile) -> None:
    """Not even the loopback interface is up: one line for all, and the next run does the work."""
    host.certificate("b", ["b.example"])
    done = without(host, ":", "--quiet", "newOrder", way="--net")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    port = hostile.directory.split("/")[2]
    assert f"error: a, b: cannot connect to {port}" in done.stderr and "unreach" in done.stderr
    expect(host.run("--quiet", "newOrder"), 0)


_WITHOUT_IPV6 = """import errno, os, seccomp, socket, sys
filters = seccomp.SyscallFilter(seccomp.ALLOW)
filters.set_attr(seccomp.Attr.CTL_NNP, 0)
filters.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket",
                 seccomp.Arg(0, seccomp.EQ, socket.AF_INET6))
filters.load()
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_without_ipv6(host: Site) -> None:
    """The kernel knows nothing of it, as with ipv6.disable=1: what is configured suffices."""
    host.main["webserver"]["listen"] += " [::1]:80"
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", _WITHOUT_IPV6,
                           *host.command("--quiet", "newOrder")], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, env=ENVIRONMENT, timeout=90, check=False)
    expect(done, 0)
    assert host.file("a").exists()
    host.main["webserver"]["listen"] = "[::1]:80"
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", _WITHOUT_IPV6,
                           *host.command("--quiet", "newOrder", "--force")], capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, env=ENVIRONMENT, timeout=90,
                          check=False)
    expect(done, 1, r"error: a: .*, \[webserver\]: cannot listen on \[::1\]:80: Address family not "
                    "supported by protocol")


def test_nobody_reads_standard_output(host: Site) -> None:
    """The table waits for who reads it; a signal ends that."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(4096))
    with host.popen("status", stdout=writer) as process:
        try:
            time.sleep(1)
            assert process.poll() is None
            process.terminate()
            assert process.wait(10) == -signal.SIGTERM
        finally:
            proc.kill_tree(process.pid)
            os.close(reader)
            os.close(writer)


def test_a_machine_that_is_suspended(host: Site, hostile: Hostile) -> None:
    """All stand still in the middle of an order, for longer than the server waits for them."""
    host.main["client"].update({"timeout": "5", "answer-timeout": "3"})
    stopped: list[int] = []

    def stop(_request: Request, default: Default) -> Response:
        if not stopped:
            stopped.extend([process.pid, *proc.descendants(process.pid)])
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
        return default()
    hostile.on["authz"] = stop
    with host.popen("--quiet", "newOrder") as process:
        try:
            while not stopped:
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(8)
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            stderr = process.communicate(timeout=60)[1]
        finally:
            proc.kill_tree(process.pid)
    if process.returncode:
        assert stderr.startswith("error: a: ") and stderr.count("\n") == 1, stderr
        expect(host.run("--quiet", "newOrder"), 0)
    assert len(hostile.asked("newOrder")) == 1 and host.file("a").exists()


@pytest.fixture(name="clock", scope="module")
def _clock(users: Users) -> Iterator[Prefix]:
    """Programs whose clock is ahead by what the file “ahead” says at the moment."""
    own = Prefix()
    ahead = own.path / "ahead"
    ahead.write_bytes(bytes(8))
    for program in (own.master, own.accountd, own.client, own.webserver):
        text = program.read_text()
        assert "\nimport sys\n" in text
        program.write_text(text.replace("\nimport sys\n", "\n" + _CLOCK.format(path=str(ahead)), 1))
    yield own
    own.remove()


@pytest.mark.alike(2)
@pytest.mark.parametrize("resource, seconds", soak.some([
    (resource, seconds) for resource in ("newOrder", "authz", "finalize", "certificate")
    for seconds in (YEAR, -YEAR)], 3))
def test_a_clock_that_jumps(resource: str, seconds: int, clock: Prefix, hostile: Hostile) -> None:
    """It is another year from one request to the next: nothing is lost or ordered twice."""
    leaping = Site(clock)
    leaping.open_account(hostile)
    leaping.certificate("a", ["a.example"])
    ahead = clock.path / "ahead"

    def leap(_request: Request, default: Default) -> Response:
        _set(ahead, seconds)
        return default()
    hostile.on[resource] = leap
    done = leaping.run("--quiet", "newOrder")
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr
    assert _get(ahead) == seconds, "it has leapt"
    hostile.on.clear()
    _set(ahead, 0)
    expect(leaping.run("--quiet", "newOrder"), 0)
    assert leaping.file("a").exists() and len(hostile.asked("newOrder")) == 1
    assert "failed" not in json.dumps([path.read_text() for path in
                                       (leaping.lib / "state").glob("cert-*.json")])


def _set(ahead: Path, seconds: int) -> None:
    """Change the clock in place: the file is mapped."""
    with open(ahead, "r+b") as file:
        file.write(seconds.to_bytes(8, "little", signed=True))


def _get(ahead: Path) -> int:
    return int.from_bytes(ahead.read_bytes(), "little", signed=True)
