"""Certificate profiles (draft-ietf-acme-profiles): preferred, required, gone."""

import json
import re
from collections.abc import Iterator

import pytest

from harness import ca, misbehaviour, pebble
from harness.hostile import Hostile
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import Site
from test_authorities import PROFILES

VALID = "a: valid until .*"
WITHOUT = r"client: warning: {}: ordering without it \(setting preferred-profile\)"


@pytest.fixture(scope="module")
def newest() -> Iterator[Pebble]:
    with pebble.newest(authzreuse=0, config={"profiles": PROFILES}) as server:
        yield server


def state(site: Site) -> tuple[object, object]:
    """Return which profile section a is of, as far as is remembered, and which was wished."""
    found = json.loads((site.lib / "state/cert-a.json").read_text())
    return found.get("profile"), found.get("profile_wish")


@pytest.mark.parametrize("setting", ["preferred_profile", "required_profile"])
def test_a_profile_that_there_is(site: Site, newest: Pebble, setting: str) -> None:
    site.open_account(newest)
    site.certificate("a", ["a.example"], ari="no", **{setting: "short"})
    done = site.run("newOrder")
    assert done.returncode == 0 and "profile" not in done.stderr, done.stderr
    assert state(site) == ("short", "short")
    assert "144 h" in site.run("status").stdout
    expect(site.run("newOrder"), 0, VALID)
    # another one
    site.certs["a"][setting.replace("_", "-")] = "default"
    expect(site.run("newOrder"), 0, "a: its profile has changed, to default", f"a: {INSTALLED}")
    assert "90 d" in site.run("status").stdout


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """A site with an account, and a key for section a."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    site.file("a", "").mkdir()
    site.file("a", "privkey.pem").write_text(ca.genkey())
    site.file("a", "privkey.pem").chmod(0o600)
    return site


def test_one_that_is_preferred_and_not_listed(ready: Site, hostile: Hostile) -> None:
    """It is not asked for, which is said once; the certificate is not due because of it."""
    misbehaviour.profiles(hostile, "classic", "tls")
    ready.certs["a"]["preferred-profile"] = "short"
    ready.certificate("b", ["b.example"], preferred_profile="short")
    said = WITHOUT.format(r"the CA has no profile “short” \(it offers classic, tls\)")
    expect(ready.run("newOrder"), 0, f"a: {NEW}", f"b: {NEW}", "b: generating .*", said,
           f"a: {INSTALLED}", f"b: {INSTALLED}", "2 installed, 0 failed")
    assert all("profile" not in request.payload for request in hostile.asked("newOrder"))
    assert state(ready) == ("", "short") or state(ready) == (None, "short")
    expect(ready.run("newOrder"), 0, VALID, "b: valid until .*")


@pytest.mark.parametrize("where", ["newOrder", "finalize"])
def test_one_that_is_preferred_and_refused(ready: Site, hostile: Hostile, where: str) -> None:
    """In the same run an order without it is made."""
    misbehaviour.profiles(hostile, "short", refuse=where)
    ready.certs["a"]["preferred-profile"] = "short"
    expect(ready.run("newOrder"), 0, f"a: {NEW}",
           WITHOUT.format(rf"{where}: .* \(invalidProfile\); it is about the profile “short”"),
           f"a: {INSTALLED}")
    assert [request.payload.get("profile") for request in hostile.asked("newOrder")] == [
        "short", None]


def test_one_that_vanished(ready: Site, hostile: Hostile) -> None:
    """A renewal goes on without what the last certificate had; but not where it is required."""
    misbehaviour.profiles(hostile, "short")
    ready.certs["a"]["preferred-profile"] = "short"
    assert ready.run("newOrder").returncode == 0 and state(ready) == ("short", "short")
    misbehaviour.profiles(hostile, "classic")
    said = WITHOUT.format(r"the CA has no profile “short” \(it offers classic\)")
    expect(ready.run("newOrder", "--force"), 0, "a: forced", said, f"a: {INSTALLED}")
    assert state(ready) == (None, "short")
    ready.certs["a"]["required-profile"] = ready.certs["a"].pop("preferred-profile")
    done = ready.run("newOrder", "--force")
    assert done.returncode == 1 and "change required-profile" in done.stderr


WRONG = {
    "not listed": ({"names": ["classic"]}, r"the CA has no profile “short” \(it offers classic\)"),
    "none at all": ({"names": []}, r"the CA has no profile “short” \(it offers none\)"),
    "at newOrder": ({"names": ["short"], "refuse": "newOrder"}, r"newOrder: no profile “short” "
                    r"today \(invalidProfile\); it is about the profile “short”"),
    "at finalize": ({"names": ["short"], "refuse": "finalize"}, r"finalize: its profile is gone "
                    r"\(invalidProfile\); it is about the profile “short”"),
    "another": ({"names": ["short"], "echo": "classic"}, r"the CA made an order of the profile "
                r"“classic” of one that asked for “short”"),
}


@pytest.mark.alike(2)
@pytest.mark.parametrize("what", WRONG)
def test_one_that_is_required(ready: Site, hostile: Hostile, what: str) -> None:
    """No certificate, and one line that names the setting; the next run begins anew."""
    how, said = WRONG[what]
    names: list[str] = how.pop("names")   # type: ignore[assignment]
    misbehaviour.profiles(hostile, *names, **how)   # type: ignore[arg-type]
    ready.certs["a"]["required-profile"] = "short"
    expect(ready.run("newOrder"), 1, f"a: {NEW}", f"error: a: {said}: change required-profile")
    assert not ready.file("a").exists()
    hostile.on.clear()
    misbehaviour.profiles(hostile, "short")
    expect(ready.run("newOrder"), 0, f"a: {NEW}", f"a: {INSTALLED}")
    assert state(ready) == ("short", "short")


def test_an_earlier_order_of_another_profile(ready: Site, hostile: Hostile) -> None:
    """It is not taken up."""
    misbehaviour.profiles(hostile, "classic", "short")
    misbehaviour.retry_after(hostile, "3600", 100)
    ready.certs["a"]["required-profile"] = "classic"
    assert ready.run("newOrder").returncode == 1 and len(hostile.orders) == 1
    ready.run("newOrder", "a")
    assert len(hostile.orders) == 1
    hostile.processing = 0
    ready.certs["a"]["required-profile"] = "short"
    expect(ready.run("newOrder", "a"), 0, f"a: {NEW}", f"a: {INSTALLED}")
    assert len(hostile.orders) == 2 and state(ready) == ("short", "short")


def test_a_setting_that_is_no_name(ready: Site) -> None:
    ready.certs["a"]["preferred-profile"] = "two words"
    done = ready.run("newOrder")
    assert done.returncode == 1 and re.search(
        r"\[a\]: preferred-profile = two words: not the name of a profile", done.stderr)
