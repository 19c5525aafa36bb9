"""A web server that has port 80 and lacks our snippet: who it is, and what helps, is said before
anything is ordered."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.daemon import Daemon

from harness.frontends import Frontend, nginx
from harness.hostile import Hostile
from harness.judge import names
from harness.run import PARENT, Prefix, Site
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


# --- add --web-server ----------------------------------------------------------------------------

MAIN = nginx("    include {path}/sites/*;\n")
MINE = "\nserver {\n    listen 80;\n    server_name mine.example;\n    return 404;\n}\n"


@pytest.fixture
def sites() -> Iterator[Path]:
    """Where Debian's nginx has its sites: the package's, and one of the administrator's."""
    with tempfile.TemporaryDirectory(prefix="nginx-", dir=PARENT) as directory:
        path = Path(directory)
        path.chmod(0o755)
        (path / "sites").mkdir()
        (path / "sites/default").write_bytes(
            Path("/etc/nginx/sites-available/default").read_bytes())
        (path / "sites/mine").write_text(MINE)
        (path / "main").write_text(MAIN.format(path=path))
        daemon = Daemon(["/usr/sbin/nginx", "-e", "stderr", "-c", str(path / "main")],
                        path / "log", [80])
        try:
            yield path / "sites"
        finally:
            daemon.stop()


def test_nginx_is_told(behind: Site, sites: Path) -> None:
    """In a file of its own, for names that are nobody's; what is the administrator's stays so."""
    before = {path.name: path.read_bytes() for path in sites.iterdir()}
    done = behind.run("add", "--web-server", "--tos-agreed", "new.example", "www.new.example")
    assert done.returncode == 0, done.stderr
    written = sites / "zz-letsencrypt-tiny-new.example.conf"
    assert f"web server: {written} written" in done.stderr
    assert "passes challenges on: it was tried" in done.stderr
    assert "server_name new.example www.new.example;" in written.read_text()
    assert names(behind.file("new.example")) == {"new.example", "www.new.example"}

    # with a name more it is written anew, as long as it is as we have written it
    more = ["add", "--web-server", "new.example", "www.new.example", "third.example"]
    done = behind.run(*more)
    assert done.returncode == 0, done.stderr
    assert "server_name new.example www.new.example third.example;" in written.read_text()
    assert names(behind.file("new.example")) == {*more[2:]}

    # its opposite takes it back, too, unless it was changed
    text = written.read_text()
    mine = text + "# mine by now\n"
    written.write_text(mine)
    done = behind.run("remove", "new.example")
    assert done.returncode == 0 and f"{written} stays: somebody" in done.stderr, done.stderr
    assert written.read_text() == mine
    written.write_text(text)
    assert behind.run(*more).returncode == 0
    done = behind.run("remove", "new.example")
    assert done.returncode == 0 and f"web server: {written} removed" in done.stderr, done.stderr
    assert {path.name: path.read_bytes() for path in sites.iterdir()} == before

    written.write_text(mine)
    line = only_error(behind.run(*more, "fourth.example"))
    assert f"{written}:3 answers for" in line and "is yours, and not changed" in line
    assert written.read_text() == mine

    line = only_error(behind.run("add", "--web-server", "mine.example"))
    assert f"{sites}/mine:2 answers for mine.example and is yours, and not changed: add “include " \
        in line
    assert not (behind.etc / "certs.conf.d/mine.example.conf").exists()
    written.unlink()
    assert {path.name: path.read_bytes() for path in sites.iterdir()} == before


def test_nginx_that_does_not_take_it(behind: Site, sites: Path, prefix: Prefix) -> None:
    """As its snippet is gone: it goes on with what it had, and says what is wrong."""
    before = {path.name: path.read_bytes() for path in sites.iterdir()}
    snippet = prefix.path / "etc/letsencrypt-tiny/nginx.conf"
    aside = snippet.rename(snippet.with_name("aside"))
    try:
        done = behind.run("add", "--web-server", "--tos-agreed", "new.example")
    finally:
        aside.rename(snippet)
    line = only_error(done)
    assert "/usr/sbin/nginx" in line and "failed" in line, line
    assert {path.name: path.read_bytes() for path in sites.iterdir()} == before
    assert not list((behind.etc / "certs.conf.d").glob("*"))
