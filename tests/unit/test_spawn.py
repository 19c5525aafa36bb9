"""Children as they are started: what /proc says of them, not what the code says."""

import ctypes
import grp
import os
import pwd
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness import daemon, proc
from harness.parent import SLEEP, Parent, parent, program
from letsencrypt_tiny.common.environment import PROXIES
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.peers.identity import identity
from letsencrypt_tiny.master.peers.spawn import inherited, sealed, spawn

pytestmark = pytest.mark.root

NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrnam("daemon")


class Seen(NamedTuple):
    """What /proc/PID/status and stat say, besides harness.proc.Process."""

    process: proc.Process
    session: int
    group: int
    terminal: int
    blocked: int
    ignored: int
    caught: int
    permitted: int


def look(pid: int) -> Seen:
    """Look at a child that has executed its program, and loaded its libraries and locale."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and \
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.001)
    while time.monotonic() < deadline and any(
            path.startswith(("/usr/", "/lib", "/etc/")) for path in proc.read(pid).fds.values()):
        time.sleep(0.001)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text()
                  .splitlines() if ":\t" in line)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Seen(proc.read(pid), int(fields[3]), int(fields[2]), int(fields[4]),
                *(int(status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt", "CapPrm")))


@pytest.fixture
def master() -> Iterator[Parent]:
    """The parent; it leaks nothing and leaves no zombie."""
    with parent() as made:
        yield made


def test_who_it_is(master: Parent) -> None:
    groups = os.getgroups()
    os.setgroups([0, 4, 24])
    os.environ["SECRET"] = "s"
    try:
        seen = look(master.spawn().pid)
    finally:
        os.setgroups(groups)
        del os.environ["SECRET"]
    process = seen.process
    assert process.uids == (NOBODY.pw_uid,) * 4 and process.gids == (GROUP.gr_gid,) * 4
    assert process.groups == (GROUP.gr_gid,)
    assert process.capabilities == seen.permitted == 0
    assert process.argv == SLEEP and process.cwd == "/" and process.umask == 0o022
    assert process.environ == {"PATH": "/usr/bin:/bin", "USER": "nobody", "LOGNAME": "nobody",
                               "HOME": NOBODY.pw_dir, "SHELL": NOBODY.pw_shell, "LANG": "C.UTF-8"}
    assert process.fds == {0: "/dev/null", 1: "/dev/null", 2: "/dev/null"}


def test_session_and_signals(master: Parent) -> None:
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM,
               signal.SIGXFSZ, signal.SIGRTMIN + 5)
    saved = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    saved[signal.SIGTERM] = signal.signal(signal.SIGTERM, lambda *_: None)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
    try:
        child = master.spawn()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in saved.items():
            signal.signal(number, handler)
    seen = look(child.pid)
    assert seen.session == seen.group == child.pid and seen.terminal == 0
    # 32 and 33 are glibc's own: posix_spawn(3) leaves them ignored, and nobody can change that
    assert (seen.blocked, seen.ignored & ~(3 << 31), seen.caught) == (0, 0, 0)


def test_descriptors_are_exactly_those_given(master: Parent) -> None:
    leaks = []
    for number in (17, 200, 3, 255):
        if not os.path.exists(f"/proc/self/fd/{number}"):
            os.dup2(master.null, number, inheritable=True)
            leaks.append(number)
    try:
        assert 200 in leaks
        a, b, c, d = master.files
        for given in ([a, b, c, d], [d, c, b, a], [a, a, a], [b, 200, b, 2, 1, 0, a], [],
                      [2, 1, 0]):
            child = master.spawn(descriptors=given)
            fds = look(child.pid).process.fds
            expected = {n: os.readlink(f"/proc/self/fd/{fd}") for n, fd in enumerate(given)}
            assert fds == expected
    finally:
        for number in leaks:
            os.close(number)


def test_descriptors_above_a_lowered_limit(master: Parent) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.dup2(master.null, 300, inheritable=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        child = master.spawn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(300)
    assert set(look(child.pid).process.fds) == {0, 1, 2}


def test_what_it_can_do_with_them(master: Parent) -> None:
    a, b, *_ = master.files
    child = master.spawn(("/bin/sh", "-c", "cat <&3 >&4; pwd >&4; echo \"$@\" >&4", "sh"),
                         ["x y", "$z"], [master.null] * 3 + [a, b], directory="/usr")
    os.pwrite(a, b"", 0)
    assert child.wait(5) == 0
    assert os.pread(b, 100, 0) == b"/usr\nx y $z\n"


def test_the_directory_is_entered_after_the_drop(master: Parent) -> None:
    with tempfile.TemporaryDirectory(dir="/srv") as directory:
        os.chmod(directory, 0o700)
        with pytest.raises(Error, match=r"^F, \[x\]: cannot run /bin/sleep: Permission denied$"):
            master.spawn(directory=directory)
        os.chown(directory, NOBODY.pw_uid, 0)
        assert look(master.spawn(directory=directory).pid).process.cwd == directory
        # a program is never looked for in it
        fake = Path(directory, "sleep")
        fake.write_text("#!/bin/sh\nexit 9\n")
        fake.chmod(0o755)
        assert master.spawn(("sleep", "0"), directory=directory).wait(5) == 0


@pytest.mark.parametrize("command, match", [
    (("/no/such",), "No such file"), (("no-such-program",), "No such file"),
    (("/etc/passwd",), "Permission denied"), (("/etc",), "Permission denied"),
    (("/bin/sh\0x",), "null (byte|character)"), (("x" * 5000,), "name too long|No such")])
def test_what_cannot_be_run(master: Parent, command: Any, match: str) -> None:
    with pytest.raises(Error, match=r"^F, \[x\]: cannot run .*" + match):
        master.spawn(command)


def test_a_program_without_interpreter(master: Parent) -> None:
    with tempfile.TemporaryDirectory(dir="/srv") as directory:
        os.chmod(directory, 0o755)
        path = Path(directory, "p")
        for text, match in (("#!/no/such\n", "No such file"), ("junk", "Exec format")):
            path.write_text(text)
            path.chmod(0o755)
            with pytest.raises(Error, match=f"cannot run {path}: {match}"):
                master.spawn((str(path),))
        path.chmod(0o700)
        with pytest.raises(Error, match=f"cannot run {path}: Permission denied"):
            master.spawn((str(path),))


def test_a_bad_descriptor(master: Parent) -> None:
    with pytest.raises(Error, match="Bad file descriptor"):
        master.spawn(descriptors=[master.null, 12345])


def test_root_stays_root_if_no_user_is_set(master: Parent) -> None:
    what = program(*SLEEP, user="", group="")
    who = identity(what)
    assert who == (0, 0, "root", "/root", pwd.getpwuid(0).pw_shell)
    child = spawn(what, who, [], [master.null] * 3)
    master.children.append(child)
    process = proc.read(child.pid)
    assert process.uids == process.gids == (0, 0, 0, 0)
    assert process.environ["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"


def test_extra_environment(master: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://p:1")
    monkeypatch.setenv("http_proxy", "http://evil")
    monkeypatch.setenv("BASH_ENV", "/evil")
    monkeypatch.delenv("no_proxy", raising=False)
    extra = inherited(PROXIES)
    assert extra == {"https_proxy": "http://p:1"}
    environ = look(master.spawn(extra=extra).pid).process.environ
    assert environ["https_proxy"] == "http://p:1"
    assert set(environ) == {"PATH", "USER", "LOGNAME", "HOME", "SHELL", "LANG", "https_proxy"}


def test_the_signer(master: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the session (a passphrase is asked for), and %-specifiers are its own user's."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/evil")
    child = master.spawn(("/bin/%u", "60"), signer=False) if os.path.exists("/bin/%u") else None
    assert child is None
    child = master.spawn(("/bin/sleep", "60"), signer=True)
    assert look(child.pid).session == os.getsid(0)
    text = master.output(("/bin/echo", "%u %U %h %%"), ["%u"], signer=True)
    assert text == f"nobody {NOBODY.pw_uid} {NOBODY.pw_dir} % %u\n", "its own arguments only"
    with pytest.raises(Error, match="%t has no value here"):
        master.spawn(("/bin/echo", "%t"), signer=True)
    with pytest.raises(Error, match="%x is not a specifier"):
        master.spawn(("%x",), signer=True)
    assert master.output(("/bin/echo", "%u")) == "%u\n", "others' are as written"


CONNECT = ("import socket, sys; at = '127.0.0.1', int(sys.argv[1])\n"
           "try: socket.create_connection(at, 5); print('connected')\n"
           "except OSError as exc: print(exc.strerror)\n"
           "print(socket.socket(fileno=3).accept()[1][0])")


def test_without_network(master: Parent) -> None:
    """It reaches nobody, and serves who comes to the socket that it was given."""
    with socket.create_server(("127.0.0.1", 0)) as target, \
            socket.create_server(("127.0.0.1", 0)) as given:
        for network, reached in (True, "connected"), (False, "Network is unreachable"):
            reader, writer = os.pipe()
            master.spawn(("/usr/bin/python3", "-Ic", CONNECT), [str(target.getsockname()[1])],
                         [master.null, writer, 2, given.fileno()], network=network)
            os.close(writer)
            with open(reader, encoding="utf-8") as file, \
                    socket.create_connection(given.getsockname(), 5):
                assert file.read().splitlines() == [reached, "127.0.0.1"]


def test_without_network_where_the_master_can_make_no_namespace(master: Parent) -> None:
    """CAP_SYS_ADMIN is not among what the renewal unit leaves it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert ctypes.CDLL(None).prctl(24, 21, 0, 0, 0) == 0   # PR_CAPBSET_DROP
            # the bounding set takes effect with the next exec
            code = ("import sys; sys.path[:0] = sys.argv[1:3]\n"
                    "from harness.parent import Parent\nmaster = Parent()\n"
                    "assert master.output(('/bin/echo', 'here'), network=False) == 'here\\n'")
            tests = Path(__file__).parents[1]
            status = subprocess.run(["/usr/bin/python3", "-IBc", code, str(tests),
                                     str(tests.parent)], check=False).returncode
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_who_kills_the_master_kills_its_children(master: Parent) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, b"%d" % master.spawn().pid)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    child = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    _, status = os.waitpid(child, 0)   # it is ours now (PR_SET_CHILD_SUBREAPER)
    assert os.WTERMSIG(status) == signal.SIGTERM


