"""Access control lists: whom they let in."""

import grp
import os
from pathlib import Path

import pytest

from harness.neighbour import acl_entries, set_acl
from letsencrypt_tiny.common import acl
from letsencrypt_tiny.common.acl import READ, WRITE
from letsencrypt_tiny.common.errors import Error

GID = 7


@pytest.mark.alike(2)
@pytest.mark.parametrize("data, wanted, expected", [
    (acl_entries(6, 4, 0), READ, [("group", GID)]), (acl_entries(6, 4, 0), WRITE, []),
    (acl_entries(6, 0, 4), READ, []), (acl_entries(6, 0, 0, {1000: 4}), READ, [("user", 1000)]),
    (acl_entries(6, 0, 0, {1000: 4}), WRITE, []),
    (acl_entries(6, 4, 0, {1000: 6}, mask=0), READ, []),
    (acl_entries(6, 0, 0, {1000: 6}, mask=4), WRITE, []),
    (acl_entries(6, 0, 0, {1000: 6, 1001: 4}, {8: 2, 9: 4}), WRITE,
     [("user", 1000), ("group", 8)]),
    (acl_entries(6, 0, 0, {1000: 1}), READ | WRITE, [])])
def test_whom_a_list_lets_in(data: bytes, wanted: int, expected: list[acl.Party]) -> None:
    assert acl.parse(data, GID, wanted) == expected


@pytest.mark.parametrize("data", [b"", b"\2\0\0", b"\3\0\0\0", b"\2\0\0\0\1", b"x" * 12])
def test_lists_of_another_kind(data: bytes) -> None:
    with pytest.raises(Error, match="of an unknown kind"):
        acl.parse(data, GID, READ)


def test_mode_without_a_list(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    for mode, wanted, there in ((0o640, READ, True), (0o640, WRITE, False), (0o620, READ, False),
                                (0o660, READ | WRITE, True), (0o604, READ, False)):
        path.chmod(mode)
        descriptor = os.open(path, os.O_PATH)
        info = os.fstat(descriptor)
        assert acl.others(descriptor, info, wanted) == [("group", info.st_gid)] * there
        assert not acl.listed(descriptor)
        os.close(descriptor)


def test_a_list_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    if not set_acl(path, acl_entries(6, 0, 0, {1000: 6}, mask=6)):
        pytest.skip("the file system has no access control lists")
    descriptor = os.open(path, os.O_PATH)
    assert acl.others(descriptor, os.fstat(descriptor), WRITE) == [("user", 1000)]
    assert acl.listed(descriptor)
    os.close(descriptor)


def test_names() -> None:
    assert acl.name(("user", 0)) == "user root" and acl.name(("group", 0)) == "group root"
    assert acl.name(("user", 4000000000)) == "user 4000000000"
    users = grp.getgrnam("users").gr_gid
    assert acl.name(("group", users)) == "group users"
