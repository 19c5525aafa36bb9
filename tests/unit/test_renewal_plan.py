"""Is it time?  Decided from facts alone: years go by in milliseconds, and no renewal is late."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.common.x509.certificate import Certificate
from letsencrypt_tiny.master.plan import renewal
from letsencrypt_tiny.master.plan.renewal import decide, margin
from letsencrypt_tiny.master.settings.certificates import Section
from letsencrypt_tiny.master.store.installed import Installed
from letsencrypt_tiny.master.store.journal import SectionState

NAMES = (("dns", "a.example"), ("ip", "192.0.2.1"))
SECTION = Section("a", "F", NAMES, "/k", "/c", "/ch", "/f", (), "ec:P-256", None, "", "", (),
                  (), None, 0o644, "")
HOUR = DAY // 24
NEVER = 1 << 40


def valid(begin: int, end: int, names: Sequence[tuple[str, str]] = NAMES) -> Installed:
    """Return what is installed: a certificate that is valid for so long, of which that counts."""
    fields: dict[str, Any] = {name: None for name in Certificate._fields}
    return Installed(Certificate(**{**fields, "issuer": b"CA", "not_before": begin,
                                    "not_after": end, "names": tuple(names)}))


def told(installed: Installed, now: float = 50 * DAY, min_days: int | None = None,
         state: SectionState = SectionState(), **setting: Any) -> tuple[bool, str]:
    """Return whether it is due, and why."""
    found = decide(SECTION._replace(**setting), installed, state, now, min_days)
    assert found.certificate is installed.certificate
    return found.due, found.reason


# --- every reason, in the order of their weight --------------------------------------------------

GOOD = valid(0, 90 * DAY)


def test_reasons() -> None:
    names, key = GOOD._replace(certificate=valid(0, 90 * DAY, NAMES[:1]).certificate), "its key"
    interrupted = SectionState(installing=True)
    assert told(GOOD) == (False, "valid until 1970-04-01 00:00 UTC")
    assert told(GOOD, 60 * DAY) == (True, "it expires 1970-04-01 00:00 UTC")
    assert told(GOOD, 90 * DAY) == (True, "it expired 1970-04-01 00:00 UTC")
    assert told(GOOD._replace(misfit=key), 60 * DAY) == (True, key)
    assert told(names._replace(misfit=key)) == (True, "its names have changed")
    assert told(names, state=interrupted) == (True, "its installation was interrupted")
    assert told(GOOD._replace(missing="/c"), state=interrupted) == (True, "/c is missing")
    assert told(GOOD._replace(missing="/c"), min_days=-1) == (True, "forced")
    assert told(GOOD, min_days=-1) == told(GOOD, **{"min_days": -1}) == (True, "forced")
    assert told(Installed(fault="there is none"), min_days=-1) == (True, "there is none")
    assert told(Installed(fault="there is none"), state=interrupted) == (True, "there is none")


@pytest.mark.parametrize("installed, now, due", [
    (0, 60, True), (59, 60, True), (60, 60, False), (70, 70, False), (70, 83, False),
    (70, 84, True), (85, 85, False), (85, 88, True), (90, 90, True), (95, 95, True),
    (95, 59, False), (95, 60, True)])
def test_due_as_soon_as_it_was_installed(installed: int, now: int, due: bool) -> None:
    """Not again at each run: what was left then is its lifetime.  But a wish is a wish."""
    state = SectionState(installed=installed * DAY)
    assert told(GOOD, now * DAY, state=state)[0] is due
    assert told(GOOD, now * DAY, 30, state)[0] is (now >= 60)


def test_what_else_is_remembered_matters_not() -> None:
    state = SectionState("d", "a", "o", "k", False, True, 100 * DAY)
    assert told(GOOD, state=state) == told(GOOD)
    assert told(GOOD, 60 * DAY, state=state) == told(GOOD, 60 * DAY)


def test_the_option_beats_the_setting() -> None:
    for now, days in ((69 * DAY, 20), (71 * DAY, 20)):
        section = SECTION._replace(min_days=days)
        assert decide(section, GOOD, SectionState(), now).due is (now >= 70 * DAY)
        assert not decide(section, GOOD, SectionState(), now, 10).due
        assert decide(section, GOOD, SectionState(), now, 30).due


@pytest.mark.parametrize("lifetime, seconds", [
    (90 * DAY, 30 * DAY), (45 * DAY, 15 * DAY), (10 * DAY, 10 * DAY / 3), (99 * DAY, 33 * DAY),
    (10 * DAY - 1, 5 * DAY - 0.5), (6 * DAY, 3 * DAY), (160 * HOUR, 80 * HOUR), (2 * DAY, DAY),
    (2 * DAY - 3, 2 * (2 * DAY - 3) / 3), (DAY, 2 * DAY / 3), (HOUR, 2 * HOUR / 3)])
def test_margin(lifetime: int, seconds: float) -> None:
    assert margin(lifetime, None) == seconds
    assert margin(lifetime, 21) == 21 * DAY and margin(lifetime, 0) == 0


# --- time goes by --------------------------------------------------------------------------------

class Timer:
    """Wakes up every ``gap`` seconds, as late as that within each is allowed."""

    def __init__(self, gap: int) -> None:
        self._gap = gap
        self._state = 1

    def next(self, now: int) -> int:
        """Return when it wakes up: by a fixed sequence that looks like chance."""
        self._state = self._state * 1103515245 + 12345 & 0x7FFFFFFF
        return now + 1 + self._state % self._gap


def simulate(years: int, lifetime: int, gap: int, fails: int = 0, days: int | None = None
             ) -> tuple[int, int]:
    """Return how many certificates there were in these years, and the least that one had left
    when it was replaced, in seconds; negative: so long there was none.

    ``fails`` is how often in a row the CA refuses before it issues.
    """
    timer, now, least, count, left = Timer(gap), 0, NEVER, 1, fails
    installed = valid(0, lifetime)
    section = SECTION._replace(min_days=days)
    while now < years * 365 * DAY:
        now = timer.next(now)
        if decide(section, installed, SectionState(), now).due:
            if left:
                left -= 1
                continue
            assert installed.certificate is not None
            least = min(least, installed.certificate.not_after - now)
            installed, count, left = valid(now, now + lifetime), count + 1, fails
    return count, least


LIFETIMES = [HOUR, DAY, 3 * DAY, 6 * DAY, 160 * HOUR, 10 * DAY, 45 * DAY, 47 * DAY, 90 * DAY,
             398 * DAY]


@pytest.mark.parametrize("years", [1, 10])
@pytest.mark.parametrize("lifetime", [time for time in LIFETIMES if time >= DAY])
def test_years_of_renewals(years: int, lifetime: int) -> None:
    """The timer's gap being less than the margin, none expires, and none is renewed too often."""
    gap = min(DAY, int(margin(lifetime, None)) - 1)
    used = time.process_time()
    count, least = simulate(years, lifetime, gap)
    used = time.process_time() - used
    margins = margin(lifetime, None)
    if count > 1:
        assert margins - gap <= least <= margins
    whole = years * 365 * DAY
    assert whole // lifetime <= count <= whole // (lifetime - margins) + 1
    assert used < 0.5 * years, "a year takes milliseconds"


