"""Accounts and revocation, as the administrator sees them: JSON on standard output, no more."""

import json
import re
from typing import Any

import pytest

from harness import ca, judge
from harness.judge import INSTALLED, NEW, expect
from harness.net import free_port
from harness.pebble import Pebble
from harness.run import Prefix, Result, Site

TERMS, KEY_ID = r"Terms of Service: \S+", r"Key ID: https://\S+"
NO_ACCOUNT = (r"the account key has no account at https://\S+/dir: "
              "run “letsencrypt-tiny account --register --tos-agreed” first")


@pytest.fixture
def ready(site: Site, pebble: Pebble) -> Site:
    """A site for Pebble, without an account yet."""
    site.use(pebble)
    site.genkey()
    return site


def shown(done: "Result[str]", *lines: str) -> dict[str, Any]:
    """Return the account that a successful command printed."""
    expect(done, 0, *(lines or (TERMS, KEY_ID)), stdout=r"\{\n.*\n\}\n")
    account: dict[str, Any] = json.loads(done.stdout)
    return account


def url(done: "Result[str]") -> str:
    """Return the account's URL."""
    match = re.search(r"^Key ID: (\S+)$", done.stderr, re.M)
    assert match is not None
    return match.group(1)


def test_registration(ready: Site) -> None:
    """Not without agreement; then once, however often it is asked for."""
    expect(ready.run("account"), 1, f"error: {NO_ACCOUNT}")
    ready.certificate("a", ["a.account.example"])
    expect(ready.run("newOrder"), 1, f"a: {NEW}", "a: generating .*", f"error: a: {NO_ACCOUNT}")
    expect(ready.run("account", "--register"), 1,
           r"error: the CA wants its terms of service agreed to: read \S+ and add --tos-agreed")
    first = ready.run("account", "--register", "--tos-agreed", "mailto:a@example.org")
    account = shown(first)
    assert account["status"] == "valid" and account["contact"] == ["mailto:a@example.org"]
    again = ready.run("account", "--register", "--tos-agreed")
    assert shown(again)["contact"] == ["mailto:a@example.org"]
    lookup = ready.run("account")
    assert shown(lookup)["status"] == "valid"
    assert url(first) == url(again) == url(lookup)
    done = ready.run("--quiet", "account")
    expect(done, 0, stdout=r"\{\n.*\n\}\n")
    assert json.loads(done.stdout) == json.loads(lookup.stdout)
    expect(ready.run("newOrder"), 0, f"a: {NEW}", f"a: {INSTALLED}")


def test_contact(ready: Site) -> None:
    """Those given replace the earlier ones; none given leaves them."""
    shown(ready.run("account", "--register", "--tos-agreed", "mailto:a@example.org"))
    new = ["mailto:b@example.org", "mailto:c@example.org"]
    assert shown(ready.run("account", *new))["contact"] == new
    assert shown(ready.run("account"))["contact"] == new
    expect(ready.run("account", "a@example.org"), 2,
           "error: “a@example.org” is not a contact URL such as mailto:admin@example.org")
    expect(ready.run("account", "tel:+1"), 1, "error: .*tel.*")
    assert shown(ready.run("account"))["contact"] == new


def test_deactivation(ready: Site) -> None:
    """For ever: neither looked up, nor used, nor registered again."""
    shown(ready.run("account", "--register", "--tos-agreed"))
    assert shown(ready.run("account", "--deactivate", "--yes"))["status"] == "deactivated"
    gone = "error: .*deactivated.*"
    expect(ready.run("account"), 1, gone)
    expect(ready.run("account", "--register", "--tos-agreed"), 1, gone)
    ready.certificate("a", ["deactivated.example"])
    expect(ready.run("newOrder"), 1, f"a: {NEW}", "a: generating .*", gone)
    ready.genkey()
    shown(ready.run("account", "--register", "--tos-agreed"))
    expect(ready.run("newOrder"), 0, f"a: {NEW}", f"a: {INSTALLED}")


def test_keyid(ready: Site) -> None:
    """An account key manager that tells no public key."""
    account = url(ready.run("account", "--register", "--tos-agreed"))
    ready.accountd[""]["keyid"] = account
    done = ready.run("account")
    assert shown(done)["status"] == "valid" and url(done) == account
    assert shown(ready.run("account", "mailto:k@example.org"))["contact"] == [
        "mailto:k@example.org"]
    ready.certificate("a", ["keyid.example"])
    expect(ready.run("newOrder"), 0, f"a: {NEW}", "a: generating .*", f"a: {INSTALLED}")
    ready.accountd[""]["keyid"] = f"{account}0"
    expect(ready.run("newOrder", "--force"), 1, "a: forced",
           rf"error: a: newOrder: Account {account}0 not found.*")


# --- revocation ----------------------------------------------------------------------------------