def test_not_even_a_signer_that_ignores_sigterm_outlives_the_master(master: Parent) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child = master.spawn(("/bin/sh", "-c", "trap '' TERM; echo; exec sleep 60"),
                                 descriptors=[master.null, writer, master.null], signer=True)
            os.write(writer, b"%d" % child.pid)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    child_pid = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    _, status = os.waitpid(child_pid, 0)   # it is ours now (PR_SET_CHILD_SUBREAPER)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_a_signal_while_a_child_starts_leaves_none(monkeypatch: pytest.MonkeyPatch,
                                                   master: Parent) -> None:
    class Stopped(BaseException):
        """As what a signal handler raises."""

    def read(*_: object) -> bytes:
        raise Stopped
    monkeypatch.setattr(os, "read", read)
    with pytest.raises(Stopped):
        master.spawn()
    monkeypatch.undo()
    assert daemon.strays() == []


def test_what_is_sealed_changes_no_more() -> None:
    data = b"x" * 300000
    descriptor = sealed(data)
    try:
        assert os.read(descriptor, 1 << 20) == data and not os.get_inheritable(descriptor)
        for action in (lambda: os.pwrite(descriptor, b"y", 0), lambda: os.ftruncate(descriptor, 1),
                       lambda: os.pwrite(descriptor, b"y", len(data))):
            with pytest.raises(PermissionError):
                action()
    finally:
        os.close(descriptor)
