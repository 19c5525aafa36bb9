"""Killed anywhere (``harness/ordeal.py``): at every call, at every request."""

from collections.abc import Iterator

import pytest

from harness.hostile import Hostile
from harness.ordeal import WHO, Ordeal, ordeal as made_ordeal
from harness.run import Prefix


@pytest.fixture(name="ordeal")
def _ordeal(prefix: Prefix, hostile: Hostile) -> Iterator[Ordeal]:
    with made_ordeal(prefix, hostile) as made:
        yield made


def test_the_master_at_its_calls(ordeal: Ordeal) -> None:
    calls = ordeal.calls()
    assert len(calls) > 50 and {"fsync", "openat", "write"} <= {call.name for call in calls}
    killed = [ordeal.at_call(call) for call in calls]
    assert killed.count(True) > 0.9 * len(calls)


@pytest.mark.parametrize("who", WHO)
def test_anybody_at_a_request(ordeal: Ordeal, who: str) -> None:
    assert ordeal.requests() > 5
    for number in range(ordeal.requests()):
        ordeal.at_request(who, number)
