"""Renewal by the CA's suggestion (RFC 9773), from the question to “replaces”.

The CA is one that does as it is told; Pebble is in ``test_ari_pebble.py``.
"""

import datetime
import json
import os
import re
import time
from pathlib import Path

import pytest

from harness import judge
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, NEW, expect
from harness.run import Site, does_nothing
from harness.suggestions import OF_THE_DIRECTORY, PASSING, WORDS, Suggests
from letsencrypt_tiny.common.wire.order import Directory
from letsencrypt_tiny.common.x509.certid import cert_id
from letsencrypt_tiny.master.store.installed import read_certificate
from letsencrypt_tiny.master.store.journal import Journal
from letsencrypt_tiny.master.store.outages import Outages
from letsencrypt_tiny.master.store.renewals import Renewal, Renewals

DAY = 86400
MOMENT = r"[-0-9]{10} [:0-9]{5} UTC"
VALID = rf"valid until {MOMENT}"
PLANNED = rf"{VALID}, to be renewed {MOMENT}"
WANTED = rf"its CA wants it renewed between {MOMENT} and {MOMENT}"
FAILED = r"not told when to renew: .*; asked again after " + MOMENT


@pytest.fixture
def suggests(hostile: Hostile) -> Suggests:
    return Suggests(hostile)


@pytest.fixture
def issued(site: Site, hostile: Hostile, suggests: Suggests) -> Site:
    """A site with a certificate, "a", valid for 90 days from an hour ago."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    expect(site.run("newOrder"), 0, f"a: {NEW}", "a: generating .*", f"a: {INSTALLED}")
    hostile.requests.clear()
    return site


def name_of(site: Site, section: str = "a") -> str:
    """Return the certID of what is installed."""
    return cert_id(read_certificate(str(site.file(section))))


def known(site: Site, section: str = "a") -> Renewal:
    return Renewals(str(site.lib / "state")).of(section)


def forget_the_answer(site: Site, **changes: int) -> None:
    """Let the CA's last answer hold no more."""
    renewals = Renewals(str(site.lib / "state"))
    renewals.remember({"a": renewals.of("a")._replace(again=1, **changes)}, time.time())


# --- asked, and remembered -----------------------------------------------------------------------

def test_asked_once_and_remembered(issued: Site, hostile: Hostile, suggests: Suggests) -> None:
    """Nobody signs; the moment stays as long as the window does."""
    suggests.explanation = "https://ca.example/why"
    first = issued.run("newOrder")
    expect(first, 0, rf"a: {WANTED} \(see https://ca\.example/why\)", f"a: {PLANNED}")
    assert [(request.method, request.resource) for request in hostile.requests] == [
        ("GET", "directory"), ("GET", "renewalInfo")]
    assert suggests.asked == [name_of(issued)]
    renewal = known(issued)
    start, end = map(int, suggests.window)
    assert (renewal.start, renewal.end) == (start, end) and start <= renewal.moment <= end
    assert 21000 < renewal.again - time.time() <= 21601
    assert renewal.explanation == suggests.explanation
    expect(issued.run("newOrder"), 0, f"a: {PLANNED}")
    assert len(hostile.requests) == 2
    forget_the_answer(issued)
    expect(issued.run("newOrder"), 0, f"a: {PLANNED}")    # nothing new: not a word
    assert len(suggests.asked) == 2 and known(issued).moment == renewal.moment
    forget_the_answer(issued)
    suggests.window = (start + 1, end + 1)
    expect(issued.run("newOrder"), 0, rf"a: {WANTED} \(see .*\)", f"a: {PLANNED}")
    assert known(issued).start == start + 1 and len(suggests.asked) == 3


def test_nothing_to_ask(issued: Site, hostile: Hostile, tmp_path: Path) -> None:
    """As long as the answer holds: one process, no socket, no file changed, not a word."""
    issued.run("newOrder")
    asked = len(hostile.requests)
    does_nothing(issued, tmp_path / "trace")
    assert len(hostile.requests) == asked > 0


