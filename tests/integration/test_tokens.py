"""Server keys in a token, by SoftHSM and Debian's engine or provider for openssl."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import judge
from harness.judge import INSTALLED, expect
from harness.pebble import Pebble
from harness.run import Site
from harness.softhsm import MODULE, PIN, Token, pin_file


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    with Pebble(nosleep=True, noncereject=0) as server:
        yield server


@pytest.fixture
def token() -> Iterator[Token]:
    with Token() as made:
        yield made


@pytest.fixture
def ready(site: Site, pebble: Pebble) -> Site:
    """A site with an account, and a file with the PIN."""
    site.open_account(pebble)
    pin_file(site.path / "pin")
    return site


def use(site: Site, uri: str, **settings: str) -> None:
    """Ask for a certificate of a key in the token."""
    site.certificate("a", ["a.example"], certificate_key=uri, **settings)


def with_pin(site: Site, uri: str) -> str:
    """Return the URI with the file of the PIN."""
    return f"{uri}?pin-source=file:{site.path}/pin"


def spki(path: Path) -> str:
    """Return the public key of a certificate."""
    return judge.x509(path, "-noout", "-pubkey")


@pytest.mark.alike(2)
@pytest.mark.parametrize("kind", ["ec:P-256", "rsa:2048"])
def test_a_key_in_a_token(kind: str, ready: Site, token: Token) -> None:
    """Issued and renewed for it, and it is nowhere else."""
    uri = with_pin(ready, token.key("web", kind))
    use(ready, uri)
    done, programs = ready.executed("newOrder")
    assert done.returncode == 0, done.stderr
    first = spki(ready.file("a"))
    assert not any(PIN in word for argv in programs for word in argv) and PIN not in done.stderr
    expect(ready.run("newOrder"), 0, "a: valid until .*")
    expect(ready.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert spki(ready.file("a")) == first
    assert not [path for path in ready.lib.rglob("*") if path.is_file()
                and "accountd" not in path.parts and b"PRIVATE KEY" in path.read_bytes()]
    zone = ready.run("records").stdout
    assert len(re.findall(r"TLSA\t3 1 1 [0-9a-f]{64}$", zone, re.M)) == 1
    expect(ready.run("check"), 0, "the account key manager answers: .*",
           "1 certificate configured; .*")
    debug = ready.run("--debug", "newOrder", "--force").stderr
    assert PIN not in debug and "a: certificate installed" in debug


def test_a_module_of_its_own(ready: Site, token: Token) -> None:
    use(ready, f"{with_pin(ready, token.key('web'))}&module-path={MODULE}")
    expect(ready.run("--quiet", "newOrder"), 0)
    assert spki(ready.file("a"))


def test_another_key_in_the_token(ready: Site, token: Token) -> None:
    """Another URI is seen; what is remembered of it asks no token while nothing is due."""
    use(ready, with_pin(ready, token.key("web")))
    expect(ready.run("--quiet", "newOrder"), 0)
    first = spki(ready.file("a"))
    done, programs = ready.executed("newOrder")
    assert done.returncode == 0 and len(programs) == 1
    use(ready, with_pin(ready, token.key("new", "rsa:2048", 2)))
    expect(ready.run("newOrder"), 0, "a: it is not for the private key pkcs11:.*",
           f"a: {INSTALLED}")
    assert spki(ready.file("a")) != first
    expect(ready.run("newOrder"), 0, "a: valid until .*")
    # and back to a file
    del ready.certs["a"]["certificate-key"]
    expect(ready.run("--quiet", "newOrder"), 0)
    assert judge.matches(ready.file("a"), ready.file("a", "privkey.pem"))


def test_a_key_that_was_compromised(ready: Site, token: Token) -> None:
    """It is not certified again; nothing is made in the token."""
    use(ready, with_pin(ready, token.key("web")))
    expect(ready.run("--quiet", "newOrder"), 0)
    before = ready.file("a").read_bytes()
    for options in (["--new-key"],):
        done = ready.run("--quiet", "newOrder", *options)
        assert done.returncode == 1 and re.fullmatch(
            r"error: \S+/certs.conf, \[a\]: another key is not made in a token: make one there, "
            r"and name it in certificate-key\n", done.stderr), done.stderr
    expect(ready.run("--quiet", "revokeCert", "--reason=1", str(ready.file("a"))), 0)
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "[a]: certificate-key = pkcs11:" in done.stderr
    assert "this key was compromised: make another one in the token, and name it" in done.stderr
    assert ready.file("a").read_bytes() == before


@pytest.mark.alike(2)
@pytest.mark.parametrize("what", ["no key", "wrong PIN", "open PIN", "no PIN file", "no module"])
def test_what_is_not_there(what: str, ready: Site, token: Token) -> None:
    """One line that names the setting; nothing is ordered, and the others are."""
    uri = with_pin(ready, token.key("web"))
    if what == "no key":
        uri = uri.replace("object=web", "object=nobody")
    elif what == "wrong PIN":
        pin_file(ready.path / "pin", "000000")
    elif what == "open PIN":
        (ready.path / "pin").chmod(0o644)
    elif what == "no PIN file":
        (ready.path / "pin").unlink()
    else:
        uri += "&module-path=/usr/lib/nothing.so"
    use(ready, uri)
    ready.certificate("b", ["b.example"])
    done = ready.run("--quiet", "newOrder")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "[a]: certificate-key" in done.stderr and PIN not in done.stderr
    assert not ready.file("a").exists() and ready.file("b").exists()
    if what == "open PIN":
        assert f"chmod 0600 {ready.path}/pin" in done.stderr


@pytest.mark.parametrize("uri, settings, why", [
    ("pkcs11:object=a?pin-value=4711", {}, "a PIN can't stand here"),
    ("pkcs11:object=a?PIN-VALUE=4711", {}, "a PIN can't stand here"),
    ("pkcs11:token=a", {}, "it names no key: object=LABEL or id=%XX is missing"),
    ("pkcs11:object=a;type=cert", {}, "type is not “private”"),
    ("pkcs11:object=a;colour=red", {}, "“colour” is not an attribute of a key's PKCS #11 URI"),
    ("pkcs11:object=a b", {}, "“object” is not an attribute"),
    ("pkcs11:object=a?pin-source=|/bin/sh", {}, "“pin-source” is not an attribute"),
    ("pkcs11:object=a?pin-source=pin", {}, "pin-source is not the absolute path of a file"),
    ("pkcs11:object=a?pin-source=file:/a/../b", {}, "pin-source is not the absolute path of"),
    ("pkcs11:object=a?module-path=x.so", {}, "module-path is not the absolute path of a file"),
    ("pkcs11:object=a", {"next_key": "yes"}, "next-key = yes: certificate-key names one key"),
    ("pkcs11:object=a", {"reuse_key": "no"}, "reuse-key = no: certificate-key names one key"),
    ("pkcs11:object=a", {"key_type": "ec:P-256, rsa:2048"},
     "key-type of two kinds: certificate-key names one key")])
def test_bad_settings(uri: str, settings: dict[str, str], why: str, site: Site) -> None:
    use(site, uri, **settings)
    row, = json.loads(site.run("status", "--json").stdout)["sections"]
    assert "/certs.conf, [a]: " in row["fault"] and why in row["fault"]
    assert "4711" not in row["fault"]
