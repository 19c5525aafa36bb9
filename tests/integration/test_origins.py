"""CAs whose URLs have odd forms or several origins, within the policy that the master derives."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness import ca, judge, oddities
from harness.hostile import Hostile
from harness.run import Site


@pytest.fixture
def server(hostile_ca: ca.CA, request: Any) -> Iterator[Hostile]:
    with Hostile(authority=hostile_ca, port=getattr(request, "param", 0)) as running:
        yield running


def all_of_it(site: Site, server: Hostile) -> None:
    """Register, order, look the account up, revoke; nothing but the directory is read otherwise."""
    site.use(server)
    site.genkey()
    site.certificate("a", ["a.example"])
    assert "policy" not in site.main["accountd"]
    for arguments in (["account", "--register", "--tos-agreed"], ["newOrder"], ["account"],
                      ["revokeCert", str(site.file("a"))]):
        done = site.run(*arguments)
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    assert judge.names(site.file("a")) == {"a.example"} and len(server.revoked) == 1


@pytest.mark.parametrize("word", ["capitals", "query"])
def test_odd_urls(site: Site, server: Hostile, word: str) -> None:
    oddities.WORDS[word](server)
    all_of_it(site, server)


@pytest.mark.parametrize("server", [443], indirect=True)
def test_port_443(site: Site, server: Hostile) -> None:
    server.base = "https://127.0.0.1:443"
    server.directory = "https://127.0.0.1/directory"
    all_of_it(site, server)
    assert server.asked("finalize")[0].protected["url"].startswith("https://127.0.0.1:443/")


@pytest.fixture
def front(hostile_ca: ca.CA, server: Hostile) -> Iterator[Hostile]:
    """Shows the directory of ``server``, whose URLs have another host and another port."""
    with Hostile(authority=hostile_ca) as running:
        server.base = f"https://localhost:{server.port}"
        running.answer, running.nonce = server.answer, server.nonce  # type: ignore[method-assign]
        yield running


def test_another_origin(site: Site, front: Hostile, server: Hostile) -> None:
    site.main["client"]["origins"] = f"https://LOCALHOST:{server.port}/"
    site.use(front)
    server.directory, server.http_port = front.directory, front.http_port
    all_of_it(site, server)
    assert {request.resource for request in front.requests} == {"directory"}
    assert {request.headers["host"] for request in server.requests} == {
        f"localhost:{server.port}"}


def test_another_origin_is_refused(site: Site, front: Hostile, server: Hostile) -> None:
    site.use(front)
    site.genkey()
    done = site.register()
    assert done.returncode == 1 and not server.requests
    assert "of another origin than the directory" in done.stderr
    assert "(setting “origins” of [client])" in done.stderr
    # one that has no address matters only to those URLs
    site.main["client"]["origins"] = "https://nowhere.invalid"
    assert not server.requests and site.register().returncode == 1
    server.base = front.base
    done = site.register()
    assert done.returncode == 0
    assert "cannot resolve nowhere.invalid" in done.stderr and "“origins”" in done.stderr
