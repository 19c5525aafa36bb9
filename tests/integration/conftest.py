"""A site with a certificate, to which something bad is about to happen; the newest CA."""

import subprocess
from collections.abc import Iterator

import pytest

from harness import ca, sid
from harness.hostile import Hostile
from harness.pebble import Pebble
from harness.run import Prefix, Site


@pytest.fixture(scope="module")
def server(hostile_ca: ca.CA) -> Iterator[Hostile]:
    with Hostile(authority=hostile_ca) as running:
        yield running


@pytest.fixture(scope="module")
def ready(prefix: Prefix, server: Hostile) -> Iterator[Site]:
    """A site with a certificate."""
    site = Site(prefix)
    site.use(server)
    site.genkey()
    site.certificate("a", ["a.example"])
    assert site.register().returncode == 0
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    yield site
    site.remove()


@pytest.fixture
def good(ready: Site, server: Hostile) -> Iterator[Site]:
    """The site; its configuration is restored after the test, and so is the server's behaviour."""
    def copy(sections: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {name: dict(settings) for name, settings in sections.items()}
    saved = copy(ready.main), copy(ready.certs), copy(ready.accountd)
    server.requests.clear()
    yield ready
    ready.main, ready.certs, ready.accountd = saved
    ready._written.clear()
    server.on.clear()


@pytest.fixture(scope="module")
def newest() -> Iterator[Pebble]:
    """Pebble 2.10, as in Debian sid: it knows dns-persist-01 and profiles; it is called
    ca.example."""
    try:
        program = sid.program("pebble")
    except (OSError, subprocess.SubprocessError) as exc:
        pytest.skip(f"pebble of Debian sid can't be had: {exc}")
    with Pebble(nosleep=True, authzreuse=0, program=program,
                config={"caaIdentities": ["ca.example"]}) as server:
        yield server
