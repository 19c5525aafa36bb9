"""Accounts that a CA ties to those of its customers (RFC 8555 §7.3.4), and their MAC keys."""

import base64
import grp
import os
import re
import secrets
from collections.abc import Iterator

import pytest

from harness import sid, soak
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import SIGNER_USER, Site

KEYS = {kid: base64.urlsafe_b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()
        for kid, size in (("kid-1", 32), ("kid-2", 48), ("kid-3", 64))}
ACCOUNT = (r"Terms of Service: \S+", r"Key ID: https://\S+")
REGISTER = ("account", "--register", "--tos-agreed")
MANAGER_FAILED = "error: the account key manager .* failed: .*"
JSON = r"\{\n.*\n\}\n"


@pytest.fixture(scope="module")
def strict() -> Iterator[Pebble]:
    """A Pebble that lets in customers only."""
    with Pebble(nosleep=True, always_valid=True, program=sid.newest("pebble"),
                config={"externalAccountBindingRequired": True,
                        "externalAccountMACKeys": KEYS}) as running:
        yield running


@pytest.fixture
def customer(site: Site, strict: Pebble) -> Site:
    """A site for it, without an account; what a CA gave it can be told with ``tell``."""
    site.use(strict)
    site.genkey()
    return site


def tell(site: Site, kid: str, ca: str = "client", **settings: str) -> None:
    """Configure an external account, as an administrator would."""
    site.main[ca]["eab-kid"] = kid
    site.accountd[f"eab {kid}"] = {name.replace("_", "-"): value
                                   for name, value in settings.items()}
    site.configure()
    path = site.etc / "accountd.conf"
    os.chown(path, 0, grp.getgrnam(SIGNER_USER).gr_gid)
    path.chmod(0o640)


@pytest.mark.parametrize("kid, algorithm, padded", soak.some([
    ("kid-1", "", False), ("kid-1", "HS256", True), ("kid-2", "HS384", False),
    ("kid-3", "HS512", True)], 2))
def test_registration(kid: str, algorithm: str, padded: bool, customer: Site) -> None:
    """By a key of the signer's; the account is found again without it."""
    key = KEYS[kid] + "=" * (-len(KEYS[kid]) % 4 if padded else 0)
    tell(customer, kid, key=key, **({"algorithm": algorithm} if algorithm else {}))
    expect(customer.run(*REGISTER), 0, *ACCOUNT, stdout=JSON)
    del customer.main["client"]["eab-kid"], customer.accountd[f"eab {kid}"]
    expect(customer.run(*REGISTER), 0, *ACCOUNT, stdout=JSON)
    expect(customer.run("account"), 0, *ACCOUNT, stdout=JSON)
    customer.certificate("a", ["a.eab.example"])
    expect(customer.run("newOrder"), 0, f"a: {NEW}", "a: generating .*", f"a: {INSTALLED}")


def test_registration_at_another_ca(site: Site, pebble: Pebble, strict: Pebble) -> None:
    """[ca NAME] has an eab-kid of its own; that of [client] lets everybody in."""
    site.use(pebble)
    site.main["ca other"] = {"server": strict.directory, "ca-file": str(strict.ca_file)}
    site.genkey()
    done = site.run(*REGISTER)
    assert done.returncode == 1 and re.search(
        rf"^error: other: this CA ties .* set “eab-kid” of {site.config}, \[ca other\] to",
        done.stderr, re.M)
    tell(site, "kid-2", "ca other", key=KEYS["kid-2"], algorithm="HS384")
    expect(site.run(*REGISTER, "--ca=other"), 0, *ACCOUNT, stdout=JSON)
    assert site.run("account").stdout.count('"status": "valid"') == 2
    site.certificate("a", ["d.eab.example"], ca="other",
                     CAfile=str(site.etc / "strict.pem"))
    (site.etc / "strict.pem").write_bytes(strict.roots().read_bytes())
    expect(site.run("newOrder"), 0, f"a: {NEW}", "a: generating .*", f"a: {INSTALLED}")


def test_key_file(customer: Site) -> None:
    """A file of the signer's, of which nobody else may read."""
    path = customer.lib / "accountd/eab.key"
    path.write_text(KEYS["kid-1"] + "\n")
    tell(customer, "kid-1", key_file=str(path))
    path.chmod(0o644)
    expect(customer.run(*REGISTER), 1, rf"accountd: error: \S+, \[eab kid-1\]: key-file = {path}: "
           rf"everybody can use the MAC key in {path} .*", MANAGER_FAILED)
    path.chmod(0o600)
    os.chown(path, *(os.stat(customer.account_key).st_uid, -1))
    expect(customer.run(*REGISTER), 0, *ACCOUNT, stdout=JSON)