def test_who_asks(issued: Site) -> None:
    """One client, as its own user and confined; no signer, no web server, no openssl."""
    done, programs = issued.executed("--debug", "newOrder")
    assert done.returncode == 0, done.stderr
    started = [Path(argv[0]).name for argv in programs]
    assert started.count("client") == 1
    assert not {"letsencrypt-tiny-accountd", "webserver", "openssl"}.intersection(started), started
    assert re.search(r"confined: .*seccomp", done.stderr)
    assert known(issued).start > 0
    assert judge.tree(issued.rundir) == {"lock"}


def test_not_asked(issued: Site, hostile: Hostile, suggests: Suggests) -> None:
    """By setting, if a run is forced to order, and where nobody knows that there is anybody."""
    issued.certs["a"]["ari"] = "no"
    expect(issued.run("newOrder"), 0, f"a: {VALID}")
    suggests.window = (time.time() - DAY, time.time() - 60)
    expect(issued.run("newOrder"), 0, f"a: {VALID}")
    del issued.certs["a"]["ari"]
    issued.lib.joinpath("state/directories.json").unlink()
    expect(issued.run("newOrder"), 0, f"a: {VALID}")
    assert hostile.requests == []
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert suggests.asked == [] and len(suggests.replaced) == 1    # and that taught it
    issued.certs["a"]["ari"] = "no"
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert suggests.replaced[1] is None


