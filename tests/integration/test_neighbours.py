"""Another user of the host: what is his is neither believed nor followed nor waited for.

The real programs, as root, and files and processes of a real user's (SECURITY.md, D).
"""

import os
import pwd
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import judge
from harness.hostile import Hostile
from harness.judge import INSTALLED
from harness.neighbour import NOBODY, acl_entries, lease, listening, set_acl
from harness.run import SIGNER_USER, Site
from harness.verdict import errors, only_error, refused
from letsencrypt_tiny.common.wire.jose import thumbprint
from letsencrypt_tiny.common.wire.signer import Greeting, format_greeting

COMMANDS = (("newOrder", "--force"), ("status",), ("check",), ("revokeCert", "FILE"))
SECONDS = 20   # far less than the 45 after which the kernel takes a lease away
JWK = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
GREETING = format_greeting(Greeting("ES256", JWK, thumbprint(JWK)))


def give(*paths: Path) -> None:
    """Let the other user have them."""
    for path in paths:
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)


# --- what is configured --------------------------------------------------------------------------

@pytest.fixture
def more(good: Site) -> Iterator[Path]:
    """certs.conf.d, with a section whose command would run as root."""
    directory = good.etc / "certs.conf.d"
    directory.mkdir()
    good.main[""]["config-certs"] = "certs.conf certs.conf.d/"
    good.configure()
    (directory / "x.conf").write_text(f"[a]\nnames = a.example\nnotify = touch {good.path}/his\n"
                                      f"CAfile = {good.certs['a']['CAfile']}\n")
    yield directory
    shutil.rmtree(directory)
    assert not (good.path / "his").exists(), "his command has run as root"


def links_to_his(path: Path) -> None:
    """Root's own link leads to a file in another user's directory."""
    his = path.parent.parent / "his-own"
    his.mkdir(exist_ok=True)
    path.rename(his / "x.conf")
    give(his)
    path.symlink_to(his / "x.conf")


@pytest.mark.alike(3)
@pytest.mark.parametrize("change, told", [
    (give, "certs.conf.d/x.conf: belongs to uid"),
    (lambda path: path.chmod(0o666), "certs.conf.d/x.conf: writable by everybody"),
    (lambda path: (os.chown(path, 0, 100), path.chmod(0o664)), "x.conf: writable by its group"),
    (lambda path: set_acl(path, acl_entries(6, 4, 4, {NOBODY.pw_uid: 6})), "user nobody"),
    (lambda path: give(path.parent), "certs.conf.d: belongs to uid"),
    (lambda path: path.parent.chmod(0o777), "certs.conf.d: writable by everybody"),
    (lambda path: (path.parent.chmod(0o1777), give(path)), "certs.conf.d: writable by everybody"),
    (links_to_his, "his-own: belongs to uid"),
    (lambda path: (path.unlink(), os.mkfifo(path)), "x.conf: not a plain file")],
    ids=["his", "everybody's", "group's", "list", "his directory", "open directory", "sticky",
         "link", "FIFO"])
def test_configuration_of_others(change: Callable[[Path], object], told: str, more: Path,
                                 good: Site) -> None:
    """Nothing of it is believed: the run ends before anything is touched."""
    change(more / "x.conf")
    refused(good, 2, expected=told)
    for command in ("status", "check"):
        done = good.run(command, timeout=SECONDS)
        assert done.returncode == 2 and [line for line in errors(done) if told in line], done


@pytest.mark.parametrize("file", ["letsencrypt-tiny.conf", "certs.conf"])
def test_the_main_files_of_others(file: str, good: Site) -> None:
    good.configure()
    path = good.etc / file
    give(path)
    try:
        refused(good, 2, expected=f"{path}: belongs to uid")
    finally:
        os.chown(path, 0, 0)


def test_ca_files_of_others(good: Site) -> None:
    path = good.path / "roots.pem"
    shutil.copy(good.certs["a"]["CAfile"], path)
    give(path)
    good.certs["a"]["CAfile"] = str(path)
    refused(good, 1, expected=rf"\[a\]: CAfile = {path}: cannot be read .*belongs to uid")
    good.certs["a"]["owner"] = "nobody"   # his certificate, his authorities
    assert good.run("check").returncode == 0


