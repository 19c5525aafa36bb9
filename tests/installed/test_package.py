"""The packages as they were installed: files, owners, users, units, and the demonstration."""

import grp
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import xml.etree.ElementTree as etree
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run import ENVIRONMENT, ROOT, USERS

pytestmark = pytest.mark.root

LIBRARY = Path("/var/lib/letsencrypt-tiny")
CONFIG = Path("/etc/letsencrypt-tiny")
MASTER = "/usr/sbin/letsencrypt-tiny"
PACKAGES = ("letsencrypt-tiny", "letsencrypt-tiny-accountd")
MANUALS = ("letsencrypt-tiny.8", "letsencrypt-tiny-migrate.7",
           "letsencrypt-tiny-troubleshooting.7", "letsencrypt-tiny-accountd.1",
           "letsencrypt-tiny.conf.5", "letsencrypt-tiny-certs.conf.5",
           "letsencrypt-tiny-accountd.conf.5")


def run(*argv: str, status: int = 0) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=ENVIRONMENT, check=False, timeout=300)
    assert done.returncode == status, (argv, done)
    return done.stdout + done.stderr


def files() -> list[Path]:
    return [Path(name) for name in run("dpkg", "-L", *PACKAGES).splitlines()
            if name not in ("", "/.")]


@pytest.mark.parametrize("path, user, mode", [
    (LIBRARY, "root", 0o755), (LIBRARY / "certs", "root", 0o755),
    (LIBRARY / "state", "root", 0o700), (LIBRARY / "accountd", "_letsencrypt-accountd", 0o700),
    (Path("/run/letsencrypt-tiny"), "root", 0o755), (CONFIG, "root", 0o755)])
def test_directories(path: Path, user: str, mode: int) -> None:
    info = path.stat()
    assert pwd.getpwuid(info.st_uid).pw_name == user
    assert stat.S_IMODE(info.st_mode) == mode


def configured() -> None:
    """As at the next boot, and at the next upgrade."""
    run("systemd-tmpfiles", "--create", *(f"{package}.conf" for package in PACKAGES))
    for package in reversed(PACKAGES):
        run("env", f"DPKG_MAINTSCRIPT_PACKAGE={package}", "DPKG_MAINTSCRIPT_NAME=postinst",
            "DEBIAN_FRONTEND=noninteractive", f"/var/lib/dpkg/info/{package}.postinst",
            "configure", "1.0")


def access(path: Path) -> tuple[int, int, int]:
    """Return owner, group and mode."""
    info = path.stat()
    return info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)


CERTS = LIBRARY / "certs"
GROUP = grp.getgrnam("daemon").gr_gid


@pytest.fixture
def certs() -> Iterator[None]:
    """The directory of the certificates is as it was, afterwards."""
    before = access(CERTS)
    yield
    os.chown(CERTS, *before[:2])
    CERTS.chmod(before[2])


def test_the_administrators_mode_stays(certs: None) -> None:
    """On certs/; what others must not read is closed again."""
    os.chown(CERTS, 0, GROUP)
    CERTS.chmod(0o750)
    (LIBRARY / "state").chmod(0o755)
    (LIBRARY / "accountd").chmod(0o755)
    configured()
    assert access(CERTS) == (0, GROUP, 0o750)
    assert access(LIBRARY / "state") == (0, 0, 0o700)
    assert access(LIBRARY / "accountd")[2] == 0o700


@pytest.mark.parametrize("user, group", [("root", "daemon"), ("#0", f"#{GROUP}")])
def test_the_administrators_override(user: str, group: str, certs: None) -> None:
    """dpkg-statoverride(1), from before the directory was made; and it stays."""
    run("dpkg-statoverride", "--add", user, group, "0710", str(CERTS))
    aside = CERTS.rename(LIBRARY / "certs.aside")
    try:
        for _ in range(2):
            configured()
            assert access(CERTS) == (0, GROUP, 0o710)
    finally:
        run("dpkg-statoverride", "--remove", str(CERTS))
        if CERTS.exists():
            CERTS.rmdir()
        aside.rename(CERTS)
    CERTS.chmod(0o750)
    configured()
    assert access(CERTS)[2] == 0o750


def test_users_can_do_nothing_else() -> None:
    for name in USERS:
        entry = pwd.getpwnam(name)
        assert entry.pw_uid < 1000 and entry.pw_shell.endswith("nologin")
        assert grp.getgrgid(entry.pw_gid).gr_name == name
        assert not [group for group in grp.getgrall() if name in group.gr_mem]


