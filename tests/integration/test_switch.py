"""One switch: key, certificate and chain of the short form change together; those of the explicit
form in a row that the next run finishes.  What the administrator sees of it, installed."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import judge
from harness.hostile import Hostile, Response
from harness.judge import expect
from harness.mortal import Mortal, mortal as made_mortal
from harness.run import Site, Users
from test_new_keys import whole

STEPS = "        for step in self._entry.steps:\n"

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
    row, = json.loads(section.run("status", "--json").stdout)["sections"]
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
    section.certs["a"].update(owner="daemon", notify="")
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


def _edit(package: Path, where: Path) -> None:
    """Let whoever lets files take their places die before the step that a file names."""
    path = package / "master/store/placing.py"
    source = path.read_text()
    assert source.count(STEPS) == 1
    path.write_text(source.replace(STEPS, f"{STEPS}            _die(step)\n") + f"""

def _die(step: Step) -> None:
    if step.place.endswith(open({str(where)!r}).read() or "/"):
        os.kill(os.getpid(), 9)
""")


@pytest.fixture(scope="module")
def mortal(users: Users) -> Iterator[Mortal]:
    """One installation for all."""
    with made_mortal(_edit) as made:
        yield made


@pytest.fixture
def host(mortal: Mortal, hostile: Hostile) -> Iterator[Site]:
    """A section at a site whose master can be killed."""
    site = Site(mortal.prefix)
    site.open_account(hostile)
    mortal.where.write_text("")
    site.certificate("a", ["a.example"])
    yield site
    site.remove()


@pytest.mark.alike(2)
@pytest.mark.parametrize("before, word", [
    ("/key.old", "newOrder"), ("/key", "newOrder"), ("/chain", "tidy"), ("/cert", "newOrder")])
def test_a_row_that_is_cut_short(before: str, word: str, mortal: Mortal, host: Site,
                                 hostile: Hostile) -> None:
    """Whoever renames is killed, and so is the master: all is whole first thing, whatever runs;
    then who is to be notified is, and no other order is made."""
    place = explicit(host)
    expect(host.run("--quiet", "newOrder", "--force"), 0)
    assert len(seen(host)) == 2
    orders = len(hostile.asked("newOrder"))
    mortal.where.write_text(before)
    assert host.run("newOrder", "--force").returncode == -9
    mortal.where.write_text("")
    assert together(place) is (before in ("/key.old", "/key")) and len(seen(host)) == 2
    left = (place / "cert").read_bytes()
    assert (host.lib / "state/installing.json").exists()
    if word == "tidy":
        expect(host.run("--quiet", "tidy"), 0)
        assert together(place) and (place / "cert").read_bytes() != left
        assert not (host.lib / "state/installing.json").exists()
    expect(host.run("--quiet", "newOrder"), 0)
    assert together(place) and (place / "cert").read_bytes() != left and len(seen(host)) == 3
    assert len(hostile.asked("newOrder")) == orders + 1
    assert sorted(os.listdir(place)) == ["cert", "chain", "key", "key.old"]
    assert not (host.lib / "state/installing.json").exists()


@pytest.mark.parametrize("reuse", ["yes", "no"])
def test_killed_as_it_is_switched(reuse: str, mortal: Mortal, host: Site, hostile: Hostile
                                  ) -> None:
    """The old version is in use; the next run installs what was issued, and leaves nothing else."""
    host.certs["a"].update({"notify": f"readlink {host.lib}/certs/a >>{host.path}/seen",
                            "reuse-key": reuse})
    expect(host.run("--quiet", "newOrder"), 0)
    mortal.where.write_text("/certs/a")
    old = os.readlink(host.lib / "certs/a")
    assert host.run("newOrder", "--force").returncode == -9
    mortal.where.write_text("")
    assert whole(host) and os.readlink(host.lib / "certs/a") == old and seen(host) == [old]
    expect(host.run("--quiet", "newOrder"), 0)
    assert whole(host) and len(versions(host)) == 2 and len(seen(host)) == 2
    assert len(hostile.asked("newOrder")) == 2
