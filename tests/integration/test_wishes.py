"""What the administrator changes is seen by the next run, with the reason in ``status``."""

import json
import os
import pwd
import re
import shutil
import time

import pytest

from harness import ca, judge
from harness.hostile import Hostile, Response
from harness.judge import INSTALLED, expect
from harness.run import Site

VALID = r"a: valid until [-0-9]{10} [:0-9]{5} UTC"


@pytest.fixture
def issued(site: Site, hostile: Hostile) -> Site:
    """A site with an account and a certificate in the section "a"."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"])
    assert site.run("newOrder").returncode == 0
    return site


def orders(hostile: Hostile) -> int:
    """Return how many orders were made."""
    return len(hostile.asked("newOrder"))


def due(site: Site, reason: str) -> None:
    """Check that "a" is due for that reason, says ``status``."""
    done = site.run("status")
    assert re.search(f"^a .* due: {reason}(, 1 failed)?  +a.example", done.stdout, re.M), \
        done.stdout


def settled(site: Site, hostile: Hostile, number: int) -> None:
    """Check that nothing is due any more, after so many orders."""
    expect(site.run("--quiet", "newOrder"), 0)
    expect(site.run("newOrder"), 0, VALID)
    assert orders(hostile) == number


def test_owner_and_mode(issued: Site, hostile: Hostile) -> None:
    """Applied without an order, once: what is changed by hand afterwards is left alone."""
    nobody = pwd.getpwnam("nobody")
    before = {path.name: path.read_bytes() for path in issued.file("a", "").iterdir()}
    issued.certs["a"].update(owner="nobody:nogroup", mode="0640")
    applied = "a: its files have the owner and mode that are wanted now"
    expect(issued.run("newOrder"), 0, VALID, applied)
    for path in issued.file("a", "").iterdir():
        info = path.stat()
        assert (info.st_uid == nobody.pw_uid) is (path.name != "privkey.pem")
        assert judge.mode(path) == (0o600 if path.name == "privkey.pem" else 0o640)
        assert path.read_bytes() == before[path.name]
    settled(issued, hostile, 1)
    issued.file("a").chmod(0o600)
    settled(issued, hostile, 1)
    assert judge.mode(issued.file("a")) == 0o600
    issued.certs["a"]["mode"] = "0644"
    expect(issued.run("newOrder"), 0, VALID, applied)
    assert {judge.mode(issued.file("a", name)) for name in before if name != "privkey.pem"} \
        == {0o644}


def test_owner_and_mode_where_nothing_is_remembered(issued: Site, hostile: Hostile) -> None:
    shutil.rmtree(issued.lib / "state")
    settled(issued, hostile, 1)
    issued.certs["a"]["mode"] = "0640"
    expect(issued.run("--quiet", "newOrder"), 0)
    assert judge.mode(issued.file("a")) == 0o640 and orders(hostile) == 1


def test_another_owner_s_victim(issued: Site) -> None:
    """What stands in the place of a certificate is given to nobody, and not shown either."""
    secret = issued.path / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    issued.file("a").unlink()
    issued.file("a", "cert.pem").rename(issued.file("a"))    # the first file makes it not due
    os.link(secret, issued.file("a", "cert.pem"))
    issued.certs["a"].update(owner="nobody", mode="0640")
    expect(issued.run("--quiet", "newOrder"), 1,
           "error: a: owner and mode are not changed: .*cert.pem: .*")
    assert secret.stat().st_uid == 0 and judge.mode(secret) == 0o600


def test_key_type(issued: Site, hostile: Hostile) -> None:
    """A new key, installed with its certificate; the old one is kept beside it."""
    key = issued.file("a", "privkey.pem")
    old = key.read_bytes()
    key.chmod(0o640)
    issued.certs["a"]["key-type"] = "rsa:2048"
    due(issued, "its key-type has changed, to rsa:2048")
    expect(issued.run("newOrder"), 0, "a: its key-type has changed, to rsa:2048",
           rf"a: generating the private key {key} \(rsa:2048\)", f"a: {INSTALLED}")
    assert "Public Key Algorithm: rsaEncryption" in judge.x509(issued.file("a"), "-text")
    assert judge.matches(issued.file("a"), key) and judge.mode(key) == 0o640
    assert (key.parent / "privkey.pem.old").read_bytes() == old
    settled(issued, hostile, 2)
    # back again; and what there is of that type already is good enough
    issued.certs["a"]["key-type"] = "ec:P-256"
    expect(issued.run("--quiet", "newOrder"), 0)
    settled(issued, hostile, 3)


def test_a_key_of_another_type_that_the_administrator_made(issued: Site, hostile: Hostile) -> None:
    """It is not replaced because the default is another type."""
    key = issued.file("a", "privkey.pem")
    key.write_text(ca.genkey("rsa:2048"))
    key.chmod(0o600)
    expect(issued.run("--quiet", "newOrder"), 0)
    settled(issued, hostile, 2)
    issued.certs["a"]["key-type"] = "rsa:2048"    # as it is
    settled(issued, hostile, 2)


def test_another_ca(issued: Site, hostile: Hostile, hostile_ca: ca.CA) -> None:
    """Staging, then production; an order that fails there doesn't make it forget."""
    with Hostile(authority=hostile_ca) as production:
        old = hostile.directory
        issued.use(production)
        reason = f"its CA has changed, from {re.escape(old)}"
        due(issued, reason)
        assert issued.run("newOrder").returncode == 1    # no account there
        due(issued, reason)
        assert issued.register().returncode == 0
        production.on["newOrder"] = lambda _request, _default: Response.problem(
            "rejectedIdentifier", "not this one", 400)
        assert issued.run("newOrder").returncode == 1
        due(issued, reason)
        production.on.clear()
        expect(issued.run("newOrder"), 0, f"a: {reason}", f"a: {INSTALLED}")
        settled(issued, production, 2)


