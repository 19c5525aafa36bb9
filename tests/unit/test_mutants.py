"""The table of make mutants is in step with the code, and its tests with SECURITY.md."""

from pathlib import Path

import pytest

import mutants
from harness.claims import Mutant
from harness.claims_told import SAID
from mutants import TABLE

TEXT = (Path(__file__).resolve().parents[2] / "SECURITY.md").read_text()


@pytest.mark.parametrize("mutant", TABLE, ids=lambda mutant: f"{mutant.file}-{mutant.claim}")
def test_each_row_can_be_tried(mutant: Mutant) -> None:
    assert mutants.fault(mutant) == "" and mutant.old != mutant.new and mutant.tests


def test_faults_are_found() -> None:
    row = TABLE[0]
    assert "0 times" in mutants.fault(row._replace(old="no such text"))
    assert mutants.fault(row._replace(old="os")).endswith("times")
    assert mutants.fault(row._replace(file="none.py")) == "no none.py"
    assert mutants.fault(row._replace(tests=("unit/test_mutants.py::test_none",))) \
        == "no test unit/test_mutants.py::test_none"


def test_what_is_named_is_named_in_the_document() -> None:
    """Nearly: beside a claim's own test stands what shows a part of it.  What is said to users
    is claimed by the man pages."""
    named = [test.partition("::")[2] for mutant in TABLE if mutant not in SAID
             for test in mutant.tests]
    assert sum(f"`{test}`" in TEXT for test in named) > 0.8 * len(named)