def test_files_are_roots_and_nobody_elses() -> None:
    for path in files():
        info = path.lstat()
        if path.is_dir() or stat.S_ISLNK(info.st_mode):
            continue
        assert info.st_uid == 0 and info.st_gid == 0, path
        assert info.st_mode & 0o022 == 0, path
        assert info.st_mode & 0o7000 == 0, path


def test_what_dpkg_installed_is_there_unchanged() -> None:
    assert run("dpkg", "--verify", *PACKAGES) == ""


def test_modules_are_compiled() -> None:
    """Starting is a good part of the work."""
    modules = [path for path in files() if path.suffix == ".py"]
    assert len(modules) > 30
    for path in modules:
        if path.parts[2] == "share":
            assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), path


def test_programs_say_who_they_are() -> None:
    assert re.match(r"letsencrypt-tiny \d", run(MASTER, "--version"))
    assert re.match(r"letsencrypt-tiny-accountd \d", run("letsencrypt-tiny-accountd", "--version"))
    assert "COMMAND" in run(MASTER, "--help")
    for program in (MASTER, "/usr/bin/letsencrypt-tiny-accountd"):
        assert Path(program).read_text().startswith("#!/usr/bin/python3 -IS\n")
    for program in ("client", "webserver", "tlsserver", "dns"):
        text = Path(f"/usr/libexec/letsencrypt-tiny/{program}").read_text()
        assert text.startswith("#!/usr/bin/python3 -IS\n")


def test_manuals() -> None:
    installed = {path.name for path in files()}
    for manual in MANUALS:
        assert manual in installed or manual + ".gz" in installed


def test_with_nothing_configured_the_nightly_run_is_silent() -> None:
    assert run(MASTER, "--quiet", "newOrder") == ""
    assert run(MASTER, "--quiet", "status").split() == [
        "SECTION", "EXPIRES", "LIFETIME", "STATE", "NAMES"]
    for command in ("status", "newOrder"):   # who asks is told what to do
        assert "no certificate is configured: run “letsencrypt-tiny add example.org”, or add a " \
            f"section [example.org] with names = example.org to {CONFIG}/certs.conf" in run(
                MASTER, command)


def test_without_an_account_key_check_says_what_is_missing() -> None:
    output = run(MASTER, "check", status=1)
    assert "account.key" in output and "Traceback" not in output


def test_conffiles_are_those_of_the_administrator() -> None:
    conffiles, of_signer = (run("dpkg-query", "-W", "-f", "${Conffiles}", package)
                            for package in PACKAGES)
    for name in ("letsencrypt-tiny.conf", "nginx.conf"):
        assert f"{CONFIG}/{name}" in conffiles
    assert f"{CONFIG}/accountd.conf" in of_signer and "/accountd.conf" not in conffiles
    # what users write is in no file of the package's: no upgrade asks about it
    assert "certs.conf" not in conffiles and not (CONFIG / "certs.conf").exists()
    for name in ("certs.conf.d", "letsencrypt-tiny.conf.d"):
        assert list((CONFIG / name).iterdir()) == []
    for name, mode in (("certs.conf", 0o644), ("prometheus-rules.yml", 0o644),
                       ("grafana-dashboard.json", 0o644), ("dns-acme.sh", 0o755)):
        example = Path("/usr/share/doc/letsencrypt-tiny/examples") / name
        assert stat.S_IMODE(example.stat().st_mode) == mode
    assert "version" in json.loads(
        Path("/usr/share/letsencrypt-tiny/status.schema.json").read_text())["properties"]
    assert "/etc/cron.d/letsencrypt-tiny" in conffiles


def test_the_cron_job_leaves_the_work_to_systemd() -> None:
    lines = [line for line in Path("/etc/cron.d/letsencrypt-tiny").read_text().splitlines()
             if line and line[0].isdigit()]
    assert len(lines) == 1 and "-d /run/systemd/system" in lines[0]
    assert "--quiet newOrder" in lines[0]


def test_the_demonstration(tmp_path: Path) -> None:
    """Its picture; what it draws is compared with what is true in integration/test_demo.py."""
    before = sorted(LIBRARY.rglob("*"))
    done = subprocess.run([sys.executable, "-B", str(ROOT / "tests/demo.py"),
                           f"--svg={tmp_path}/demo.svg"], timeout=300,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("account key manager", "ACME client", "challenge web server",
                 "_letsencrypt-accountd", "✔ by openssl", "✔ by a TLS 1.3 connection"):
        assert line in done.stdout, done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 and done.stdout.count("\n") <= 60
    words = [text.text for text in etree.parse(tmp_path / "demo.svg").iter()]
    assert "_letsencrypt-accountd" in words
    assert sorted(LIBRARY.rglob("*")) == before
    assert not os.path.exists("/run/letsencrypt-tiny/firewall")
