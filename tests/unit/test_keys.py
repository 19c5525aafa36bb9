"""Private keys in files: made once, and of use only to root."""

import grp
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.neighbour import NOBODY, acl_entries, lease, set_acl
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import files, keys

pytestmark = pytest.mark.root

OWNER, OTHER = 65531, 65533
USERS = grp.getgrnam("users").gr_gid
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


def grouped(path: Path, mode: int, uid: int, gid: int) -> None:
    """Give the key a mode, an owner and a group."""
    os.chown(path, uid, gid)
    path.chmod(mode)


@pytest.mark.parametrize("mode, uid, gid, told", [
    (0o600, OTHER, 0, r"belongs to user 65533, who is neither root nor .*\(chown root it"),
    (0o640, 0, USERS, r"is open to group users \(chmod 0600 it, chgrp it to ssl-cert, or set ow"),
    (0o660, 0, USERS, "is open to group users"), (0o620, 0, USERS, "is open to group users"),
    (0o640, OWNER, OTHER, "is open to group 65533"), (0o604, 0, 0, "is open to everybody"),
    (0o640, OWNER, USERS, "is open to group users")])
def test_a_key_that_others_can_use(mode: int, uid: int, gid: int, told: str, top: Path) -> None:
    (top / "key").write_bytes(b"key")
    grouped(top / "key", mode, uid, gid)
    with pytest.raises(Error, match=f"^{top}/key: the private key {told}"):
        keys.open_key(f"{top}/key", OWNER, 65532)


@pytest.mark.parametrize("mode, uid, gid", [
    (0o600, 0, USERS), (0o610, 0, USERS), (0o640, 0, 0), (0o600, OWNER, OTHER),
    (0o640, OWNER, OTHER), (0o640, 0, OTHER), (0o440, 0, OTHER)])
def test_a_key_for_the_sections_owner_and_group(mode: int, uid: int, gid: int, top: Path) -> None:
    (top / "key").write_bytes(b"key")
    grouped(top / "key", mode, uid, gid)
    os.close(keys.open_key(f"{top}/key", OWNER, OTHER))


def test_a_key_for_the_group_of_keys(top: Path) -> None:
    try:
        gid = grp.getgrnam("ssl-cert").gr_gid
    except KeyError:
        pytest.skip("there is no group ssl-cert")
    (top / "key").write_bytes(b"key")
    grouped(top / "key", 0o640, 0, gid)
    os.close(keys.open_key(f"{top}/key"))


@pytest.mark.parametrize("users, groups, group, told", [
    ({NOBODY.pw_uid: 4}, {}, 0, "user nobody"), ({}, {USERS: 4}, 0, "group users"),
    ({0: 6, OTHER: 2}, {}, 0, "user 65533"), ({0: 6, OWNER: 6}, {0: 6, OTHER: 6}, 4, "")])
def test_access_control_lists_of_a_key(users: dict[int, int], groups: dict[int, int], group: int,
                                       told: str, top: Path) -> None:
    path = top / "key"
    path.write_bytes(b"key")
    if not set_acl(path, acl_entries(6, group, 0, users, groups)):
        pytest.skip("the file system has no access control lists")
    if not told:
        os.close(keys.open_key(str(path), OWNER, OTHER))
        return
    with pytest.raises(Error, match=rf"^{path}: the private key is open to {told} "
                                    rf"\(setfacl -b {path}\)$"):
        keys.open_key(str(path), OWNER, OTHER)
    path.chmod(0o600)   # which takes the mask away
    os.close(keys.open_key(str(path)))


def test_a_default_list_lets_nobody_read_what_is_private(top: Path) -> None:
    """What is written in a directory with one would have it, too."""
    if not set_acl(top, acl_entries(7, 5, 5, {NOBODY.pw_uid: 7}), "default"):
        pytest.skip("the file system has no access control lists")
    files.install([files.File(f"{top}/key", b"key", None, 0o640),
                   files.File(f"{top}/cert", b"cert", None, 0o644)])
    with pytest.raises(OSError):
        os.getxattr(top / "key", "system.posix_acl_access")
    keys.create(f"{top}/new", b"key")
    for name in ("key", "new"):
        os.close(keys.open_key(f"{top}/{name}"))


def test_what_is_read_of_a_key_nobody_changes_any_more(top: Path) -> None:
    """Its owner might: openssl would read without end."""
    path = top / "key"
    path.write_bytes(b"key")
    os.chown(path, OTHER, OTHER)
    path.chmod(0o600)
    descriptor = keys.open_key(str(path), OTHER)
    path.write_bytes(b"another")
    os.truncate(path, 1 << 40)
    with open(f"/proc/self/fd/{descriptor}", "rb") as again:   # as openssl opens it
        assert again.read() == b"key"
    os.close(descriptor)


def test_a_key_with_a_lease_on_it(top: Path) -> None:
    path = top / "key"
    path.write_bytes(b"key")
    os.chown(path, NOBODY.pw_uid, -1)
    path.chmod(0o600)
    with lease(path):
        for action in (lambda: keys.open_key(str(path), NOBODY.pw_uid),
                       lambda: keys.replacement(str(path), b"new", NOBODY.pw_uid)):
            with pytest.raises(Error, match=f"^{path}: cannot be read: somebody has a lease"):
                action()
