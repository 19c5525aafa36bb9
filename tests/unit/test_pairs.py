"""What is remembered of certificates and keys that fit; what can't be replaced is found before."""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import files, pairs
from letsencrypt_tiny.master.store.pairs import Pairs, identity

pytestmark = pytest.mark.root

NOW = time.time()
# <linux/fs.h>
GETFLAGS, SETFLAGS = 0x80086601, 0x40086602
FLAGS = {"immutable": 0x10, "append-only": 0x20}


def test_a_pair(top: Path) -> None:
    known = Pairs(str(top))
    assert known.exhausted and not known.fits("1 2") and not known.fits("")
    known.seen("1 2", NOW - 60, NOW)
    known.seen("", NOW - 60, NOW)      # a key in a token
    known.keep()
    assert not Pairs(str(top)).exhausted
    for again in known, Pairs(str(top)):
        assert again.fits("1 2") and not again.fits("1 3") and not again.fits("")
        assert again.exhausted


@pytest.mark.parametrize("changed", [NOW, NOW - 1, NOW + 3600])
def test_what_changed_just_now_is_not_remembered(changed: float, top: Path) -> None:
    known = Pairs(str(top))
    known.seen("1 2", changed, NOW)
    known.keep()
    assert not known.fits("1 2") and os.listdir(top) == []


@pytest.mark.parametrize("text", [
    b"", b"junk", b"\n", b"revoked", b"revoked\n1 2", b"1 2|", b"\xff|\0\n" * 9,
    b"revoked\n1 2 |\n", b"x" * (pairs.MAX_SIZE + 1), b'{"/c": "1 2"}'], ids=range(10))
def test_a_file_that_is_broken(text: bytes, top: Path) -> None:
    (top / "pairs").write_bytes(text)
    (top / "pairs").chmod(0o600)
    known = Pairs(str(top))
    assert not known.fits("1 2")
    known.seen("1 2", NOW - 60, NOW)
    known.keep()
    assert Pairs(str(top)).fits("1 2")


def test_what_somebody_else_could_have_written_is_not_believed(top: Path) -> None:
    (top / "pairs").write_text("revoked\n1 2|\n")
    (top / "pairs").chmod(0o666)
    assert not Pairs(str(top)).fits("1 2")


def test_that_it_cannot_be_written_is_no_loss(top: Path) -> None:
    known = Pairs(f"{top}/no/such/state")
    known.seen("1 2", NOW - 60, NOW)
    known.keep()


