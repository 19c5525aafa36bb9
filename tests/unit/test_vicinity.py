"""Directories beside each other: walked to once, and looked at no less than by common/trusted."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.neighbour import NOBODY, lease
from letsencrypt_tiny.common import trusted
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store.vicinity import Vicinity


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory of root's with a/file and b/file."""
    with tempfile.TemporaryDirectory(dir="/srv") as directory:
        path = Path(directory)
        path.chmod(0o755)
        for name in "a", "b":
            (path / name).mkdir()
            (path / name / "file").write_text(name)
        yield path


def content(vicinity: Vicinity, path: Path, owner: int = 0) -> str:
    """What a file holds."""
    descriptor = vicinity.directory(str(path.parent), owner).open(str(path))
    try:
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are walked to from now on."""
    walked: list[str] = []
    for name in "open_directory", "open_file", "look":
        original = getattr(trusted, name)

        def watched(path: str, *owners: int, original: object = original) -> object:
            walked.append(path)
            assert callable(original)
            return original(path, *owners)
        monkeypatch.setattr(trusted, name, watched)
    return walked


def test_the_way_is_walked_once(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = walks(monkeypatch)
    before = len(os.listdir("/proc/self/fd"))
    with Vicinity() as vicinity:
        for name in "abab":
            assert content(vicinity, top / name / "file") == name
            near = vicinity.directory(f"{top}/{name}", 0)
            assert near.look(f"{top}/{name}/file").st_size == 1
            with pytest.raises(FileNotFoundError):
                near.look(f"{top}/{name}/other")
        del near
    assert walked == [str(top)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_changes_is_seen(top: Path) -> None:
    """Each directory and file is looked at when it is asked for."""
    with Vicinity() as vicinity:
        assert content(vicinity, top / "a/file") == "a"
        (top / "a/file").write_text("new")
        assert content(vicinity, top / "a/file") == "new"
        os.chmod(top / "a", 0o777)
        with pytest.raises(trusted.Untrusted, match=f"{top}/a: writable by everybody"):
            vicinity.directory(f"{top}/a", 0)
        os.rename(top / "a", top / "c")
        with pytest.raises(FileNotFoundError):
            vicinity.directory(f"{top}/a", 0)
        os.chown(top / "b", 65534, -1)
        with pytest.raises(trusted.Untrusted, match=f"{top}/b: belongs to uid 65534"):
            vicinity.directory(f"{top}/b", 0)
        # but for the section's owner
        assert content(vicinity, top / "b/file", 65534) == "b"


@pytest.mark.parametrize("mode, owner", [(0o777, 0), (0o775, 0), (0o755, 65534)])
def test_what_is_above_is_looked_at(top: Path, mode: int, owner: int) -> None:
    os.chmod(top, mode)
    os.chown(top, owner, 65534)
    with Vicinity() as vicinity, pytest.raises(trusted.Untrusted, match=f"^{top}: "):
        vicinity.directory(f"{top}/a", 0)
    with Vicinity() as vicinity, pytest.raises(trusted.Untrusted, match=f"^{top}: "):
        vicinity.directory(f"{top}/nothing", 0)


def test_links_are_walked(top: Path) -> None:
    """Where they may be followed they are, also in place of a directory or a file."""
    (top / "l").symlink_to("a")
    (top / "b/link").symlink_to("file")
    with Vicinity() as vicinity:
        assert content(vicinity, top / "l/file") == "a"
        assert content(vicinity, top / "b/link") == "b"
        near = vicinity.directory(f"{top}/b", 0)
        assert near.look(f"{top}/b/link").st_ino == (top / "b/file").stat().st_ino
        os.chown(top / "b", 65534, -1)
        near = vicinity.directory(f"{top}/b", 65534)
        with pytest.raises(trusted.Untrusted, match="a symbolic link in a directory"):
            near.open(f"{top}/b/link")


def test_nothing_but_a_plain_file_is_opened(top: Path) -> None:
    os.mkfifo(top / "a/fifo")
    (top / "a/device").symlink_to("/dev/zero")
    with Vicinity() as vicinity:
        near = vicinity.directory(f"{top}/a", 0)
        for name in "fifo", "device", "..", "":
            with pytest.raises((Error, FileNotFoundError, IsADirectoryError)):
                os.close(near.open(f"{top}/a/{name}"))
        with pytest.raises(FileNotFoundError):
            near.open(f"{top}/a/none")


def test_a_lease_is_no_reason_to_wait(top: Path) -> None:
    os.chown(top / "a/file", NOBODY.pw_uid, -1)
    os.chmod(top / "a/file", 0o644)
    with lease(top / "a/file"), Vicinity() as vicinity, pytest.raises(BlockingIOError):
        vicinity.directory(f"{top}/a", 0).open(f"{top}/a/file")


def test_two_vicinities_at_once(top: Path) -> None:
    """A directory stays what it was when another one's turn has come."""
    (top / "c/d").mkdir(parents=True)
    (top / "c/d/file").write_text("d")
    with Vicinity() as vicinity:
        first = vicinity.directory(f"{top}/a", 0)
        second = vicinity.directory(f"{top}/c/d", 0)
        third = vicinity.directory(f"{top}/b", 0)
        for near, path in (first, "a"), (second, "c/d"), (third, "b"):
            assert near.look(f"{top}/{path}/file").st_ino == (top / path / "file").stat().st_ino
    assert os.read(first.open(f"{top}/a/file"), 9) == b"a"


