"""What was issued is never thrown away for a reason on our side, and never asked for twice."""

import datetime
import json
import os
import re
import subprocess
import time
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import ca, judge
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, NEW, expect
from harness.run import ENVIRONMENT, Result, Site

DATE = r"[-0-9]{10} [:0-9]{5} UTC"
AGAIN = f"a: what was issued {DATE} is tried again"
KEPT = "it is kept, and tried again by the next run"


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """A site with an account and one section, "a"."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    return site


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    """The root of another CA."""
    yield ca.CA(tmp_path, "Other").root


def orders(hostile: Hostile) -> int:
    """Return how many orders were made."""
    return len(hostile.asked("newOrder"))


def state(site: Site) -> "dict[str, object]":
    """Return what is remembered of "a"."""
    found: dict[str, object] = json.loads((site.lib / "state/cert-a.json").read_text())
    return found


def kept(site: Site) -> list[str]:
    """Return the names of the chains that wait."""
    return [name for name in os.listdir(site.lib / "state") if name.startswith("issued-")]


def ahead(seconds: float) -> datetime.datetime:
    """Return the moment that is so far ahead."""
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


# --- reasons that may pass -----------------------------------------------------------------------

def test_a_wrong_ca_file(ready: Site, hostile: Hostile, other: Path) -> None:
    """Five runs order once, four of them without the network; put right, the sixth installs."""
    right, ready.certs["a"]["CAfile"] = ready.certs["a"]["CAfile"], str(other)
    failed = "error: a: the new certificate is not installed: it does not chain to " \
             rf"{other} \(.*\); {KEPT}"
    expect(ready.run("--quiet", "newOrder"), 1, failed)
    requests = len(hostile.requests)
    for _ in range(4):
        expect(ready.run("newOrder"), 1, f"a: {NEW}", AGAIN, failed)
    assert orders(hostile) == 1 and len(hostile.requests) == requests
    assert kept(ready) == ["issued-a.pem"] and not ready.file("a").exists()
    assert judge.mode(ready.lib / "state/issued-a.pem") == 0o600
    ready.certs["a"]["CAfile"] = right
    expect(ready.run("newOrder"), 0, f"a: {NEW}", AGAIN, f"a: {INSTALLED}")
    assert judge.matches(ready.file("a"), ready.file("a", "privkey.pem"))
    assert len(hostile.requests) == requests and kept(ready) == []
    expect(ready.run("--quiet", "newOrder"), 0)
    assert "kept" not in state(ready) and "order" not in state(ready)


def test_a_renewal_is_kept_as_well(ready: Site, hostile: Hostile, other: Path) -> None:
    """Forced or not: it is tried again, though the old certificate would do for a while."""
    expect(ready.run("--quiet", "newOrder"), 0)
    before = judge.serial(ready.file("a"))
    right, ready.certs["a"]["CAfile"] = ready.certs["a"]["CAfile"], str(other)
    assert ready.run("newOrder", "--force").returncode == 1
    assert judge.serial(ready.file("a")) == before
    ready.certs["a"]["CAfile"] = right
    expect(ready.run("newOrder"), 0, f"a: what was issued {DATE} is not installed yet", AGAIN,
           f"a: {INSTALLED}")
    assert orders(hostile) == 2 and judge.serial(ready.file("a")) != before


def test_another_one_by_force(ready: Site, hostile: Hostile, other: Path) -> None:
    ready.certs["a"]["CAfile"] = str(other)
    for number in (1, 2):
        assert ready.run("newOrder", "--force").returncode == 1
        assert orders(hostile) == number


def test_not_for_ever(ready: Site, hostile: Hostile, other: Path) -> None:
    """After a week another one may be better: the CA may have sent a bad chain once."""
    ready.certs["a"]["CAfile"] = str(other)
    assert ready.run("newOrder").returncode == 1
    path = ready.lib / "state/cert-a.json"
    for days, expected in ((6, 1), (8, 2), (-366, 3)):   # then, with the clock a year ahead
        path.write_text(json.dumps({**state(ready), "kept": int(time.time()) - days * 86400}))
        assert ready.run("newOrder").returncode == 1
        assert orders(hostile) == expected


@pytest.mark.parametrize("seconds", [3, 50 * 60])
def test_a_clock_that_is_ahead(seconds: int, ready: Site, hostile: Hostile) -> None:
    """future: ours is an hour behind at most; openssl verify is asked about the CA's time."""
    hostile.issuer = lambda csr, _: hostile.issue(csr, not_before=ahead(seconds))
    expect(ready.run("--quiet", "newOrder"), 0)
    assert ready.file("a").exists()


