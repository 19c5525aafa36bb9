"""What the benchmark says of two trees: by pairs, and by minima."""

import pytest

from bench import against
from bench.against import Figure, Two


@pytest.mark.parametrize("now, verdict", [
    ([10, 11, 12], ""), ([9, 9, 9], ""), ([10.2, 11.2, 12.2], ""),
    ([10.5, 11.5, 12.5], "**worse**"),   # of each pair, and at best
    ([10, 13, 14], "unclear"),           # one run was as good
    ([10.5, 10, 11], "")])               # a pair was disturbed
def test_verdict(now: list[float], verdict: str) -> None:
    assert Figure("x", "ms", [10, 11, 12], now).verdict == verdict


def test_trees_take_turns() -> None:
    """Each is the first of a pair as often as the other; the first pair is not counted."""
    seen: list[str] = []

    def once(which: str, cost: float) -> against.Once:
        def measure() -> dict[str, float]:
            seen.append(which)
            return {"ms": cost + len(seen)}
        return measure
    figure, = against._alternate("x", 2, Two(once("then", 0), once("now", 100)))
    assert "".join(which[0] for which in seen) == "tnnttn"
    assert (figure.then, figure.now) == ([4, 5], [103, 106])
