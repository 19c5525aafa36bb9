"""Bad keys, directories, programs, users: one clear line, and nothing changed."""

import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path
from collections.abc import Callable
from typing import Any

import pytest

from harness.hostile import Hostile
from harness.run import ENVIRONMENT, Prefix, Site, as_user, run
from harness.verdict import errors, only_error, refused, snapshot


def test_a_key_that_others_can_read(good: Site) -> None:
    key = good.file("a", "privkey.pem")
    for mode in (0o604, 0o644, 0o601, 0o606):
        key.chmod(mode)
        try:
            refused(good, 1, expected=re.escape(f"{key}: the private key is open to everybody"))
        finally:
            key.chmod(0o600)


@pytest.mark.parametrize("content, expected", [
    (b"", "not a private key"), (b"x" * 100_000, "not a private key"), (b"junk\n", "cannot make"),
    (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot make")])
def test_a_key_that_is_none(content: bytes, expected: str, good: Site) -> None:
    key = good.file("a", "privkey.pem")
    saved = key.read_bytes()
    key.write_bytes(content)
    try:
        assert str(key) in refused(good, 1, expected=expected)
    finally:
        key.write_bytes(saved)


def test_a_key_that_is_no_plain_file(good: Site) -> None:
    key = good.file("a", "privkey.pem")
    saved = key.read_bytes()
    for make in (key.mkdir, lambda: os.mkfifo(key), lambda: key.symlink_to(key)):
        key.unlink()
        make()
        try:
            assert str(key) in refused(good, 1)
        finally:
            key.rmdir() if key.is_dir() and not key.is_symlink() else key.unlink()
            key.write_bytes(saved)
            key.chmod(0o600)


@pytest.mark.parametrize("what, prepare, expected", [
    ("of another user", lambda path: os.chown(path, pwd.getpwnam("nobody").pw_uid, 0),
     "belongs to uid"),
    ("world-writable", lambda path: path.chmod(0o777), "writable by everybody"),
    ("sticky", lambda path: path.chmod(0o1777), "writable by everybody"),
    ("of a group", lambda path: (os.chown(path, 0, grp.getgrnam("nogroup").gr_gid),
                                 path.chmod(0o775)), "writable by its group"),
    ("missing", lambda path: path.rmdir(), "no such directory"),
    ("a file", lambda path: (path.rmdir(), path.touch()), "cannot open it|not a directory"),
    ("below a bad one", lambda path: path.parent.chmod(0o777), "writable by everybody")],
    ids=lambda value: value if isinstance(value, str) else "")
def test_output_directory(what: str, prepare: Callable[[Path], Any], expected: str, good: Site,
                          server: Hostile) -> None:
    """Refused, so that no race can be won there (D 40, 42); and before the CA is troubled."""
    parent = good.path / f"out-{re.sub('[^a-z]', '', what)}"
    directory = parent / "tls"
    parent.mkdir()
    directory.mkdir()
    good.certs["a"]["certificate"] = str(directory / "cert.pem")
    good.certs["a"]["certificate-key"] = str(good.file("a", "privkey.pem"))
    prepare(directory)
    refused(good, 1, expected=expected)
    assert not directory.is_dir() or os.listdir(directory) == []
    assert not server.asked("finalize")


def test_the_owner_of_the_section_may_own_its_directory(good: Site) -> None:
    nobody = pwd.getpwnam("nobody")
    directory = good.path / "nobodys"
    directory.mkdir()
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    good.certs["a"].update({"certificate": str(directory / "cert.pem"), "owner": "nobody",
                            "certificate-key": str(good.file("a", "privkey.pem"))})
    assert good.run("newOrder", "--force").returncode == 0
    assert (directory / "cert.pem").stat().st_uid == nobody.pw_uid


def test_a_symbolic_link_is_replaced_not_followed(good: Site) -> None:
    """Its victim stays as it was (D 41); so does one on the way in somebody's own directory."""
    nobody = pwd.getpwnam("nobody")
    directory, victim = good.path / "links", good.path / "victim"
    directory.mkdir()
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    victim.mkdir()
    (victim / "file").write_text("precious")
    (directory / "cert.pem").symlink_to(victim / "file")
    (directory / "away").symlink_to(victim)
    good.certs["a"].update({"certificate": str(directory / "cert.pem"), "owner": "nobody",
                            "certificate-key": str(good.file("a", "privkey.pem"))})
    before = snapshot(victim)
    assert good.run("newOrder", "--force").returncode == 0
    assert not (directory / "cert.pem").is_symlink()
    good.certs["a"]["certificate"] = str(directory / "away/cert.pem")
    refused(good, 1, expected="symbolic link.*is not followed")
    assert snapshot(victim) == before


def test_a_target_that_is_a_directory(good: Site) -> None:
    """Nothing is replaced, then, not even what could be."""
    (good.path / "directory/cert.pem").mkdir(parents=True)
    good.certs["a"].update({"certificate": str(good.path / "directory/cert.pem"),
                            "certificate-chain": str(good.path / "directory/chain.pem"),
                            "certificate-key": str(good.file("a", "privkey.pem"))})
    refused(good, 1, expected="cert.pem: .*[Dd]irectory")
    assert os.listdir(good.path / "directory") == ["cert.pem"]


def test_a_lock_that_is_a_link(good: Site) -> None:
    """D 43."""
    victim = good.path / "locked"
    victim.write_text("precious")
    lock = good.rundir / "lock"
    lock.unlink()
    lock.symlink_to(victim)
    try:
        done = good.run("newOrder", "--force")
        assert str(lock) in only_error(done, 1)
    finally:
        lock.unlink()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("mode, owner", [(0o777, "root"), (0o755, "nobody")])
def test_a_run_directory_that_others_may_change(mode: int, owner: str, good: Site) -> None:
    good.rundir.chmod(mode)
    os.chown(good.rundir, pwd.getpwnam(owner).pw_uid, 0)
    try:
        told = only_error(good.run("newOrder", "--force"))
    finally:
        os.chown(good.rundir, 0, 0)
        good.rundir.chmod(0o755)
    assert str(good.rundir) in told


@pytest.mark.alike(2)
@pytest.mark.parametrize("spoil", [
    lambda path: path.chmod(0o777), lambda path: path.chmod(0o1777),
    lambda path: os.chown(path, pwd.getpwnam("nobody").pw_uid, 0),
    lambda path: shutil.rmtree(path.parent), lambda path: path.parent.chmod(0o777),
    lambda path: (path.rmdir(), path.touch()),
    lambda path: (path / "lock").symlink_to("/etc/passwd")],
    ids=["writable", "sticky", "foreign", "missing", "parent", "file", "lock"])
def test_a_bad_run_directory_with_nothing_to_do(spoil: Callable[[Path], Any], good: Site) -> None:
    """It is no failure, and at night not a word, where no certificate is configured."""
    parent = good.path / "spoilt"
    parent.mkdir()
    rundir = parent / "run"
    good.main[""]["run-directory"] = str(rundir)
    rundir.mkdir()
    certs, good.certs = good.certs, {}
    try:
        spoil(rundir)
        done = good.run("--quiet", "newOrder")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        done = good.run("newOrder")
        assert done.returncode == 0 and len(done.stderr.splitlines()) == 2, done.stderr
        assert str(parent) in done.stderr and "no certificate is configured" in done.stderr
        good.certs = certs
        assert str(parent) in only_error(good.run("newOrder"))
        done = good.run("check")
        found = done.returncode == 1 and str(parent) in done.stderr
        assert found or (rundir / "lock").is_symlink(), done.stderr
    finally:
        parent.chmod(0o755) if parent.exists() else None
        shutil.rmtree(parent, ignore_errors=True)


@pytest.mark.alike(3)
@pytest.mark.parametrize("section", ["client", "webserver", "accountd"])
@pytest.mark.parametrize("command", ["/nonexistent", "/etc/passwd", "/srv", "nosuchprogram"])
def test_missing_programs(section: str, command: str, good: Site) -> None:
    good.main[section]["command"] = command
    told = refused(good, 1)
    assert command in told and f"[{section}]" in told and str(good.config) in told


def test_missing_openssl(good: Site) -> None:
    good.main[""]["openssl"] = "/nonexistent/openssl"
    refused(good, 1, expected="/nonexistent/openssl")


def test_users_that_cannot_be_become(good: Site, prefix: Prefix) -> None:
    """Without root no other user's rights are to be had: it says so."""
    good.configure()
    done = run(as_user("nobody", good.command("check")))
    assert done.returncode == 2
    lines = errors(done)
    assert len([told for told in lines if "only root can run it as" in told]) == 3


@pytest.mark.parametrize("what", ["server key", "account key"])
def test_umask(what: str, good: Site) -> None:
    """From its first moment: strace shows the mode that each file is made with, and changes."""
    directory = good.lib / "accountd"
    if what == "server key":
        good.certificate("fresh", ["fresh.example"], key_type="ec:P-384")
        argv = good.command("newOrder", "fresh")
        key = good.file("fresh", "privkey.pem")
    else:
        key = directory / "new.key"
        argv = good.signer(f"--privkey=file:{key}", "--genkey=ec:P-256")
    trace = good.path / "umask.strace"
    done = subprocess.run(
        ["/usr/bin/strace", "-f", "-qq", "-y", "-s", "300", "-e", "signal=none", "-o", str(trace),
         "-e", "trace=open,openat,openat2,creat,mknod,mknodat,chmod,fchmod,fchmodat,mkdir,mkdirat",
         *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT,
        umask=0, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = []
    for call in trace.read_text().splitlines():
        if not re.search(re.escape(key.name), call):
            continue
        match = re.search(r"O_CREAT.*, 0([0-7]+)\)|fchmod\(.*, 0([0-7]+)\)|chmodat.*, 0([0-7]+)",
                          call)
        if match:
            made.append(next(group for group in match.groups() if group))
    assert made and set(made) == {"600"}, made
    names = re.findall(r'O_CREAT[^)]*\)', trace.read_text())
    assert not [name for name in names if re.search(r", 0[0-7]*[2367]\)", name)], names