def test_odd_paths(top: Path) -> None:
    with Vicinity() as vicinity:
        for path in (f"{top}/a/", f"{top}/a/.", f"{top}/b/../a", f"{top}//a"):
            assert vicinity.directory(path, 0).look(f"{path}/file").st_size == 1
        with pytest.raises(Error, match="not an absolute path"):
            vicinity.directory("a", 0)


def test_what_many_share_is_learnt_once() -> None:
    learnt: list[str] = []

    def learn(path: str) -> str:
        learnt.append(path)
        return path.upper()
    with Vicinity() as vicinity:
        assert [vicinity.remembered(learn, path) for path in "aba"] == ["A", "B", "A"]
    assert learnt == ["a", "b"]


STAMP = "2026-11-25T012644Z"


def switched(top: Path) -> Path:
    """Make a version of a, with our link to it; return its directory."""
    (top / ".a").mkdir()
    os.rename(top / "a", top / ".a" / STAMP)
    (top / "a").symlink_to(f".a/{STAMP}")
    return top / ".a" / STAMP


def test_a_version_is_no_walk(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hundreds of sections have their directories by our links, none costs a walk."""
    switched(top)
    walked = walks(monkeypatch)
    with Vicinity() as vicinity:
        for name in "abab":
            assert content(vicinity, top / name / "file") == name
            assert vicinity.directory(f"{top}/{name}", 0).look(f"{top}/{name}/file").st_size == 1
    assert walked == [str(top)]


@pytest.mark.parametrize("change", ["chmod .a", "chmod version", "chown .a", "chown version"])
def test_a_version_of_somebody_else(top: Path, change: str) -> None:
    """What could be swapped is not read, be it the version or the way to it."""
    version = switched(top)
    path = version if change.endswith("version") else version.parent
    if change.startswith("chmod"):
        path.chmod(0o777)
    else:
        os.chown(path, 65534, -1)
    with Vicinity() as vicinity, pytest.raises(trusted.Untrusted, match=f"^{path}: "):
        vicinity.directory(f"{top}/a", 0)


@pytest.mark.parametrize("target", ["b", ".a/../b", ".a/x/y", "/b", ".a/.", ".a/"])
def test_other_links_are_walked(top: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    switched(top)
    (top / "a").unlink()
    (top / "a").symlink_to(target)
    walked = walks(monkeypatch)
    with Vicinity() as vicinity:
        try:
            vicinity.directory(f"{top}/a", 0)
        except (OSError, Error):
            pass
    assert f"{top}/a" in walked


def test_what_is_to_be_believed(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As trusted.open_unchangeable does it, which is asked about whatever isn't plainly ours."""
    file = top / "a/file"
    near = Vicinity().directory(str(file.parent), 0)
    (top / "a/link").symlink_to("file")
    for path in file, top / "a/link", top / "b/file":
        descriptor = near.open_unchangeable(str(path))
        assert os.read(descriptor, 100).decode() == ("b" if "/b/" in str(path) else "a")
        os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        near.open_unchangeable(f"{top}/a/none")
    with pytest.raises(Error, match="not a plain file"):
        Vicinity().directory(str(top), 0).open_unchangeable(f"{top}/a")
    for mode, owner in ((0o602, 0), (0o620, 0), (0o600, NOBODY.pw_uid)):
        file.chmod(mode)
        os.chown(file, owner, NOBODY.pw_gid)
        with pytest.raises(trusted.Untrusted):
            near.open_unchangeable(str(file))
    os.chown(file, 0, 0)
    file.chmod(0o600)
    walked = walks(monkeypatch)
    os.close(near.open_unchangeable(str(file)))
    assert walked == []
