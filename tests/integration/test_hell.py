"""A few of the faults of the server from hell; all of them are tests/soak/test_hell.py's."""

import pytest

from harness import hell_run
from harness.hell_run import Case, Rule
from harness.run import Prefix

SAMPLE = {
    "authz": ("token of a path",), "finalize": ("closed",), "certificate": ("other key",),
    "connection": ("reset in the handshake",)}


def cases() -> list[Case]:
    """Each for ever."""
    return [Case(f"{kind}-{fault}", (Rule(kind, fault, "alpha" if kind in (
        "newOrder", "authz", "challenge", "finalize", "order", "certificate") else ""),))
        for kind, faults in SAMPLE.items() for fault in faults]


def test_some(prefix: Prefix) -> None:
    verdicts = hell_run.go_through(prefix, cases(), jobs=4)
    bad = [str(verdict) for verdict in verdicts if verdict.wrong]
    assert not bad, "\n".join([hell_run.summary(verdicts), *bad])


@pytest.mark.parametrize("seed", [1, 2])
def test_seeds(seed: int) -> None:
    """A mix can be had again; there are as many cases as are promised."""
    assert list(hell_run.mixes(20, seed)) == list(hell_run.mixes(20, seed))
    assert len(list(hell_run.singles())) >= 500
