"""A site with a certificate, to which something bad is about to happen; the newest CA."""

from collections.abc import Iterator

import pytest

from harness import ca, pebble
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
    site.open_account(server)
    site.certificate("a", ["a.example"])
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    yield site
    site.remove()


@pytest.fixture
def other(hostile_ca: ca.CA) -> Iterator[Hostile]:
    """Another CA than ``hostile``, of the same root."""
    with Hostile(authority=hostile_ca) as running:
        yield running


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
    with pebble.newest(authzreuse=0, config={"caaIdentities": ["ca.example"]}) as server:
        yield server
