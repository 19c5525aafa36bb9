"""A client that stops itself: the master waits a minute, then ends the run.

Too slow for the suite, where it has less patience: run it with tests/check.sh soak.
"""

from harness import ca, frozen
from harness.run import Prefix

GRACE = 60   # master/peers/watchdog.py


def test_frozen_client(prefix: Prefix, hostile_ca: ca.CA) -> None:
    with frozen.field(prefix, hostile_ca) as field:
        frozen.freeze(field, GRACE)
