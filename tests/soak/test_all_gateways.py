"""Each of 25 faults at each request: once, for a whole run, and after the request was heeded.

A choice of them is in tests/integration/test_gateways.py.
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


@pytest.mark.parametrize("case", gateways.ONCE, ids="-".join)
def test_one_wrong_answer(server: Hostile, csr: bytes, case: Case) -> None:
    gateways.meet_once(server, csr, *case)


@pytest.mark.parametrize("case", gateways.WHOLE_RUN, ids="-".join)
def test_nothing_but_wrong_answers_for_a_run(server: Hostile, csr: bytes, case: Case) -> None:
    gateways.meet_for_a_run(server, csr, *case)


@pytest.mark.parametrize("case", gateways.HEEDED, ids=repr)
def test_a_wrong_answer_to_what_was_heeded(server: Hostile, csr: bytes, case: Heeded) -> None:
    gateways.meet_after_it_was_heeded(server, csr, *case)
