"""When the CA suggests to renew: what is heeded, decided from facts alone (RFC 9773)."""

from types import SimpleNamespace
from typing import Any

import pytest

from letsencrypt_tiny.common.clock import DAY, parse_timestamp
from letsencrypt_tiny.common.wire.renewal import RenewalInfo
from letsencrypt_tiny.common.x509.certid import cert_id
from letsencrypt_tiny.master.plan import ari, issuers, renewal
from letsencrypt_tiny.master.plan.issuers import Issuer
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.master.store.journal import SectionState
from letsencrypt_tiny.master.store.renewals import NOTHING, Renewal

HOUR = 3600
NOW = 50 * DAY


def certificate(serial: bytes = b"\1", lifetime: int = 90 * DAY, aki: bytes | None = b"aki",
                names: tuple[tuple[str, str], ...] = ()) -> Any:
    return SimpleNamespace(not_before=0, not_after=lifetime, names=names, der=b"", issuer=b"CA",
                           subject=b"", aki=aki, serial=serial)


def known(start: int, end: int, moment: int | None = None, **more: Any) -> Renewal:
    return Renewal(cert_id(certificate()), 90 * DAY, start, end,
                   start if moment is None else moment)._replace(**more)


# --- names ---------------------------------------------------------------------------------------

def test_the_vector_of_the_rfc() -> None:
    """§4.1, with the 00 that keeps the serial number positive."""
    found = certificate(bytes.fromhex("0087654321"),
                        aki=bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"))
    assert cert_id(found) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    for none in (None, b""):
        assert cert_id(certificate(aki=none)) == ""


# --- what is remembered --------------------------------------------------------------------------

def test_a_moment_stays_as_long_as_its_window() -> None:
    first = ari.learn(NOTHING, RenewalInfo("a", 1000, 2000, 0), NOW, 0.25)
    assert (first.start, first.end, first.moment) == (1000, 2000, 1250)
    again = ari.learn(first, RenewalInfo("a", 1000, 2000, 0, "https://x"), NOW, 0.75)
    assert (again.moment, again.explanation) == (1250, "https://x")
    for window in ((1000, 2001), (999, 2000)):
        assert ari.learn(first, RenewalInfo("a", *window), NOW, 0.75).moment > 1700
    for share in (0.0, 0.999999):
        assert 1000 <= ari.learn(NOTHING, RenewalInfo("a", 1000, 1001), NOW, share).moment <= 1001


@pytest.mark.parametrize("asked, wait", [
    (0, 6 * HOUR), (1, 60), (59, 60), (3600, 3600), (DAY, DAY), (30 * DAY, DAY)])
def test_retry_after(asked: int, wait: int) -> None:
    """§4.3.2: from a minute to a day; as usual, if it says nothing."""
    assert ari.learn(NOTHING, RenewalInfo("a", 1, 2, asked), NOW, 0).again == NOW + wait


def test_failures() -> None:
    """§4.3.3: what was known still holds; one that may pass is soon tried again, and then later."""
    before, waits = known(1000, 2000), []
    now = before
    for _ in range(12):
        now = ari.fail(now, True, None, NOW)
        waits.append(now.again - NOW)
    assert waits[:4] == [60, 120, 240, 480] and waits[-1] == 6 * HOUR == max(waits)
    assert now._replace(again=0, failures=0) == before
    assert ari.fail(before, True, 7200, NOW).again == NOW + 7200
    assert ari.fail(before, True, 30 * DAY, NOW).again == NOW + 6 * HOUR
    lasting = ari.fail(now, False, 1, NOW)
    assert (lasting.again, lasting.failures) == (NOW + 6 * HOUR, 0)
    assert ari.learn(now, RenewalInfo("a", 1, 2), NOW, 0).failures == 0


@pytest.mark.parametrize("renewal_known, asks", [
    (NOTHING, False), (known(1, 2), True), (known(1, 2, again=NOW), True),
    (known(1, 2, again=NOW + 1), False), (known(1, 2, again=NOW + DAY), False),
    (known(1, 2, again=NOW + 2 * DAY), True),     # the clock was wrong
    (known(1, 2, expires=NOW), False), (known(1, 2, expires=NOW + 1), True)])
def test_who_is_asked_about(renewal_known: Renewal, asks: bool) -> None:
    assert ari.asks(renewal_known, NOW) is asks


def test_another_certificate() -> None:
    """Nothing is known of it, but for the window that it was ordered for."""
    before = known(1000, 2000, 1500, again=NOW + 60, failures=3, explanation="x")
    assert ari.about(before, certificate(), 0) is before
    after = ari.about(before, certificate(b"\2"), 1500)
    assert after == Renewal("YWtp.Ag", 90 * DAY, used_start=1000, used_end=2000)
    assert ari.about(before, certificate(b"\2"), 1500 - ari.RUNS - 1).used_start == 0
    assert ari.about(NOTHING, certificate(b"\2"), NOW) == Renewal("YWtp.Ag", 90 * DAY)


# --- due -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("start, end, moment, due", [
    (-2, -1, -1.5, True),            # past, as for what was revoked
    (-2, 2, -1, True), (-2, 20, 1, True), (-2, 20, 6, True),
    (-2, 20, 7, False),              # the next run comes before
    (1, 3, 2, True),                 # all of it between two runs
    (1, 20, 2, False),               # it is open when the next run comes
    (7, 20, 8, False)])
