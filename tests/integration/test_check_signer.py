"""check says beforehand what the signer's policy or key will make fail; a run fails only there."""

import shutil

import pytest

from harness.pebble import Pebble
from harness.run import Site
from letsencrypt_tiny.common.urls import parse

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def four(site: Site, pebble: Pebble) -> Site:
    """Four sections, an account, and an account key of our own signer's."""
    site.use(pebble)
    site.genkey("ec:P-256")
    for name in NAMES:
        site.certificate(name, [f"{name}.example"])
    assert site.register().returncode == 0
    return site


def test_an_account_key_as_one_sections_key(four: Site) -> None:
    key = four.file("b", "privkey.pem")
    key.parent.mkdir(parents=True)
    shutil.copy(four.account_key, key)
    key.chmod(0o600)
    done = four.run("check")
    assert done.returncode == 2 and done.stderr.count("error: ") == 1, done.stderr
    assert f"[b]: certificate-key = {key}: is the account key" in done.stderr
    done = four.run("newOrder")
    assert done.returncode == 1 and "3 installed, 1 failed" in done.stderr, done.stderr
    assert "error: b: the account key manager refused to sign: " in done.stderr
    assert [four.file(name, "cert.pem").exists() for name in NAMES] == [True, False, True, True]


def allow(site: Site, names: str) -> None:
    """Let the signer sign orders for these names only, whatever the master says."""
    site.main["accountd"].update({
        "command": f"{site.prefix.accountd} --policy=host", "policy": "no"})
    site.accountd["policy host"] = {
        "origins": parse(site.main["client"]["server"]).origin, "identifiers": names}


def test_a_policy_that_lacks_one_name(four: Site) -> None:
    allow(four, "a.example c.example d.example")
    done = four.run("check")
    assert done.returncode == 1 and done.stderr.count("error: ") == 1, done.stderr
    assert '[b]: the account key manager would refuse it: policy "host": b.example is ' \
        "not one of its identifiers" in done.stderr
    for options in [], ["--force"]:
        done = four.run("newOrder", *options)
        assert done.returncode == 1, done.stderr
        assert "3 installed, 1 failed" in done.stderr or not options
        assert "error: b: the account key manager refused to sign: " in done.stderr
    done = four.run("check")
    assert done.returncode == 1 and done.stderr.count("error: ") == 1, done.stderr
    allow(four, ".example")
    assert four.run("check").returncode == 0
    assert four.run("newOrder").returncode == 0
    assert four.file("b", "cert.pem").exists()
