"""One switch: key, certificate and chain of the short form change together; those of the explicit
form in a row that the next run finishes.  What the administrator sees of it, installed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import judge
from harness.hostile import Hostile
from harness.judge import expect
from harness.run import ENVIRONMENT, Site
from test_new_keys import whole

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z")


@pytest.fixture
def section(site: Site, hostile: Hostile) -> Site:
    """A site with an account, and a section that has no certificate yet."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"], notify=f"readlink {site.lib}/certs/a >>{site.path}/seen")
    return site


def versions(site: Site) -> list[str]:
    """What there is of versions: whole ones, and nothing else."""
    names = sorted(os.listdir(site.lib / "certs/.a"))
    assert all(STAMP.fullmatch(name) for name in names), names
    return names


def seen(site: Site) -> list[str]:
    """What notify found."""
    path = site.path / "seen"
    return path.read_text().splitlines() if path.exists() else []


def test_from_the_first_on(section: Site, hostile: Hostile) -> None:
    """First issue, renewals, pruning; who is notified finds the new version, each time once."""
    for number in range(1, 5):
        expect(section.run("--quiet", "newOrder", "--force"), 0)
        assert whole(section) and os.readlink(section.lib / "certs/a") == seen(section)[-1]
        assert len(seen(section)) == number and len(versions(section)) == min(number, 3)
    assert len(set(seen(section))) == 4
    assert sorted(os.listdir(section.file("a", ""))) == [
        "cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "privkey.pem.old"]
    assert judge.mode(section.file("a", "privkey.pem")) == 0o600
    section.certs["a"]["keep-versions"] = "1"
    expect(section.run("--quiet", "newOrder"), 0)
    assert len(versions(section)) == 3, "at the next renewal"
    expect(section.run("--quiet", "newOrder", "--force"), 0)
    assert [f".a/{name}" for name in versions(section)] == seen(section)[-1:]
    assert sorted(os.listdir(section.lib / "state")) == [
        name for name in sorted(os.listdir(section.lib / "state")) if name.endswith(".json")
        and name != "installing.json"]


def test_a_failed_order_leaves_no_key(section: Site, hostile: Hostile) -> None:
    """At its place is none without a certificate; the next order is for the one that waits."""
    from harness.hostile import Response
    hostile.on["newOrder"] = lambda _request, _default: Response.problem("rejectedIdentifier",
                                                                         "No.", 403)
    assert section.run("newOrder").returncode == 1
    assert os.listdir(section.file("a", "")) == []
    waiting, = (section.lib / "state").glob("key-*.pem")
    text = waiting.read_text()
    hostile.on.clear()
    expect(section.run("--quiet", "newOrder", "a"), 0)
    assert whole(section) and text.startswith(section.file("a", "privkey.pem").read_text())


def test_a_plain_directory_is_taken_over(section: Site, hostile: Hostile) -> None:
    """At the next issuance, not on a mere run; with what else is in it."""
    expect(section.run("--quiet", "newOrder"), 0)
    place = section.lib / "certs/a"
    plain = section.path / "plain"
    shutil.copytree(place, plain)
    place.unlink()
    shutil.rmtree(section.lib / "certs/.a")
    shutil.move(plain, place)
    (place / "dhparam.pem").write_text("dh")
    before = (place / "cert.pem").read_bytes()
    expect(section.run("newOrder"), 0, "a: valid until .*")
    assert place.is_dir() and not place.is_symlink()
    expect(section.run("--quiet", "newOrder", "--force"), 0)
    assert place.is_symlink() and whole(section) and len(versions(section)) == 2
    assert (place / "dhparam.pem").read_text() == "dh"
    first = section.lib / "certs/.a" / versions(section)[0]
    assert (first / "cert.pem").read_bytes() == before


def test_wishes_records_and_revocation(section: Site, hostile: Hostile) -> None:
    """All else that reads or writes there does so in the version."""
    expect(section.run("--quiet", "newOrder"), 0)
    expect(section.run("--quiet", "newOrder", "--force"), 0)
    section.certs["a"]["mode"] = "0640"
    expect(section.run("--quiet", "newOrder"), 0)
    assert judge.mode(section.file("a")) == 0o640 and len(versions(section)) == 2
    row, = json.loads(section.run("status", "--json").stdout)
    assert row["due"] is False and "TLSA" in section.run("records").stdout
    expect(section.run("--quiet", "revokeCert", "--reason=keyCompromise", "a"), 0)
    old = section.file("a", "privkey.pem").read_bytes()
    expect(section.run("--quiet", "newOrder"), 0)
    assert whole(section) and section.file("a", "privkey.pem").read_bytes() != old
    assert section.file("a", "privkey.pem.old").read_bytes() == old


def test_somebody_removed_the_versions(section: Site, hostile: Hostile) -> None:
    expect(section.run("--quiet", "newOrder"), 0)
    shutil.rmtree(section.lib / "certs/.a")
    expect(section.run("--quiet", "newOrder"), 0)
    assert whole(section) and len(versions(section)) == 1


def test_where_certs_is_another_users(section: Site, hostile: Hostile) -> None:
    """As dpkg-statoverride may have it: no link is followed there, so files are replaced in a row.
    """
    section.certs["a"]["owner"] = "daemon"
    (section.lib / "certs").mkdir(exist_ok=True)
    shutil.chown(section.lib / "certs", "daemon")
    done = section.run("--quiet", "newOrder")
    if done.returncode:   # a directory that isn't there is made in one of root's
        section.file("a", "").mkdir()
        shutil.chown(section.file("a", ""), "daemon")
    for _ in range(2):
        expect(section.run("--quiet", "newOrder", "--force"), 0)
        assert whole(section) and not (section.lib / "certs/a").is_symlink()
    assert not (section.lib / "certs/.a").exists()


def explicit(site: Site) -> Path:
    """Let the section have files of its own choice, and a new key each time."""
    place = site.path / "tls"
    place.mkdir()
    site.certs["a"].update({"certificate-key": f"{place}/key", "certificate": f"{place}/cert",
                            "certificate-chain": f"{place}/chain", "reuse-key": "no",
                            "notify": f"cksum {place}/chain >>{site.path}/seen"})
    expect(site.run("--quiet", "newOrder"), 0)
    assert sorted(os.listdir(place)) == ["cert", "chain", "key"]
    return place


def together(place: Path) -> bool:
    return all(judge.matches(place / name, place / "key") for name in ("cert", "chain"))


def killed(site: Site, number: int, *args: str) -> bool:
    """Kill the master, and whoever renames for it, at the ``number``-th rename in that process."""
    done = subprocess.run(
        ["/usr/bin/strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,rename",
         "-e", "signal=none", "-e", f"inject=renameat,rename:signal=KILL:when={number}", "--",
         *site.command("--quiet", "newOrder", *args)], stdin=subprocess.DEVNULL, env=ENVIRONMENT,
        capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("word", [["tidy"], ["newOrder"]])
def test_a_row_that_is_cut_short(word: list[str], section: Site, hostile: Hostile) -> None:
    """Killed between two renames: whole again first thing, whatever runs; notified at least once;
    no other order."""
    place = explicit(section)
    number, cut, was_killed = 1, 0, True
    while was_killed:
        before, told = (place / "chain").read_bytes(), len(seen(section))
        orders = len(hostile.asked("newOrder"))
        was_killed = killed(section, number, "--force")
        half = not together(place)
        cut += half
        if half:
            hostile.on["newOrder"] = lambda *_: pytest.fail("asked for another")
            section.run("--quiet", *word)
            hostile.on.clear()
            assert together(place), f"rename {number}"
        done = section.run("--quiet", "newOrder")
        assert done.returncode == 0, done.stderr
        if (place / "chain").read_bytes() == before:
            expect(section.run("--quiet", "newOrder", "--force"), 0)
        assert together(place) and len(seen(section)) > told
        assert len(hostile.asked("newOrder")) - orders <= 2
        assert sorted(os.listdir(place)) == ["cert", "chain", "key", "key.old"]
        assert not (section.lib / "state/installing.json").exists()
        number += 1
    assert cut >= 1, "no kill came between two renames"
