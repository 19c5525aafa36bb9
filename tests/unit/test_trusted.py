"""Walking to a directory: whom each component belongs to, links, and races."""

import grp
import os
import socket
import stat
import struct
import tempfile
import time
from pathlib import Path

import pytest

from letsencrypt_tiny.common import trusted
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import files

pytestmark = pytest.mark.root

OWNER, OTHER = 65534, 65533


def inode(descriptor: int) -> int:
    """Return the inode of a descriptor, which is closed."""
    number = os.fstat(descriptor).st_ino
    os.close(descriptor)
    return number


def opens(path: "Path | str", owner: int = 0) -> int:
    """Return the inode of the directory that ``open_directory`` finds."""
    before = len(os.listdir("/proc/self/fd"))
    try:
        return inode(trusted.open_directory(str(path), owner))
    finally:
        assert len(os.listdir("/proc/self/fd")) == before, "a descriptor leaks"


def refused(path: "Path | str", match: str, owner: int = 0) -> None:
    """The path must be refused with a message that matches, naming the component at fault."""
    with pytest.raises(Error, match=match):
        opens(path, owner)


def test_plain_paths(top: Path) -> None:
    (top / "a/b").mkdir(parents=True)
    number = (top / "a/b").stat().st_ino
    for path in (f"{top}/a/b", f"/{top}//a/./b/", f"{top}/a/b/.", f"/./{top}/a//b//"):
        assert opens(path) == number
    assert opens("/") == os.stat("/").st_ino
    descriptor = trusted.open_directory(str(top))
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_what_is_no_directory(top: Path) -> None:
    (top / "f").touch()
    os.mkfifo(top / "fifo")
    for path in ("", ".", "srv", "a/b"):
        refused(path, "not an absolute path")
    for name in ("f", "f/x", "fifo"):
        refused(top / name, "Not a directory")
    for name in ("no", "no/x"):
        with pytest.raises(FileNotFoundError) as caught:
            opens(top / name)
        assert caught.value.filename == f"{top}/no"
    refused(top / ("x" * 300), "name too long")


@pytest.mark.parametrize("below", ["", "/b"])
def test_component_of_somebody_else(top: Path, below: str) -> None:
    (top / "a/b").mkdir(parents=True)
    os.chown(top / "a", OTHER, OTHER)
    refused(f"{top}/a{below}", f"^{top}/a: belongs to uid {OTHER}")
    refused(f"{top}/a{below}", f"^{top}/a: belongs to uid {OTHER}", OWNER)
    opens(f"{top}/a{below}", OTHER)


@pytest.mark.parametrize("mode, owner, match", [
    (0o757, 0, "everybody"), (0o777, OWNER, "everybody"),
    (0o775, OWNER, "its group"), (0o2775, OWNER, "its group")])
def test_component_that_others_can_write(top: Path, mode: int, owner: int, match: str) -> None:
    (top / "a/b").mkdir(parents=True)
    os.chown(top / "a", owner, OTHER)
    (top / "a").chmod(mode)
    for path in ("a", "a/b"):
        refused(top / path, f"^{top}/a: writable by {match}", OWNER)


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755, 0o2755, 0o555, 0o000])
def test_component_that_only_its_owner_can_write(top: Path, mode: int) -> None:
    (top / "a/b").mkdir(parents=True)
    (top / "a").chmod(mode)
    opens(top / "a/b")
    os.chown(top / "a", OWNER, OTHER)
    opens(top / "a/b", OWNER)


def test_group_root_may_write(top: Path) -> None:
    (top / "a").mkdir()
    (top / "a").chmod(0o775)
    opens(top / "a")


