"""challenge = stateless: web servers that know the thumbprint answer, and we start nothing."""

import http.client
from collections.abc import Iterator

import pytest

from harness import judge
from harness.frontends import Frontend
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import Prefix, Site
from test_renewal import tidy

KINDS = ["nginx-stateless.conf", "apache2-stateless.conf", "haproxy-stateless.cfg",
         "caddy-stateless.conf"]
WELL_KNOWN = "/.well-known/acme-challenge/"


@pytest.fixture(scope="module")
def pebble80() -> Iterator[Pebble]:
    """Pebble that validates at port 80, as the real ones do."""
    with Pebble(nosleep=True, http_port=80) as server:
        yield server


@pytest.fixture
def ready(site: Site, pebble80: Pebble) -> Site:
    """A site with an account; nothing of ours may listen."""
    site.use(pebble80)
    site.main["webserver"]["listen"] = ""
    site.genkey()
    assert site.register().returncode == 0
    return site


def thumbprint(site: Site) -> str:
    """Return what the command prints: that, and nothing else."""
    done = site.run("account", "--thumbprint")
    assert done.returncode == 0 and not done.stderr
    text = done.stdout.removesuffix("\n")
    assert len(text) == 43 and text.isascii() and text == text.strip()
    return text


def get(path: str, address: str = "127.0.0.1") -> tuple[int, bytes]:
    """Ask the web server at port 80."""
    connection = http.client.HTTPConnection(address, 80, timeout=5)
    connection.request("GET", path, headers={"Host": "a.example"})
    response = connection.getresponse()
    return response.status, response.read()


@pytest.mark.alike(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_answers_by_itself(kind: str, ready: Site, prefix: Prefix) -> None:
    """Names, and addresses of both families; no file, no process, no client's directory."""
    key = thumbprint(ready)
    ready.certificate("a", ["a.example", "127.0.0.1", "::1"], challenge="stateless")
    with Frontend(prefix, kind, key):
        for token in ("t", "Az-_09", "x" * 128):
            assert get(WELL_KNOWN + token) == (200, f"{token}.{key}".encode())
            assert get(WELL_KNOWN + token, "::1")[0] == 200
        for path in ("", "a.b", "a/b", "../x", "x" * 129, "a%2fb", "a%0ab", "a%3Cb", "a b".replace(
                " ", "%20"), "a$b", "a{b}"):
            status, body = get(WELL_KNOWN + path)
            assert status in (400, 403, 404) and key.encode() not in body, path
        assert get("/")[0] in (403, 404, 503)
        done = ready.watch("newOrder")
        expect(done, 0, f"a: {NEW}", r"a: generating the private key \S+ \(ec:P-256\)",
               f"a: {INSTALLED}")
        assert done.of("client") and not done.of("webserver")
        assert {life.last.cwd for life in done.of("client")} == {"/"}
    assert judge.names(ready.file("a")) == {"a.example", "127.0.0.1", "::1"}
    tidy(ready)


def test_another_accounts_thumbprint_proves_nothing(ready: Site, prefix: Prefix) -> None:
    ready.certificate("a", ["b.example"], challenge="stateless")
    with Frontend(prefix, KINDS[0], "x" * 43):
        done = ready.run("newOrder")
    assert done.returncode == 1 and "unauthorized" in done.stderr
    assert not ready.file("a").exists()


def test_the_thumbprint_needs_the_signer_alone(ready: Site) -> None:
    """No client runs, and no network is used; neither is the lock taken."""
    done = ready.watch("account", "--thumbprint")
    assert done.returncode == 0 and not done.of("client") and done.of("letsencrypt-tiny-accountd")
    for words in (["--register"], ["mailto:a@b.example"], ["--deactivate"], ["--tos-agreed"]):
        expect(ready.run("account", "--thumbprint", *words), 2,
               "error: account: --thumbprint stands alone")
    ready.account_key.unlink()
    done = ready.run("account", "--thumbprint")
    assert done.returncode == 1 and done.stdout == ""
