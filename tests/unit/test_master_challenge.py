"""Challenge directories and listening sockets: made as they should be, and gone afterwards."""

import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import daemon, proc
from letsencrypt_tiny.common.errors import ConfigError, Error
from letsencrypt_tiny.master.peers import spawn as children
from letsencrypt_tiny.master.responders import http01 as challenge
from letsencrypt_tiny.master.settings import main as config
from letsencrypt_tiny.master.responders.http01 import InUseError, Responder

pytestmark = pytest.mark.root

NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"


class Host:
    """A configuration, a responder and where its messages go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = path / "run"
        self.responders: list[Responder] = []
        self.client = children.Identity(NOBODY.pw_uid, NOBODY.pw_gid, "nobody", "/", "/bin/sh")
        self.null = os.open("/dev/null", os.O_RDWR)

    def responder(self, settings: str, script: str = "exec sleep 60") -> Responder:
        """Return a responder, not yet started."""
        program = self.path / "webserver"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        (self.path / "main.conf").write_text(
            f"run-directory = {self.run}\n[webserver]\ncommand = {program}\nuser = daemon\n"
            f"group = daemon\niptables = no\n{settings}\n")
        made = Responder(config.load(str(self.path / "main.conf")), self.client)
        self.responders.append(made)
        return made

    def started(self, settings: str, script: str = "exec sleep 60") -> Responder:
        """Return a responder that was started."""
        made = self.responder(settings, script)
        made.start(lambda name: os.dup(self.null))
        return made

    def fails(self, settings: str, match: str, kind: type = Error) -> None:
        """Starting must fail with a message that matches, and leave nothing."""
        made = self.responder(settings)
        before = sorted(os.listdir(self.run)) if self.run.exists() else []
        with pytest.raises(kind, match=match):
            try:
                made.start(lambda name: os.dup(self.null))
            finally:
                made.stop()
        assert (sorted(os.listdir(self.run)) if self.run.exists() else []) == before

    def close(self) -> None:
        """Stop all."""
        for responder in self.responders:
            responder.stop()
            responder.stop()
        os.close(self.null)
        shutil.rmtree(self.path)


@pytest.fixture
def host() -> Iterator[Host]:
    """A directory, not below a sticky one; no descriptor, process or file is left."""
    before = set(os.listdir("/proc/self/fd"))
    path = Path(tempfile.mkdtemp(prefix="test-challenge-", dir="/srv"))
    path.chmod(0o755)
    made = Host(path)
    yield made
    left = [name for name in (os.listdir(made.run) if made.run.exists() else [])
            if name.startswith("challenges-") and not made.responders]
    made.close()
    assert left == [] and set(os.listdir("/proc/self/fd")) == before


def test_directory_of_our_own(host: Host) -> None:
    responder = host.responder(f"listen = {host.path}/www")
    saved = os.umask(0)
    try:
        responder.start(lambda name: os.dup(host.null))
    finally:
        os.umask(saved)
    info = os.stat(responder.directory)
    # the client writes, the web server finds what it knows the name of
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == \
        (NOBODY.pw_uid, DAEMON.pw_gid, 0o710)
    assert os.path.dirname(responder.directory) == str(host.run)
    assert stat.S_IMODE(host.run.stat().st_mode) == 0o755
    assert len(os.path.basename(responder.directory)) > 20, "it can't be guessed"
    victim = host.path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    for name, make in (("file", Path.touch), ("dir", Path.mkdir), ("fifo", os.mkfifo)):
        make(Path(responder.directory, name))
    Path(responder.directory, "dir/sub").mkdir()
    Path(responder.directory, "link").symlink_to(victim)
    Path(responder.directory, "dir/link").symlink_to(victim)
    responder.stop()
    assert os.listdir(host.run) == [] and os.listdir(victim) == ["file"]


def test_nothing_comes_back_while_it_is_removed(host: Host,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from a client that is still there, at the last moment before the directory goes."""
    responder = host.started(f"listen = {host.path}/www")
    inside = os.open(responder.directory, os.O_PATH)
    rmdir, came_back = os.rmdir, []

    def late(path: str, **where: int) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                os.fchdir(inside)
                os.setgroups([])
                os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_uid)
                os.close(os.open("back", os.O_WRONLY | os.O_CREAT, 0o644))
                os._exit(0)
            finally:
                os._exit(1)
        came_back.append(os.waitpid(pid, 0)[1] == 0)
        rmdir(path, **where)
    monkeypatch.setattr(os, "rmdir", late)
    responder.stop()
    os.close(inside)
    assert os.listdir(host.run) == [] and came_back == [False]