def test_programs_of_others(good: Site) -> None:
    place = good.path / "programs"
    place.mkdir()
    shutil.copy("/usr/bin/openssl", place / "openssl")
    good.main[""]["openssl"] = f"{place}/openssl"
    assert good.run("check").returncode == 0
    give(place)
    refused(good, 2, expected=f"openssl = {place}: belongs to uid")
    assert f"{place}: belongs to uid" in good.run("check").stderr
    del good.main[""]["openssl"]
    good.main["client"]["command"] = f"{place}/openssl"
    refused(good, 1, expected=rf"\[client\]: cannot run {place}: belongs to uid")


# --- what is remembered --------------------------------------------------------------------------

@pytest.mark.parametrize("what", ["state", "lib"])
def test_state_of_others(what: str, good: Site) -> None:
    """Neither believed nor waited for: there could be a FIFO in the place of each file."""
    place = good.lib if what == "lib" else good.lib / "state"
    kept = good.path / "kept"
    (good.lib / "state").rename(kept)
    (good.lib / "state").mkdir()
    for name in os.listdir(kept):
        os.mkfifo(good.lib / "state" / name)
    give(place)
    try:
        for command in (("newOrder",), ("newOrder", "--force"), ("status",)):
            done = good.run(*command, timeout=SECONDS)
            assert f"{place}: belongs to uid" in only_error(done), done
    finally:
        os.chown(place, 0, 0)
        shutil.rmtree(good.lib / "state")
        kept.rename(good.lib / "state")


def test_a_fifo_in_our_own_state(good: Site) -> None:
    """Somebody restored it so: as good as none."""
    state = good.lib / "state"
    saved = {path: path.read_bytes() for path in state.iterdir()}
    for path in saved:
        path.unlink()
        os.mkfifo(path)
    assert good.run("newOrder", "--force", timeout=60).returncode == 0
    for path, data in saved.items():
        path.unlink(missing_ok=True)
        path.write_bytes(data)


# --- who signs -----------------------------------------------------------------------------------

@pytest.fixture
def place(good: Site) -> Iterator[Path]:
    """Where the signer's socket is: in a directory that each of the users may enter."""
    del good.main["accountd"]
    directory = good.path / "signer"
    directory.mkdir()
    good.main["client"]["socket"] = f"{directory}/S"
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("socket_owner, told", [
    (None, "belongs to user nobody"), ("root", "user nobody listens there"),
    (SIGNER_USER, "user nobody listens there")])
def test_the_signer_of_a_stranger(socket_owner: str | None, told: str, place: Path, good: Site,
                                  server: Hostile) -> None:
    """His account would answer the challenges for this host's names."""
    place.chmod(0o1777)   # he makes it himself …
    owner = None if socket_owner is None else pwd.getpwnam(socket_owner).pw_uid
    with listening(place / "S", GREETING, owner=owner) as heard:
        place.chmod(0o755)   # … and it is ours again
        message = refused(good, 1, expected=f"{place}/S: {told}")
        assert SIGNER_USER in message and "--socket" in message
    assert bytes(heard[0]) in (b"", b"connected ") and not server.asked("newOrder")


@pytest.mark.parametrize("user", [SIGNER_USER, "root"])
def test_the_signer_that_is_expected(user: str, place: Path, good: Site) -> None:
    place.chmod(0o1777)
    with listening(place / "S", b"not a greeting\r\n\r\n", pwd.getpwnam(user)):
        place.chmod(0o755)
        refused(good, 1, expected="the account key manager does not greet as it should")


def test_the_signer_of_whom_the_configuration_names(place: Path, good: Site) -> None:
    good.main["accountd"] = {"user": "nobody", "group": "nogroup"}
    place.chmod(0o1777)
    with listening(place / "S", b"not a greeting\r\n\r\n"):
        place.chmod(0o755)
        refused(good, 1, f"--socket={place}/S", "newOrder", "--force",
                expected="the account key manager does not greet as it should")


# --- keys ----------------------------------------------------------------------------------------

