"""Versions of a directory: whole at any instant, whoever is killed, and nothing lost.

On the real file system, in processes that are really killed; readers are processes, too.
"""

import errno
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from harness.steps import killed
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.trusted import Untrusted
from letsencrypt_tiny.master.store import files, versions
from letsencrypt_tiny.master.store.versions import Plain, Versions

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

NOW = 1_795_570_000
PAIR = ("privkey.pem", "fullchain.pem")
SWITCHES = 1000 if os.environ.get("SOAK") else 40


@pytest.fixture
def certs(top: Path) -> Path:
    """The directory of all sections' directories."""
    return top


def put(place: Path, generation: int, now: float = NOW, keep: int = 3) -> str:
    """Install a pair as one generation."""
    with Versions(str(place)) as known:
        version = known.free(now)
        known.begin(version)
        fill(known.path(version), generation)
        known.carry(version, PAIR)
        known.switch(version)
        known.remove_old(keep)
    return version


def fill(directory: str, generation: int) -> None:
    files.install([files.File(f"{directory}/{name}", b"%d\n" % generation) for name in PAIR])


def pair(place: Path) -> tuple[str, ...]:
    return tuple((place / name).read_text() for name in PAIR)


def test_a_link_takes_the_place(certs: Path) -> None:
    place = certs / "a"
    found = [put(place, number, NOW + number) for number in range(5)]
    assert os.readlink(place) == f".a/{found[-1]}" and found[-1] == "2026-11-25T012644Z"
    assert pair(place) == ("4\n", "4\n")
    assert sorted(os.listdir(certs / ".a")) == found[2:]
    assert sorted(os.listdir(certs)) == [".a", "a"]
    assert stat.S_IMODE((certs / ".a").stat().st_mode) == 0o755


def test_whatever_the_clock_does_the_youngest_is_last(certs: Path) -> None:
    place = certs / "a"
    found = [put(place, 0, now) for now in (NOW, NOW, 0, -1e18, 1e18, NOW, NOW + 9)]
    assert found == sorted(set(found))
    assert os.readlink(place) == f".a/{found[-1]}"


def test_a_plain_directory_is_taken_over_once(certs: Path) -> None:
    place = certs / "a"
    (place / "more").mkdir(parents=True)
    (place / "more/dhparam.pem").write_text("dh")
    (place / "absolute").symlink_to("/etc/hostname")
    (place / "near").symlink_to("privkey.pem")
    os.chown(place / "near", 12, 34, follow_symlinks=False)
    fill(str(place), 1)
    os.chown(place, 12345, 23456)
    place.chmod(0o2750)
    before = place.stat()
    with Versions(str(place)) as known:
        assert known.current() == ""
        assert known.take_over(NOW)
        assert not known.take_over(NOW), "once"
        assert place.is_symlink() and known.current()
    assert place.stat().st_ino == before.st_ino, "it is the same directory"
    os.chown(place, 0, 0)   # so that files may be installed by root alone
    put(place, 2)
    after = place.stat()
    assert after.st_ino != before.st_ino and stat.S_IMODE(after.st_mode) == 0o2750
    assert pair(place) == ("2\n", "2\n")
    assert (place / "more/dhparam.pem").read_text() == "dh"
    assert os.readlink(place / "absolute") == "/etc/hostname"
    assert os.readlink(place / "near") == "privkey.pem" and (place / "near").lstat().st_uid == 12
    for _ in range(4):
        put(place, 3)
    assert (place / "more/dhparam.pem").read_text() == "dh", "the first version is gone"


def test_a_new_version_is_of_the_same_owner(certs: Path) -> None:
    place = certs / "a"
    put(place, 1)
    os.chown(place, 12345, 23456)
    with Versions(str(place)) as known:
        version = known.free(NOW)
        known.begin(version)
        info = os.stat(known.path(version))
    assert (info.st_uid, info.st_gid) == (12345, 23456)


