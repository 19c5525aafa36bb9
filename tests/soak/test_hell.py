"""The ACME server from hell: each fault alone at each request, once and for ever; random mixes."""

from harness import hell_run
from harness.run import Prefix

JOBS = 6          # much of each case is waiting
MIXES = 500


def test_each_fault_alone(prefix: Prefix) -> None:
    _judge(hell_run.go_through(prefix, hell_run.singles(), JOBS))


def test_mixes(prefix: Prefix) -> None:
    _judge(hell_run.go_through(prefix, hell_run.mixes(MIXES), JOBS))


def _judge(verdicts: list[hell_run.Verdict]) -> None:
    print(hell_run.summary(verdicts))
    bad = [str(verdict) for verdict in verdicts if verdict.wrong]
    assert not bad, "\n".join([hell_run.summary(verdicts), *bad])
