"""A year of certificates, by a virtual clock: the timer as shipped, a CA with its moods, our plan.

The CA is as Let's Encrypt's in what it suggests; it is down now and then, moves its windows and
wants certificates replaced at once.  RELIABILITY.md has the table that comes of it.
"""

import functools
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from harness.schedule import CRON, HOUR, MINUTE, TIMER, Schedule, cron, runs, timer
from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.common.wire.renewal import RenewalInfo
from letsencrypt_tiny.master.plan import ari, renewal
from letsencrypt_tiny.master.store.journal import SectionState
from letsencrypt_tiny.master.store.renewals import NOTHING, Renewal

DOCUMENT = (Path(__file__).resolve().parents[2] / "RELIABILITY.md").read_text()
LIFETIMES = {"24 h": DAY, "160 h": 160 * HOUR, "45 d": 45 * DAY, "90 d": 90 * DAY}
HOSTS = 8
ORDER = 9        # requests, for a name (BENCHMARKS.md)
QUESTION = 2     # the directory, and the renewal information
YEAR = 365 * DAY

Span = tuple[float, float]


def is_in(now: float, spans: list[Span]) -> bool:
    return any(start <= now < end for start, end in spans)


class CA:
    """What a CA says and does."""

    def __init__(self, host: random.Random, lifetime: int, *, suggests: bool = True,
                 moody: bool = False, outage: float = 0) -> None:
        self._host = host
        self._lifetime = lifetime
        self.suggests = suggests
        # Down six times, at moments of its own; a certificate of a day can't wait for two
        self.outages: list[Span] = []
        for number in range(6 if outage else 0):
            start = (number + host.random()) * YEAR / 6
            self.outages.append((start, start + outage))
        # Twice a year it wants all that was issued before to be replaced; each week it may move
        # the windows by some hours
        self.revocations = [host.randrange(YEAR) for _ in range(2)] if moody else []
        self._shifts = [host.gauss(0, lifetime / 50) if moody else 0.0 for _ in range(54)]

    def window(self, certificate: Any, now: float) -> Span:
        """Return the window, as Boulder makes it: about the last third, or half below ten days."""
        for moment in self.revocations:
            if certificate.not_before < moment <= now:
                return self.at_once(moment)
        share = 3 if self._lifetime >= 10 * DAY else 2
        ideal = certificate.not_after - self._lifetime / share + self._shifts[int(now / (7 * DAY))]
        return ideal - self._lifetime / 50, ideal + self._lifetime / 50

    @staticmethod
    def at_once(moment: int) -> Span:
        """Return the window of what was revoked at a moment."""
        return moment - 2 * HOUR, moment - HOUR


class Year(NamedTuple):
    """What became of one certificate."""

    issued: int
    requests: int
    least: float             # seconds that were left when a new one was there
    windows: list[Span]      # those that were the reason for a renewal
    inside: int              # how many of these were renewed while their window was open
    gaps: list[float]        # seconds between two that were issued
    delays: list[float]      # seconds from when the CA wanted it replaced at once to when it was


def year(schedule: Schedule, ca: CA, lifetime: int, host: random.Random) -> Year:
    """Run a year, from a certificate that is new when it begins."""
    section: Any = SimpleNamespace(min_days=None, identifiers=(), profile="", next_key=False,
                                   in_token=False)
    known, installed = NOTHING, 1.0
    certificate = certified(lifetime, 0)
    issued, requests, least, inside = 0, 0, float(lifetime), 0
    windows: list[Span] = []
    gaps: list[float] = []
    delays: list[float] = []
    for now in runs(schedule, host, 1):
        now += HOUR    # it is never 0, which is no moment
        down = is_in(now, ca.outages)
        known = ari.about(known, certificate, int(installed))
        verdict = decide(section, certificate, installed, now, known)
        if verdict.timely and ca.suggests and ari.asks(known, now):
            known = asked(known, ca, certificate, now, host)
            requests += 1 if down else QUESTION
            verdict = decide(section, certificate, installed, now, known)
        if not verdict.due:
            continue
        if down:
            requests += 1
            continue
        now += host.uniform(0, 5 * MINUTE)   # an order takes its time
        requests += ORDER
        if "its CA wants" in verdict.reason:
            windows.append((known.start, known.end))
            inside += known.start <= now <= known.end
            delays += [now - moment for moment in ca.revocations
                       if (known.start, known.end) == ca.at_once(moment)]
        least = min(least, certificate.not_after - now)
        gaps.append(now - installed)
        installed, issued = now, issued + 1
        certificate = certified(lifetime, now, issued)
    return Year(issued, requests, least, windows, inside, gaps, delays)


def certified(lifetime: int, now: float, number: int = 0) -> Any:
    """Return a certificate, dated back by an hour."""
    begin = int(now) - HOUR
    return SimpleNamespace(not_before=begin, not_after=begin + lifetime, names=(), der=b"",
                           issuer=b"CA", subject=b"", aki=b"aki",
                           serial=number.to_bytes(4, "big"))


def decide(section: Any, certificate: Any, installed: float, now: float, known: Renewal
           ) -> renewal.Due:
    found: Any = SimpleNamespace(certificate=certificate, missing="", misfit="", access=())
    return renewal.decide(section, found, SectionState(installed=int(installed)), now,
                          known=known)


def asked(known: Renewal, ca: CA, certificate: Any, now: float, host: random.Random) -> Renewal:
    if is_in(now, ca.outages):
        return ari.fail(known, True, None, now)
    start, end = map(int, ca.window(certificate, now))
    return ari.learn(known, RenewalInfo("a", start, end, 6 * HOUR), now, host.random())


