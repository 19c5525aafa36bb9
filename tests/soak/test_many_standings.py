"""Ten thousand sections: to look at them takes little longer than a run in which nothing is due."""

import json
import resource

import pytest

from harness.machine import Machine
from harness.standing import Ground

pytestmark = pytest.mark.root

SECTIONS = 10_000


def seconds(machine: Machine, *arguments: str) -> tuple[float, str]:
    """Return the CPU time that a run takes, and what it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = machine.run(*arguments, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and done.stderr == "", done.stderr[:500]
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), done.stdout


def test_ten_thousand(machine: Machine) -> None:
    """In each form.  What is compared here is CPU time, so other work does little to it."""
    ground = Ground(machine)
    ground.stands("a", 30, names=("a.example",))
    ground.copies("a", SECTIONS - 1)
    ground.compared()
    usual, _ = seconds(machine, "--quiet", "newOrder")
    for arguments, most in (((), 2), (("--json",), 2.5), (("--check",), 2), (("--metrics=-",), 2)):
        spent, text = seconds(machine, "status", *arguments)
        print(f"{spent:.1f} s, a run {usual:.1f} s: status {' '.join(arguments)}")
        assert spent < most * usual, arguments
        if arguments == ("--json",):
            assert len(json.loads(text)["sections"]) == SECTIONS
    assert SECTIONS == text.count("letsencrypt_tiny_certificate_info{")
