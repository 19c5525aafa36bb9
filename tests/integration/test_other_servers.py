"""Servers that others wrote in Python, as they are on PyPI: skipped where that can't be reached."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness import judge, soak
from harness.acme2certifier import ACME2Certifier
from harness.django_ca import DjangoCA
from harness.pypi import PythonServer, Unavailable
from harness.run import Site

SECTIONS = {"two": ["a.other.example", "b.other.example"], "address": ["127.0.0.1"],
            "rsa": ["c.other.example"], "mixed": ["d.other.example", "127.0.0.1"]}

pytestmark = [pytest.mark.root, pytest.mark.skipif(not soak.SOAK, reason="for the soak")]


@pytest.fixture(params=[DjangoCA, ACME2Certifier])
def other(request: Any) -> Iterator[PythonServer]:
    made = request.param()
    try:
        made.__enter__()
    except Unavailable as exc:
        pytest.skip(f"{made.requirement} cannot be installed: {exc}")
    yield made
    made.__exit__()


def test_all_that_a_site_needs(site: Site, other: PythonServer) -> None:
    """An account, four sections at once, renewal by force, revocation; a policy holds."""
    site.use(other)
    del site.main["webserver"]["listen"]    # auto: port 80 is free
    site.genkey()
    done = site.run("account", "--register", "--tos-agreed", "mailto:admin@other.example")
    assert done.returncode == 0 and "Key ID: https://" in done.stderr, done.stderr
    for section, names in SECTIONS.items():
        site.certificate(section, names, **{"key_type": "rsa:2048"} if section == "rsa" else {})
    done = site.run("newOrder")
    assert done.returncode == 0 and "4 installed, 0 failed" in done.stderr, done.stderr
    assert "warning" not in done.stderr
    for section, names in SECTIONS.items():
        chain = site.file(section)
        assert judge.names(chain) == set(names)
        assert judge.matches(chain, site.file(section, "privkey.pem"))
        judge.verify(chain, chain, other.roots())
    # one first: acme2certifier's database is locked for good by two first questions at once
    judge.expect(site.run("newOrder", "--quiet", "two"), 0)
    judge.expect(site.run("newOrder", "--quiet"), 0)

    before = judge.serial(site.file("two"))
    done = site.run("newOrder", "--force", "two")
    assert done.returncode == 0, done.stderr
    serial = judge.serial(site.file("two"))
    assert serial != before and not other.revoked(serial)
    done = site.run("revokeCert", str(site.file("two")))
    assert done.returncode == 0, done.stderr
    assert other.revoked(serial) and not other.revoked(before)