@pytest.mark.alike(3)
@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("share", [0.999, 0.5, 0.1])
def test_never_late_while_the_gap_is_below_the_margin(lifetime: int, share: float) -> None:
    gap = max(1, int(margin(lifetime, None) * share))
    _, least = simulate(max(1, lifetime * 5 // (365 * DAY)), lifetime, gap)
    assert 0 < least < NEVER


def test_late_where_it_is_not() -> None:
    """Else the test above would show nothing."""
    assert simulate(10, 6 * DAY, 7 * DAY)[1] < 0
    assert simulate(10, 90 * DAY, 60 * DAY)[1] < 0
    assert simulate(10, 90 * DAY, 2 * DAY, days=1)[1] < 0


@pytest.mark.parametrize("lifetime, fails", [(DAY, 3), (6 * DAY, 20), (90 * DAY, 200)])
def test_a_ca_that_is_away_for_a_while(lifetime: int, fails: int) -> None:
    """So many attempts fit into the margin."""
    gap = int(margin(lifetime, None)) // (fails + 1)
    assert simulate(1, lifetime, gap, fails)[1] > 0
    assert simulate(3, lifetime, gap, 4 * fails)[1] < 0


@pytest.mark.parametrize("days", [1, 7, 21, 30])
def test_days_of_the_administrators_choice(days: int) -> None:
    count, least = simulate(3, 90 * DAY, DAY - 1, days=days)
    assert (days - 1) * DAY < least <= days * DAY and count >= 12


def test_nothing_is_asked_of_the_system() -> None:
    assert not {"os", "time", "subprocess", "socket"} & set(vars(renewal))
