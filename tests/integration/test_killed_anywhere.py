"""Killed anywhere (``harness/ordeal.py``): a sample of what ``soak/test_ordeal.py`` tries."""

from collections.abc import Iterator

import pytest

from harness.hostile import Hostile
from harness.ordeal import WHO, Ordeal, ordeal as made_ordeal
from harness.run import Prefix

CALLS = 4


@pytest.fixture(name="ordeal")
def _ordeal(prefix: Prefix, hostile: Hostile) -> Iterator[Ordeal]:
    with made_ordeal(prefix, hostile) as made:
        yield made


def test_the_master_at_some_calls(ordeal: Ordeal) -> None:
    """From the first to the last that changes a file."""
    calls = ordeal.calls()
    assert len(calls) > 50
    for number in range(CALLS):
        ordeal.at_call(calls[number * (len(calls) - 1) // (CALLS - 1)])


@pytest.mark.alike(2)
@pytest.mark.parametrize("who", WHO)
def test_anybody_as_an_order_is_made(ordeal: Ordeal, who: str) -> None:
    """Once newOrder is done there is an order that nobody has heard of."""
    ordeal.at_request(who, ordeal.number("newOrder"))
