"""Version 1.0, the last with all in one package, upgraded to the present one by apt itself."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import judge, packages
from harness.pebble import Pebble
from harness.run import SIGNER_USER, Result
from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

ETC, LIB = "etc/letsencrypt-tiny", "var/lib/letsencrypt-tiny"
MINE = f"{ETC}/certs.conf.d/mine.conf"
CHANGED = ("letsencrypt-tiny.conf", "accountd.conf", "nginx.conf")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest, old_deb: Path, debs: list[Path]) -> Iterator[Throwaway]:
    """Apt knows of two archives, /srv/old and /srv/new, the latter with both versions."""
    made = Throwaway(request.param, ["systemd", "cron"], tree=False)
    try:
        for name, files in ("old", [old_deb]), ("new", [old_deb, *debs]):
            (made.path / "srv" / name).mkdir()
            for file in files:
                shutil.copy(file, made.path / "srv" / name)
            packages.archive(made.path / "srv" / name)
        shutil.rmtree(made.path / "etc/apt/sources.list.d", ignore_errors=True)
        yield made
    finally:
        made.remove()


def fine(done: "Result[str]") -> str:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def apt(debian: Throwaway, archive: str, *argv: str) -> "Result[str]":
    """What an administrator types; nobody answers a question, and no option answers one."""
    (debian.path / "etc/apt/sources.list").write_text(
        f"deb [trusted=yes] file:/srv/{archive} ./\n")
    fine(debian.run("apt-get", "-q", "update"))
    return debian.run("apt-get", "-q", "-y", "--no-install-recommends", *argv)


def version(debian: Throwaway, package: str) -> str:
    """Return what is installed of it."""
    return debian.run("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}",
                      package).stdout


@pytest.fixture
def old(debian: Throwaway) -> Iterator[Throwaway]:
    """The old version is installed."""
    fine(apt(debian, "old", "install", "letsencrypt-tiny"))
    assert version(debian, "letsencrypt-tiny") == "1.0 installed"
    assert version(debian, "letsencrypt-tiny-accountd") == ""
    yield debian
    fine(debian.run("/bin/sh", "-c", "dpkg --purge letsencrypt-tiny letsencrypt-tiny-accountd; "
                    f"rm -rf /{ETC} /{LIB}"))


def upgraded(old: Throwaway, what: str = "dist-upgrade") -> str:
    said = fine(apt(old, "new", what))
    new = judge_version()
    for package in "letsencrypt-tiny", "letsencrypt-tiny-accountd":
        assert version(old, package) == f"{new} installed", said
    assert fine(old.run("dpkg", "--audit")) == ""
    return said


def judge_version() -> str:
    """Return ours."""
    from letsencrypt_tiny import __version__
    return __version__


def contents(debian: Throwaway) -> dict[str, tuple[int, int, bytes]]:
    """What the administrator and the old version have made, with owner and mode."""
    found = {}
    for top in MINE, f"{LIB}/certs", f"{LIB}/accountd":
        for path in (debian.path / top, *sorted((debian.path / top).rglob("*"))):
            info = path.lstat()
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path.relative_to(debian.path))] = info.st_uid, info.st_mode, data
    return found


def configure(debian: Throwaway, pebble: Pebble) -> None:
    """An account and a certificate, made by the old version."""
    shutil.copy(pebble.ca_file, debian.path / "srv/ca.pem")
    shutil.copy(pebble.roots(), debian.path / "srv/roots.pem")
    (debian.path / ETC / "letsencrypt-tiny.conf.d").mkdir(exist_ok=True)
    (debian.path / ETC / "letsencrypt-tiny.conf.d/mine.conf").write_text(
        f"[client]\nserver = {pebble.directory}\nca-file = /srv/ca.pem\n"
        f"[webserver]\nlisten = 127.0.0.1:{pebble.http_port}\n")
    (debian.path / MINE).write_text("[mine]\nnames = mine.example\nCAfile = /srv/roots.pem\n"
                                    "ari = no\n")
    fine(debian.run("setpriv", f"--reuid={SIGNER_USER}", f"--regid={SIGNER_USER}",
                    "--clear-groups", "--", "letsencrypt-tiny-accountd",
                    f"--config=/{ETC}/accountd.conf", "--genkey=ec:P-256"))
    fine(run(debian, "account", "--register", "--tos-agreed", "mailto:a@mine.example"))
    fine(run(debian, "newOrder"))


def run(debian: Throwaway, *argv: str) -> "Result[str]":
    return debian.run("letsencrypt-tiny", *argv, loopback=True)


def test_a_certificate_before_and_after(old: Throwaway) -> None:
    """No question; the second package arrives; keys, certificates, account stay, and renew."""
    with Pebble(nosleep=True, noncereject=0) as pebble:
        configure(old, pebble)
        before = contents(old)
        assert any(name.endswith("privkey.pem") for name in before)
        upgraded(old)
        assert contents(old) == before
        assert not list((old.path / ETC).rglob("*.dpkg-*"))
        status, = json.loads(fine(run(old, "status", "--json")))["sections"]
        assert (status["section"], status["due"]) == ("mine", False)
        fine(run(old, "check"))
        fine(run(old, "--quiet", "newOrder"))
        assert contents(old) == before
        fine(run(old, "newOrder", "--force", "mine"))
        chain = (old.path / LIB / "certs/mine/fullchain.pem").resolve()
        assert judge.names(chain) == {"mine.example"}
        assert contents(old) != before
        assert contents(old)[f"{LIB}/accountd/account.key"] == before[
            f"{LIB}/accountd/account.key"]


@pytest.mark.parametrize("what", ["upgrade --with-new-pkgs", "install letsencrypt-tiny"])
def test_other_ways_to_upgrade(old: Throwaway, what: str) -> None:
    fine(apt(old, "new", *what.split()))
    assert version(old, "letsencrypt-tiny-accountd") == f"{judge_version()} installed"
    assert not list((old.path / ETC).rglob("*.dpkg-*"))


def test_changed_files_stay(old: Throwaway) -> None:
    """Nobody is there to ask (debconf's frontend says so to ucf, not to dpkg): dpkg would stop.

    With the usual answer the administrator's text stays, and the new one is beside it where it is
    new."""
    for name in CHANGED:
        with open(old.path / ETC / name, "a") as file:
            file.write("# changed\n")
    fine(apt(old, "new", "-o", "Dpkg::Options::=--force-confold", "dist-upgrade"))
    for name in CHANGED:
        assert (old.path / ETC / name).read_text().endswith("# changed\n")
    fine(old.run("dpkg", "--remove", "letsencrypt-tiny", "letsencrypt-tiny-accountd"))
    for name in CHANGED:
        assert (old.path / ETC / name).read_text().endswith("# changed\n")


def test_back_and_forth(old: Throwaway) -> None:
    """A downgrade: the old package takes the place of both, and up again."""
    upgraded(old)
    said = fine(apt(old, "new", "--allow-downgrades", "install", "letsencrypt-tiny=1.0"))
    assert version(old, "letsencrypt-tiny") == "1.0 installed", said
    assert version(old, "letsencrypt-tiny-accountd") in ("", f"{judge_version()} config-files")
    assert "1.0" in fine(old.run("letsencrypt-tiny-accountd", "--version"))
    upgraded(old)
    assert judge_version() in fine(old.run("letsencrypt-tiny-accountd", "--version"))
    assert not list((old.path / ETC).rglob("*.dpkg-*"))