def test_access_control_list(top: Path) -> None:
    """Named users hide behind the bits of root's group (acl(5))."""
    (top / "a").mkdir()
    (top / "a").chmod(0o775)
    nobody = 0xFFFFFFFF   # of an entry for owner, group, mask and others
    entries = ((1, 7, nobody), (2, 7, OTHER), (4, 5, nobody), (16, 7, nobody), (32, 5, nobody))
    try:
        os.setxattr(top / "a", "system.posix_acl_access", struct.pack("<I", 2) + b"".join(
            struct.pack("<HHI", *entry) for entry in entries))
    except OSError:
        pytest.skip("the file system has no access control lists")
    assert (top / "a").stat().st_gid == 0
    refused(top / "a", f"^{top}/a: writable by its group")
    (top / "a").chmod(0o755)   # which takes the mask away
    opens(top / "a")


@pytest.mark.parametrize("mode, owner, match", [
    (0o1777, 0, "everybody"), (0o1757, OWNER, "everybody"), (0o1775, OWNER, "its group")])
def test_in_a_sticky_directory_only_directories_of_ours(top: Path, mode: int, owner: int,
                                                        match: str) -> None:
    """Nobody else can rename or remove one (unlink(2)); files and links could be anybody's."""
    (top / "a/b").mkdir(parents=True)
    (top / "a/his").mkdir()
    (top / "a/hidden").mkdir(0o777)
    (top / "a/hidden").chmod(0o777)
    (top / "a/f").touch()
    (top / "a/l").symlink_to("b")
    (top / "a/m").symlink_to(f"{top}/a/b")
    os.chown(top / "a/his", OTHER, OTHER)
    os.chown(top / "a", owner, OTHER)
    (top / "a").chmod(mode)
    assert opens(top / "a/b", OWNER) == opens(top / "a/b/../b", OWNER)
    refused(top / "a", f"^{top}/a: writable by {match}", OWNER)
    for link in ("l", "m"):
        refused(top / "a" / link, f"^{top}/a: writable by {match}", OWNER)
    refused(top / "a/his", f"^{top}/a/his: belongs to", OWNER)
    refused(top / "a/hidden", f"^{top}/a/hidden: writable by everybody", OWNER)
    with pytest.raises(Error, match=f"^{top}/a: writable by {match}"):
        trusted.open_file(f"{top}/a/f", OWNER)
    with pytest.raises(Error, match=f"^{top}/a: writable by {match}"):
        trusted.open_parent(f"{top}/a/x", OWNER)
    (top / "a/b/f").touch()
    os.close(trusted.open_file(f"{top}/a/b/f", OWNER))
    if owner == 0:   # and a new one is ours
        trusted.make_directory(f"{top}/a/new")
        assert opens(top / "a/new") and (top / "a/new").stat().st_uid == 0
        with pytest.raises(Error, match="belongs to"):
            trusted.make_directory(f"{top}/a/his")
        with pytest.raises(Error, match="writable by"):
            trusted.make_directory(f"{top}/a/l")


def test_no_race_wins_in_a_sticky_directory(top: Path) -> None:
    """Somebody tries all the time to put his own in the place of ours."""
    (top / "s").mkdir()
    (top / "s").chmod(0o1777)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresuid(OTHER, OTHER, OTHER)
            os.chdir(top / "s")
            while True:
                for action in (lambda: os.mkdir("ours"), lambda: os.rmdir("ours"),
                               lambda: os.symlink("/etc", "ours"), lambda: os.unlink("ours"),
                               lambda: os.rename("ours", "his")):
                    try:
                        action()
                    except OSError:
                        pass
        finally:
            os._exit(0)
    made = failed = 0
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                trusted.make_directory(f"{top}/s/ours")
                made += 1
                descriptor = trusted.open_directory(f"{top}/s/ours")
                assert os.fstat(descriptor).st_uid == 0
                os.close(descriptor)
                os.rmdir(top / "s/ours")
            except (Error, FileNotFoundError):   # his; he has taken it away meanwhile
                failed += 1
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert made and failed


@pytest.mark.parametrize("place, accepted", [("/usr/local", True), ("/var/local", True),
                                             ("/srv", False)])
