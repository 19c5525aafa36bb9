"""Installation: atomic, never wider than asked, and nothing else touched."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from collections.abc import Callable, Iterator

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import files as store, keys
from letsencrypt_tiny.master.store.files import File, install

pytestmark = pytest.mark.root

OWNER, OTHER = 65534, 65533
OLD, NEW = b"old\n" * 5000, b"new!\n" * 5000


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Each descriptor that was opened is closed again."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


def old_files(top: Path, *names: str) -> list[File]:
    """Write old files; return what replaces them."""
    for name in names:
        (top / name).write_bytes(OLD)
    return [File(f"{top}/{name}", NEW) for name in names]


def untouched(top: Path, *names: str) -> None:
    """The files are the old ones, and no other is there."""
    for name in names:
        assert (top / name).read_bytes() == OLD
    assert {name for name in os.listdir(top) if name.startswith(".")} == set()


def test_install(top: Path) -> None:
    files = old_files(top, "a", "b")
    files.append(File(f"{top}/new", b"", None, 0o600))
    before = {name: (top / name).stat().st_ino for name in ("a", "b")}
    with open(top / "a", "rb") as reader:
        install(files)
        assert reader.read() == OLD, "who has it open reads on in the old one"
    assert sorted(os.listdir(top)) == ["a", "b", "new"]
    for name in ("a", "b"):
        info = (top / name).stat()
        assert info.st_ino != before[name] and (top / name).read_bytes() == NEW
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, 0, 0o644)
    assert stat.S_IMODE((top / "new").stat().st_mode) == 0o600
    install([])


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o640, 0o444, 0o400, 0])
def test_mode_and_owner_are_exact(top: Path, umask: int, mode: int) -> None:
    for owner, expected in ((None, (0, 0)), ((OWNER, -1), (OWNER, 0)),
                            ((OWNER, OTHER), (OWNER, OTHER))):
        saved = os.umask(umask)
        try:
            install([File(f"{top}/a", NEW, owner, mode)])
        finally:
            os.umask(saved)
        info = (top / "a").stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (*expected, mode)


def watch_modes(top: Path, work: Callable[[], None]) -> "set[int]":
    """Return all modes that any file in ``top`` has while ``work`` goes on, call by call."""
    seen = set()

    def look(*_: object) -> None:
        for name in os.listdir(top):
            try:
                seen.add(stat.S_IMODE(os.lstat(top / name).st_mode))
            except FileNotFoundError:
                pass

    saved = os.umask(0)
    sys.setprofile(look)   # before and after each system call that Python makes
    try:
        work()
    finally:
        sys.setprofile(None)
        os.umask(saved)
    look()
    return seen


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o440, 0o200])
def test_no_file_is_ever_wider_than_asked(top: Path, mode: int) -> None:
    seen = watch_modes(top, lambda: install([File(f"{top}/a", NEW, (OWNER, -1), mode)]))
    assert mode in seen and not any(found & ~mode for found in seen), list(map(oct, seen))


def test_a_key_is_0600_from_birth(top: Path) -> None:
    assert watch_modes(top, lambda: keys.create(f"{top}/key", b"key")) == {0o600}


def test_readers_see_whole_files_only(top: Path) -> None:
    files = old_files(top, "a")
    stop = threading.Event()
    seen = set()

    def read() -> None:
        while not stop.is_set():
            seen.add((top / "a").read_bytes())

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    deadline = time.monotonic() + 0.7
    while time.monotonic() < deadline:
        install([files[0]._replace(data=OLD)])
        install(files)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen == {OLD, NEW}


def test_a_link_is_replaced_and_its_victim_untouched(top: Path) -> None:
    (top / "victim").write_bytes(OLD)
    os.chmod(top / "victim", 0o600)
    (top / "a").symlink_to("victim")
    (top / "b").symlink_to("/no/such/file")
    os.link(top / "victim", top / "c")
    install([File(f"{top}/{name}", NEW, (OWNER, OWNER)) for name in "abc"])
    for name in "abc":
        info = os.lstat(top / name)
        assert stat.S_ISREG(info.st_mode) and (top / name).read_bytes() == NEW
    info = (top / "victim").stat()
    assert (top / "victim").read_bytes() == OLD
    assert (info.st_uid, stat.S_IMODE(info.st_mode), info.st_nlink) == (0, 0o600, 1)


def test_odd_things_in_its_place(top: Path) -> None:
    os.mkfifo(top / "fifo")
    install([File(f"{top}/fifo", NEW)])
    assert (top / "fifo").read_bytes() == NEW
    install([File(f"{top}/{'x' * 250}", NEW)])
    assert (top / ("x" * 250)).read_bytes() == NEW
    assert not [name for name in os.listdir(top) if name.startswith(".")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_directory_in_its_place_leaves_all_as_they_were(top: Path, order: list[int]) -> None:
    files = old_files(top, "a")
    (top / "d").mkdir()
    files.append(File(f"{top}/d", NEW))
    with pytest.raises(Error, match=f"^{top}/d: cannot write it: Is a directory"):
        install([files[index] for index in order])
    untouched(top, "a")


@pytest.mark.parametrize("path, match", [
    ("no/x", "{top}/no: no such directory, needed for {top}/no/x"), ("a/x", "Not a directory"),
    ("theirs/x", "theirs: belongs to uid"), ("open/x", "open: writable by everybody"),
    ("", "not the path of a file"), ("y" * 256, "File name too long")])
def test_a_bad_path_leaves_all_as_they_were(top: Path, path: str, match: str) -> None:
    files = old_files(top, "a")
    for name in ("theirs", "open"):
        (top / name).mkdir()
    os.chown(top / "theirs", OTHER, OTHER)
    (top / "open").chmod(0o777)
    with pytest.raises(Error, match=match.format(top=top)):
        install([*files, File(f"{top}/{path}", NEW)])
    untouched(top, "a")
    assert not os.listdir(top / "theirs") and not os.listdir(top / "open")


def test_the_owner_may_have_the_directory(top: Path) -> None:
    (top / "his").mkdir()
    os.chown(top / "his", OWNER, OWNER)
    with pytest.raises(Error, match="belongs to uid"):
        install([File(f"{top}/his/a", NEW)])
    with pytest.raises(Error, match="belongs to uid"):
        install([File(f"{top}/his/a", NEW, (OTHER, -1))])
    install([File(f"{top}/his/a", NEW, (OWNER, -1))])
    assert (top / "his/a").stat().st_uid == OWNER
    with pytest.raises(Error, match="belongs to uid"):
        keys.create(f"{top}/his/key", b"key")


class Mounted:
    """A tmpfs of one page for data, for as long as a with statement lasts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        self.path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k,mode=755", "none", self.path],
                       check=True)
        return self.path

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.path], check=True)


