"""Some of a run's system calls fail, one at a time; all of them in tests/soak/test_injected.py."""

from harness.hostile import Hostile
from harness.injected import injected
from harness.run import Prefix

# of each kind of call as many, evenly over the run
EACH = {"write": 1, "fsync": 1, "renameat": 1, "openat": 1, "vfork": 1}


def test_some_calls_fail(prefix: Prefix, hostile: Hostile) -> None:
    with injected(prefix, hostile) as faults:
        for name, count in EACH.items():
            calls = [call for call in faults.calls if call.name == name]
            for number in range(count):
                call = calls[(2 * number + 1) * len(calls) // (2 * count)]
                faults.fail(call, call.errors[number % len(call.errors)])
