"""The first version of the packages that the history has, upgraded to the present one by dpkg."""

import subprocess
from collections.abc import Iterator

import pytest

from harness.run import ROOT, Result
from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

BUILD = ("build-essential", "debhelper", "dh-apparmor", "dh-python", "systemd")
ETC, LIB = "etc/letsencrypt-tiny", "var/lib/letsencrypt-tiny"
MINE = {f"{ETC}/certs.conf.d/mine.conf": "[mine]\nnames = mine.example\n",
        f"{LIB}/certs/mine/privkey.pem": "a key\n", f"{LIB}/accountd/account.key": "another\n"}


def git(*argv: str) -> bytes:
    """Raises CalledProcessError where there is no history."""
    return subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), *argv],
                          capture_output=True, check=True).stdout


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest) -> Iterator[Throwaway]:
    """With /srv/old and /srv/new, where the packages are."""
    try:
        first = git("log", "--reverse", "--diff-filter=A", "--format=%H", "--",
                    "debian/changelog").split()[0].decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git history here to build an earlier version of")
    made = Throwaway(request.param, BUILD, installed=False)
    try:
        for name in ("old", "new"):
            (made.path / "srv" / name).mkdir()
        subprocess.run(["tar", "-x", "-C", str(made.path / "srv/old")], check=True,
                       input=git("archive", first))
        for source, target in (("old", "old"), ("tree", "new")):
            fine(made.run("make", "-s", "-C", f"/srv/{source}", "deb"))
            fine(made.run("/bin/sh", "-c",
                          f"mv /srv/{source}/build/*.deb /srv/{target}"))
        yield made
    finally:
        made.remove()


def fine(done: "Result[str]") -> str:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def dpkg(debian: Throwaway, which: str, *options: str) -> "Result[str]":
    """Install a version as apt does; its standard input is empty: a question fails."""
    return debian.run("/bin/sh", "-c", f"dpkg --auto-deconfigure {' '.join(options)} "
                      f"-i /srv/{which}/*.deb")


@pytest.fixture
def old(debian: Throwaway) -> Iterator[Throwaway]:
    """The old version is installed, with files of the administrator's."""
    fine(dpkg(debian, "old"))
    for name, text in MINE.items():
        path = debian.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield debian
    fine(debian.run("/bin/sh", "-c", "dpkg --purge letsencrypt-tiny letsencrypt-tiny-accountd; "
                    f"rm -rf /{ETC} /{LIB}"))


def mine(debian: Throwaway) -> None:
    for name, text in MINE.items():
        assert (debian.path / name).read_text() == text


def test_nothing_is_asked(old: Throwaway) -> None:
    """What was never changed is replaced, what is the administrator's stays; again, too."""
    for _ in range(2):
        fine(dpkg(old, "new"))
        mine(old)
        assert not list((old.path / ETC).glob("*.dpkg-*"))
    fine(old.run("dpkg", "--remove", "letsencrypt-tiny", "letsencrypt-tiny-accountd"))
    mine(old)
    said = fine(old.run("dpkg", "--purge", "letsencrypt-tiny", "letsencrypt-tiny-accountd"))
    assert f"remain in /{LIB}/certs" in said and f"remain in /{LIB}/accountd" in said
    for name, text in list(MINE.items())[1:]:
        assert (old.path / name).read_text() == text


def test_changed_files_stay(old: Throwaway) -> None:
    for name in ("letsencrypt-tiny.conf", "accountd.conf", "nginx.conf"):
        with open(old.path / ETC / name, "a") as file:
            file.write("# changed\n")
    fine(dpkg(old, "new", "--force-confold"))
    mine(old)
    for name in ("letsencrypt-tiny.conf", "accountd.conf", "nginx.conf"):
        assert (old.path / ETC / name).read_text().endswith("# changed\n")
