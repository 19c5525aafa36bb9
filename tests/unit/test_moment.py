"""When status says that a certificate is renewed, decide() finds it due, and not before."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from letsencrypt_tiny.common.clock import DAY, parse_timestamp, timestamp
from letsencrypt_tiny.common.x509.certificate import Certificate
from letsencrypt_tiny.master.plan import ari, moment, renewal
from letsencrypt_tiny.master.store.journal import SectionState
from letsencrypt_tiny.master.store.renewals import NOTHING, Renewal

HOUR = 3600
LIFETIMES = (DAY, 47 * HOUR, 3 * DAY, 160 * HOUR, 10 * DAY, 45 * DAY, 90 * DAY, 398 * DAY)
BEGIN = 1000 * DAY


def decide(section: Any, certificate: Certificate, installed: int, now: float, known: Renewal
           ) -> renewal.Due:
    found: Any = SimpleNamespace(certificate=certificate, missing="", misfit="", access=())
    return renewal.decide(section, found, SectionState(installed=installed), now, known=known)


def certified(lifetime: int) -> Certificate:
    values: Any = {"not_before": BEGIN, "not_after": BEGIN + lifetime - 1, "issuer": b"CA",
                   "subject": b"", "names": ()}
    return Certificate(**{name: values.get(name) for name in Certificate._fields})


def one(dice: random.Random) -> tuple[Any, Certificate, Renewal, int]:
    """Return a section, its certificate, what the CA said of it and when it was installed."""
    lifetime = dice.choice(LIFETIMES)
    section: Any = SimpleNamespace(min_days=dice.choice((None, None, 1, lifetime // DAY // 2)),
                                   identifiers=(), profile="", next_key=False, in_token=False)
    known = NOTHING
    if dice.random() < 0.7:
        start = BEGIN + int(lifetime * dice.uniform(-0.2, 1.2))
        end = start + int(lifetime * dice.uniform(0, 0.2)) + 1
        known = Renewal("x", BEGIN + lifetime, start, end, dice.randint(start, end))
        if dice.random() < 0.3:
            known = known._replace(used_start=1, used_end=2)
        elif dice.random() < 0.1:
            known = known._replace(used_start=start, used_end=end)
    return section, certified(lifetime), known, BEGIN + dice.choice((0, HOUR))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_then(seed: int) -> None:
    """Not earlier than the last run before it, whatever the CA suggests and the section says."""
    dice, early, suggested = random.Random(seed), 0, set()
    for _ in range(1000):
        section, certificate, known, installed = one(dice)
        enough = decide(section, certificate, installed, installed, known).enough
        assert enough is not None
        found = moment.moment(section, certificate, enough, known, installed)
        suggested.add(found.why)
        at = max(found.at, installed)
        assert decide(section, certificate, installed, at, known).due, (found, known, section)
        before = at - ari.RUNS - 1
        if before > installed:
            early += 1
            verdict = decide(section, certificate, installed, before, known)
            assert not verdict.due, (found, known, section, verdict)
    assert early > 500 and len(suggested) >= 6


def test_why() -> None:
    for lifetime, share in ((90 * DAY, "a third"), (160 * HOUR, "half"), (DAY, "two thirds")):
        section: Any = SimpleNamespace(min_days=None, identifiers=(), profile="", next_key=False,
                                       in_token=False)
        certificate = certified(lifetime)
        enough = decide(section, certificate, BEGIN, BEGIN, NOTHING).enough
        assert enough is not None
        assert moment.moment(section, certificate, enough, NOTHING, BEGIN).why == \
            f"{share} of its lifetime is left then"
        section.min_days = 0
        assert decide(section, certificate, BEGIN, BEGIN, NOTHING).enough == 0


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "2026-11-23T08:00:09Z",
                                  "9999-12-31T23:59:59Z", "0987-01-01T00:00:00Z"])
def test_timestamps(text: str) -> None:
    found = parse_timestamp(text)
    assert found is not None and timestamp(found) == text
    assert timestamp(1 << 40) == "9999-12-31T23:59:59Z", "there are no five digits (RFC 3339)"
