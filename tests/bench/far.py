"""A CA that is far: a round trip of 100 ms, which a line in between makes (harness/far.py).

Beside us those of the peers that are most in use where a process for each certificate does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.far import THERE, Line
from harness.run import Prefix

from . import ground
from .issuance import Bench

ROUND_TRIP = 0.1     # seconds
RETRY_AFTER = 3      # seconds, that the server asks for
MANY = 50
PEERS = ("lego", "acme-tiny")


def measure(program: Path, prefix: Prefix, peers: Sequence[str] | None, limit: float, repeat: int
            ) -> list[dict[str, Any]]:
    """One certificate and many, validated at once; then one, validated slowly, ``repeat`` times.

    ``program`` is the Pebble.
    """
    chosen = [peer for peer in PEERS if peers is None or peer in peers]
    rows: list[dict[str, Any]] = []
    with Line(ROUND_TRIP):
        for slow in (False, True):
            with ground.pebble(program, RETRY_AFTER, slow, THERE) as server, \
                    ground.trusted(server), Bench(server, prefix, limit, look=False) as bench:
                bench.ours([1] if slow else [1, MANY], repeat if slow else min(3, repeat))
                bench.peers(chosen, [1], repeat if slow else 1)
                rows += [{"slow": slow, **sample._asdict()} for sample in bench.samples]
    return rows