def test_a_clock_that_is_far_ahead(ready: Site, hostile: Hostile) -> None:
    hostile.issuer = lambda csr, _: hostile.issue(csr, not_before=ahead(3600 + 8))
    failed = "error: a: the new certificate is not installed: it is not valid before " \
             rf"{DATE} \(is the clock right\?\); {KEPT}"
    for _ in range(2):
        expect(ready.run("--quiet", "newOrder"), 1, failed)
    time.sleep(8)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 1 and ready.file("a").exists()


@pytest.mark.parametrize("days, lifetime", [(2, 1), (100, 90)])
def test_a_clock_that_makes_it_look_expired(days: int, lifetime: int, ready: Site,
                                            hostile: Hostile) -> None:
    """Five runs with a clock that is ahead by so many days, one certificate; then it is right."""
    hostile.issuer = lambda csr, _: hostile.issue(csr, not_before=ahead(-days * 86400),
                                                  days=lifetime)
    failed = rf"error: a: the new certificate is not installed: it expired {DATE} " \
             rf"\(is the clock right\?\); {KEPT}"
    for _ in range(5):
        expect(ready.run("--quiet", "newOrder"), 1, failed)
    assert orders(hostile) == 1 and kept(ready) == ["issued-a.pem"]
    # put right, it is valid, and came in the future
    waiting, = (ready.lib / "state").glob("key-*.pem")
    key = waiting.read_text()
    (ready.lib / "state/issued-a.pem").write_text(
        hostile.issue(ca.request(["a.example"], key), days=lifetime))
    (ready.lib / "state/cert-a.json").write_text(json.dumps(
        {**state(ready), "kept": int(time.time()) + days * 86400}))
    expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 1 and ready.file("a").exists() and kept(ready) == []


@pytest.mark.parametrize("min_days", ["", "40"])
def test_a_clock_that_makes_it_look_old(min_days: str, ready: Site, hostile: Hostile) -> None:
    """By a clock that is ahead by 70 of 90 days it is due as soon as it is installed."""
    ready.certs["a"]["min-days"] = min_days
    hostile.issuer = lambda csr, _: hostile.issue(csr, not_before=ahead(-70 * 86400), days=90)
    for _ in range(5):
        expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 1
    # two weeks later it is old by any clock; and what was installed in the future is as it looks
    past = int(time.time()) - 14 * 86400
    for installed, begin, number in ((past, -84, 2), (past + 60 * 86400, -70, 3)):
        key = ready.file("a", "privkey.pem").read_text()
        ready.file("a").write_text(hostile.issue(ca.request(["a.example"], key), days=90,
                                                 not_before=ahead(begin * 86400)))
        path = ready.lib / "state/cert-a.json"
        path.write_text(json.dumps({**state(ready), "installed": installed}))
        expect(ready.run("--quiet", "newOrder"), 0)
        assert orders(hostile) == number


def test_an_order_of_long_ago(ready: Site, hostile: Hostile, other: Path) -> None:
    """What was ordered by an earlier run may be as old as it looks: another one is ordered."""
    right, ready.certs["a"]["CAfile"] = ready.certs["a"]["CAfile"], str(other)
    hostile.issuer = lambda csr, _: hostile.issue(csr, not_before=ahead(-10 * 86400), days=9)
    assert ready.run("newOrder").returncode == 1
    (ready.lib / "state/issued-a.pem").unlink()
    ready.certs["a"]["CAfile"] = right
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 1 and KEPT not in done.stderr and orders(hostile) == 1
    hostile.issuer = lambda csr, _: hostile.issue(csr)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 2


def test_a_destination_that_vanishes(ready: Site, hostile: Hostile) -> None:
    """What can't be written today is installed tomorrow."""
    target = ready.path / "out" / "cert.pem"
    target.parent.mkdir()
    ready.certs["a"].update({"certificate": str(target),
                             "certificate-key": str(target.parent / "key.pem")})

    def handler(_request: Request, default: Default) -> Response:
        target.mkdir(exist_ok=True)
        return default()
    hostile.on["certificate"] = handler
    expect(ready.run("--quiet", "newOrder"), 1, f"error: a: {target}: cannot write it: .*")
    assert kept(ready) == ["issued-a.pem"]
    expect(ready.run("--quiet", "newOrder"), 1, f"error: a: {target}: cannot write it: .*")
    target.rmdir()
    expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 1 and target.is_file()


def test_a_chain_that_is_lost(ready: Site, hostile: Hostile, other: Path) -> None:
    """The order is remembered, too: the CA has it."""
    right, ready.certs["a"]["CAfile"] = ready.certs["a"]["CAfile"], str(other)
    assert ready.run("newOrder").returncode == 1
    (ready.lib / "state/issued-a.pem").unlink()
    ready.certs["a"]["CAfile"] = right
    expect(ready.run("newOrder"), 0, f"a: {NEW}", f"a: {INSTALLED}")
    assert orders(hostile) == 1


# --- reasons that don't pass ---------------------------------------------------------------------