def test_what_is_not_ours_stays(certs: Path) -> None:
    """Links of the administrator's, and whatever else could lead astray."""
    other = certs / "other"
    other.mkdir()
    for target in ("other", str(other), ".a/../other", ".a", ".b/2026-11-25T012644Z"):
        place = certs / "a"
        place.symlink_to(target)
        with Versions(str(place)) as known:
            assert known.current() == "" and not known.take_over(NOW)
            assert not known.usable()
            version = known.free(NOW)
            known.begin(version)
            with pytest.raises(Plain, match="not a link to a version"):
                known.switch(version)
            known.repair()
            (certs / ".a/2026-01-01T000000Z").mkdir()
            (certs / ".a/2026-01-01T000001Z").mkdir()
            known.remove_old(1)
            assert len(os.listdir(certs / ".a")) == 2, "such a link may lead there"
        assert os.readlink(place) == target
        place.unlink()
        shutil.rmtree(certs / ".a")
    (certs / ".a").symlink_to("other")
    with pytest.raises(Plain, match="cannot be used for versions"):
        Versions(str(certs / "a"))
    (certs / ".a").unlink()
    (certs / ".a").mkdir()
    os.chown(certs / ".a", 12345, -1)
    with pytest.raises(Untrusted):
        Versions(str(certs / "a"))
    os.chown(certs, 12345, -1)
    with pytest.raises(Untrusted):
        Versions(str(certs / "b"))
    assert not list(other.iterdir())


def test_a_link_that_would_lead_elsewhere(certs: Path) -> None:
    place = certs / "a"
    (place / "below").mkdir(parents=True)
    (place / "below/in").symlink_to("../privkey.pem")
    with Versions(str(place)) as known:
        (place / "below/out").symlink_to("../../b/cert.pem")
        with pytest.raises(Plain, match="the link below/out leads out"):
            known.take_over(NOW)
        assert place.is_dir() and not place.is_symlink()
        (place / "below/out").unlink()
        assert known.take_over(NOW)


def test_what_an_order_needs_stays(certs: Path) -> None:
    place = certs / "a"
    first = put(place, 1)
    with Versions(str(place)) as known:
        needed = known.free(NOW)
        known.begin(needed)
        left = known.free(NOW)
        known.begin(left)
        fill(known.path(needed), 2)
        fill(known.path(left), 3)
        known.remove_old(3, {needed})
        assert sorted(os.listdir(certs / ".a")) == [first, needed + ".new"]
        assert (Path(known.path(needed)) / "privkey.pem").read_text() == "2\n"
        known.switch(needed)
        known.remove_old(1, {first})
        assert sorted(os.listdir(certs / ".a")) == [first, needed]
        known.remove_old(1)
        assert os.listdir(certs / ".a") == [needed]
    os.unlink(place)
    place.symlink_to(f".a/{needed}")
    put(place, 4)
    os.unlink(place)
    place.symlink_to(f".a/{needed}")   # the administrator goes back to it
    with Versions(str(place)) as known:
        known.remove_old(1)
    assert pair(place) == ("2\n", "2\n")


def test_killed_at_any_step_of_a_switch(certs: Path) -> None:
    steps = 0
    while True:
        place = certs / f"a{steps}"
        put(place, 1)
        (place / "more").mkdir()
        (place / "more/dhparam.pem").write_text("dh")
        again = killed(steps, lambda: put(place, 2, keep=1))
        assert pair(place) in (("1\n", "1\n"), ("2\n", "2\n")), "before anything is mended"
        assert (place / "more/dhparam.pem").read_text() == "dh"
        with Versions(str(place)) as known:
            known.repair()
        put(place, 3, keep=1)
        assert pair(place) == ("3\n", "3\n")
        assert (place / "more/dhparam.pem").read_text() == "dh"
        assert os.listdir(certs / f".a{steps}") == [os.readlink(place).split("/")[1]]
        if not again:
            break
        steps += 1
    assert steps > 20


def test_killed_at_any_step_of_the_first_switch(certs: Path) -> None:
    steps = 0
    while True:
        place = certs / f"a{steps}"
        umask = os.umask(0o077)
        again = killed(steps, lambda: put(place, 1))
        os.umask(umask)
        assert not os.path.lexists(place) or pair(place) == ("1\n", "1\n")
        with Versions(str(place)) as known:
            known.repair()
        put(place, 2, keep=1)
        assert pair(place) == ("2\n", "2\n")
        assert len(os.listdir(certs / f".a{steps}")) == 1
        for path in (certs / f".a{steps}", place):
            assert stat.S_IMODE(path.stat().st_mode) == 0o755, "whoever reads gets there"
        if not again:
            break
        steps += 1
    assert steps > 15


