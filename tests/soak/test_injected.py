"""Each system call of a run fails, one at a time, in each way that it can (harness/injected.py)."""

import pytest

from harness.hostile import Hostile
from harness.injected import Call, Injected, injected
from harness.run import Prefix

PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_each_call_fails(part: int, prefix: Prefix, hostile: Hostile) -> None:
    with injected(prefix, hostile) as faults:
        work = [(call, error) for call in faults.calls for error in call.errors]
        bad = [told for call, error in work[part::PARTS]
               if (told := _fault(faults, call, error))]
    print(f"{len(work[part::PARTS])} of {len(work)}: {len(bad)} bad")
    assert not bad, "\n\n".join(bad)


def _fault(faults: Injected, call: Call, error: str) -> str:
    try:
        faults.fail(call, error)
    except AssertionError as exc:
        return str(exc)
    return ""