REVOKING = r"revoking \S+/{}/cert\.pem: serial [0-9a-f]+, valid until .* UTC"
REVOKED = r"\S+/{}/cert\.pem: revoked \(the next newOrder replaces it.*\)"


@pytest.fixture
def issued(ready: Site) -> Site:
    """The same with an account and certificates in sections a, b and c."""
    shown(ready.run("account", "--register", "--tos-agreed"))
    for section in "abc":
        ready.certificate(section, [f"{section}.revoke.example"])
    assert ready.run("--quiet", "newOrder").returncode == 0
    return ready


def status(site: Site, pebble: Pebble, section: str) -> Any:
    """Return what Pebble says of a section's certificate: Valid, or the reason's code."""
    known = pebble.certificate_status(judge.serial(site.file(section)))
    assert known is not None
    return known["Status"] if known["Status"] == "Valid" else known.get("Reason", 0)


def test_revocation_by_account(issued: Site, pebble: Pebble) -> None:
    """Several at once, with a reason; the second time is no failure."""
    cert = {section: str(issued.file(section, "cert.pem")) for section in "abc"}
    expect(issued.run("revokeCert", cert["a"]), 0, REVOKING.format("a"), REVOKED.format("a"))
    assert [status(issued, pebble, section) for section in "abc"] == [0, "Valid", "Valid"]
    expect(issued.run("revokeCert", "--reason=superseded", cert["b"], cert["c"]), 0,
           *(line.format(section) for section in "bc" for line in (REVOKING, REVOKED)))
    assert [status(issued, pebble, section) for section in "abc"] == [0, 4, 4]
    expect(issued.run("--quiet", "revokeCert", cert["a"]), 0,
           f"warning: {cert['a']}: the certificate was revoked before")
    expect(issued.run("newOrder", "--force", "a"), 0, "a: forced", f"a: {INSTALLED}")
    assert status(issued, pebble, "a") == "Valid"


def test_revocation_by_certificate_key(issued: Site, pebble: Pebble) -> None:
    """The account key isn't needed, nor even there."""
    cert, key = issued.file("a", "cert.pem"), issued.file("a", "privkey.pem")
    other = issued.file("b", "privkey.pem")
    expect(issued.run("--quiet", "revokeCert", f"--certificate-key={other}", str(cert)), 1,
           rf"error: {cert}: revokeCert: .* \(unauthorized\)")
    assert status(issued, pebble, "a") == "Valid"
    issued.account_key.unlink()
    expect(issued.run("revokeCert", "--reason=1", f"--certificate-key={key}", str(cert)), 0,
           REVOKING.format("a"), REVOKED.format("a"))
    assert [status(issued, pebble, section) for section in "abc"] == [1, "Valid", "Valid"]
    del issued.main["accountd"]
    expect(issued.run("--quiet", "revokeCert", f"--certificate-key={key}", str(cert)), 2,
           r"error: \S+: --certificate-key needs \[accountd\]; .*")


def test_revocation_by_a_stranger(issued: Site, pebble: Pebble, prefix: Prefix) -> None:
    """Another account, or none at all, revokes nothing."""
    cert = issued.file("a", "cert.pem")
    issued.genkey("rsa:2048")
    expect(issued.run("--quiet", "revokeCert", str(cert)), 1,
           r"accountd: warning: \[stdio\] NOSIGN .* not as their own key .*",
           rf"error: {cert}: the account key has no account at .*")
    shown(issued.run("account", "--register", "--tos-agreed"), TERMS, KEY_ID,
          r"also known: \S+ at \S+, of the key with the thumbprint \S+")
    expect(issued.run("--quiet", "revokeCert", str(cert)), 1,
           rf"error: {cert}: revokeCert: .* \(unauthorized\); another account has it: .*")
    assert status(issued, pebble, "a") == "Valid"


def test_what_cannot_be_revoked(ready: Site) -> None:
    """It is told before anybody is asked."""
    nothing = ready.path / "nothing.pem"
    expect(ready.run("revokeCert", str(nothing)), 1,
           f"error: {nothing}: cannot read the certificate: No such file or directory")
    nothing.write_text(ca.genkey())
    expect(ready.run("revokeCert", str(nothing)), 1, rf"error: {nothing}: .*")
    expect(ready.run("revokeCert"), 2,
           "error: revokeCert: name the section, or the file, of a certificate to revoke")
    expect(ready.run("revokeCert", "--reason=2", str(nothing)), 2,
           r"error: --reason=2: not one of unspecified \(0\), keyCompromise \(1\), .*")


def test_one_line_if_nobody_answers(site: Site) -> None:
    """What the client said of it is enough; that it ended so isn't told again."""
    site.genkey()
    site.main["client"]["server"] = f"https://127.0.0.1:{free_port()}/directory"
    done = site.run("account")
    assert done.returncode == 1 and done.stdout == ""
    line, = done.stderr.splitlines()
    assert line.startswith("error: ") and "refused" in line