@pytest.mark.parametrize("exchange", [True, False])
def test_killed_at_any_step_of_the_takeover(certs: Path, monkeypatch: pytest.MonkeyPatch,
                                            exchange: bool) -> None:
    """Where two names can't change places there is one instant at which the place is empty."""
    def cannot(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if not exchange:
        monkeypatch.setattr(versions, "exchange", cannot)
    steps = absent = 0
    while True:
        place = certs / f"a{steps}"
        place.mkdir()
        fill(str(place), 1)

        def work() -> None:
            with Versions(str(place)) as known:
                known.take_over(NOW)
        again = killed(steps, work)
        absent += not os.path.lexists(place)
        with Versions(str(place)) as known:
            known.repair()
            assert pair(place) == ("1\n", "1\n")
            known.take_over(NOW)
            assert known.current()
            assert os.listdir(certs / f".a{steps}") == [known.current()]
        assert pair(place) == ("1\n", "1\n")
        if not again:
            break
        steps += 1
    assert absent == (0 if exchange else 1) and steps > 5


def read_on(place: str, once: bool, told: int) -> None:
    """Read the pair until ended; tell of each reading in a byte: good, other generation, bad."""
    while True:
        try:
            directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY) if once else -1
            found = []
            for name in PAIR:
                if once:
                    file = os.open(name, os.O_RDONLY, dir_fd=directory)
                else:
                    file = os.open(f"{place}/{name}", os.O_RDONLY)
                found.append(os.read(file, 99))
                os.close(file)
            if once:
                os.close(directory)
            whole = all(one.endswith(b"\n") for one in found)
            os.write(told, b"b" if not whole else b"g" if found[0] == found[1] else b"o")
        except OSError:
            os.write(told, b"b")


def test_readers(certs: Path) -> None:
    """Who opens the directory once sees one generation; nobody sees nothing, or half a file."""
    place = certs / "a"
    put(place, 0)
    readers = []
    seen = {True: b"", False: b""}
    try:
        for once in (True, False):
            out, told = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    os.close(out)
                    read_on(str(place), once, told)
                finally:
                    os._exit(1)
            os.close(told)
            readers.append((pid, out, once))
        for generation in range(1, SWITCHES + 1):
            put(place, generation, NOW + generation)
            for _, out, once in readers:   # what is told after that was is told after the switch:
                for _ in range(2):         # nobody is three renewals late
                    seen[once] += os.read(out, 1 << 20)
    finally:
        for pid, out, _ in readers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(out)
    print({once: {kind: text.count(kind) for kind in (b"g", b"o", b"b")}
           for once, text in seen.items()})
    assert set(seen[True]) == set(b"g") and len(seen[True]) >= SWITCHES
    assert b"b" not in seen[False] and b"g" in seen[False]


def test_what_cannot_be_is_told(certs: Path) -> None:
    with pytest.raises(Plain, match="begins with a dot"):
        Versions(str(certs / ".a"))
    with pytest.raises(FileNotFoundError):
        Versions(str(certs / "none/a"))
    (certs / ".a").mkdir()
    (certs / ".a/9999-99-99T999999Z").mkdir()
    with Versions(str(certs / "a")) as known:
        with pytest.raises(Error, match="no moment: remove it"):
            known.free(NOW)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EIO, errno.EMFILE])
def test_versions_that_cannot_be_opened_just_now(number: int, certs: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not given up for that: there would be plain files where the link is."""
    put(certs / "a", 1)
    really = os.open

    def fails(path: str, *args: int, **names: int) -> int:
        if path == ".a":
            raise OSError(number, os.strerror(number))
        return really(path, *args, **names)
    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(Error, match=os.strerror(number)) as caught:
        put(certs / "a", 2)
    assert not isinstance(caught.value, Plain)
