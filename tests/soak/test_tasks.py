"""The other clients' cells of TASKS.md, typed in a Debian 13 that has them."""

import re
from collections.abc import Iterator

import pytest

from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

PACKAGES = ("acme.sh", "acme-tiny", "certbot", "cron", "curl", "dehydrated", "jq", "lego",
            "nginx", "socat", "strace", "systemd")


@pytest.fixture(scope="module")
def debian() -> Iterator[Throwaway]:
    made = Throwaway("trixie", PACKAGES)
    yield made
    made.remove()


def test_others(debian: Throwaway) -> None:
    done = debian.test("/srv/tree/tests/servers/test_others.py")
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0 and passed and passed[1] == "3", done.stdout + done.stderr


def test_imported(debian: Throwaway) -> None:
    """What those that Debian 13 has leave, acme.sh among them, which Debian 12 hasn't."""
    done = debian.test("/srv/tree/tests/soak/test_imported.py")
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0 and passed and passed[1] == "7", done.stdout + done.stderr