def test_another_ca_where_1_0_remembers(issued: Site, hostile: Hostile) -> None:
    path = issued.lib / "state/cert-a.json"
    path.write_text(json.dumps({"directory": hostile.directory, "account": "x"}))
    settled(issued, hostile, 1)
    path.write_text(json.dumps({"directory": "https://staging.example/dir"}))
    due(issued, "its CA has changed, from https://staging.example/dir")


def test_another_ca_file(issued: Site, hostile: Hostile) -> None:
    """What still chains is looked at once; what doesn't is due."""
    both, other = issued.path / "both.pem", issued.path / "other.pem"
    (issued.path / "ca").mkdir()
    other.write_text(ca.CA(issued.path / "ca", "Other").root.read_text())
    both.write_text(hostile.ca_file.read_text() + other.read_text())
    issued.certs["a"]["CAfile"] = str(both)
    expect(issued.run("newOrder"), 0, VALID)
    assert str(both) in (issued.lib / "state/cert-a.json").read_text()
    issued.certs["a"]["CAfile"] = str(other)
    due(issued, f"it does not chain to {other}")
    both.write_text(other.read_text())     # its content counts
    issued.certs["a"]["CAfile"] = str(both)
    due(issued, f"it does not chain to {both}")
    assert orders(hostile) == 1
    both.write_text(hostile.ca_file.read_text())
    settled(issued, hostile, 1)


def test_a_self_signed_placeholder(issued: Site, hostile: Hostile) -> None:
    """As packages and setup tools put there, with the right names and years to live."""
    shutil.rmtree(issued.lib / "state")
    key = issued.file("a", "privkey.pem")
    text = ca.openssl("req", "-x509", "-config", "/dev/null", "-key", str(key), "-days", "3650",
                      "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example").decode()
    for name in ("fullchain.pem", "cert.pem"):
        issued.file("a", name).write_text(text)
    due(issued, "it is self-signed")
    expect(issued.run("newOrder"), 0, "a: it is self-signed", f"a: {INSTALLED}")
    settled(issued, hostile, 2)


# --- revoked by us -------------------------------------------------------------------------------

def test_revoked(issued: Site, hostile: Hostile) -> None:
    """Replaced by the next run, with the key that stays; a copy of it elsewhere says as much."""
    issued.certs["a"]["reuse-key"] = "yes"
    issued.certificate("b", ["b.example"])
    assert issued.run("newOrder", "b").returncode == 0
    copy = shutil.copy(issued.file("a", "cert.pem"), issued.path / "copy.pem")
    key = issued.file("a", "privkey.pem").read_bytes()
    done = issued.run("revokeCert", str(copy))
    assert done.returncode == 0 and "revoked (the next newOrder replaces it)" in done.stderr
    due(issued, "it was revoked")
    expect(issued.run("newOrder"), 0, "a: it was revoked", f"a: {INSTALLED}", "b: valid .*")
    assert issued.file("a", "privkey.pem").read_bytes() == key
    expect(issued.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 3 and len(hostile.revoked) == 1


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_key_that_was_compromised(options: list[str], issued: Site, hostile: Hostile) -> None:
    """No certificate is asked for it again; all sections that use it are due."""
    key = issued.file("a", "privkey.pem")
    old = key.read_bytes()
    issued.certificate("b", ["b.example"], certificate_key=str(key),
                       certificate=str(issued.file("a", "b.pem")))
    assert issued.run("newOrder", "b").returncode == 0
    done = issued.run("revokeCert", "--reason=keyCompromise", str(issued.file("a", "cert.pem")))
    assert done.returncode == 0
    assert "revoked (the next newOrder replaces it, with a new key)" in done.stderr
    due(issued, "its private key was compromised")
    done = issued.run("newOrder", *options)
    assert done.returncode == 0 and f"generating the private key {key}" in done.stderr
    assert key.read_bytes() != old
    for name in ("cert.pem", "b.pem"):
        assert judge.matches(issued.file("a", name), key)
    assert issued.file("a", "privkey.pem.old").read_bytes() == old
    expect(issued.run("--quiet", "newOrder"), 0)
    assert orders(hostile) == 4
    # put back, it is refused still
    key.write_bytes(old)
    time.sleep(0.02)
    assert issued.run("newOrder").returncode == 0
    assert key.read_bytes() != old and judge.matches(issued.file("a"), key)