def test_one_that_is_out_of_order_is_not_asked(issued: Site, hostile: Hostile) -> None:
    """For half a day: what is due asks it all the same, and tells when it is well again."""
    issued.at_once = True
    outages, now = Outages(str(issued.lib / "state")), int(time.time())
    outages.failed(hostile.directory, "closed", now - DAY // 4)
    expect(issued.run("newOrder"), 0, f"a: {VALID}")
    assert hostile.requests == []
    outages.failed(hostile.directory, "closed", now - DAY)
    assert issued.run("newOrder").returncode == 0 and len(hostile.requests) == 2


# --- renewed -------------------------------------------------------------------------------------

def test_replaced_at_once_if_the_window_is_past(issued: Site, suggests: Suggests) -> None:
    """As it is for what the CA has revoked: once, whatever it says of the next one."""
    before = name_of(issued)
    suggests.window = (time.time() - 3600, time.time() - 60)
    expect(issued.run("newOrder"), 0, f"a: {WANTED}", f"a: {INSTALLED}")
    assert suggests.replaced == [before] and name_of(issued) != before
    expect(issued.run("newOrder"), 0, f"a: {WANTED}",
           "a: that has been done: the next time is by its lifetime", f"a: {VALID}")
    expect(issued.run("newOrder"), 0, f"a: {VALID}")
    assert len(suggests.replaced) == 1
    forget_the_answer(issued)    # other windows in the past: not at each run
    suggests.window = (time.time() - 1800, time.time() - 60)
    for _ in range(2):
        done = issued.run("newOrder")
        assert done.returncode == 0 and "installed" not in done.stderr
    assert len(suggests.replaced) == 1


def test_before_the_next_run(issued: Site, suggests: Suggests) -> None:
    """A moment that the next run would come too late for is now."""
    suggests.window = (time.time() - 60, time.time() + 3600)
    expect(issued.run("newOrder"), 0, f"a: {WANTED}", f"a: {INSTALLED}")


def test_the_window_that_is_remembered(issued: Site, suggests: Suggests) -> None:
    """It holds when its moment has come, though the CA can't be asked again."""
    issued.run("newOrder")
    now = int(time.time())
    forget_the_answer(issued, start=now - 7200, end=now + DAY, moment=now - 3600)
    suggests.word = "down"
    expect(issued.run("newOrder"), 0, f"a: {FAILED}", f"a: {WANTED}", f"a: {INSTALLED}")
    assert len(suggests.replaced) == 1


@pytest.mark.alike(2)
@pytest.mark.parametrize("kind, status", [("alreadyReplaced", 409), ("notFound", 404),
                                          ("malformed", 400), ("serverInternal", 500)])
def test_what_can_not_be_replaced(kind: str, status: int, issued: Site, hostile: Hostile,
                                  suggests: Suggests) -> None:
    """Once without it."""
    before = name_of(issued)
    suggests.refuse_to_replace(kind, status)
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert suggests.replaced == [before, None]


def test_an_error_that_says_nothing(issued: Site, hostile: Hostile, suggests: Suggests) -> None:
    """The order was made, whatever stands before the server says: it is found."""
    orders = len(hostile.orders)

    def page(request: Request, default: Default) -> Response:
        made = default()
        return Response(500, {"Content-Type": "text/html"}, b"Oops") \
            if "replaces" in request.payload else made
    hostile.on["newOrder"] = page
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert len(hostile.orders) == orders + 1


def test_a_refusal_of_something_else(issued: Site, suggests: Suggests) -> None:
    """It isn't asked twice for what is no matter of “replaces”."""
    suggests.refuse_to_replace("rejectedIdentifier", 403)
    assert issued.run("newOrder", "--force").returncode == 1
    assert len(suggests.replaced) == 1


def test_not_replaced(issued: Site, hostile: Hostile, suggests: Suggests) -> None:
    """What another account has, what is for other names; and where the CA has no renewalInfo."""
    issued.certs["a"]["names"] = "b.example"
    expect(issued.run("newOrder"), 0, "a: its names have changed", f"a: {INSTALLED}")
    assert suggests.replaced == [None]
    hostile.requests.clear()
    suggests.word = "not-offered"
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert suggests.replaced == [None]
    hostile.requests.clear()
    suggests.word = ""
    issued.genkey()
    assert issued.register().returncode == 0
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert suggests.replaced == [None]
    before = name_of(issued)
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert suggests.replaced == [None, before]


def test_replaced_by_another_key(issued: Site, suggests: Suggests) -> None:
    """The account stays the same when its key changes."""
    before = name_of(issued)
    assert issued.run("account", "--rollover").returncode == 0
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert suggests.replaced == [before]


# --- odd answers ---------------------------------------------------------------------------------

def test_no_answer(issued: Site, hostile: Hostile, suggests: Suggests) -> None:
    """It is told in one line that is printable, and asked again later; nothing is renewed."""
    issued.main["client"]["answer-timeout"] = "1"
    for word in (*WORDS, *OF_THE_DIRECTORY):
        Journal(str(issued.lib / "state")).learn_directory(hostile.directory, Directory((), True))
        forget_the_answer(issued, failures=0)
        suggests.word = word
        done = issued.run("newOrder")
        expect(done, 0, f"a: {FAILED}", f"a: {VALID}")
        assert "\x1b" not in done.stderr and len(done.stderr) < 500, word
        wait = known(issued).again - time.time()
        assert wait <= 7201 if word in PASSING else 21500 < wait <= 21601, (word, wait)
        assert known(issued).start == 0
    expect(issued.run("newOrder"), 0, f"a: {VALID}")    # as long as that holds


def test_what_is_odd_keeps_nobody_from_ordering(issued: Site, suggests: Suggests) -> None:
    suggests.word = "other-origin"
    expect(issued.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")


@pytest.mark.parametrize("word", ["silence", "busy"])
def test_one_question_is_enough(word: str, issued: Site, suggests: Suggests) -> None:
    """Where nobody answers, or wants to be left alone, all the others are not asked in vain."""
    issued.main["client"].update({"answer-timeout": "1", "jobs": "1"})
    for section in "bcd":
        issued.certificate(section, [f"{section}.example"], ari="no")
    assert issued.run("newOrder").returncode == 0
    for section in "bcd":
        del issued.certs[section]["ari"]
    forget_the_answer(issued)
    before, suggests.word = len(suggests.asked), word
    done = issued.run("newOrder")
    assert done.returncode == 0 and re.search(
        r"^a, b, c, d: not told when to renew: ", done.stderr, re.M), done.stderr
    assert len(suggests.asked) == before + 1
    assert all(known(issued, section).failures == 1 for section in "abcd")


def test_each_time_later(issued: Site, suggests: Suggests) -> None:
    """As long as the CA is down (§4.3.3)."""
    suggests.word = "down"
    waits = []
    for _ in range(3):
        issued.run("newOrder")
        waits.append(round((known(issued).again - time.time()) / 60))
        forget_the_answer(issued)
    assert waits == [1, 2, 4]


@pytest.mark.alike(2)
@pytest.mark.parametrize("word", ["down", "not-enabled", "html-502", "backwards"])
def test_it_keeps_no_renewal_from_happening(word: str, issued: Site, hostile: Hostile,
                                            suggests: Suggests) -> None:
    """By its lifetime it is due, whatever the CA does not say."""
    renew_soon(issued, hostile)
    suggests.word = word
    expect(issued.run("newOrder"), 0, f"a: {FAILED}", rf"a: it expires {MOMENT}",
           f"a: {INSTALLED}")


def test_a_window_too_late(issued: Site, hostile: Hostile, suggests: Suggests) -> None:
    """The CA may have it later, as long as there is time to try again."""
    end = renew_soon(issued, hostile, days=20)    # 20 of 90
    suggests.window = (end - 10 * DAY, end - 9 * DAY)
    expect(issued.run("newOrder"), 0, f"a: {WANTED}", f"a: {PLANNED}")
    end = renew_soon(issued, hostile, days=14)
    suggests.window = (end - 10 * DAY, end - 9 * DAY)
    expect(issued.run("newOrder"), 0, f"a: {WANTED}", rf"a: it expires {MOMENT}",
           f"a: {INSTALLED}")


def renew_soon(site: Site, hostile: Hostile, days: int = 14) -> int:
    """Install a certificate of 90 days that ends in ``days``; return its end."""
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=90 - days)
    hostile.issuer = lambda csr, _names: hostile.issue(csr, not_before=begin)
    assert site.run("newOrder", "--force").returncode == 0
    hostile.issuer = lambda csr, _names: hostile.issue(csr)
    state = json.loads((site.lib / "state/cert-a.json").read_text())
    state["installed"] -= 60 * DAY
    (site.lib / "state/cert-a.json").write_text(json.dumps(state))
    hostile.requests.clear()
    return read_certificate(str(site.file("a"))).not_after


@pytest.mark.alike(2)
@pytest.mark.parametrize("url, shown", [
    ("https://ca.example/\x1b[2Jx", ""), ("javascript:alert(1)", ""), ("x" * 1500, ""), (7, ""),
    ("https://ca.example/" + "x" * 600, r" \(see https://ca\.example/x+…\)"),
    ("https://ca.example/a b", "")],
    ids=["escape", "script", "long", "number", "longish", "two"])
def test_an_explanation_is_shown_without_harm(url: object, shown: str, issued: Site,
                                              suggests: Suggests) -> None:
    suggests.explanation = url
    done = issued.run("newOrder")
    expect(done, 0, f"a: {WANTED}{shown}", f"a: {PLANNED}")
    assert "\x1b" not in done.stderr and max(map(len, done.stderr.splitlines())) < 500


def test_a_client_that_can_not_be_started(issued: Site) -> None:
    """What isn't due needs none."""
    issued.main["client"]["user"] = "no-such-user"
    expect(issued.run("newOrder"), 0, rf"a: {FAILED}", f"a: {VALID}")


def test_a_server_that_is_nowhere(issued: Site, hostile: Hostile) -> None:
    hostile.on["directory"] = lambda _request, _default: WORDS["down"](Suggests(hostile))
    expect(issued.run("newOrder"), 0, rf"a: {FAILED}", f"a: {VALID}")
    assert os.path.exists(issued.lib / "state/renewals.json")
