"""Several CAs in one run, each with a client of its own; the next one where the first can't."""

import json
import re
import subprocess
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import judge, proc, sid
from harness.hostile import Hostile, Response
from harness.judge import INSTALLED, NEW, expect
from harness.net import free_port
from harness.pebble import Pebble
from harness.run import Server, Site

PROFILES = {"default": {"description": "ninety days", "validityPeriod": 7776000},
            "short": {"description": "six days", "validityPeriod": 518400}}
ASKED = r"\(name the section to try all the same\)"


@pytest.fixture(scope="module")
def program() -> Path:
    """A Pebble that has profiles."""
    try:
        return sid.program("pebble")
    except (OSError, subprocess.SubprocessError) as exc:
        pytest.skip(f"pebble of Debian sid can't be had: {exc}")


@pytest.fixture(scope="module")
def first(program: Path) -> Iterator[Pebble]:
    with Pebble(nosleep=True, authzreuse=0, program=program,
                config={"profiles": PROFILES}) as server:
        yield server


@pytest.fixture(scope="module")
def second(program: Path, first: Pebble) -> Iterator[Pebble]:
    with Pebble(nosleep=True, authzreuse=0, program=program, http_port=first.http_port) as server:
        yield server


@pytest.fixture
def two(site: Site, first: Pebble, second: Pebble) -> Site:
    """A site with an account at both, of one key; the second one is [ca other]."""
    site.use(first)
    add(site, "other", second)
    site.genkey()
    done = site.register()
    assert done.returncode == 0, done.stderr
    return site


def add(site: Site, name: str, server: Server) -> None:
    """Configure another CA, whose roots are as good as those there are."""
    site.main[f"ca {name}"] = {"server": server.directory, "ca-file": str(server.ca_file)}
    trusted = site._ca_file
    assert trusted is not None
    both = site.etc / f"roots-{name}.pem"
    both.write_text(trusted.read_text() + server.roots().read_text())
    site._ca_file = both
    for settings in site.certs.values():
        settings["CAfile"] = str(both)


def issuer(site: Site, section: str) -> str:
    """Return the directory that a section's certificate is remembered to be of."""
    found = json.loads((site.lib / f"state/cert-{section}.json").read_text())["issuer"]
    assert isinstance(found, str)
    return found


def host(server: Server) -> str:
    """Return what a CA without a name is called."""
    return server.directory.split("/")[2]


# --- both at once --------------------------------------------------------------------------------

def test_two_in_one_run(two: Site, first: Pebble, second: Pebble) -> None:
    """Each has a client with a policy of its own, and a room for its challenge files."""
    two.certificate("a", ["a.example"])
    two.certificate("b", ["b.example"], ca="other")
    done = two.watch("newOrder", "--debug")
    assert done.returncode == 0, done.stderr
    assert issuer(two, "a") == first.directory and issuer(two, "b") == second.directory
    clients = done.of("client")
    assert len(clients) == 2 and len(done.of("accountd")) == 2
    assert len(done.of("webserver")) == 1
    rooms = {process.cwd for process in clients}
    assert len(rooms) == 2 and len({Path(room).parent for room in rooms}) == 1
    # nothing is due, and both know it
    expect(two.run("newOrder"), 0, "a: valid until .*", "b: valid until .*")
    two.certs["b"]["ca"] = "default"
    expect(two.run("newOrder", "b"), 0, f"b: its CA has changed, from {re.escape(second.directory)}",
           "b: certificate installed, .*")
