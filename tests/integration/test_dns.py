"""dns-01 by dynamic updates, with Debian's BIND 9, from Pebble."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import bind as binds, run
from harness.bind import PRIMARY, SECONDARY, Bind, with_resolver
from harness.pebble import Pebble
from harness.run import Result, Site

pytestmark = pytest.mark.root
ZONES = {
    "a.example": "",
    binds.SIGNED: "",
    "b.example": "_acme-challenge.www 60 IN CNAME www-b.acme.example.\n"
                 "_acme-challenge.loop 60 IN CNAME _acme-challenge.loop2\n"
                 "_acme-challenge.loop2 60 IN CNAME _acme-challenge.loop\n",
    "acme.example": ""}


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with tempfile.TemporaryDirectory(prefix="bind-", dir=run.PARENT) as directory:
        with Bind(Path(directory, "b"), ZONES) as running:
            yield running


@pytest.fixture(scope="module")
def pebble(bind: Bind) -> Iterator[Pebble]:
    with Pebble(nosleep=True, authzreuse=0, dns_server=f"{binds.RESOLVER}:53") as server:
        yield server


@pytest.fixture
def dns(site: Site, pebble: Pebble, bind: Bind) -> Iterator[Site]:
    """A site with an account and [dns]."""
    site.use(pebble)
    site.genkey()
    del site.main["webserver"]
    site.main["dns"] = {"server": PRIMARY, "key-file": str(bind.key_file),
                        "confine": run.CONFINE, "propagation-timeout": "20"}
    assert site.register().returncode == 0
    yield site
    assert bind.published() == []


def order(site: Site, bind: Bind, *arguments: str, timeout: float = 90) -> "Result[str]":
    """Run newOrder where the resolver is BIND's."""
    return run.run(with_resolver(bind.resolv_conf, site.command("newOrder", *arguments)),
                   timeout=timeout)


def test_a_wildcard_and_its_base(dns: Site, bind: Bind) -> None:
    dns.certificate("a", ["a.example", "*.a.example"], challenge="dns-01")
    done = order(dns, bind, "--debug")
    print(done.stderr)
    assert done.returncode == 0, done.stderr
    assert f"not at ns2.a.example ({SECONDARY})" in done.stderr
