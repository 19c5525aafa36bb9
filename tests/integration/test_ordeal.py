"""Killed anywhere (``harness/ordeal.py``): a sample, and with SOAK=yes every call and request."""

from collections.abc import Iterator

import pytest

from harness.hostile import Hostile
from harness.ordeal import WHO, Ordeal
from harness.run import Prefix, Site
from harness.soak import SOAK

CALLS, REQUESTS = 6, 1    # of the sample


@pytest.fixture(name="ordeal")
def _ordeal(prefix: Prefix, hostile: Hostile) -> Iterator[Ordeal]:
    site = Site(prefix)
    site.open_account(hostile)
    yield Ordeal(site, hostile)
    site.remove()


def sample(number: int, wanted: int) -> list[int]:
    """Return some of ``number`` things, from first to last; all of them where it may last."""
    if SOAK or wanted >= number:
        return list(range(number))
    return [index * (number - 1) // max(wanted - 1, 1) for index in range(wanted)]


def test_the_master_at_its_calls(ordeal: Ordeal) -> None:
    calls = ordeal.calls()
    assert len(calls) > 50 and {"fsync", "openat", "write"} <= {call.name for call in calls}
    for index in sample(len(calls), CALLS):
        ordeal.at_call(calls[index])


@pytest.mark.parametrize("who", WHO)
def test_anybody_at_a_request(ordeal: Ordeal, who: str) -> None:
    """Once newOrder is done there is an order that nobody has heard of."""
    assert ordeal.requests() > 5
    for number in range(ordeal.requests()) if SOAK else ordeal.after("newOrder")[:REQUESTS]:
        ordeal.at_request(who, number)