def test_a_deep_nest_is_removed(host: Host) -> None:
    """Deeper than the stack, and than descriptors would reach."""
    responder = host.started(f"listen = {host.path}/www")
    done = subprocess.run(["/usr/bin/python3", "-c", "import os\nfor _ in range(2500):\n"
                           "    os.mkdir('d')\n    os.mknod('f')\n    os.chdir('d')"],
                          cwd=responder.directory, check=True)
    assert done.returncode == 0
    responder.stop()
    assert os.listdir(host.run) == []


def test_contract_of_the_web_server(host: Host) -> None:
    responder = host.started(f"listen = 127.0.0.1:8001 [::1]:8001 {host.path}/www\n"
                             "confine = required", "exec sleep 60")
    child = responder._children[0]
    process = proc.read(child.pid)
    assert process.uids == (DAEMON.pw_uid,) * 4 and process.groups == (DAEMON.pw_gid,)
    assert process.cwd == responder.directory
    assert {n: target.partition(":")[0] for n, target in process.fds.items() if n < 6} == {
        0: "/dev/null", 1: "/dev/null", 2: "/dev/null", 3: "socket", 4: "socket", 5: "socket"}
    assert len(responder._sockets) == 3
    for family, address in ((socket.AF_INET, ("127.0.0.1", 8001)), (socket.AF_INET6, ("::1", 8001)),
                            (socket.AF_UNIX, f"{host.path}/www")):
        with socket.socket(family) as sock:
            sock.connect(address)
    responder.stop()
    for family, address in ((socket.AF_INET, ("127.0.0.1", 8001)),
                            (socket.AF_INET6, ("::1", 8001))):
        with socket.socket(family) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(address)
    assert not os.path.lexists(host.path / "www") and daemon.strays() == []


def test_unix_socket(host: Host) -> None:
    saved = os.umask(0o077)
    try:
        responder = host.started(f"listen = {host.path}/www")
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(saved)
    assert stat.S_IMODE((host.path / "www").stat().st_mode) == 0o666
    # what isn't ours any more stays
    (host.path / "www").unlink()
    (host.path / "www").write_text("somebody else's")
    responder.stop()
    assert (host.path / "www").read_text() == "somebody else's"


def test_path_of_a_unix_socket_is_taken(host: Host) -> None:
    path = host.path / "www"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.listen()
    host.fails(f"listen = {path}", "another process listens on it", InUseError)
    dead.close()
    host.started(f"listen = {path}").stop()   # nobody listens: replaced
    assert not path.exists()
    for make in (Path.touch, Path.mkdir, lambda p: p.symlink_to("/etc/passwd"),
                 lambda p: p.symlink_to("nothing")):
        make(path)
        host.fails(f"listen = {path}", "exists and is no socket")
        path.rmdir() if path.is_dir() else path.unlink()


def test_unix_socket_in_a_directory_of_others(host: Host) -> None:
    (host.path / "d").mkdir()
    for mode, uid in ((0o777, 0), (0o1777, 0), (0o755, NOBODY.pw_uid)):
        (host.path / "d").chmod(mode)
        os.chown(host.path / "d", uid, 0)
        host.fails(f"listen = {host.path}/d/www", f"{host.path}/d: ")
        assert os.listdir(host.path / "d") == []


def test_port_in_use(host: Host) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 8002))
        other.listen()
        host.fails("listen = 127.0.0.1:8003 127.0.0.1:8002", r"\[webserver\]: cannot listen on "
                   r"127.0.0.1:8002: Address already in use \(set listen or challenge-dir")
        with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
            sock.connect(("127.0.0.1", 8003))
    host.fails("listen = 192.0.2.77", "cannot listen on 192.0.2.77:80: Cannot assign")


def test_auto(host: Host) -> None:
    responder = host.started("listen = auto")
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            sock.connect((address, 80))
    responder.stop()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"),
                            (socket.AF_INET, "0.0.0.0")):
        with socket.socket(family) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((address, 80))
            other.listen()
            responder = host.started("")
            assert stat.S_ISSOCK(os.stat(host.run / "www.socket").st_mode)
            responder.stop()
            assert os.listdir(host.run) == []