@functools.lru_cache(None)
def years(lifetime: int, text: str = TIMER, **moods: Any) -> list[Year]:
    """Run a year on each of some hosts."""
    schedule = timer(text) if text is TIMER else cron(text)
    found = []
    for seed in range(HOSTS):
        host = random.Random(seed)
        found.append(year(schedule, CA(host, lifetime, **moods), lifetime, host))
    return found


def outage_of(lifetime: int) -> float:
    """Two days; six hours where two days are longer than the certificate."""
    return 2 * DAY if lifetime > 2 * DAY else 6 * HOUR


# --- the claims ----------------------------------------------------------------------------------

@pytest.mark.parametrize("text", [TIMER, CRON], ids=["timer", "cron"])
@pytest.mark.parametrize("lifetime", LIFETIMES.values(), ids=LIFETIMES)
def test_none_expires(lifetime: int, text: str) -> None:
    """Whatever the CA wishes, and though it is down six times in the year."""
    for moods in ({"moody": True}, {"suggests": False}):
        for one in years(lifetime, text, outage=outage_of(lifetime), **moods):
            assert one.least > 0
            assert one.issued >= YEAR // lifetime    # and they are renewed at all


@pytest.mark.parametrize("lifetime", LIFETIMES.values(), ids=LIFETIMES)
def test_none_is_renewed_twice_in_a_window(lifetime: int) -> None:
    """Nor more often than the lifetime, and revocations, want."""
    for one in years(lifetime, outage=outage_of(lifetime), moody=True):
        assert len(one.windows) == len(set(one.windows)) > 0
        assert one.issued <= YEAR / (lifetime / 3) + 3
        early = [gap for gap in one.gaps if gap < lifetime / 4]
        assert len(early) <= 2 * 2    # once for each revocation, and once right before it


@pytest.mark.parametrize("lifetime", LIFETIMES.values(), ids=LIFETIMES)
def test_windows_are_met(lifetime: int) -> None:
    """If there is a run while one is open, it is renewed then: that counts for no limit."""
    for one in years(lifetime):
        width = lifetime / 25
        assert one.windows and (width < 7 * HOUR or one.inside == len(one.windows))


def test_revoked_is_replaced_by_the_run_that_hears_of_it() -> None:
    """An answer holds for six hours, and a run comes within six more, or seven."""
    delays = [delay for one in years(90 * DAY, moody=True) for delay in one.delays]
    assert HOSTS < len(delays) <= 2 * HOSTS
    assert 0 < max(delays) <= 13 * HOUR + 6 * MINUTE


@pytest.mark.parametrize("lifetime", LIFETIMES.values(), ids=LIFETIMES)
def test_a_ca_that_repeats_itself(lifetime: int) -> None:
    """It has one window, in the past, for all certificates that there are, and there will be."""
    class Stubborn(CA):
        def window(self, certificate: Any, now: float) -> Span:
            return self.at_once(100 * DAY) if now > 100 * DAY else super().window(certificate, now)
    host = random.Random(1)
    one = year(timer(TIMER), Stubborn(host, lifetime), lifetime, host)
    assert len(one.windows) == len(set(one.windows)) and one.least > 0
    assert sum(start == 100 * DAY - 2 * HOUR for start, _ in one.windows) == 1


@pytest.mark.parametrize("lifetime", LIFETIMES.values(), ids=LIFETIMES)
def test_a_ca_that_always_has_another_window_in_the_past(lifetime: int) -> None:
    """It can't have a certificate renewed at each run."""
    class Mad(CA):
        def window(self, certificate: Any, now: float) -> Span:
            return now - 2 * HOUR, now - HOUR
    host = random.Random(1)
    one = year(timer(TIMER), Mad(host, lifetime), lifetime, host)
    rest = min(DAY, lifetime / 4)
    assert 0 < one.issued <= YEAR / rest + 2
    assert min(one.gaps[1:]) >= rest - MINUTE


@pytest.mark.parametrize("lifetime", LIFETIMES.values(), ids=LIFETIMES)
def test_a_ca_that_never_wants_it_renewed(lifetime: int) -> None:
    """It is renewed in time all the same, with room for an outage."""
    class Lazy(CA):
        def window(self, certificate: Any, now: float) -> Span:
            return now + 30 * DAY, now + 31 * DAY
    for seed in range(HOSTS):
        host = random.Random(seed)
        one = year(timer(TIMER), Lazy(host, lifetime, outage=outage_of(lifetime)), lifetime, host)
        assert one.least > 0 and not one.windows


# --- the table -----------------------------------------------------------------------------------

def hours(seconds: float) -> str:
    return f"{seconds / HOUR:.0f} h" if seconds < 4 * DAY else f"{seconds / DAY:.0f} d"


@pytest.mark.parametrize("name", LIFETIMES)
def test_the_table(name: str) -> None:
    """RELIABILITY.md tells what comes of it."""
    lifetime = LIFETIMES[name]
    cells = [name]
    for moods in ({}, {"outage": outage_of(lifetime), "moody": True}, {"suggests": False}):
        found = years(lifetime, **moods)
        cells += [f"{sum(one.issued for one in found) / HOSTS:.0f}",
                  f"{sum(one.requests for one in found) / HOSTS:.0f}",
                  hours(min(one.least for one in found))]
    line = f"| {' | '.join(cells)} |"
    assert line in DOCUMENT.splitlines(), f"{line}\nis what it is now"
