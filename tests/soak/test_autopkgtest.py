"""The tests of debian/tests, run by autopkgtest(1) on the built packages in each Debian."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run import ROOT
from harness.throwaway import Throwaway

pytestmark = pytest.mark.root

NAMES = re.findall(r"^Features: test-name=(\S+)$", (ROOT / "debian/tests/control").read_text(),
                   re.M)


@pytest.fixture(scope="module", params=["bookworm", "trixie", "sid"])
def debian(request: pytest.FixtureRequest, debs: list[Path]) -> Iterator[Throwaway]:
    """With the release's own autopkgtest; what the tests depend on it installs."""
    made = Throwaway(request.param, ["autopkgtest"], installed=False)
    try:
        (made.path / "srv/new").mkdir()
        for package in debs:
            shutil.copy(package, made.path / "srv/new")
        done = made.run("/usr/bin/apt-get", "-q", "update", network=True)
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.remove()


def test_all_pass(debian: Throwaway) -> None:
    """Status 8 would be a test that was skipped."""
    done = debian.run("/bin/sh", "-c", "exec autopkgtest --no-built-binaries --output-dir=/srv/out"
                      " /srv/new/*.deb /srv/tree/ -- null", network=True)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-12000:]
    summary = (debian.path / "srv/out/summary").read_text()
    assert len(NAMES) >= 2
    assert dict(re.findall(r"^(\S+) +(\S+)$", summary, re.M)) == dict.fromkeys(NAMES, "PASS")
