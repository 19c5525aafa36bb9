"""What is believed, and what is only read: whose it is, and that nothing is waited for."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.neighbour import NOBODY, acl_entries, lease, set_acl
from letsencrypt_tiny.common import trusted
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.trusted import Untrusted

pytestmark = pytest.mark.root

OTHER = 65533


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory of root's, not below a sticky one; no descriptor is left open."""
    before = set(os.listdir("/proc/self/fd"))
    path = Path(tempfile.mkdtemp(prefix="test-trusted-", dir="/srv"))
    path.chmod(0o755)
    (path / "file").write_text("content")
    yield path
    shutil.rmtree(path)
    assert set(os.listdir("/proc/self/fd")) == before


def reads(descriptor: int) -> bytes:
    """Return what there is to read; closes the descriptor."""
    with open(descriptor, "rb") as file:
        return file.read()


def test_a_file_that_only_root_can_change(top: Path) -> None:
    path = f"{top}/file"
    for mode in (0o600, 0o644, 0o664, 0o444):   # the group is root's
        (top / "file").chmod(mode)
        assert reads(trusted.open_unchangeable(path)) == b"content"
    (top / "link").symlink_to("file")
    assert reads(trusted.open_unchangeable(f"{top}/link")) == b"content"
    with pytest.raises(FileNotFoundError):
        trusted.open_unchangeable(f"{top}/none")


@pytest.mark.parametrize("change, told", [
    (lambda path: os.chown(path, OTHER, -1), "belongs to uid 65533, who could change it"),
    (lambda path: path.chmod(0o646), "writable by everybody"),
    (lambda path: (os.chown(path, 0, OTHER), path.chmod(0o664)), r"by its group \(chmod g-w it"),
    (lambda path: os.chown(path.parent, OTHER, -1), "could change what lies below"),
    (lambda path: path.parent.chmod(0o777), "could change what lies below"),
    (lambda path: path.parent.chmod(0o1777), "could change what lies below")])
def test_a_file_that_others_can_change(change: Callable[[Path], object], told: str,
                                       top: Path) -> None:
    change(top / "file")
    with pytest.raises(Untrusted, match=f"^{top}.*{told}"):
        trusted.open_unchangeable(f"{top}/file")


def test_a_sticky_directory_of_others(top: Path) -> None:
    """Whoever owns it can rename what is ours in it."""
    (top / "his/ours").mkdir(parents=True)
    (top / "his/ours/file").touch()
    os.chown(top / "his", OTHER, OTHER)
    for mode in (0o1777, 0o1755):
        (top / "his").chmod(mode)
        with pytest.raises(Untrusted, match=f"^{top}/his: belongs to uid"):
            trusted.open_unchangeable(f"{top}/his/ours/file")


def test_a_file_that_a_list_lets_others_change(top: Path) -> None:
    path = top / "file"
    if not set_acl(path, acl_entries(6, 0, 4, {NOBODY.pw_uid: 6})):
        pytest.skip("the file system has no access control lists")
    with pytest.raises(Untrusted, match=r"list \(user nobody\) \(setfacl -b it\)"):
        trusted.open_unchangeable(str(path))
    assert reads(trusted.open_unchangeable(str(path), NOBODY.pw_uid)) == b"content"
    set_acl(path, acl_entries(6, 0, 4, {NOBODY.pw_uid: 4}))
    assert reads(trusted.open_unchangeable(str(path))) == b"content", "they may read it"


def test_a_list_that_lets_only_root_write(top: Path) -> None:
    if not set_acl(top, acl_entries(7, 7, 5, {0: 7})):
        pytest.skip("the file system has no access control lists")
    assert reads(trusted.open_unchangeable(f"{top}/file")) == b"content"


def test_nothing_is_waited_for(top: Path) -> None:
    os.mkfifo(top / "fifo")
    os.chown(top / "file", NOBODY.pw_uid, -1)
    start = time.monotonic()
    for read in (trusted.open_file, trusted.open_unchangeable):
        with pytest.raises(Error, match="not a plain file"):
            read(f"{top}/fifo")
    with lease(top / "file"):
        with pytest.raises(BlockingIOError) as caught:
            trusted.open_file(f"{top}/file")
        assert "somebody has a lease" in str(caught.value)
        with pytest.raises(Error, match="somebody has a lease on it"):
            trusted.open_unchangeable(f"{top}/file", NOBODY.pw_uid)
        assert trusted.look(f"{top}/file").st_size == 7
    assert time.monotonic() - start < 5, "a lease is taken away after 45 seconds"


@pytest.mark.parametrize("target", ["/proc/kmsg", "/sys/kernel/tracing/trace_pipe", "/etc/passwd",
                                    "/dev/zero", "../file"])
def test_no_link_of_others_is_followed(target: str, top: Path) -> None:
    (top / "his").mkdir()
    (top / "his/link").symlink_to(target)
    os.chown(top / "his", OTHER, OTHER)
    path = f"{top}/his/link"
    for action in (lambda: trusted.open_file(path, OTHER), lambda: trusted.look(path, OTHER),
                   lambda: trusted.open_unchangeable(path, OTHER),
                   lambda: trusted.open_file(path, anybody=True)):
        with pytest.raises(Untrusted, match=f"^{path}: a symbolic link in a directory|belongs to"):
            action()


def test_whose_directory_it_is_may_not_matter(top: Path) -> None:
    """To read what the administrator judges: but not to follow links there."""
    (top / "his").mkdir()
    (top / "his/file").write_text("his")
    os.chown(top / "his", OTHER, OTHER)
    (top / "his").chmod(0o777)
    with pytest.raises(Untrusted):
        trusted.open_file(f"{top}/his/file")
    assert reads(trusted.open_file(f"{top}/his/file", anybody=True)) == b"his"
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o1777)
    (top / "sticky/file").write_text("anybody's")
    (top / "sticky/link").symlink_to("file")
    assert reads(trusted.open_file(f"{top}/sticky/file", anybody=True)) == b"anybody's"
    with pytest.raises(Untrusted, match="writable by everybody"):
        trusted.open_file(f"{top}/sticky/link", anybody=True)
    (top / "link").symlink_to("his/file")   # root's own
    assert reads(trusted.open_file(f"{top}/link", anybody=True)) == b"his"


def test_programs(top: Path) -> None:
    path = top / "program"
    for missing in (path, top / "file/program"):
        trusted.check_program(str(missing))   # whoever runs it will see
    path.write_text("#!/bin/sh\n")
    path.chmod(0o711)
    trusted.check_program(str(path))
    os.chown(path, OTHER, -1)
    trusted.check_program(str(path), OTHER)
    with pytest.raises(Untrusted, match="belongs to uid"):
        trusted.check_program(str(path))
    os.chown(path, 0, 0)
    top.chmod(0o757)
    with pytest.raises(Untrusted, match="writable by everybody"):
        trusted.check_program(str(path))


def test_paths_from_where_we_are(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    assert trusted.absolute("x/../y") == f"{top}/x/../y" and trusted.absolute("/x") == "/x"
    assert reads(trusted.open_unchangeable(trusted.absolute("file"))) == b"content"
