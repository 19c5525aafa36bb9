"""A DNS updater that has been taken over and does nothing, not even end."""

import pytest

from harness.pebble import Pebble
from harness.run import Site
from harness.verdict import only_error

FROZEN = """#!/usr/bin/python3 -I
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.root
def test_a_frozen_updater(site: Site, pebble: Pebble) -> None:
    """The run ends, in one line, and leaves nothing behind."""
    site.use(pebble)
    site.genkey()
    program = site.write("dns", FROZEN)
    program.chmod(0o755)
    site.main["dns"] = {"server": "127.0.0.9", "command": str(program), "update-timeout": "1"}
    assert site.register().returncode == 0
    site.certificate("a", ["a.example"], challenge="dns-01")
    done = site.run("newOrder", timeout=120)
    assert only_error(done) == "error: a: a.example: dns-01: the DNS updater says nothing any more"
    assert list((site.lib / "state").glob("dns-*")) == []