def test_each_answer_names_the_setting(customer: Site) -> None:
    """Nothing configured; no key for it; the wrong key; a kid that the CA doesn't know."""
    where = rf"{customer.config}, \[client\]"
    expect(customer.run(*REGISTER), 1,
           r"error: this CA ties accounts to those of its customers \(RFC 8555 §7.3.4\): set "
           rf"“eab-kid” of {where} to .* into \[eab KID\] of accountd.conf")
    customer.main["client"]["eab-kid"] = "kid-1"
    expect(customer.run(*REGISTER), 1,
           rf"error: “eab-kid” of {where}: the account key manager has no section "
           r"\[eab kid-1\] in its accountd.conf .*")
    for kid, key in (("kid-1", KEYS["kid-2"]), ("kid-4", KEYS["kid-1"])):
        tell(customer, kid, key=key)
        expect(customer.run(*REGISTER), 1, rf"error: newAccount: .* \(is “eab-kid” of {where} "
               rf"right, and “key” of \[eab {kid}\] in accountd.conf\?\)")
    customer.main["client"]["eab-kid"] = "kid 1"
    expect(customer.run(*REGISTER), 2, rf"error: {where}: eab-kid = kid 1: not a key identifier.*")


def test_no_key_without_registration(customer: Site) -> None:
    """Of a command that registers nothing the signer makes no MAC (``policy``)."""
    tell(customer, "kid-1", key=KEYS["kid-1"])
    expect(customer.run("account"), 1, "error: the account key has no account at .*")
    customer.certificate("a", ["b.eab.example"])
    assert customer.run("newOrder").returncode == 1


def test_the_key_is_in_the_signer_only(customer: Site) -> None:
    """In no other process's arguments, environment or descriptors, and in no message or log."""
    tell(customer, "kid-1", key=KEYS["kid-1"])
    log = customer.lib / "accountd/log"
    customer.accountd[""]["logfile"] = str(log)
    tell(customer, "kid-1", key=KEYS["kid-1"])
    watched = customer.watch("--debug", *REGISTER)
    assert watched.returncode == 0, watched.stderr
    secret = [KEYS["kid-1"], base64.urlsafe_b64decode(KEYS["kid-1"] + "=").hex()]
    lives = [life for program in ("letsencrypt-tiny", "client", "letsencrypt-tiny-accountd")
             for life in watched.of(program)]
    assert len(lives) >= 3
    text = f"{watched.stdout}{watched.stderr}{log.read_text()}"
    for life in lives:
        text += f"{life.seen('argv')}{life.environ}{life.fds}"
    assert "external-account-binding" in text and "kid-1" in text
    assert not any(part in text for part in secret)
    # nor the MAC, by which anybody could register this key
    assert not re.search(r'"signature":"(?!\.\.\.)', log.read_text())


BAD: dict[str, tuple[dict[str, str], str]] = {
    "no base64url": ({"key": "not+base64/url=secret"}, "key: not base64url"),
    "short": ({"key": "c2VjcmV0"}, "key: 6 bytes, where a MAC key has 16 to 1024"),
    "nothing": ({}, "key is missing: .*"),
    "both": ({"key": KEYS["kid-1"], "key-file": "/x"}, "key and key-file exclude each other"),
    "algorithm": ({"key": KEYS["kid-1"], "algorithm": "HS1"},
                  "algorithm = HS1: not one of HS256, HS384, HS512"),
    "setting": ({"key": KEYS["kid-1"], "kye": KEYS["kid-1"]}, "unknown setting “kye” .*"),
    "no file": ({"key-file": "/nonexistent"}, "key-file = /nonexistent: No such file .*")}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings(case: str, customer: Site) -> None:
    """One line, in which there is nothing of the key."""
    settings, message = BAD[case]
    tell(customer, "kid-1", **settings)
    done = customer.run("account")
    expect(done, 1, rf"accountd: error: \S+, \[eab kid-1\]: {message}.*",
           MANAGER_FAILED)
    assert "secret" not in done.stderr and "c2VjcmV0" not in done.stderr
    assert KEYS["kid-1"] not in done.stderr


def test_a_configuration_that_everybody_reads(customer: Site) -> None:
    """The file as the package has it is of mode 0644: no place for a key."""
    tell(customer, "kid-1", key=KEYS["kid-1"])
    path = customer.etc / "accountd.conf"
    path.chmod(0o644)
    expect(customer.run(*REGISTER), 1, rf"accountd: error: {path}, \[eab kid-1\]: key: everybody "
           rf"can use the MAC key in {path} \(chmod o= it; .*", MANAGER_FAILED)


def test_check(customer: Site) -> None:
    """It is known beforehand that a section is missing."""
    customer.certificate("a", ["c.eab.example"])
    customer.main["client"]["eab-kid"] = "kid-1"
    done = customer.run("check")
    assert done.returncode == 2 and "has no section [eab kid-1]" in done.stderr, done.stderr
    tell(customer, "kid-1", key=KEYS["kid-1"])
    done = customer.run("check")
    assert "eab" not in done.stderr and done.returncode == 0, done.stderr