def test_disk_full(top: Path) -> None:
    with Mounted(top / "m") as small:
        files = old_files(small, "a")
        with pytest.raises(Error, match=f"^{small}/a: cannot write it: No space left on device"):
            install(files)
        untouched(small, "a")
        with pytest.raises(Error, match=f"^{small}/b: cannot write it: No space"):
            install([File(f"{small}/a", b"fits"), File(f"{small}/b", NEW)])
        untouched(small, "a")
        with pytest.raises(Error, match="No space"):
            keys.create(f"{small}/key", NEW)
        untouched(small, "a")
        assert os.listdir(small) == ["a"]


def test_file_size_limit(top: Path) -> None:
    files = old_files(top, "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))   # Python ignores SIGXFSZ
    try:
        with pytest.raises(Error, match="File too large"):
            install(files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    untouched(top, "a")


def test_read_only_file_system(top: Path) -> None:
    with Mounted(top / "m") as path:
        (path / "a").write_bytes(b"old")
        subprocess.run(["mount", "-o", "remount,ro", path], check=True)
        with pytest.raises(Error, match=f"^{path}/a: cannot write it: Read-only file system"):
            install([File(f"{path}/a", NEW)])
        assert (path / "a").read_bytes() == b"old"


def test_each_call_that_fails_leaves_old_files_or_whole_new_ones(
        top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the first, the second … system call, with an error and with a signal's exception."""

    class Stopped(BaseException):
        """As what main.py raises in a signal handler."""

    names = ("open", "write", "fchown", "fchmod", "fsync", "rename")
    real = {name: getattr(os, name) for name in names}
    for failure in (OSError(errno.EIO, "broken"), Stopped()):
        for name in names:
            for skip in range(4):
                files = [file._replace(owner=(OWNER, -1)) for file in old_files(top, "a", "b")]
                left = [skip]

                def fail(*args: object, **more: object) -> object:
                    if name != "open" or isinstance(args[1], int) and args[1] & os.O_CREAT:
                        left[0] -= 1
                        if left[0] < 0:
                            raise failure
                    return real[name](*args, **more)

                monkeypatch.setattr(os, name, fail)
                try:
                    install(files)
                except (Error, Stopped) as exc:
                    assert isinstance(exc, Stopped) or str(exc).startswith(f"{top}/")
                finally:
                    monkeypatch.setattr(os, name, real[name])
                assert sorted(os.listdir(top)) == ["a", "b"], (name, skip, failure)
                contents = [(top / n).read_bytes() for n in ("a", "b")]
                assert contents in ([OLD, OLD], [NEW, OLD], [NEW, NEW])
                if name not in ("rename", "fsync") and skip < 2:
                    assert contents == [OLD, OLD], (name, skip)


def test_short_writes(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    install([File(f"{top}/a", b"0123456789" * 10)])
    assert (top / "a").read_bytes() == b"0123456789" * 10


def test_killed_at_any_moment(top: Path) -> None:
    files = old_files(top, "a", "b")
    for milliseconds in range(12):
        pid = os.fork()
        if pid == 0:
            try:
                while True:
                    install(files)
                    install([file._replace(data=OLD) for file in files])
            finally:
                os._exit(1)
        time.sleep(milliseconds / 1000)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert {(top / name).read_bytes() for name in ("a", "b")} <= {OLD, NEW}


def test_what_a_killed_run_left_is_replaced_or_removed(top: Path) -> None:
    (top / ".a.new").write_bytes(b"half")
    install(old_files(top, "a"))
    assert os.listdir(top) == ["a"] and (top / "a").read_bytes() == NEW
    (top / ".a.new").write_bytes(b"half")
    store.tidy(f"{top}/a")
    store.tidy(f"{top}/a")
    store.tidy(f"{top}/no/a")
    assert os.listdir(top) == ["a"] and (top / "a").read_bytes() == NEW


def test_rather_known_before_a_certificate_is_there(top: Path) -> None:
    """What could not be installed is told without writing anything."""
    (top / "d").mkdir()
    store.check(f"{top}/new")
    store.check(f"{top}/d/new", (OWNER, -1))
    for path, match in (("d", "Is a directory"), ("no/x", "no such directory, needed for"),
                        ("d/x/y", "no such directory")):
        with pytest.raises(Error, match=match):
            store.check(f"{top}/{path}")
    os.chown(top / "d", OWNER, OWNER)
    with pytest.raises(Error, match="belongs to uid"):
        store.check(f"{top}/d/new")
    store.check(f"{top}/d/new", (OWNER, -1))
    assert os.listdir(top) == ["d"] and os.listdir(top / "d") == []
