"""What takes its place does so after a power cut, too: all is synced before a name leads to it, and
the name before anybody is told."""

import os
from pathlib import Path

import pytest

from letsencrypt_tiny.master.store import files, keys
from letsencrypt_tiny.master.store.files import File
from letsencrypt_tiny.master.store.placing import Target

pytestmark = pytest.mark.root


@pytest.fixture(name="top")
def _top(places: Path) -> Path:
    return places


class Disk:
    """What would be there after a power cut: of each file and directory what it was as it was
    synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._kept: dict[tuple[int, int], object] = {}
        self._real = os.fsync
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, descriptor: int) -> None:
        self._real(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self._kept[self._number(path)] = self._now(path)

    def lost(self, *paths: Path) -> list[Path]:
        """Return those, and of what is in them, that are not as they would be."""
        below = [path for top in paths for path in (top, *top.rglob("*")) if not path.is_symlink()]
        return [path for path in below if self._kept.get(self._number(path)) != self._now(path)]

    def has(self, path: Path) -> bool:
        """Say whether what is called so now would be."""
        names = self._kept.get(self._number(path.parent))
        return isinstance(names, dict) and names.get(path.name) == path.lstat().st_ino

    def _number(self, path: Path) -> tuple[int, int]:
        info = path.stat()
        return info.st_dev, info.st_ino

    def _now(self, path: Path) -> object:
        if path.is_dir():
            return {name: os.lstat(path / name).st_ino for name in os.listdir(path)}
        return path.read_bytes()


def contents(directory: Path, generation: int) -> list[File]:
    text = b"%d\n" % generation
    return [*keys.replacement(f"{directory}/privkey.pem", text, 0),
            *(File(f"{directory}/{name}.pem", text) for name in ("fullchain", "cert", "chain"))]


def test_a_version(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the administrator put into the one before is in it, too."""
    place, shelf = top / "certs/a", top / "certs/.a"
    target = Target(f"{top}/state", f"{top}/certs")
    target.install("a", contents(place, 1), 0, 3)
    (place / "dh/deeper").mkdir(parents=True)
    (place / "dh/deeper/dhparam.pem").write_text("dh")
    disk, rename, switched = Disk(monkeypatch), os.rename, []
    for path in (place / "dh").rglob("*"):
        os.fsync(os.open(path, os.O_RDONLY))    # as whoever put it there would

    def renaming(old: str, new: str, **where: int) -> None:
        if new == "a":
            version = shelf / os.readlink(shelf / old).rpartition("/")[2]
            assert disk.lost(version) == [] and disk.has(version)
            switched.append(version)
        rename(old, new, **where)

    monkeypatch.setattr(os, "rename", renaming)
    target.install("a", contents(place, 2), 0, 3)
    assert disk.has(place) and switched == [shelf / os.readlink(place).rpartition("/")[2]]
    assert (place / "dh/deeper/dhparam.pem").read_text() == "dh"


def test_files_in_a_row(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are there before the first is in its place."""
    target, place = Target(f"{top}/state", f"{top}/certs"), top / "tls"
    target.install("a", contents(place, 1), 0, 3)
    disk, rename, renamed = Disk(monkeypatch), os.rename, []

    def renaming(old: str, new: str, **where: int) -> None:
        if old == f".{new}.new" and (place / old).exists() and not renamed:
            assert disk.lost(*place.glob(".*.new")) == []
        renamed.extend([new] if (place / old).exists() else [])
        rename(old, new, **where)

    monkeypatch.setattr(os, "rename", renaming)
    monkeypatch.setattr(files, "together", lambda work: None)   # in this process, where it is seen
    new = contents(place, 2)
    target.install("a", new, 0, 3)
    assert len(renamed) == len(new) and all(disk.has(Path(file.path)) for file in new)
