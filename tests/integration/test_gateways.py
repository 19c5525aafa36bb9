"""html-502, cut-header and 23 more that a gateway may answer, once or for a whole run.

Each fault meets two requests, each request several faults; tests/soak/test_all_gateways.py has
all of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import gateways
from harness.gateways import Case, Heeded
from harness.hostile import Hostile


@pytest.fixture(scope="module")
def csr() -> bytes:
    """Of a key that stays the same."""
    return gateways.request()


@pytest.fixture
def server(hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.chdir(tmp_path)
    gateways.prepare(hostile)
    yield hostile


@pytest.mark.parametrize("case", gateways.some(0), ids="-".join)
def test_one_wrong_answer(server: Hostile, csr: bytes, case: Case) -> None:
    gateways.meet_once(server, csr, *case)


@pytest.mark.parametrize("case", gateways.some(4), ids="-".join)
def test_nothing_but_wrong_answers_for_a_run(server: Hostile, csr: bytes, case: Case) -> None:
    gateways.meet_for_a_run(server, csr, *case)


@pytest.mark.parametrize("case", gateways.some_heeded(), ids=repr)
def test_a_wrong_answer_to_what_was_heeded(server: Hostile, csr: bytes, case: Heeded) -> None:
    gateways.meet_after_it_was_heeded(server, csr, *case)


def test_what_is_chosen() -> None:
    """Each fault twice at least, each request twice at least, of all there are."""
    chosen = gateways.some(0) + gateways.some(4)
    assert len(gateways.FAULTS) == 25 and len(set(chosen)) == 50
    assert set(chosen) <= set(gateways.ONCE)
    for index, names in enumerate((gateways.REQUESTS, gateways.FAULTS)):
        met = [case[index] for case in chosen]
        assert all(met.count(name) >= 2 for name in names)
    assert set(gateways.some_heeded()) <= set(gateways.HEEDED)