def test_keys_of_others(good: Site) -> None:
    key = good.file("a", "privkey.pem")
    changes: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: give(key), "belongs to user nobody"),
        (lambda: (os.chown(key, 0, 100), key.chmod(0o640)), "is open to group users"),
        (lambda: set_acl(key, acl_entries(6, 0, 0, {NOBODY.pw_uid: 4})), "is open to user nobody"))
    for change, told in changes:
        try:
            change()
            refused(good, 1, expected=f"{key}: the private key {told}")
            assert f"{key}: the private key {told}" in good.run("check").stderr
        finally:
            good.configure()
            if set_acl(key, acl_entries(6, 0, 0)):
                os.removexattr(key, "system.posix_acl_access")
            os.chown(key, 0, 0)
            key.chmod(0o600)


# --- certificates in directories of others -------------------------------------------------------

@pytest.fixture
def his(good: Site) -> Iterator[Path]:
    """A certificate in the directory of its owner; and another section, which is due as well."""
    directory = good.path / "alice"
    directory.mkdir()
    good.certs = {"a": good.certs["a"]}
    good.certificate("his", ["his.example"], owner="nobody",
                     certificate_key=f"{directory}/key", certificate_chain=f"{directory}/cert")
    give(directory)
    done = good.run("newOrder")
    assert done.returncode == 0, done.stderr
    yield directory
    shutil.rmtree(directory)


TRAPS: dict[str, Callable[[Path], object]] = {
    "kernel's messages": lambda path: path.symlink_to("/proc/kmsg"),
    "kernel's traces": lambda path: path.symlink_to("/sys/kernel/tracing/trace_pipe"),
    "zeros": lambda path: path.symlink_to("/dev/zero"), "FIFO": os.mkfifo,
    "link to a FIFO": lambda path: (os.mkfifo(path.parent / "fifo"), path.symlink_to("fifo")),
    "a device": lambda path: os.mknod(path, 0o020600, os.makedev(1, 5)),
    "8 GB": lambda path: (path.touch(), os.truncate(path, 8 << 30))}


@pytest.mark.alike(3)
@pytest.mark.once
@pytest.mark.parametrize("trap", TRAPS)
def test_traps_in_the_place_of_a_certificate(trap: str, his: Path, good: Site) -> None:
    """For each command: the other section is done, and the trap replaced."""
    (his / "cert").unlink()
    TRAPS[trap](his / "cert")
    give(his / "cert")
    began = time.monotonic()
    done = good.run("status", timeout=SECONDS)
    assert done.returncode == 0 and "\na " in done.stdout, done
    assert "due: the installed certificate" in done.stdout
    good.run("check", timeout=SECONDS)
    assert "cert: " in only_error(good.run("revokeCert", f"{his}/cert", timeout=SECONDS))
    done = good.run("newOrder", timeout=SECONDS)
    assert done.returncode == 0 and f"his: {INSTALLED.partition(',')[0]}" in done.stderr, done
    assert judge.names(his / "cert") == {"his.example"} and not (his / "cert").is_symlink()
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("file", ["cert", "key"])
def test_leases_on_what_is_his(file: str, his: Path, good: Site) -> None:
    """One line for his section; the others are done."""
    give(his / "key", his / "cert")
    began = time.monotonic()
    with lease(his / file):
        done = good.run("newOrder", "--force", timeout=SECONDS)
        assert done.returncode == 1 and f"a: {INSTALLED.partition(',')[0]}" in done.stderr, done
        told = [line for line in errors(done) if "his: " in line]
        assert len(told) == 1 and "somebody has a lease on it" in told[0], done.stderr
        good.run("check", timeout=SECONDS)
        done = good.run("status", timeout=SECONDS)
        assert "\na " in done.stdout and "\nhis " in done.stdout
        assert done.returncode == (1 if file == "cert" else 0), done
        if file == "cert":
            assert "lease" in only_error(good.run("revokeCert", f"{his}/cert", timeout=SECONDS))
    assert time.monotonic() - began < SECONDS
    assert good.run("newOrder", "--force", "his").returncode == 0
