"""Private keys in files: made once, and of use only to root."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import keys

pytestmark = pytest.mark.root

OTHER = 65533
OLD = b"old\n" * 5000


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory of root's, not below a sticky one; no descriptor is left open."""
    before = set(os.listdir("/proc/self/fd"))
    path = Path(tempfile.mkdtemp(prefix="test-keys-", dir="/srv"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_create(top: Path) -> None:
    keys.create(f"{top}/key", b"the key")
    info = (top / "key").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode), info.st_nlink) == (0, 0, 0o600, 1)
    assert (top / "key").read_bytes() == b"the key" and os.listdir(top) == ["key"]


def test_create_never_overwrites(top: Path) -> None:
    (top / "file").write_bytes(OLD)
    (top / "link").symlink_to("file")
    (top / "dangling").symlink_to("nothing")
    (top / "directory").mkdir()
    os.mkfifo(top / "fifo")
    names = sorted(os.listdir(top))
    for name in names:
        with pytest.raises(Error, match=f"^{top}/{name}: "):
            keys.create(f"{top}/{name}", b"key")
    assert sorted(os.listdir(top)) == names and (top / "file").read_bytes() == OLD
    assert os.readlink(top / "dangling") == "nothing"


def test_create_signal_leaves_nothing(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt
    for name in ("fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                keys.create(f"{top}/key", b"key")
        assert os.listdir(top) == []


def test_open(top: Path) -> None:
    (top / "key").write_bytes(b"key")
    (top / "link").symlink_to("key")
    for mode in (0o600, 0o400, 0o640, 0o660, 0o000):
        (top / "key").chmod(mode)
        for name in ("key", "link"):
            descriptor = keys.open_key(f"{top}/{name}")
            assert os.read(descriptor, 10) == b"key"
            os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        keys.open_key(f"{top}/none")


def test_what_is_no_key(top: Path) -> None:
    for name, mode, data, match in (
            ("open", 0o604, b"key", "open to everybody"), ("write", 0o602, b"key", "open to every"),
            ("empty", 0o600, b"", "not a private key"),
            ("huge", 0o600, b"x" * (keys.MAX_KEY + 1), "not a private key")):
        (top / name).write_bytes(data)
        (top / name).chmod(mode)
        with pytest.raises(Error, match=f"^{top}/{name}: .*{match}"):
            keys.open_key(f"{top}/{name}")
    with pytest.raises(Error, match="not a plain file"):
        keys.open_key(str(top))
    (top / "theirs").mkdir()
    (top / "theirs/key").write_bytes(b"key")
    (top / "theirs/key").chmod(0o600)
    os.chown(top / "theirs", OTHER, OTHER)
    with pytest.raises(Error, match="belongs to uid"):
        keys.open_key(f"{top}/theirs/key")


def test_the_second_name_that_a_killed_run_left(top: Path) -> None:
    """Killed between link(2) and unlink(2), it leaves the key under two names."""
    keys.create(f"{top}/key", b"key")
    os.link(top / "key", top / ".key.new")
    keys.tidy(f"{top}/key")
    assert os.listdir(top) == ["key"] and (top / "key").read_bytes() == b"key"
    keys.tidy(f"{top}/no/key")


def test_a_key_below_a_directory_of_the_section_owner(top: Path) -> None:
    """Of his and root's, of nobody else's; a new one is ours all the same."""
    (top / "his/sub").mkdir(parents=True)
    for path in ("his", "his/sub"):
        os.chown(top / path, OTHER, OTHER)
    keys.create(f"{top}/his/sub/key", b"key", OTHER)
    assert (top / "his/sub/key").stat().st_uid == 0
    os.chown(top / "his/sub/key", OTHER, OTHER)
    descriptor = keys.open_key(f"{top}/his/sub/key", OTHER)
    assert os.read(descriptor, 9) == b"key"
    os.close(descriptor)
    keys.tidy(f"{top}/his/sub/key", OTHER)
    for action in (lambda: keys.open_key(f"{top}/his/sub/key"),
                   lambda: keys.open_key(f"{top}/his/sub/key", OTHER - 1),
                   lambda: keys.create(f"{top}/his/sub/new", b"key")):
        with pytest.raises(Error, match="belongs to uid"):
            action()
    (top / "his/link").symlink_to("/etc/passwd")
    with pytest.raises(Error, match="a symbolic link in a directory that is not root's"):
        keys.open_key(f"{top}/his/link", OTHER)
