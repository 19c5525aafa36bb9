"""Challenge directories: made as they should be, and gone afterwards."""

import os
import stat
import subprocess
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import daemon
from harness.responder import DAEMON, NOBODY, TOKEN, Host
from letsencrypt_tiny.common.errors import ConfigError, Error

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    """A host without configuration."""
    with Host() as made:
        yield made


def test_directory_of_our_own(host: Host) -> None:
    responder = host.responder(f"listen = {host.path}/www")
    saved = os.umask(0)
    try:
        responder.open([])
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
    responder.close()
    assert os.listdir(host.run) == [] and os.listdir(victim) == ["file"]


def test_nothing_comes_back_while_it_is_removed(host: Host,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from a client that is still there, at the last moment before the directory goes."""
    responder = host.serving(f"listen = {host.path}/www")
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
    responder.close()
    os.close(inside)
    assert os.listdir(host.run) == [] and came_back == [False]


def test_a_deep_nest_is_removed(host: Host) -> None:
    """Deeper than the stack, and than descriptors would reach."""
    responder = host.serving(f"listen = {host.path}/www")
    done = subprocess.run(["/usr/bin/python3", "-c", "import os\nfor _ in range(2500):\n"
                           "    os.mkdir('d')\n    os.mknod('f')\n    os.chdir('d')"],
                          cwd=responder.directory, check=True)
    assert done.returncode == 0
    responder.close()
    assert os.listdir(host.run) == []


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
    responder = host.serving(f"challenge-directory = {path}\nlisten = {host.path}/www")
    assert responder.directory == str(path) and sorted(os.listdir(path)) == kept
    assert daemon.strays() == [] and not (host.path / "www").exists()
    (path / TOKEN).touch()
    os.chown(path / TOKEN, NOBODY.pw_uid, -1)
    responder.close()
    assert sorted(os.listdir(path)) == kept


def test_directory_of_an_administrator_that_is_none(host: Host) -> None:
    (host.path / "f").touch()
    for name, match in (("no", "No such file"), ("f", "not a directory")):
        host.fails(f"challenge-directory = {host.path}/{name}",
                   rf"\[webserver\]: challenge-directory = {host.path}/{name}: .*{match}",
                   ConfigError)


def test_run_directory_of_others(host: Host) -> None:
    host.run.mkdir()
    for mode, uid in ((0o777, 0), (0o755, NOBODY.pw_uid)):
        host.run.chmod(mode)
        os.chown(host.run, uid, 0)
        host.fails(f"listen = {host.path}/www", f"^{host.run}: ")


@pytest.mark.parametrize("step", ["chown", "chmod"])
def test_a_directory_that_cannot_be_made(host: Host, step: str,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Half made is not made."""
    real = getattr(os, step)

    def full(name: str, *values: int, **where: object) -> None:
        if name.startswith("challenges-"):
            raise OSError(28, "No space left on device")
        real(name, *values, **where)
    responder = host.responder(f"listen = {host.path}/www")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(Error, match=f"^{host.run}/challenges-.*: cannot make it: No space"):
        responder.open([])
    assert host.left() == [] and not (host.path / "www").exists()


@pytest.mark.parametrize("uid, gid, mode, writable", [
    (NOBODY.pw_uid, 0, 0o755, True), (NOBODY.pw_uid, 0, 0o555, False), (0, 0, 0o755, False),
    (0, NOBODY.pw_gid, 0o775, True), (0, NOBODY.pw_gid, 0o755, False),
    (NOBODY.pw_uid, 0, 0o655, False), (0, NOBODY.pw_gid, 0o765, False)])
def test_who_can_write_in_that_of_an_administrator(host: Host, uid: int, gid: int, mode: int,
                                                   writable: bool) -> None:
    path = host.path / "acme"
    path.mkdir()
    path.chmod(mode)
    os.chown(path, uid, gid)
    found = list(host.responder(f"challenge-directory = {path}").faults())
    assert [str(fault) for fault in found] == ([] if writable else [
        f"{host.path}/main.conf, [webserver]: challenge-directory = {path}: "
        "nobody cannot write in it (chown it to nobody)"])
    assert all(isinstance(fault, ConfigError) for fault in found)


def test_faults_of_what_is_no_directory(host: Host) -> None:
    (host.path / "f").touch()
    for name, match in (("no", "No such file"), ("f", "not a directory")):
        fault, = host.responder(f"challenge-directory = {host.path}/{name}").faults()
        assert isinstance(fault, ConfigError) and match in str(fault)
        assert f"[webserver]: challenge-directory = {host.path}/{name}: " in str(fault)
