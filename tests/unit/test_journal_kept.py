"""Chains and keys that wait, and what was revoked: junk is as good as nothing."""

import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import files, keys
from letsencrypt_tiny.master.store.journal import Journal, Revoked, SectionState
from letsencrypt_tiny.master.store.revoked import MAX_REVOKED

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def test_chains(top: Path) -> None:
    journal = Journal(f"{top}/state")
    assert journal.kept_chain("a") == ""
    journal.drop_chain("a")
    assert not (top / "state").exists(), "looking makes nothing"
    for name in ("a", "ä/../b", "x" * 255):
        journal.keep_chain(name, f"chain of {name}\udc80")
        assert journal.kept_chain(name) == f"chain of {name}?"
    assert len(os.listdir(top / "state")) == 3
    for path in (top / "state").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.drop_chain("a")
    assert journal.kept_chain("a") == "" and len(os.listdir(top / "state")) == 2


def test_what_nobody_remembers_is_tidied_up(top: Path) -> None:
    journal = Journal(f"{top}/state")
    path = f"{top}/key"
    journal.keep_chain("a", "chain")
    waiting = journal.pending_key(path)
    keys.create(waiting, b"key")
    journal.tidy("a", path)
    assert journal.kept_chain("a") == ""
    assert os.path.exists(waiting), "it may be wanted"
    Path(path).write_text("another")
    journal.tidy("a", path)
    assert os.path.exists(waiting)
    Path(path).write_text("key")
    journal.tidy("a", path)
    assert not os.path.exists(waiting)


def test_what_nobody_else_knows_is_there_after_a_power_cut(
        top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was compromised; what a request finds out again need not be."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = Journal(str(top / "state"))
    journal.remember("a", SectionState(order="https://ca.example/1"))
    assert not synced
    journal.remember_revoked(b"certificate", b"key")
    assert len(synced) >= 2    # the file, and the directory that has its name


def test_revoked(top: Path) -> None:
    journal = Journal(f"{top}/state")
    assert journal.revoked() == Revoked()
    journal.remember_revoked(b"one")
    journal.remember_revoked(b"two", b"key")
    journal.remember_revoked(b"one")
    digests = {text: sha256(text).hexdigest() for text in (b"one", b"two", b"key")}
    assert journal.revoked() == Revoked(frozenset([digests[b"one"], digests[b"two"]]),
                                        frozenset([digests[b"key"]]))
    for junk in (b"", b"[]", b"{", b'{"keys": 1, "certificates": {"a": 1}}', b"\0" * 300_000):
        (top / "state/revoked.json").write_bytes(junk)
        assert journal.revoked() == Revoked()
    journal.remember_revoked(b"two", b"key")
    assert journal.revoked().keys == {digests[b"key"]}


def test_what_is_remembered_has_an_end(top: Path) -> None:
    journal = Journal(f"{top}/state")
    for number in range(3):
        journal.remember_revoked(b"%d" % number, b"k")
    path = top / "state/revoked.json"
    path.write_text('{"certificates": [%s]}' % ", ".join(f'"{n:064}"' for n in range(MAX_REVOKED)))
    journal.remember_revoked(b"x")
    found = journal.revoked().certificates
    assert len(found) == MAX_REVOKED and sha256(b"x").hexdigest() in found
    assert f"{0:064}" not in found and path.stat().st_size < 256 << 10


def test_a_journal_that_cannot_be_written(top: Path) -> None:
    journal = Journal(f"{top}/state")
    journal.check()
    assert os.listdir(top / "state") == []
    (top / "state").rmdir()
    (top / "state").write_text("")
    with pytest.raises(Error):
        journal.check()
    with pytest.raises(Error, match="no such directory; create it"):
        Journal(f"{top}/none/state").check()


def test_a_probe_leaves_nothing(top: Path) -> None:
    (top / "file").write_text("old")
    files.rehearse([f"{top}/file"])
    assert (top / "file").read_text() == "old" and os.listdir(top) == ["file"]
    (top / "directory").mkdir()
    with pytest.raises(Error, match="directory: cannot write it: Is a directory"):
        files.rehearse([f"{top}/directory"])
    with pytest.raises(Error, match="no such directory, needed for"):
        files.rehearse([f"{top}/none/file"])
    assert sorted(os.listdir(top)) == ["directory", "file"]


def test_together(top: Path) -> None:
    """All are renamed by another process; a failure names the file that is at fault."""
    files.install([files.File(f"{top}/{name}", name.encode()) for name in "abc"], together=True)
    assert {path.name: path.read_text() for path in top.iterdir()} == {n: n for n in "abc"}
    with files.Prepared([files.File(f"{top}/{name}", b"new") for name in "abc"]) as prepared:
        (top / "b").unlink()
        (top / "b").mkdir()
        with pytest.raises(Error, match=f"^{top}/b: cannot install it: Is a directory"):
            prepared.rename(together=True)
    assert sorted(os.listdir(top)) == ["a", "b", "c"] and (top / "a").read_text() == "new"
    assert (top / "c").read_text() == "c", "in order: none after the one that can't be"


def test_replacement_of_a_key(top: Path) -> None:
    path = top / "key"
    assert keys.replacement(str(path), b"new") == [files.File(str(path), b"new", None, 0o600)]
    path.write_bytes(b"old")
    os.chown(path, 0, 4)
    path.chmod(0o644)
    new = keys.replacement(str(path), b"new")
    kept = files.File(f"{path}.old", b"old", (0, 4), 0o640)
    assert new == [kept, files.File(str(path), b"new", (0, 4), 0o640)], "never open to everybody"
    assert os.listdir(top) == ["key"] and path.read_bytes() == b"old"
    files.install(new)
    assert keys.replacement(str(path), b"new") == [], "it is in its place already"