def test_what_is_wrong_for_good(ready: Site, hostile: Hostile) -> None:
    """Another key, other names, not a certificate: the next run orders."""
    key = ca.genkey()
    bad = [lambda csr: hostile.issue(ca.request(["a.example"], key)),
           lambda csr: hostile.issue(csr, names=["b.example"]),
           lambda csr: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    for number, how in enumerate(bad):
        hostile.issuer = lambda csr, _, how=how: how(csr)   # type: ignore[misc]
        done = ready.run("--quiet", "newOrder")
        assert done.returncode == 1 and KEPT not in done.stderr
        assert orders(hostile) == number + 1 and kept(ready) == []
    hostile.issuer = lambda csr, _: hostile.issue(csr)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == len(bad) + 1


def test_what_turns_out_to_be_of_no_use(ready: Site, hostile: Hostile, other: Path) -> None:
    """Kept, and meanwhile other names are wanted: the same run orders."""
    right, ready.certs["a"]["CAfile"] = ready.certs["a"]["CAfile"], str(other)
    assert ready.run("newOrder").returncode == 1
    ready.certs["a"].update(CAfile=right, names="a.example, b.example")
    expect(ready.run("newOrder"), 0, f"a: {NEW}", AGAIN,
           "a: what was issued is of no use: it is for other names: a.example", f"a: {INSTALLED}")
    assert judge.names(ready.file("a")) == {"a.example", "b.example"}
    assert orders(hostile) == 2


def test_junk_where_a_chain_was_kept(ready: Site, hostile: Hostile, other: Path) -> None:
    right, ready.certs["a"]["CAfile"] = ready.certs["a"]["CAfile"], str(other)
    for junk in (b"\0" * 100, b"x" * 300_000, b"\xff\xfe"):
        assert ready.run("newOrder", "--force").returncode == 1
        (ready.lib / "state/issued-a.pem").write_bytes(junk)
    ready.certs["a"]["CAfile"] = right
    assert ready.run("newOrder").returncode == 0
    assert ready.file("a").exists() and kept(ready) == []


# --- nothing is ordered that can't be installed --------------------------------------------------

def read_only(site: Site, directory: Path, *args: str) -> "Result[str]":
    """Run letsencrypt-tiny where a directory is on a file system that is read-only."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, directory, *site.command(*args)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def test_a_read_only_library(ready: Site, hostile: Hostile) -> None:
    """Four runs, four sections: one line each, and the CA hears nothing."""
    for name in "bcd":
        ready.certificate(name, [f"{name}.example"])
    requests = len(hostile.requests)
    for _ in range(4):
        expect(read_only(ready, ready.lib, "--quiet", "newOrder"), 1,
               rf"error: nothing is ordered: {ready.lib}/state/\S+: cannot write it: "
               "Read-only file system")
    assert len(hostile.requests) == requests
    expect(ready.run("--quiet", "newOrder"), 0)


def test_a_read_only_destination(ready: Site, hostile: Hostile) -> None:
    """It alone fails, before anything is asked for it."""
    directory = ready.path / "out"
    directory.mkdir()
    ready.certificate("b", ["b.example"], certificate=str(directory / "b.pem"),
                      certificate_key=str(ready.path / "b.key"))
    expect(read_only(ready, directory, "--quiet", "newOrder"), 1,
           rf"error: b: {directory}/b.pem: cannot write it: Read-only file system")
    assert ready.file("a").exists() and orders(hostile) == 1
    expect(ready.run("--quiet", "newOrder"), 0)


def test_a_full_disk(ready: Site, hostile: Hostile) -> None:
    script = 'mount -t tmpfs -o size=16k,mode=755 none "$0" && ' \
             'head -c 8192 /dev/zero >"$0/x" && exec "$@"'
    directory = ready.path / "out"
    directory.mkdir()
    ready.certs["a"].update({"certificate": str(directory / "a.pem"),
                             "certificate-key": str(ready.path / "a.key")})
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, directory,
         *ready.command("--quiet", "newOrder")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    expect(done, 1, rf"error: a: {directory}/a.pem: cannot write it: No space left on device")
    assert orders(hostile) == 0


# --- clocks --------------------------------------------------------------------------------------

@pytest.mark.parametrize("seconds, waits", [(3600, True), (86000, True), (366 * 86400, False)])
def test_a_moment_in_the_far_future_is_not_believed(seconds: int, waits: bool, ready: Site,
                                                    hostile: Hostile) -> None:
    """As a run leaves it whose clock is a year ahead and that is told Retry-After."""
    (ready.lib / "state/cert-a.json").write_text(json.dumps(
        {"directory": hostile.directory, "not_before": int(time.time()) + seconds}))
    done = ready.run("newOrder")
    assert done.returncode == waits, "there is no certificate"
    assert (orders(hostile) == 0) is waits
    assert bool(re.search("asked not to order again before", done.stderr)) is waits