def test_due(start: float, end: float, moment: float, due: bool) -> None:
    """Hours from now."""
    info = known(*(int(NOW + hours * HOUR) for hours in (start, end, moment)))
    assert ari.due(info, certificate(), 0, NOW) is due
    used = info._replace(used_start=info.start, used_end=info.end)
    assert not ari.due(used, certificate(), 0, NOW) and not ari.suggested(used)
    assert ari.due(info._replace(used_start=1, used_end=2), certificate(), 0, NOW) is due


def test_not_without_rest() -> None:
    """After one that was renewed for a window, whatever windows there are: for a day, or a
    quarter of the lifetime."""
    info = known(1, 2, used_start=3, used_end=4)
    for lifetime, rest in ((90 * DAY, DAY), (2 * DAY, DAY // 2)):
        one = certificate(lifetime=lifetime)
        assert not ari.due(info, one, NOW - rest + 1, NOW)
        assert ari.due(info, one, NOW - rest, NOW)
        assert ari.due(info, one, NOW + 1, NOW)     # a clock was wrong
        assert ari.due(info._replace(used_start=0), one, NOW, NOW)


def told(now: float, info: Renewal, days: int | None = None, **state: Any) -> renewal.Due:
    section: Any = SimpleNamespace(min_days=days, identifiers=(), profile="", next_key=False,
                                   in_token=False)
    installed: Any = SimpleNamespace(certificate=certificate(), missing="", misfit="",
                                     access=())
    return renewal.decide(section, installed, SectionState(**state), now, known=info)


def test_earlier_and_later() -> None:
    """Earlier than by the lifetime, always; later, as long as half of the usual time is left."""
    late = known(70 * DAY, 71 * DAY)
    assert not told(61 * DAY, late).due and told(61 * DAY, NOTHING).due
    assert told(70 * DAY, late).due
    later = known(80 * DAY, 81 * DAY)
    assert not told(75 * DAY - 1, later).due and told(75 * DAY, later).due
    early = told(20 * DAY, known(10 * DAY, 21 * DAY, explanation="https://x/\x1b"))
    assert early.due and early.timely and early.welcome
    assert early.reason == ("its CA wants it renewed between 1970-01-11 00:00 UTC and 1970-01-22 "
                            "00:00 UTC (see https://x/\\x1b)")
    past = told(20 * DAY, known(10 * DAY, 11 * DAY))
    assert past.due and not past.welcome    # as limits count
    plan = told(20 * DAY, known(60 * DAY, 61 * DAY))
    assert not plan.due and plan.reason.endswith(", to be renewed 1970-03-02 00:00 UTC")
    assert plan.timely


def test_min_days() -> None:
    """The administrator's word is not put off, but a CA may have it earlier."""
    late = known(70 * DAY, 71 * DAY)
    assert told(60 * DAY, late, 30).due and not told(59 * DAY, late, 30).due
    assert told(70 * DAY, late, 1).due


def test_nothing_else_is_a_matter_of_time() -> None:
    assert not told(20 * DAY, NOTHING, installing=True).timely
    assert not told(20 * DAY, NOTHING, -1).timely
    assert told(80 * DAY, NOTHING).timely and told(20 * DAY, NOTHING).timely


@pytest.mark.parametrize("lifetime, least", [
    (90 * DAY, 15 * DAY), (45 * DAY, 7.5 * DAY), (160 * HOUR, 60 * HOUR + 120),
    (DAY, 16 * HOUR)])
def test_latest(lifetime: int, least: float) -> None:
    assert renewal.latest(lifetime) == least


# --- replaces ------------------------------------------------------------------------------------

NAME = (("dns", "a.example"),)
SECTION: Any = SimpleNamespace(ari=True, identifiers=(*NAME, ("dns", "b.example")))
STATE = SectionState(issuer="D", issuer_account="K")


def test_what_is_replaced() -> None:
    one = certificate(names=NAME)
    assert ari.replaces(SECTION, one, STATE, "D") == "YWtp.AQ"
    off: Any = SimpleNamespace(ari=False, identifiers=NAME)
    for arguments in ((SECTION, None, STATE, "D"), (SECTION, one, STATE, "E"),
                      (SECTION, one, STATE._replace(issuer_account=None), "D"),
                      (SECTION, one, STATE._replace(issuer=None), "D"), (off, one, STATE, "D"),
                      (SECTION, certificate(), STATE, "D"),
                      (SECTION, certificate(names=NAME, aki=None), STATE, "D")):
        assert ari.replaces(*arguments) is None


def test_who_is_asked() -> None:
    """Who says so; before anybody could, those who are known for it."""
    def ca(url: str) -> Issuer:
        return Issuer("", Access(url))
    for url in ("https://acme-v02.api.letsencrypt.org/directory",
                "https://dv.acme-v02.api.pki.goog/directory"):
        assert issuers.suggests(ca(url), None) and not issuers.suggests(ca(url), False)
    for url in ("https://ca.example/directory", "https://ca.example/x.api.letsencrypt.org"):
        assert not issuers.suggests(ca(url), None) and issuers.suggests(ca(url), True)


# --- RFC 3339 ------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, moment", [
    ("1970-01-01T00:00:01Z", 1), ("2026-02-28T23:59:59Z", 1772323199),
    ("2026-02-28t23:59:59z", 1772323199), ("2026-02-28T23:59:59.999999999Z", 1772323199),
    ("2026-03-01T00:59:59+01:00", 1772323199), ("2026-02-28T18:29:59-05:30", 1772323199),
    ("2026-02-28T23:59:60Z", 1772323200), ("2024-02-29T00:00:00Z", 1709164800),
    ("2026-02-28 23:59:59Z", None), ("2026-02-28T23:59:59", None), ("2026-02-28", None),
    ("2026-13-01T00:00:00Z", None), ("2026-00-01T00:00:00Z", None), ("2026-01-32T00:00:00Z", None),
    ("2026-01-01T24:00:00Z", None), ("2026-01-01T00:60:00Z", None), ("", None),
    ("2026-01-01T00:00:00Z\n", None), ("２026-01-01T00:00:00Z", None),
    ("2026-01-01T00:00:00.Z", None)])
def test_timestamps(text: str, moment: int | None) -> None:
    assert parse_timestamp(text) == moment
