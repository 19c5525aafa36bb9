"""When what has failed is tried again."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from letsencrypt_tiny.common.clock import DAY
from letsencrypt_tiny.common.x509.certificate import Certificate
from letsencrypt_tiny.master.commands.waits import Waits
from letsencrypt_tiny.master.plan import backoff, lifecycle
from letsencrypt_tiny.master.plan.lifecycle import Facts
from letsencrypt_tiny.master.settings import certificates, main
from letsencrypt_tiny.master.settings.certificates import Section
from letsencrypt_tiny.master.settings.main import Config
from letsencrypt_tiny.master.store.journal import SectionState
from letsencrypt_tiny.master.store.outages import MAX_FAILURES, Outages

NOW = 1_800_000_000
CA = "https://ca.example/dir"
HOUR = 3600


def near(seconds: int, step: int) -> bool:
    """Whether that is a step, give or take the jitter."""
    return abs(seconds - step) <= step / backoff.JITTER / 2 + 1


@pytest.mark.parametrize("steps", [backoff.SECTION, backoff.AUTHORITY])
def test_ever_later(steps: tuple[int, ...]) -> None:
    for failures in range(1, 12):
        step = steps[min(failures, len(steps)) - 1]
        assert all(near(backoff.pause(steps, failures, f"host{number}"), step)
                   for number in range(100))
        assert len({backoff.pause(steps, failures, f"host{number}") for number in range(50)}) > 5
        assert len({backoff.pause(steps, failures, "host") for _ in range(5)}) == 1
    assert backoff.pause(steps, 0, "host") == 0


def test_the_steps() -> None:
    assert backoff.SECTION == (60, 600, 6000, DAY)
    # the first run of each period of the timer asks
    assert backoff.AUTHORITY[-1] * (1 + 1 / backoff.JITTER / 2) < 6 * HOUR


def test_never_longer_than_a_third_of_what_is_left() -> None:
    for left in (60, HOUR, 3 * HOUR, DAY, 90 * DAY):
        for seconds in (60, 600, 6000, DAY):
            moment = backoff.moment(NOW, seconds, NOW, NOW + left)
            assert moment - NOW == min(seconds, left // 3) or moment == 0
    assert backoff.moment(NOW, DAY, NOW, NOW - 1) == 0        # nothing is left
    assert backoff.moment(NOW, DAY, NOW) == NOW + DAY


def test_over_and_of_a_clock_gone_wrong() -> None:
    assert backoff.moment(NOW - 60, 60, NOW) == 0 and backoff.moment(NOW - 59, 60, NOW) == NOW + 1
    assert backoff.moment(NOW + 1, DAY, NOW) == 0


class Ground(NamedTuple):
    """What waits are computed from."""

    config: Config
    section: Section
    state: Path


@pytest.fixture(name="ground")
def _ground(tmp_path: Path) -> Ground:
    (tmp_path / "main.conf").write_text(f"library-directory = {tmp_path}/lib\n"
                                        f"[client]\nserver = {CA}\n")
    (tmp_path / "certs.conf").write_text("[a]\nnames = a.example\n[b]\nnames = b.example\n")
    config = main.load(str(tmp_path / "main.conf"))
    found = certificates.load(config, [str(tmp_path / "certs.conf")])
    state = tmp_path / "lib/state"
    state.mkdir(parents=True, mode=0o700)
    (tmp_path / "lib").chmod(0o755)
    return Ground(config, found.sections["a"], state)


def certificate(ends: int) -> Certificate:
    return Certificate(b"", b"", b"", b"", (), NOW - DAY, ends, b"", frozenset(), None, None,
                       False, ())


def failing(ground: Ground, times: int, when: int = NOW) -> SectionState:
    """The state of a section whose orders have failed so often in a row."""
    state, facts = SectionState(), Facts(failed=when, why="no such name",
                                         wish=backoff.wish(ground.section))
    for _ in range(times):
        _, state = lifecycle.step(lifecycle.ORDERING, lifecycle.REFUSED, state, facts)
    return state


@pytest.mark.parametrize("times, step", [(1, 60), (2, 600), (3, 6000), (4, DAY), (40, DAY)])
def test_a_section_that_fails(ground: Ground, times: int, step: int) -> None:
    state = failing(ground, times)
    wait = Waits(ground.config).of(ground.section, state, None, NOW + 1)
    assert wait is not None and near(wait.moment - NOW, step) and "no such name" in wait.why
    assert (f"{times} times in a row" in wait.why) is (times > 1)
    assert Waits(ground.config).of(ground.section, state, None, NOW + 2 * step) is None
    # who sits at the terminal doesn't wait
    assert Waits(ground.config, asked_only=True).of(ground.section, state, None, NOW + 1) is None


def test_other_wishes_need_not_wait(ground: Ground) -> None:
    state = failing(ground, 3)
    for change in ({"identifiers": (("dns", "c.example"),)}, {"challenges": ("dns-01",)},
                   {"issuers": ("buypass",)}, {"key_type": "rsa:4096"}):
        other = ground.section._replace(**change)    # type: ignore[arg-type]
        assert Waits(ground.config).of(other, state, None, NOW + 1) is None
        # … and their failures are counted anew
        _, again = lifecycle.step(lifecycle.ORDERING, lifecycle.REFUSED, state, Facts(
            failed=NOW, wish=backoff.wish(other)))
        assert again.failures == 1
    same = ground.section._replace(notify="true")
    assert Waits(ground.config).of(same, state, None, NOW + 1) is not None


def test_what_is_installed_is_no_failure_any_more(ground: Ground) -> None:
    state = failing(ground, 3)
    _, state = lifecycle.step(lifecycle.INSTALLING, lifecycle.WRITTEN, state, Facts())
    assert (state.failures, state.failed, state.why, state.wish) == (0, 0, None, None)


def test_little_is_left(ground: Ground) -> None:
    state, waits = failing(ground, 9), Waits(ground.config)
    wait = waits.of(ground.section, state, certificate(NOW + 3 * HOUR), NOW + 1)
    assert wait is not None and wait.moment == NOW + HOUR
    # what has ended is as none
    wait = waits.of(ground.section, state, certificate(NOW - 1), NOW + 1)
    assert wait is not None and near(wait.moment - NOW, DAY)


def test_what_was_issued_waits_for_nobody(ground: Ground) -> None:
    state = failing(ground, 3)._replace(kept=NOW)
    Outages(str(ground.state)).failed(CA, "refused", NOW)
    assert Waits(ground.config).of(ground.section, state, None, NOW + 1) is None


def test_a_server_that_said_when(ground: Ground) -> None:
    """Its word holds, shorter or longer, within a day."""
    waits = Waits(ground.config)
    for seconds in (5, HOUR, DAY - 10):
        state = failing(ground, 3)._replace(not_before=NOW + seconds)
        wait = waits.of(ground.section, state, None, NOW + 1)
        assert wait is not None and wait.moment == NOW + seconds and "CA asked" in wait.why
    state = failing(ground, 3)._replace(not_before=NOW + 20 * HOUR)
    wait = waits.of(ground.section, state, certificate(NOW + 3 * HOUR), NOW + 1)
    assert wait is not None and wait.moment == NOW + HOUR


def test_a_ca_that_is_down(ground: Ground) -> None:
    for times, step in enumerate([60, 600, 6000, 5 * HOUR, 5 * HOUR], 1):
        Outages(str(ground.state)).failed(CA, "cannot connect", NOW)
        wait = Waits(ground.config).of(ground.section, SectionState(), None, NOW + 1)
        assert wait is not None and near(wait.moment - NOW, step), times
        assert "ca.example is out of order since" in wait.why and "cannot connect" in wait.why
    wait = Waits(ground.config).of(ground.section, SectionState(), certificate(NOW + 60), NOW + 1)
    assert wait is not None and wait.moment == NOW + 20
    Outages(str(ground.state)).well(CA)
    assert Waits(ground.config).of(ground.section, SectionState(), None, NOW + 1) is None


def test_one_of_several_is_well(ground: Ground) -> None:
    both = ground.section._replace(issuers=("", "letsencrypt"))
    Outages(str(ground.state)).failed(CA, "down", NOW)
    assert Waits(ground.config).of(both, SectionState(), None, NOW + 1) is None
    Outages(str(ground.state)).failed("https://acme-v02.api.letsencrypt.org/directory", "down",
                                      NOW)
    wait = Waits(ground.config).of(both, SectionState(), None, NOW + 1)
    assert wait is not None and wait.moment - NOW < 70


def test_what_is_remembered_of_cas(tmp_path: Path) -> None:
    outages = Outages(str(tmp_path))
    assert outages.of(CA) is None
    outages.failed(CA, "no\x1b" + "x" * 5000, NOW)
    outages.failed(CA, "why", NOW + 5)
    outages.failed("https://other.example", "why", NOW + 5)
    found = Outages(str(tmp_path)).of(CA)
    assert found == (NOW, NOW + 5, 2, "why", "")
    outages.failed(CA, "why", NOW + 6, '{"newNonce": 1}')
    outages.failed(CA, "why", NOW + 7)       # it was not had again
    assert outages.of(CA) == (NOW, NOW + 7, 4, "why", '{"newNonce": 1}')
    outages.failed(CA, "why", NOW - DAY)     # the clock was ahead
    assert outages.of(CA) == (NOW - DAY, NOW - DAY, 1, "why", "")
    outages.well(CA)
    assert Outages(str(tmp_path)).of(CA) is None
    assert Outages(str(tmp_path)).of("https://other.example") is not None
    text = json.dumps({CA: {"since": 1, "last": 1, "failures": MAX_FAILURES + 1, "why": ""}})
    for text in (text, "[]", "{", '{"%s": 3}' % CA, '{"%s": {"since": "x"}}' % CA):
        (tmp_path / "outages.json").write_text(text)
        assert Outages(str(tmp_path)).of(CA) is None


def test_a_long_reason_is_read_again(tmp_path: Path) -> None:
    for why in ("\U000e0001" * 5000, "x" * 5000):
        Outages(str(tmp_path)).failed(CA, why, NOW)
        assert Outages(str(tmp_path)).of(CA) is not None
    found = Outages(str(tmp_path)).of(CA)
    assert found is not None and 400 < len(found.why) < 600


@pytest.mark.parametrize("period", [1, 6])
def test_a_week_of_outage(ground: Ground, period: int) -> None:
    """Two hundred sections are due: how often the CA is asked, and when it is noticed that it is
    well again.  How many requests that is, integration/test_outage.py counts."""
    sections = [(ground.section._replace(name=str(number)),
                 certificate(NOW + 20 * DAY + number * DAY // 20)) for number in range(200)]
    now, asked, week = NOW, 0, 7 * DAY
    while now < NOW + week:
        waits = Waits(ground.config)
        if any(waits.of(section, SectionState(), installed, now) is None
               for section, installed in sections):
            asked += 1
            Outages(str(ground.state)).failed(CA, "down", now)
        now += period * HOUR
    assert 25 <= asked <= (31 if period == 6 else 36)
    # it is well again: the first run that comes a period of the timer later asks
    later = now + 6 * HOUR
    assert all(Waits(ground.config).of(section, SectionState(), installed, later) is None
               for section, installed in sections)
