"""What walks remember of each other (common/ways.py): as good as if each went all the way."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.common import steps, trusted, ways
from letsencrypt_tiny.common.errors import Error

pytestmark = pytest.mark.root

OWNER, OTHER = 65534, 65533


@pytest.fixture
def top(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of root's, in a process that remembers; no descriptor is left."""
    path = Path(tempfile.mkdtemp(prefix="test-ways-", dir="/srv"))
    path.chmod(0o755)
    (path / "a/b").mkdir(parents=True)
    (path / "a/b/f").write_text("ours")
    before = set(os.listdir("/proc/self/fd"))
    known: "dict[str, ways._Way]" = {}
    monkeypatch.setattr(ways, "_ways", known)
    monkeypatch.setattr(ways, "_lock", None)
    monkeypatch.setattr(ways, "remembers", False)
    ways.begin()
    yield path
    ways.end()
    assert not known and not ways.remembers
    assert set(os.listdir("/proc/self/fd")) == before, "a descriptor leaks"
    shutil.rmtree(path)


def content(path: "Path | str", *owners: int) -> str:
    with open(trusted.open_file(str(path), *owners), encoding="ascii") as file:
        return file.read()


def directory(path: "Path | str", *owners: int) -> int:
    """Return the inode of the directory that is found."""
    descriptor = trusted.open_directory(str(path), *owners)
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of walks that begin at /."""
    found: list[str] = []
    real = steps.root
    monkeypatch.setattr(steps, "root", lambda path: (found.append(path), real(path))[1])
    return found


def test_the_next_walk_goes_on(top: Path, walks: list[str]) -> None:
    assert content(top / "a/b/f") == "ours"
    assert walks == [f"{top}/a/b/f"]
    (top / "a/b/c/d").mkdir(parents=True)
    (top / "a/b/g").write_text("another")
    assert content(top / "a/b/g") == "another"
    assert directory(top / "a/b") == (top / "a/b").stat().st_ino
    assert directory(top / "a/b/c/d") == (top / "a/b/c/d").stat().st_ino
    assert directory(top / "a/b/c/..") == (top / "a/b").stat().st_ino
    with pytest.raises(FileNotFoundError) as caught:
        content(top / "a/b/no/f")
    assert caught.value.filename == f"{top}/a/b/no"
    assert walks == [f"{top}/a/b/f"]
    descriptor = trusted.open_directory(str(top / "a/b"))
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_a_path_that_leads_elsewhere_is_walked(top: Path, walks: list[str]) -> None:
    content(top / "a/b/f")
    (top / "a/b").rename(top / "a/old")
    with pytest.raises(FileNotFoundError):
        content(top / "a/b/f")
    (top / "a/b").mkdir()
    (top / "a/b/f").write_text("new")
    assert content(top / "a/b/f") == "new"
    (top / "a/b/f").unlink()
    (top / "a/b").rmdir()
    (top / "a/b").symlink_to("old")
    for _ in range(2):
        assert content(top / "a/b/f") == "ours"
    assert len(walks) == 4   # the last one went on
    (top / "a/c").mkdir()
    (top / "a/c/f").write_text("third")
    (top / "a/b").unlink()
    (top / "a/b").symlink_to("c")
    assert content(top / "a/b/f") == "third"


@pytest.mark.parametrize("change", ["owner", "mode", "list"])
def test_a_directory_that_others_may_change_by_now(top: Path, change: str) -> None:
    content(top / "a/b/f")
    if change == "owner":
        os.chown(top / "a/b", OTHER, 0)
    elif change == "mode":
        (top / "a/b").chmod(0o757)
    else:   # acl(5): user OTHER may write
        entries = b"".join(tag.to_bytes(2, "little") + mode.to_bytes(2, "little")
                           + who.to_bytes(4, "little") for tag, mode, who in (
            (1, 7, 0xffffffff), (2, 7, OTHER), (4, 5, 0xffffffff), (16, 7, 0xffffffff),
            (32, 5, 0xffffffff)))
        os.setxattr(top / "a/b", "system.posix_acl_access", (2).to_bytes(4, "little") + entries)
    with pytest.raises(trusted.Untrusted):
        content(top / "a/b/f")


def test_what_one_trusts_another_need_not(top: Path) -> None:
    os.chown(top / "a", OWNER, OWNER)
    assert content(top / "a/b/f", OWNER) == "ours"
    with pytest.raises(trusted.Untrusted):
        content(top / "a/b/f")
    assert content(top / "a/b/f", OWNER) == "ours"


def test_what_is_shared_is_not_remembered(top: Path, walks: list[str]) -> None:
    """Below a sticky directory, one of the group's, or where it does not matter whose it is."""
    (top / "a/f").touch()
    (top / "a").chmod(0o1777)
    with pytest.raises(Error):
        content(top / "a/f")
    (top / "a/b").chmod(0o775)   # of root's group
    for _ in range(2):
        assert content(top / "a/b/f") == "ours"
    assert len(walks) == 3
    (top / "a/b").chmod(0o755)
    os.chown(top / "a", OTHER, 0)
    (top / "a").chmod(0o755)
    for _ in range(2):
        os.close(trusted.open_file(f"{top}/a/b/f", anybody=True))
    assert len(walks) == 5
    with pytest.raises(trusted.Untrusted):
        content(top / "a/b/f")


def test_odd_paths_are_walked(top: Path, walks: list[str]) -> None:
    for path in (f"{top}/a//b/f", f"{top}/a/./b/f", f"/{top}/a/b/f"):
        for _ in range(2):
            assert content(path) == "ours"
    assert len(walks) == 6


def test_few_are_kept(top: Path) -> None:
    for number in range(3 * ways.MOST):
        (top / f"{number}").mkdir()
        directory(top / f"{number}")
        directory(top / "a/b")
    assert len(ways._ways) == ways.MOST
    assert f"{top}/a/b" in ways._ways   # it was in use all the time


def test_no_descriptor_left(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it walks, and says what that says."""
    def fail(_: int) -> int:
        raise OSError(24, os.strerror(24))
    monkeypatch.setattr(os, "dup", fail)
    for _ in range(2):
        assert content(top / "a/b/f") == "ours"
    assert not ways._ways


def test_many_threads(top: Path) -> None:
    """A descriptor that one of them lets go is none that another takes for its own."""
    places = [top / f"{number}" for number in range(3 * ways.MOST)]
    for place in places:
        place.mkdir()
    inodes = [place.stat().st_ino for place in places]
    wrong: list[Path] = []

    def work(first: int) -> None:
        for turn in range(40):
            for number in range(first, len(places), 2):
                if directory(places[number]) != inodes[number]:
                    wrong.append(places[number])

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_off_it_is_nothing(top: Path, monkeypatch: pytest.MonkeyPatch, walks: list[str]) -> None:
    monkeypatch.setattr(ways, "remembers", False)
    for _ in range(2):
        content(top / "a/b/f")
    assert len(walks) == 2
    assert not ways._ways