def test_no_more_than_so_many(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", 3)
    for number in range(5):
        known = Pairs(str(top))
        known.seen(f"1 {number}", NOW - 60, NOW)
        known.keep()
    assert [number for number in range(5) if Pairs(str(top)).fits(f"1 {number}")] == [2, 3, 4]


def test_more_than_so_many_at_once(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones are known each time, and nothing is written for those that are too many."""
    monkeypatch.setattr(pairs, "MAX_PAIRS", 3)
    known = Pairs(str(top))
    known.seen("gone", NOW - 60, NOW)
    known.keep()
    written: list[int] = []
    for _ in range(3):
        known = Pairs(str(top))
        found = []
        for number in range(5):
            if known.fits(f"1 {number}"):
                found.append(number)
            else:
                known.seen(f"1 {number}", NOW - 60, NOW)
        known.keep()
        written.append((top / "pairs").stat().st_ino)
    assert found == [0, 1, 2] and written[1] == written[2]


def look(top: Path, numbers: list[int], complete: bool | None = True) -> list[int]:
    """Look at all of them in order; return those that had to be compared."""
    known, compared = Pairs(str(top)), []
    for number in numbers:
        known.turn(complete)
        if known.exhausted or not known.fits(f"1 {number}"):
            compared.append(number)
            known.seen(f"1 {number}", NOW - 60, NOW)
    if complete is not None:
        known.keep(complete)
    return compared


def test_very_many(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in several files, of which one is in memory.  One more or less, anywhere, costs as
    many comparisons more, once, as there are files."""
    monkeypatch.setattr(pairs, "MAX_PAIRS", 3)
    monkeypatch.setattr(pairs, "MAX_FILES", 4)
    numbers = list(range(10))
    assert look(top, numbers, None) == numbers and os.listdir(top) == []
    assert look(top, numbers) == numbers
    assert sorted(os.listdir(top)) == ["pairs", "pairs-1", "pairs-2", "pairs-3"]
    inodes = {name: (top / name).stat().st_ino for name in os.listdir(top)}
    assert look(top, numbers) == look(top, numbers, None) == []
    assert {name: (top / name).stat().st_ino for name in os.listdir(top)} == inodes

    for changed in ([100, *numbers[1:]], numbers[1:], numbers, [*numbers[:5], 100, *numbers[5:]],
                    numbers, [*numbers, 100, 101]):
        assert len(look(top, changed)) <= 4
        assert look(top, changed) == [], changed
    # what there is no room for is compared each time
    assert look(top, [*numbers, 100, 101, 102]) == look(top, [*numbers, 100, 101, 102]) == [102]
    # a run that looks at some only changes nothing for the others but one
    assert look(top, [7], False) == [7] and len(look(top, numbers)) <= 2
    # fewer files, once there are fewer
    assert look(top, [0, 1]) == [] and os.listdir(top) == ["pairs"]


def test_what_is_there_no_more_is_forgotten(top: Path) -> None:
    """By a run that has looked at all; by another one it is not known to be gone."""
    for new, complete in ("3", False), ("4", True):
        known = Pairs(str(top))
        known.seen("1", NOW - 60, NOW)
        known.seen("2", NOW - 60, NOW)
        known.keep()
        known = Pairs(str(top))
        assert known.fits("1")
        known.seen(new, NOW - 60, NOW)
        known.keep(complete)
        again = Pairs(str(top))
        assert [again.fits(pair) for pair in ("1", "2", new)] == [True, not complete, True]


def test_the_file_of_before_is_removed(top: Path) -> None:
    (top / "pairs.json").write_text('{"/c": "1 2"}')
    known = Pairs(str(top))
    known.seen("1 2", NOW - 60, NOW)
    known.keep()
    assert os.listdir(top) == ["pairs"]


def test_identity(top: Path) -> None:
    """Whatever is done to a file, be its times put back: it is another one."""
    file, other = top / "file", top / "other"
    file.write_text("one")
    other.write_text("two")
    seen = [identity(file.stat(), other.stat())]

    def differs() -> None:
        now = identity(file.stat(), other.stat())
        assert now not in seen
        seen.append(now)
    info = file.stat()
    time.sleep(0.02)   # the resolution of ctime
    file.write_text("six")
    os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
    differs()
    shutil.copy2(file, top / "new")
    (top / "new").rename(file)
    differs()
    time.sleep(0.02)
    other.write_text("three")
    differs()


# --- what can't be replaced ----------------------------------------------------------------------

def attribute(path: Path, flag: int) -> None:
    """Set attributes as chattr(1) does; skips where the file system has none."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        before, = struct.unpack("i", fcntl.ioctl(descriptor, GETFLAGS, struct.pack("i", 0)))
        fcntl.ioctl(descriptor, SETFLAGS, struct.pack("i", before & ~0x30 | flag))
    except OSError as exc:
        pytest.skip(f"no attributes here: {exc.strerror}")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", sorted(FLAGS))
@pytest.mark.parametrize("whose", ["file", "directory"])
def test_attributes(whose: str, name: str, top: Path) -> None:
    """They are found before anything is written, and nothing is left behind."""
    file = top / "cert.pem"
    file.write_text("old")
    marked = file if whose == "file" else top
    attribute(marked, FLAGS[name])
    try:
        with pytest.raises(Error, match=f"^{file}: cannot be replaced: it.* attribute "
                                        rf"immutable or append-only \(chattr -i -a {marked}\)$"):
            files.rehearse([str(file)])
    finally:
        attribute(marked, 0)
    assert os.listdir(top) == ["cert.pem"]
    files.rehearse([str(file)])
    assert os.listdir(top) == ["cert.pem"] and file.read_text() == "old"


def test_a_mount_point(top: Path) -> None:
    file, other = top / "cert.pem", top / "other"
    file.write_text("old")
    other.write_text("other")
    done = subprocess.run(["mount", "--bind", other, file], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(Error, match=f"^{file}: cannot be replaced: it is a mount point "):
            files.rehearse([str(file)])
        with pytest.raises(Error, match="busy"):   # so it would have been
            files.install([files.File(str(file), b"new")])
    finally:
        subprocess.run(["umount", file], check=True)
    files.rehearse([str(file)])
    assert sorted(os.listdir(top)) == ["cert.pem", "other"]


def test_a_file_that_is_not_there_yet(top: Path) -> None:
    files.rehearse([f"{top}/new"])
    assert os.listdir(top) == []
