"""A web server that has port 80 and lacks our snippet: who it is, and what helps, is said before
anything is ordered."""

import re
from collections.abc import Iterator

import pytest

from harness.frontends import Frontend
from harness.hostile import Hostile
from harness.judge import names
from harness.run import Prefix, Site
from harness.verdict import only_error, tidy

CURES = {"nginx": r"add “include \S+/nginx\.conf;” to its server {} of the name, and run "
                  "“systemctl reload nginx”",
         "apache2": "run “a2enmod proxy_http && a2enconf letsencrypt-tiny” and “systemctl reload "
                    "apache2”"}


@pytest.fixture
def behind(site: Site, hostile: Hostile, prefix: Prefix) -> Iterator[Site]:
    """A site of one CA, that nobody asks for challenges; where the snippets lead to."""
    site.use(hostile)
    site.main["webserver"].pop("listen")
    site.main[""]["config-certs"] = "certs.conf certs.conf.d/"
    site.rundir = prefix.path / "run/letsencrypt-tiny"
    site.rundir.mkdir(mode=0o755, parents=True, exist_ok=True)
    site.main[""]["run-directory"] = str(site.rundir)
    site.certs[""] = {"CAfile": str(hostile.roots())}
    (site.etc / "certs.conf.d").mkdir()
    site.genkey()
    yield site


@pytest.mark.parametrize("kind", CURES)
def test_without_our_snippet(kind: str, behind: Site, prefix: Prefix, hostile: Hostile) -> None:
    """check says so, and add; the CA is asked for nothing."""
    behind.certificate("a.example", ["a.example"])
    told = (rf"{kind} \(process [0-9]+\) listens on port 80, and a challenge for [ab]\.example "
            r"does not reach us through it \(port 80 answers with HTTP status 40[34]\): "
            f"{CURES[kind]}")
    with Frontend(prefix, f"{kind}.conf", bare=True):
        assert re.fullmatch(f"error: {told}", only_error(behind.run("check")))
        done = behind.run("add", "b.example", "--tos-agreed")
        assert done.returncode == 1 and re.search(told, done.stderr), done.stderr
        assert "b.example: nothing is ordered" in done.stderr
    assert not hostile.asked("newOrder")
    assert not list((behind.etc / "certs.conf.d").glob("*"))


@pytest.mark.parametrize("kind", CURES)
def test_with_it(kind: str, behind: Site, prefix: Prefix) -> None:
    behind.certificate("a.example", ["a.example"])
    with Frontend(prefix, f"{kind}.conf"):
        done = behind.run("check")
        assert done.returncode == 0, done.stderr
        assert re.search(rf"^{kind} \(process [0-9]+\) listens on port 80, and passes challenges "
                         "on: it was tried$", done.stderr, re.M), done.stderr
        done = behind.run("add", "b.example", "--tos-agreed")
        assert done.returncode == 0, done.stderr
    assert names(behind.file("b.example")) == {"b.example"}
    tidy(behind)
