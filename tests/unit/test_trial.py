"""What can't be installed is found before it is ordered, by files that are really written."""

import contextlib
import os
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from collections.abc import Iterator

import pytest

from harness.run import ROOT
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.pki import csr
from letsencrypt_tiny.master.store import files, placing

pytestmark = pytest.mark.root

# Tries the paths in argv, by the tree in the first word
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.store import files
try:
    files.rehearse(sys.argv[2:])
except Error as exc:
    sys.exit(str(exc))
"""


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """A tmpfs with these options; the test is skipped where the kernel knows them not."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "none", path],
                          check=False, capture_output=True, text=True)
    if done.returncode:
        path.rmdir()
        pytest.skip(f"tmpfs with {options}: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)
        path.rmdir()


@pytest.mark.parametrize("options, fit, why", [
    ("size=48k", 3, "No space left on device"), ("nr_inodes=4", 3, "No space left on device"),
    ("size=40k", 2, "No space left on device"), ("ro", 0, "Read-only file system")])
def test_as_many_files_as_are_installed_together(options: str, fit: int, why: str, top: Path
                                                 ) -> None:
    """Each alone would find room, but they stand beside each other until they are renamed."""
    with mounted(top / "m", options) as small:
        for count in range(1, 6):
            paths = [f"{small}/{number}" for number in range(count)]
            if count <= fit:
                files.rehearse(paths)
            else:
                with pytest.raises(Error, match=f"^{small}/{fit}: cannot write it: {why}"):
                    files.rehearse(paths)
            assert os.listdir(small) == []


def test_trials_at_once(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take no room from each other: who found none beside another's is tried again, alone."""
    beside = threading.Barrier(2)
    write = files.write

    def writes(file: files.File, *more: Any) -> files.Written:
        written = write(file, *more)
        with contextlib.suppress(threading.BrokenBarrierError):
            beside.wait(5)
        return written

    def makes(_config: object, want: csr.Want, _compromised: object) -> csr.Made:
        try:
            files.rehearse([want.section.key])
        except Error:
            beside.abort()
            raise
        return csr.Made(None)    # type: ignore[arg-type]
    monkeypatch.setattr(files, "write", writes)
    monkeypatch.setattr(csr, "make", makes)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    with mounted(top / "m", "size=24k") as small:
        wants = [csr.Want(SimpleNamespace(key=f"{small}/{name}"))    # type: ignore[arg-type]
                 for name in "ab"]
        assert csr.make_all(None, wants, frozenset()) == 2 * [    # type: ignore[arg-type]
            csr.Made(None)]    # type: ignore[arg-type]
        assert beside.broken, "one found no room"
        (small / "full").write_bytes(bytes(16 << 10))
        for made in csr.make_all(None, wants, frozenset()):    # type: ignore[arg-type]
            assert isinstance(made, Error) and str(made).endswith("No space left on device")


@pytest.mark.parametrize("call", ["fsync:error=EDQUOT:when=1", "fsync:error=EIO:when=2",
                                  "renameat:error=EPERM:when=1", "renameat:error=EXDEV:when=1",
                                  "write:error=EDQUOT:when=1", "openat:error=EMFILE:when=%d"])
def test_every_step_is_tried(call: str, top: Path) -> None:
    """Quotas and broken disks tell at fsync(2), or at rename(2); nothing is left of the trial."""
    paths = [f"{top}/{name}" for name in "ab"]
    argv = ["/usr/bin/python3", "-IBc", PROGRAM, str(ROOT), *paths]
    trace = top / "trace"
    name = call.partition(":")[0]
    if "%" in call:   # the first file that is made
        subprocess.run(["strace", "-qq", "-e", f"trace={name}", "-o", trace, *argv], check=True)
        lines = trace.read_text().splitlines()
        call %= 1 + next(number for number, line in enumerate(lines) if "O_CREAT" in line)
    done = subprocess.run(["strace", "-qq", "-e", f"trace={name}", "-e", f"inject={call}", "-o",
                           trace, *argv], check=False, capture_output=True, text=True)
    assert "INJECTED" in trace.read_text()
    trace.unlink()
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith((f"{paths[0]}: ", f"{paths[1]}: ")), done.stderr
    assert os.listdir(top) == []


def test_what_a_killed_trial_has_left(top: Path) -> None:
    """It is in nobody's way."""
    (top / ".a.try").write_text("left")
    (top / ".a.new").write_text("left")
    files.rehearse([f"{top}/a"])
    assert os.listdir(top) == []


@pytest.mark.parametrize("there", [False, True])
def test_two_certificates_of_one_place(top: Path, there: bool) -> None:
    """Each tries whether a version could be made, and takes that back, at once."""
    (top / "certs").mkdir()
    if there:
        (top / "certs/.a").mkdir()
    paths = [f"{top}/certs/a/{name}" for name in ("privkey.pem", "fullchain.pem")]
    begin, failed = threading.Barrier(4), []

    def tries() -> None:
        begin.wait()
        try:
            for _ in range(300):
                placing.rehearse(f"{top}/certs", paths)
        except Error as exc:
            failed.append(exc)
    threads = [threading.Thread(target=tries) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and os.listdir(top / "certs") == [".a"] * there
