"""The other clients' cells of TASKS.md, typed in a Debian 13 that has them."""

import re
from collections.abc import Iterator

import pytest

from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

PACKAGES = ("acme.sh", "certbot", "cron", "curl", "jq", "lego", "nginx", "socat", "systemd")


@pytest.fixture(scope="module")
def debian() -> Iterator[Throwaway]:
    made = Throwaway("trixie", PACKAGES)
    yield made
    made.remove()


def test_others(debian: Throwaway) -> None:
    done = debian.test("/srv/tree/tests/servers/test_others.py")
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0 and passed and passed[1] == "3", done.stdout + done.stderr
