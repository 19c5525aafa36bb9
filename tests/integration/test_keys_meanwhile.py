"""Keys that change under a run, and an openssl that makes none."""

import os
import re
from pathlib import Path
from collections.abc import Callable

import pytest

from harness import ca, judge, soak
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, expect
from harness.run import Site
from harness.verdict import errors


def meanwhile(server: Hostile, action: Callable[[], object]) -> None:
    """Do something once, while the order is under way."""
    left = [action]

    def handler(_request: Request, default: Default) -> Response:
        while left:
            left.pop()()
        return default()
    server.on["finalize"] = handler


def put(path: Path, text: str) -> None:
    """Rename a new file over another, as an administrator's tools do."""
    new = path.with_name("new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)


@pytest.mark.parametrize("first", [False, True], ids=["renewal", "first"])
def test_a_key_that_is_replaced(first: bool, good: Site, server: Hostile) -> None:
    """No certificate is installed for a key that isn't there; the next run orders for the new."""
    key, cert = good.file("a", "privkey.pem"), good.file("a")
    good.certs["a"]["reuse-key"] = "yes"
    if first:
        cert.unlink()
    before = None if first else cert.read_bytes()
    meanwhile(server, lambda: put(key, ca.genkey()))
    expect(good.run("--quiet", "newOrder", "--force"), 1,
           f"error: a: the new certificate is not installed: {key} was replaced meanwhile; "
           "the next run orders for the key that is there then")
    assert (cert.read_bytes() if cert.exists() else None) == before
    expect(good.run("--quiet", "newOrder"), 0)
    assert judge.matches(cert, key) and judge.matches(good.file("a", "cert.pem"), key)
    assert len(server.asked("newOrder")) == 2
    expect(good.run("newOrder"), 0, "a: valid until .*")


def test_a_key_that_is_removed(good: Site, server: Hostile) -> None:
    key, cert = good.file("a", "privkey.pem"), good.file("a")
    good.certs["a"]["reuse-key"] = "yes"
    before, text = cert.read_bytes(), key.read_text()
    meanwhile(server, key.unlink)
    done = good.run("--quiet", "newOrder", "--force")
    assert done.returncode == 1 and f"{key} was removed meanwhile" in done.stderr
    assert cert.read_bytes() == before
    put(key, text)


def test_the_same_key_in_another_form(good: Site, server: Hostile) -> None:
    key = good.file("a", "privkey.pem")
    other = ca.openssl("ec", "-in", str(key)).decode()
    assert other != key.read_text()
    good.certs["a"]["reuse-key"] = "yes"
    meanwhile(server, lambda: put(key, other))
    expect(good.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert judge.matches(good.file("a"), key)


def test_a_key_that_was_there_before_the_certificate(good: Site, server: Hostile) -> None:
    """As replaced in the moment of the installation: by its times nobody could tell."""
    key, cert = good.file("a", "privkey.pem"), good.file("a")
    put(key, ca.genkey())
    for name in ("fullchain", "cert", "chain"):
        path = good.file("a", f"{name}.pem")
        text = path.read_bytes()
        path.write_bytes(text)   # younger than the key
    assert key.stat().st_ctime_ns < cert.stat().st_ctime_ns
    assert f"due: it is not for the private key {key}" in good.run("status").stdout
    done = good.run("--quiet", "check")
    assert done.returncode == 1 and f"{cert} is not for the private key {key}: " in done.stderr
    expect(good.run("--quiet", "newOrder"), 0)
    assert judge.matches(cert, key) and len(server.asked("newOrder")) == 1


@pytest.mark.parametrize("action", soak.some([
    "echo garbage", "true", "head -c 100000000 /dev/zero", "head -c 60000 /dev/zero",
    "echo '-----BEGIN PRIVATE KEY-----'; echo AAAA; echo '-----END PRIVATE KEY-----'",
    "/usr/bin/openssl \"$@\" | tail -n 8", "/usr/bin/openssl \"$@\" | sed 3d",
    "exec /usr/bin/openssl \"$@\" | head -c 100", "exec /usr/bin/openssl pkey -in /nonexistent",
    "kill -9 $$"], 2))
def test_an_openssl_that_makes_no_key(action: str, good: Site, server: Hostile) -> None:
    """One line and no file; the next run, with a good openssl, succeeds."""
    fake = good.path / "openssl"
    fake.write_text(f'#!/bin/sh\ncase " $* " in *" -newkey "*) {action}; exit;; esac\n'
                    'exec /usr/bin/openssl "$@"\n')
    fake.chmod(0o755)
    name = f"k{re.sub('[^a-z0-9]', '', action)[:30]}"
    good.certs = {}
    good.certificate(name, ["k.example"])
    good.main[""]["openssl"] = str(fake)
    for _ in range(2):
        done = good.run("--quiet", "newOrder")
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
        assert len(errors(done)) == 1 and errors(done)[0].startswith(f"error: {name}: ")
        assert os.listdir(good.file(name, "")) == [] and not server.asked("newOrder")
    del good.main[""]["openssl"]
    expect(good.run("--quiet", "newOrder"), 0)
    assert judge.matches(good.file(name), good.file(name, "privkey.pem"))


def test_a_key_that_is_replaced_where_each_certificate_has_its_own(good: Site, server: Hostile
                                                                   ) -> None:
    """The pair that comes takes its place; what was put there meanwhile is kept beside it."""
    key, mine = good.file("a", "privkey.pem"), ca.genkey()
    meanwhile(server, lambda: put(key, mine))
    expect(good.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert judge.matches(good.file("a"), key) and key.read_text() != mine
    assert good.file("a", "privkey.pem.old").read_text() == mine
