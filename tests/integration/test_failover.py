"""When the next CA of a section is asked, what is remembered of it, and when it is not."""

import json
import re
import time
from collections.abc import Callable

import pytest

from harness import ca, misbehaviour, soak
from harness.hostile import Hostile
from harness.judge import INSTALLED, NEW, expect
from harness.net import free_port
from harness.run import Site
from test_authorities import host, issuer

VALID = "a: valid until .*"
WHEN = r"[-0-9]{10} [:0-9]{5} UTC"


@pytest.fixture
def two(site: Site, hostile: Hostile, other: Hostile) -> Site:
    """A site whose section a is of [client], hostile, or else of [ca other]; and its account."""
    site.open_account(hostile, other=other)
    site.certificate("a", ["a.example"], ca="default, other")
    site.file("a", "").mkdir()
    site.file("a", "privkey.pem").write_text(ca.genkey())
    site.file("a", "privkey.pem").chmod(0o600)
    for server in (hostile, other):
        server.requests.clear()
    return site


def pauses(site: Site) -> dict[str, dict[str, dict[str, object]]]:
    """Return what is remembered."""
    try:
        found: dict[str, dict[str, dict[str, object]]] = json.loads(
            (site.lib / "state/pauses.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def forget(site: Site) -> None:
    """Let the certificate be gone."""
    for name in ("cert.pem", "fullchain.pem", "chain.pem"):
        site.file("a", name).unlink()


def fails(server: Hostile, detail: str, kind: str) -> None:
    """Let every validation fail."""
    misbehaviour.failed_challenge(server, detail, kind)
    server.edit("order", lambda order: order.update(status="invalid"))


Act = Callable[[Site, Hostile], object]

# what the first one does -> why the second one is asked, and what is said
REASONS: dict[str, tuple[Act, str, str]] = {
    "down": (lambda site, _: site.main["client"].update(
        server=f"https://127.0.0.1:{free_port()}/d"), "down", "cannot connect to 127.0.0.1.*"),
    "overloaded": (lambda _, server: misbehaviour.busy(server, "directory", "3600"), "limited",
                   "the directory .*: too busy .rateLimited.*"),
    "out of order": (lambda _, server: misbehaviour.problem(
        server, "newOrder", "no disk", "serverInternal", 500), "down", "newOrder: no disk.*"),
    "garbage": (lambda _, server: server.edit("directory", lambda _: []), "down",
                "the directory .*"),
    "limited": (lambda _, server: misbehaviour.busy(server, "newOrder", "7200", 429), "limited",
                "newOrder: too busy .rateLimited.*"),
    "refused": (lambda _, server: misbehaviour.problem(
        server, "newOrder", "not for you", "rejectedIdentifier"), "refused",
        "newOrder: not for you .rejectedIdentifier.*"),
    "other types": (lambda _, server: misbehaviour.problem(
        server, "newOrder", "no wildcards", "unsupportedIdentifier", 400), "refused",
        "newOrder: no wildcards .unsupportedIdentifier.*"),
    "caa": (lambda _, server: fails(server, "CAA says no", "caa"),
            "refused", r"a\.example: CAA says no \(caa\).*"),
    "no profile": (lambda site, server: (
        misbehaviour.profiles(server, "classic"),
        site.certs["a"].update({"required-profile": "short"})), "refused",
        "the CA has no profile “short” .it offers classic.: change required-profile"),
}


@pytest.mark.parametrize("reason", soak.some(REASONS, 2))
def test_the_next_one_is_asked(two: Site, hostile: Hostile, other: Hostile, reason: str) -> None:
    """In the same run, with one line; and the first one is passed over by the next run."""
    act, kind, said = REASONS[reason]
    misbehaviour.profiles(other, "short")
    act(two, hostile)
    first = re.escape(two.main["client"]["server"].split("/")[2])
    expect(two.run("newOrder"), 0, f"a: {NEW}",
           f"warning: a: {first}: {said}; other is asked instead", f"a: {INSTALLED}")
    assert issuer(two, "a") == other.directory
    (found,) = pauses(two)[two.main["client"]["server"]].items()
    assert found[0] == ("" if kind == "down" else "a") and found[1]["kind"] == kind
    expect(two.run("newOrder"), 0, VALID)

    hostile.requests.clear()
    forget(two)
    why = {"down": "it was out of order", "limited": "it asked to wait",
           "refused": "it refused this certificate"}[kind]
    expect(two.run("newOrder"), 0, "a: .*", f"a: {first} is passed over until {WHEN}, as {why}; "
           "other is asked", f"a: {INSTALLED}")
    assert not hostile.requests


def test_back_to_the_first(two: Site, hostile: Hostile, other: Hostile) -> None:
    """When the pause is over, or the section is named; then it is forgotten."""
    misbehaviour.busy(hostile, "newOrder", "7200", 429)
    assert two.run("newOrder").returncode == 0 and issuer(two, "a") == other.directory
    # well again: the certificate of the other one is as good
    hostile.on.clear()
    expect(two.run("newOrder"), 0, VALID)
    expect(two.run("newOrder", "--force", "a"), 0, "a: forced", f"a: {INSTALLED}")
    assert issuer(two, "a") == hostile.directory and not pauses(two)

    misbehaviour.busy(hostile, "newOrder", "7200", 429)
    forget(two)
    assert two.run("newOrder").returncode == 0 and issuer(two, "a") == other.directory
    hostile.on.clear()
    path = two.lib / "state/pauses.json"
    for until in (int(time.time()) - 1, int(time.time()) + 10 ** 8):   # over; of a wrong clock
        forget(two)
        path.write_text(path.read_text())
        known = json.loads(path.read_text())
        known[hostile.directory]["a"]["until"] = until
        path.write_text(json.dumps(known))
        expect(two.run("newOrder"), 0, "a: .*", f"a: {INSTALLED}")
        assert issuer(two, "a") == hostile.directory and not pauses(two)
        path.write_text(json.dumps(known))


NOT = {"challenge": "unauthorized", "connection": "connection", "dns": "dns"}


@pytest.mark.parametrize("kind", NOT)
def test_not_where_the_challenge_fails(two: Site, hostile: Hostile, other: Hostile,
                                       kind: str) -> None:
    fails(hostile, "no such file", NOT[kind])
    done = two.run("newOrder")
    assert done.returncode == 1 and "asked instead" not in done.stderr
    assert f"error: a: {host(hostile)}: a.example: no such file ({NOT[kind]})" in done.stderr
    assert not other.requests and not pauses(two)


@pytest.mark.parametrize("kind", ["rejectedIdentifier", "unsupportedIdentifier"])
def test_where_there_is_no_other(two: Site, hostile: Hostile, kind: str) -> None:
    """The line names the setting."""
    two.certs["a"].pop("ca")
    misbehaviour.problem(hostile, "newOrder", "no", kind)
    expect(two.run("newOrder"), 1, f"a: {NEW}", rf"error: a: newOrder: no \({kind}\).*; this CA "
           "does not certify that: “ca” of the section can name another one besides it")
    assert not pauses(two)


def test_not_for_one_that_has_no_account(two: Site, hostile: Hostile, other: Hostile) -> None:
    """That is not the CA's fault."""
    misbehaviour.problem(hostile, "newAccount", "none", "accountDoesNotExist", 400)
    two.lib.joinpath("state/accounts.json").unlink()
    done = two.run("newOrder")
    assert done.returncode == 1 and "account --register" in done.stderr
    assert not other.requests


def test_all_ask_for_a_pause(two: Site, hostile: Hostile, other: Hostile) -> None:
    """Then the section waits until the first of them wants to be asked."""
    misbehaviour.busy(hostile, "newOrder", "3600", 429)
    misbehaviour.busy(other, "newOrder", "7200", 429)
    before = int(time.time())
    done = two.run("newOrder")
    assert done.returncode == 1 and len(hostile.asked("newOrder")) == 1
    assert "error: a: other: newOrder: too busy" in done.stderr
    state = json.loads((two.lib / "state/cert-a.json").read_text())
    assert before + 3600 <= state["not_before"] <= time.time() + 3600
    done = two.run("newOrder")
    assert done.returncode == 1 and "the CA asked not to order again" in done.stderr
    assert len(hostile.asked("newOrder")) == len(other.asked("newOrder")) == 1


def test_one_that_is_down_is_the_last_hope(two: Site, hostile: Hostile, other: Hostile) -> None:
    """It is passed over, and tried where no other is left."""
    misbehaviour.problem(hostile, "newOrder", "no disk", "serverInternal", 500)
    assert two.run("newOrder").returncode == 0
    forget(two)
    hostile.on.clear()
    misbehaviour.busy(other, "newOrder", "7200", 429)
    expect(two.run("newOrder"), 0, "a: .*", "a: .* is passed over until .*",
           f"warning: a: other: newOrder: too busy .*; {re.escape(host(hostile))} is asked instead",
           f"a: {INSTALLED}")
    assert issuer(two, "a") == hostile.directory


def test_of_several_sections(two: Site, hostile: Hostile, other: Hostile) -> None:
    """What is said of one is nothing to the others; each CA has its client."""
    two.certificate("b", ["b.example"], ca="default, other")
    two.certificate("c", ["c.example"])
    misbehaviour.divide(hostile, {"a.example": lambda part: misbehaviour.problem(
        part, "newOrder", "no", "rejectedIdentifier")})
    done = two.run("newOrder")
    assert done.returncode == 0, done.stderr
    assert [issuer(two, name) for name in "abc"] == [
        other.directory, hostile.directory, hostile.directory]
    assert list(pauses(two)[hostile.directory]) == ["a"]
