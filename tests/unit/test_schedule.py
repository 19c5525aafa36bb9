"""Ten years of the shipped timer and cron job, and no certificate that is renewed too late."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import soak
from harness.schedule import CRON, HOUR, MINUTE, TIMER, Schedule, cron, runs, timer
from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.master.plan import renewal
from letsencrypt_tiny.master.store.journal import SectionState

TREE = Path(__file__).resolve().parents[2]
YEARS = 10
LIFETIMES = {"24 h": DAY, "36 h": 36 * HOUR, "160 h": 160 * HOUR, "45 d": 45 * DAY,
             "90 d": 90 * DAY}
# As it was: up to twice twelve hours between two runs
REDRAWN = "OnCalendar=*-*-* 00,12:00:00\nRandomizedDelaySec=12h\n"


def late(schedule: Schedule, lifetime: int, backdated: int = 0, failing: float = 0,
         seed: int = 0) -> tuple[int, int]:
    """Return how many certificates were issued, and before how many the last one had expired.

    ``backdated``: by so many seconds they are valid before; of the runs with something to do a
    share of ``failing`` fails, never two in a row.
    """
    host = random.Random(seed)
    section: Any = SimpleNamespace(min_days=None, identifiers=(), profile="", next_key=False,
                                   in_token=False)
    state, failed = SectionState(), False
    end, issued, expired = 0.0, 0, 0
    for now in runs(schedule, host, YEARS):
        certificate = SimpleNamespace(not_before=end - lifetime, not_after=end, names=(),
                                      der=b"", issuer=b"CA", subject=b"")
        installed: Any = SimpleNamespace(certificate=certificate, missing="", misfit="",
                                         access=())
        if issued and not renewal.decide(section, installed, state, now).due:
            continue
        failed = issued > 0 and not failed and host.random() < failing
        if failed:
            continue
        now += host.uniform(0, 5 * MINUTE)   # an order takes its time
        expired += issued > 0 and now > end
        end, issued = now - backdated + lifetime, issued + 1
    return issued, expired


@pytest.mark.parametrize("lifetime", LIFETIMES.values(), ids=LIFETIMES)
@pytest.mark.parametrize("schedule", [timer(TIMER), cron(CRON)], ids=["timer", "cron"])
@pytest.mark.alike(2)
def test_no_certificate_is_late(schedule: Schedule, lifetime: int) -> None:
    """On some hosts; nor where a run in three fails, and the CA dates back by an hour."""
    for seed in soak.some(range(5), 3):
        for backdated, failing in ((0, 0.0), (HOUR, 1 / 3)):
            issued, expired = late(schedule, lifetime, backdated, failing, seed)
            assert expired == 0
            assert issued > YEARS * 365 * DAY / lifetime   # and they are renewed at all


def test_what_was_late() -> None:
    """A delay that is redrawn, with the same margins and with half of the lifetime."""
    issued, expired = late(timer(REDRAWN), DAY, failing=0.1)
    assert expired > issued / 100


def test_half_of_a_day_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "SHORT", 0)
    issued, expired = late(timer(REDRAWN), DAY)
    assert expired > issued / 20
    assert late(timer(TIMER), DAY, failing=1 / 3)[1] > 0


@pytest.mark.parametrize("schedule", [timer(TIMER), cron(CRON)], ids=["timer", "cron"])
def test_the_greatest_gap(schedule: Schedule) -> None:
    """As letsencrypt-tiny(8) has it."""
    moments = list(runs(schedule, random.Random(1), YEARS))
    gaps = sorted(after - before for before, after in zip(moments, moments[1:]))
    assert gaps[-1] <= 7 * HOUR + MINUTE
    assert gaps[-1 - YEARS] <= 6 * HOUR + MINUTE
    text = (TREE / "man/letsencrypt-tiny.8").read_text()
    assert "never more than six hours and a minute between two runs" in text


def test_margins() -> None:
    """Seconds before the end."""
    for lifetime, margin in ((HOUR, 40 * MINUTE), (DAY, 16 * HOUR), (36 * HOUR, DAY),
                             (2 * DAY, DAY), (160 * HOUR, 80 * HOUR), (10 * DAY, 80 * HOUR),
                             (45 * DAY, 15 * DAY), (90 * DAY, 30 * DAY)):
        assert renewal.margin(lifetime, None) == margin
        assert renewal.margin(lifetime, 7) == 7 * DAY
    assert renewal.margin(2 * DAY - 1, None) > DAY
