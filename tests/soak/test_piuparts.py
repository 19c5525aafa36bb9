"""piuparts(1): installed, upgraded from 1.0 and purged, the packages leave nothing behind."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import packages
from harness.run import ENVIRONMENT, PARENT
from harness.throwaway import Throwaway

pytestmark = [pytest.mark.root, pytest.mark.skipif(
    not os.path.exists("/usr/sbin/piuparts"), reason="piuparts is not installed")]

# With systemd, and with the least that makes users without it: postinst's own directories
BASES = [("bookworm", "systemd"), ("trixie", "systemd"), ("trixie", "systemd-standalone-sysusers")]


@pytest.fixture(params=BASES, ids="-".join)
def debian(request: pytest.FixtureRequest, old_deb: Path) -> Iterator[Throwaway]:
    """All that the packages need is there; apt knows of version 1.0 and of nothing else."""
    release, systemd = request.param
    made = Throwaway(release, [systemd, "cron"], tree=False)
    try:
        (made.path / "srv/old").mkdir()
        shutil.copy(old_deb, made.path / "srv/old")
        packages.archive(made.path / "srv/old")
        shutil.rmtree(made.path / "etc/apt/sources.list.d", ignore_errors=True)
        (made.path / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/old ./\n")
        yield made
    finally:
        made.remove()


def test_nothing_is_left(debian: Throwaway, debs: list[Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="piuparts-", dir=PARENT) as directory:
        done = subprocess.run(
            # what it mounts ends with it
            ["/usr/bin/unshare", "--mount", "--propagation=private", "--", "/usr/sbin/piuparts",
             f"--existing-chroot={debian.path}", f"--tmpdir={directory}", "--keep-sources-list",
             "--no-eatmydata", "--pedantic-purge-test", "--install-remove-install",
             *map(str, debs)], env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=1500, check=False)
        said = done.stdout
        assert done.returncode == 0, said[-6000:]
    assert re.findall(r"INFO: (PASS: .*)", said) == [
        "PASS: Installation and purging test.", "PASS: Installation, upgrade and purging tests.",
        "PASS: All tests."]
    # 1.0 was there before
    assert re.search(r"Unpacking letsencrypt-tiny \(\S+\) over \(1\.0\)", said), said[-6000:]
