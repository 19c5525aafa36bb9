"""A CA at the end of a long line: as many connections as are worth it, and no request more."""

from collections.abc import Iterator

import pytest

from harness.client import Master, Outcome
from harness.far import THERE, Line
from harness.pebble import Pebble
from harness.run import Users
from letsencrypt_tiny.client.distance import FEW, MANY
from letsencrypt_tiny.common.wire.order import Issued

pytestmark = pytest.mark.root
ROUND_TRIP = 0.1


@pytest.fixture(scope="module")
def far() -> Iterator[Pebble]:
    with Line(ROUND_TRIP), Pebble(nosleep=True, noncereject=0, authzreuse=0, host=THERE) as server:
        yield server


@pytest.fixture
def master(users: Users, far: Pebble) -> Iterator[Master]:
    with Master.made() as made:
        made.use(far)
        made.register()
        yield made


def issued(master: Master, count: int) -> Outcome:
    """Have so many certificates issued, of one name each."""
    outcome = master.run(*(master.order(f"far{number}.example") for number in range(count)))
    assert outcome.status == 0 and len(outcome.of(Issued)) == count, outcome
    return outcome


def test_many_orders_at_a_far_server(master: Master) -> None:
    outcome = issued(master, 30)
    assert outcome.connections == MANY
    # connections are there, and have a nonce, while the first order is asked for: but for the odd
    # one, which a busy machine comes to later
    asked = [line for line in outcome.stderr.splitlines() if "/nonce-plz" in line
             or "/order-plz" in line]
    assert sum("/nonce-plz" in line for line in asked[:MANY]) >= MANY * 3 // 4


def test_few_orders_at_a_far_server(master: Master) -> None:
    """No more connections than orders, nor than there are for a near one."""
    assert issued(master, 3).connections <= 3
    assert FEW <= issued(master, 6).connections <= 6


def test_jobs_is_never_exceeded(master: Master) -> None:
    master.access["jobs"] = 2
    assert issued(master, 30).connections == 2


def test_a_near_server_has_few(users: Users, pebble_tame: Pebble) -> None:
    with Master.made() as made:
        made.use(pebble_tame)
        made.register()
        assert issued(made, 30).connections <= FEW