def test_group_staff_writes_where_the_distribution_made_it_so(place: str, accepted: bool) -> None:
    """Debian Policy §9.1.2."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        path = Path(name)
        staff = grp.getgrnam("staff").gr_gid
        users = grp.getgrnam("users").gr_gid
        for gid, expected in ((staff, accepted), (users, False), (OTHER, False)):
            os.chown(path, 0, gid)
            path.chmod(0o2775)
            if expected:
                opens(path)
            else:
                refused(path, f"^{path}: writable by its group")
        os.chown(path, OWNER, staff)
        path.chmod(0o2775)
        refused(path, f"^{path}: writable by its group", OWNER)


def test_trusted_links(top: Path) -> None:
    (top / "real/b").mkdir(parents=True)
    number = (top / "real/b").stat().st_ino
    (top / "x").mkdir()
    for name, target in (("absolute", f"{top}/real"), ("relative", "real"), ("dot", "./real/."),
                         ("chain", "absolute"), ("slash", "real/"), ("x/up", "../real"),
                         ("x/far", f"../../..{top}/x/../real")):
        (top / name).symlink_to(target)
        assert opens(top / name / "b") == number, name
    (top / "last").symlink_to("real/b")
    assert opens(top / "last") == number
    assert opens(f"{top}/x/../real/b") == number
    assert opens(f"{top}/../..{'/..' * 50}{top}/real/b") == number, "the root is its own parent"


def test_links_to_what_is_not_trusted(top: Path) -> None:
    (top / "bad/b").mkdir(parents=True)
    os.chown(top / "bad", OTHER, OTHER)
    (top / "l").symlink_to("bad/b")
    (top / "m").symlink_to(f"{top}/bad")
    (top / "bad/b/up").symlink_to("..")
    refused(top / "l", f"^{top}/bad: belongs to")
    refused(top / "m" / "b", f"^{top}/bad: belongs to")
    (top / "n").symlink_to("bad/b/../../x")
    refused(top / "n", f"^{top}/bad: belongs to")
    (top / "t").symlink_to("/tmp")
    refused(top / "t", "^/tmp: writable by everybody")
    (top / "shm").symlink_to("/dev/shm")
    refused(top / "shm", "^/dev/shm: writable by everybody")
    (top / "dangling").symlink_to("nothing")
    with pytest.raises(FileNotFoundError):
        opens(top / "dangling")


def test_loops(top: Path) -> None:
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    (top / "self").symlink_to("self/x")
    for name in ("a", "self"):
        refused(top / name, "too many symbolic links")
    for number in range(45):
        (top / f"l{number}").symlink_to(f"l{number + 1}")
    (top / "l45").mkdir()
    refused(top / "l0", "too many symbolic links")
    opens(top / "l10")


def test_the_section_owner_cannot_lead_out_of_his_directory(top: Path) -> None:
    """He may have his own directory, but a link in it would let him choose where root writes."""
    (top / "his/sub").mkdir(parents=True)
    (top / "roots").mkdir()
    for path in ("his", "his/sub"):
        os.chown(top / path, OWNER, OWNER)
    opens(top / "his/sub", OWNER)
    (top / "his/out").symlink_to(top / "roots")
    (top / "his/up").symlink_to("../roots")
    for name in ("out", "up"):
        refused(top / "his" / name, "a symbolic link in a directory that is not root's", OWNER)
        with pytest.raises(Error, match="a symbolic link"):
            files.install([files.File(f"{top}/his/{name}/x.pem", b"x", (OWNER, -1))])
    assert os.listdir(top / "roots") == []
    # root's own link to his directory is root's decision
    (top / "to-him").symlink_to("his/sub")
    opens(top / "to-him", OWNER)


def test_parents(top: Path) -> None:
    descriptor, name = trusted.open_parent(f"{top}/x.pem")
    assert name == "x.pem" and inode(descriptor) == top.stat().st_ino
    (top / "l").symlink_to("/etc/passwd")
    descriptor, name = trusted.open_parent(f"{top}/l")
    assert name == "l" and inode(descriptor) == top.stat().st_ino, "the last is not followed"
    for path in ("/", f"{top}/", "x"):
        with pytest.raises(Error):
            trusted.open_parent(path)


def test_files(top: Path) -> None:
    (top / "f").write_text("content")
    (top / "l").symlink_to("f")
    (top / "d").mkdir()
    (top / "d/up").symlink_to("../l")
    for name in ("f", "l", "d/up", "d/../f"):
        descriptor = trusted.open_file(f"{top}/{name}")
        assert os.read(descriptor, 100) == b"content" and not os.get_inheritable(descriptor)
        os.close(descriptor)
    os.mkfifo(top / "fifo")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(top / "socket"))
    sock.close()
    os.mknod(top / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    for name in ("d", "fifo", "socket", "null", "d/"):
        with pytest.raises(Error, match="not a plain file|cannot open it"):
            trusted.open_file(f"{top}/{name}")
    for name in ("no", "no/f"):
        with pytest.raises(FileNotFoundError):
            trusted.open_file(f"{top}/{name}")
    with pytest.raises(Error, match="Not a directory"):
        trusted.open_file(f"{top}/f/x")
    os.chown(top / "d", OTHER, OTHER)
    with pytest.raises(Error, match="belongs to uid"):
        trusted.open_file(f"{top}/d/up")


def test_make_directory(top: Path) -> None:
    for umask in (0o077, 0):
        saved = os.umask(umask)
        try:
            for mode in (0o755, 0o700):
                path = top / f"{umask:o}-{mode:o}"
                trusted.make_directory(str(path), mode)
                assert stat.S_IMODE(path.stat().st_mode) == mode
        finally:
            os.umask(saved)
    (top / "old").mkdir()
    (top / "old").chmod(0o711)
    trusted.make_directory(str(top / "old"), 0o700)
    assert stat.S_IMODE((top / "old").stat().st_mode) == 0o711, "an existing one is left alone"
    with pytest.raises(FileNotFoundError) as caught:
        trusted.make_directory(str(top / "no/x"))
    assert caught.value.filename == f"{top}/no"
    (top / "f").touch()
    with pytest.raises(Error, match="Not a directory"):
        trusted.make_directory(str(top / "f"))
    (top / "theirs").mkdir()
    os.chown(top / "theirs", OTHER, OTHER)
    for path in ("theirs", "theirs/x"):
        with pytest.raises(Error, match="belongs to uid"):
            trusted.make_directory(str(top / path))
    assert os.listdir(top / "theirs") == []


def test_no_race_wins(top: Path) -> None:
    """The section's owner swaps his directory and links all the time; the victim is untouched."""
    (top / "his").mkdir()
    (top / "victim").mkdir()
    (top / "victim/x.pem").write_text("victim")
    os.chown(top / "his", OWNER, OWNER)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresuid(OWNER, OWNER, OWNER)
            os.chdir(top / "his")
            os.mkdir("d")
            os.symlink(top / "victim", "l")
            while True:
                try:
                    os.rename("d", "d2")
                    os.rename("l", "d")
                    os.rename("d", "l")
                    os.rename("d2", "d")
                    os.symlink(top / "victim/x.pem", "d/tmp")
                    os.rename("d/tmp", "d/x.pem")
                except OSError:
                    pass
        finally:
            os._exit(0)
    done = failed = 0
    try:
        deadline = time.monotonic() + 20
        # he must have had his turns, on a busy machine, too
        while min(done, failed) < 200 and time.monotonic() < deadline:
            try:
                files.install([files.File(f"{top}/his/d/x.pem", b"new", (OWNER, -1))])
                done += 1
            except Error:
                failed += 1
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert done and failed, (done, failed)
    assert os.listdir(top / "victim") == ["x.pem"]
    assert (top / "victim/x.pem").read_text() == "victim"
    assert (top / "victim/x.pem").stat().st_uid == 0
