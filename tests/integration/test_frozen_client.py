"""A client that stops itself (SIGSTOP).  The master waits less here; tests/soak has its minute."""

from collections.abc import Iterator

import pytest

from harness import ca, frozen
from harness.run import Prefix, Users

GRACE = 2


@pytest.fixture
def hasty(users: Users) -> Iterator[Prefix]:
    """The tree, installed, but for the master's patience."""
    installed = Prefix()
    path = installed.package / "master/peers/watchdog.py"
    text = path.read_text()
    assert "\nGRACE = 60 " in text
    path.write_text(text.replace("\nGRACE = 60 ", f"\nGRACE = {GRACE} "))
    yield installed
    installed.remove()


def test_frozen_client(hasty: Prefix, hostile_ca: ca.CA) -> None:
    """The run ends, the client is gone, and so is the rule that opened the port."""
    with frozen.field(hasty, hostile_ca) as field:
        frozen.freeze(field, GRACE)