def test_both_wildcards(host: Host) -> None:
    for settings in ("0.0.0.0:8004 [::]:8004", "[::]:8004, 0.0.0.0:8004"):
        host.started(f"listen = {settings}").stop()
    responder = host.started("listen = [::]:8004")
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", 8004))   # as in lacme: [::] alone serves IPv4 too
    responder.stop()


def test_a_web_server_that_cannot_be_started(host: Host) -> None:
    made = host.responder(f"listen = {host.path}/www")
    (host.path / "webserver").unlink()
    with pytest.raises(Error, match="cannot run .*No such file"):
        made.start(lambda name: os.dup(host.null))
    made.stop()
    assert os.listdir(host.run) == [] and not (host.path / "www").exists()


def test_a_web_server_that_ends(host: Host) -> None:
    host.started(f"listen = {host.path}/lives").check()
    responder = host.started(f"listen = {host.path}/ends", "exit 3")
    with pytest.raises(Error, match="web server ended with status 3"):
        for _ in range(100):
            responder.check()
            time.sleep(0.05)


def test_directory_of_an_administrator(host: Host) -> None:
    path = host.path / "acme"
    path.mkdir()
    os.chown(path, NOBODY.pw_uid, 0)
    (path / TOKEN).write_text("left by a killed run")
    os.chown(path / TOKEN, NOBODY.pw_uid, -1)
    others = {"index.html": NOBODY.pw_uid, TOKEN[::-1]: 0, "a.b": NOBODY.pw_uid}
    for name, uid in others.items():
        (path / name).touch()
        os.chown(path / name, uid, -1)
    (path / "dir").mkdir()
    (path / "link").symlink_to("/etc/passwd")
    for name in ("dir", "link"):
        os.chown(path / name, NOBODY.pw_uid, -1, follow_symlinks=False)
    kept = sorted([*others, "dir", "link"])
    # listen is ignored, as in lacme
    responder = host.started(f"challenge-directory = {path}\nlisten = {host.path}/www")
    assert responder.directory == str(path) and sorted(os.listdir(path)) == kept
    assert daemon.strays() == [] and not (host.path / "www").exists()
    (path / TOKEN).touch()
    os.chown(path / TOKEN, NOBODY.pw_uid, -1)
    responder.stop()
    assert sorted(os.listdir(path)) == kept


def test_directory_of_an_administrator_that_is_none(host: Host) -> None:
    (host.path / "f").touch()
    for name, match in (("no", "No such file"), ("f", "not a directory")):
        host.fails(f"challenge-directory = {host.path}/{name}",
                   rf"\[webserver\]: challenge-directory = {host.path}/{name}: .*{match}",
                   ConfigError)


def test_what_a_killed_run_left(host: Host) -> None:
    host.run.mkdir()
    victim = host.path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    for name in ("challenges-1", "challenges-2/dir/sub"):
        (host.run / name).mkdir(parents=True)
    (host.run / "challenges-1" / TOKEN).touch()
    (host.run / "challenges-2/link").symlink_to(victim)
    (host.run / "challenges-3").symlink_to(victim)
    (host.run / "lock").touch()
    responder = host.responder("")
    challenge.remove_stale(responder._config)
    assert os.listdir(victim) == ["file"] and (host.run / "lock").exists()
    assert not [name for name in os.listdir(host.run) if name[-1] in "12"]


def test_run_directory_of_others(host: Host) -> None:
    host.run.mkdir()
    for mode, uid in ((0o777, 0), (0o755, NOBODY.pw_uid)):
        host.run.chmod(mode)
        os.chown(host.run, uid, 0)
        host.fails(f"listen = {host.path}/www", f"^{host.run}: ")


def test_messages_of_addresses() -> None:
    openings = challenge._openings
    address = config.Address
    assert openings(address(socket.AF_UNIX, "/x")) == []
    assert openings(address(socket.AF_INET, "127.0.0.5", 80)) == []
    assert openings(address(socket.AF_INET6, "::1", 80)) == []
    assert openings(address(socket.AF_INET, "192.0.2.1", 81)) == \
        [(socket.AF_INET, "192.0.2.1", 81)]
    assert {item[0] for item in openings(address(socket.AF_INET6, "::", 80))} == \
        {socket.AF_INET, socket.AF_INET6}
