"""revokeCert: by section or file, only of what is ours, and what follows from it."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import ca, judge, misbehaviour, revoking
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, expect
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, Site

SERIAL = r"serial [0-9a-f]+, valid until .* UTC"
REPLACES = r"revoked \(the next newOrder replaces it\)"
NOT_OURS = r"and no section has this certificate, its key or all of these names: .*--force.*"


@pytest.fixture
def issued(site: Site, hostile: Hostile) -> Site:
    """A site with an account and certificates in the sections "a" and "b"."""
    site.open_account(hostile)
    for section in "ab":
        site.certificate(section, [f"{section}.example"])
    assert site.run("newOrder").returncode == 0
    return site


def due(site: Site) -> dict[str, str]:
    """Return section -> why it is due, as status says it."""
    rows = json.loads(site.run("status", "--json").stdout)["sections"]
    return {row["section"]: row["reason"] for row in rows if row["due"]}


def foreign(site: Site, hostile: Hostile, *names: str) -> Path:
    """Return the file of a certificate that the CA has issued to somebody else."""
    path = site.path / "foreign.pem"
    path.write_text(hostile.issue(ca.request(names, ca.genkey())))
    return path


def test_by_section(issued: Site, hostile: Hostile) -> None:
    """With its file named, too, it is one certificate; it is due at once."""
    expect(issued.run("revokeCert", "--reason=4", "a", str(issued.file("a", "cert.pem"))), 0,
           f"revoking a: {SERIAL}", f"a: {REPLACES}")
    assert [payload["reason"] for payload in hostile.revoked] == [4]
    assert due(issued) == {"a": "it was revoked"}
    expect(issued.run("newOrder"), 0, "a: it was revoked", f"a: {INSTALLED}", "b: valid .*")
    assert due(issued) == {}


@pytest.mark.alike(3)
@pytest.mark.parametrize("reason, code", [
    ("unspecified", 0), ("0", 0), ("keycompromise", 1), ("1", 1), ("superseded", 4),
    ("cessationOfOperation", 5), ("5", 5)])
def test_reasons(issued: Site, hostile: Hostile, reason: str, code: int) -> None:
    expect(issued.run("--quiet", "revokeCert", f"--reason={reason}", "a"), 0)
    assert [payload["reason"] for payload in hostile.revoked] == [code]


def test_what_is_neither(issued: Site, hostile: Hostile) -> None:
    """Neither a section nor a file; a section without a certificate; one that is wrong."""
    expect(issued.run("revokeCert", "aa.example"), 1, "error: aa.example: cannot read the "
           r"certificate: No such file or directory \(and there is no section of this name.*\)")
    issued.certificate("c", ["c.example"])
    expect(issued.run("revokeCert", "c"), 1,
           "error: c: cannot read the certificate: No such file or directory")
    issued.certificate("d", ["d_..example"])
    expect(issued.run("revokeCert", "d"), 1, r"error: .*\[d\]: names = .*")
    expect(issued.run("--quiet", "revokeCert", "a"), 0)
    assert len(hostile.revoked) == 1


def test_what_is_ours(issued: Site, hostile: Hostile) -> None:
    """The certificate, one for its key, or for names that are asked for, all of them."""
    theirs = foreign(issued, hostile, "c.example")
    refused = f"error: {theirs}: it is for .*, {NOT_OURS}"
    expect(issued.run("revokeCert", str(theirs)), 1, refused)
    foreign(issued, hostile, "a.example", "c.example")
    expect(issued.run("revokeCert", "b", str(theirs)), 1, f"revoking b: {SERIAL}", refused)
    assert hostile.revoked == [] and due(issued) == {}
    expect(issued.run("revokeCert", "--force", str(theirs)), 0,
           f"revoking {theirs}: {SERIAL}", f"{theirs}: revoked")
    foreign(issued, hostile, "a.example", "b.example")    # by whomever
    expect(issued.run("--quiet", "revokeCert", str(theirs)), 0)
    theirs.write_text(hostile.issue(ca.request(
        ["z.example"], issued.file("a", "privkey.pem").read_text())))
    expect(issued.run("--quiet", "revokeCert", str(theirs)), 0)
    assert len(hostile.revoked) == 3 and due(issued) == {}


def test_a_configuration_that_is_wrong(issued: Site, hostile: Hostile) -> None:
    """What is known by its file is revoked all the same, if it is forced or its key is there."""
    cert, key = str(issued.file("a", "cert.pem")), str(issued.file("a", "privkey.pem"))
    issued.write("certs.conf", "colour = blue\n")
    expect(issued.run("revokeCert", cert), 2, "error: .*certs.conf: unknown setting .*")
    expect(issued.run("revokeCert", "--force", "a"), 2, "error: .*certs.conf: unknown .*")
    for option in "--force", f"--certificate-key={key}":
        expect(issued.run("--quiet", "revokeCert", option, cert), 0,
               "warning: .*certs.conf: unknown .*no hindrance: .*")
    assert len(hostile.revoked) == 2


@pytest.mark.alike(2)
@pytest.mark.parametrize("problem, remedy", [
    ("badRevocationReason", "; choose another --reason"),
    ("unauthorized", "; another account has it: .*--certificate-key=FILE.*"), ("malformed", "")])
def test_a_refusal(issued: Site, hostile: Hostile, problem: str, remedy: str) -> None:
    """One line that names the option to change; nothing is due."""
    hostile.on["revokeCert"] = lambda _request, _default: Response.problem(problem, "No.")
    expect(issued.run("--quiet", "revokeCert", "a"), 1,
           rf"error: a: revokeCert: No\. \({problem}\){remedy}")
    assert due(issued) == {}
    hostile.on.clear()
    expect(issued.run("--quiet", "revokeCert", "a"), 0)
    hostile.on["revokeCert"] = lambda _request, _default: Response.problem(problem, "No.")
    assert issued.run("--quiet", "revokeCert", "a").returncode == 1
    assert due(issued) == {"a": "it was revoked"}, "as it was before"


def test_a_compromised_key_whatever_the_ca_says(issued: Site, hostile: Hostile) -> None:
    """The CA is down: the certificate stays, but the key is not used again."""
    hostile.on["revokeCert"] = lambda _request, _default: Response.problem("serverInternal", "x",
                                                                           500)
    key = issued.file("a", "privkey.pem")
    old = key.read_bytes()
    done = issued.run("--quiet", "revokeCert", "--reason=keyCompromise", "a")
    assert done.returncode == 1
    assert "warning: a: it is not revoked; its key is not used again all the same" in done.stderr
    assert due(issued) == {"a": "its private key was compromised"}
    expect(issued.run("--quiet", "newOrder"), 0)
    assert key.read_bytes() != old and judge.matches(issued.file("a"), key)


@pytest.mark.parametrize("reason", ["superseded", "keyCompromise"])
def test_killed_while_the_ca_is_asked(issued: Site, hostile: Hostile, reason: str) -> None:
    """What the CA has revoked is due, even if nobody heard of it."""
    issued.certs["a"]["reuse-key"] = "yes"
    with issued.popen("revokeCert", f"--reason={reason}", "a") as process:
        def handler(_request: Request, default: Default) -> Response:
            response = default()
            process.kill()
            process.wait()
            return response
        hostile.on["revokeCert"] = handler
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL and len(hostile.revoked) == 1
    assert list(due(issued)) == ["a"]
    old = issued.file("a", "privkey.pem").read_bytes()
    expect(issued.run("--quiet", "newOrder"), 0)
    assert (issued.file("a", "privkey.pem").read_bytes() == old) is (reason == "superseded")


# --- on a terminal -------------------------------------------------------------------------------

def typed(site: Site, text: str, *arguments: str) -> tuple[int, str]:
    """Type something on a terminal where revokeCert runs; return its status and what was shown."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, text.encode())
        done = subprocess.run(site.command("revokeCert", *arguments), stdin=theirs, stderr=theirs,
                              stdout=subprocess.PIPE, env=ENVIRONMENT, timeout=90, check=False)
        os.write(theirs, b"\0end")
        shown = b""
        while not shown.endswith(b"\0end"):
            shown += os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, shown.decode()


def test_on_a_terminal(issued: Site, hostile: Hostile) -> None:
    """Somebody is asked, and must say yes; not with --force, and not in a script."""
    for answer in "\n", "no\n", "\x04":
        status, shown = typed(issued, answer, "a", "b")
        assert status == 1 and "Revoke these 2 certificates for ever?" in shown
        assert "a: a.example" in shown and "error: nothing is revoked" in shown
    assert hostile.revoked == [] and due(issued) == {}
    assert typed(issued, "yes\n", "a")[0] == 0
    status, shown = typed(issued, "", "--force", "b")
    assert status == 0 and "for ever?" not in shown
    assert len(hostile.revoked) == 2 and set(due(issued)) == {"a", "b"}


# --- Pebble --------------------------------------------------------------------------------------

def known(site: Site, pebble: Pebble, path: Path) -> Any:
    """Return what Pebble says of a certificate: Valid, or the reason's code."""
    found = pebble.certificate_status(judge.serial(path))
    assert found is not None
    return found["Status"] if found["Status"] == "Valid" else found.get("Reason", 0)


def test_pebble(site: Site, pebble: Pebble) -> None:
    site.open_account(pebble)
    for section, reason in (("a", 0), ("b", 1), ("c", 4), ("d", 5)):
        site.certificate(section, [f"{section}.revoked.example"])
    assert site.run("newOrder").returncode == 0
    for section, reason in (("a", 0), ("b", 1), ("c", 4), ("d", 5)):
        expect(site.run("--quiet", "revokeCert", f"--reason={reason}", section), 0)
        assert known(site, pebble, site.file(section)) == reason
    assert len(due(site)) == 4
    expect(site.run("--quiet", "newOrder"), 0)
    assert due(site) == {} and known(site, pebble, site.file("b")) == "Valid"


def test_by_authorization(issued: Site, hostile: Hostile) -> None:
    """Another account than that which has the certificate proves that its names are ours, without
    a certificate of its own."""
    revoking.judged(hostile)
    for section in "cd":
        issued.certificate(section, [f"{section}.example", f"www.{section}.example"])
    assert issued.run("newOrder").returncode == 0
    expect(issued.run("--quiet", "revokeCert", "c"), 0)
    issued.genkey()
    expect(issued.run("--quiet", "revokeCert", "--authorize", "d"), 1,
           "error: d: the account key has no account at .*", "accountd: .*")
    assert issued.register().returncode == 0
    expect(issued.run("--quiet", "revokeCert", "d"), 1,
           r"error: d: revokeCert: it is not yours \(unauthorized\); another account has it: "
           r".*--authorize.*")
    made = len(hostile.certificates)
    expect(issued.run("revokeCert", "--authorize", "--reason=4", "a", "d"), 0,
           f"revoking a: {SERIAL}", f"revoking d: {SERIAL}", f"a: {REPLACES}", f"d: {REPLACES}")
    assert [payload["reason"] for payload in hostile.revoked] == [0, 4, 4]
    assert len(hostile.certificates) == made and set(due(issued)) == {"a", "c", "d"}
    assert not list(issued.rundir.glob("challenges-*"))


def test_pebble_validates(site: Site, pebble: Pebble) -> None:
    """The challenges are answered, though this CA doesn't revoke by authorizations."""
    site.open_account(pebble)
    site.certificate("a", ["proved.example", "www.proved.example"])
    assert site.run("newOrder").returncode == 0
    site.genkey()
    assert site.register().returncode == 0
    before = pebble.log.count("set VALID by completed challenge")
    expect(site.run("--quiet", "revokeCert", "--authorize", "a"), 1,
           r"error: a: revokeCert: .* not associated with account .* \(unauthorized\)")
    assert pebble.log.count("set VALID by completed challenge") == before + 2
    assert known(site, pebble, site.file("a")) == "Valid" and due(site) == {}


def test_what_cannot_be_proved(issued: Site, hostile: Hostile) -> None:
    """Nothing is revoked, and one line says which name it is, or which challenge failed."""
    theirs = foreign(issued, hostile, "*.c.example")
    expect(issued.run("--quiet", "revokeCert", "--authorize", "--force", str(theirs)), 1,
           rf"error: {theirs}: \*\.c\.example: a wildcard needs the challenge dns-01: .*")
    misbehaviour.failed_challenge(hostile, "not yours", "unauthorized")
    hostile.edit("order", lambda order: order.update(status="invalid"))
    expect(issued.run("--quiet", "revokeCert", "--authorize", "a"), 1,
           r"error: a: a\.example: not yours \(unauthorized\)")
    expect(issued.run("revokeCert", "--authorize", "--certificate-key=x", "a"), 2,
           "error: revokeCert: --authorize and --certificate-key exclude each other")
    assert hostile.revoked == [] and due(issued) == {}


def test_a_ca_that_is_not_the_first(issued: Site, hostile: Hostile, hostile_ca: ca.CA) -> None:
    """Who has issued is asked, whatever the section says by now; or --ca."""
    with Hostile(authority=hostile_ca) as other:
        issued.main["ca other"] = {"server": other.directory, "ca-file": str(other.ca_file)}
        issued.certs["a"]["ca"] = "other"
        issued.main["ca old"] = {"server": hostile.directory, "ca-file": str(hostile.ca_file)}
        expect(issued.run("--quiet", "revokeCert", "a"), 0)
        assert (len(hostile.revoked), len(other.revoked)) == (1, 0)
        assert issued.run("account", "--ca=other", "--register", "--tos-agreed").returncode == 0
        assert issued.run("newOrder", "a").returncode == 0
        expect(issued.run("--quiet", "revokeCert", "a", "b"), 0)
        assert (len(hostile.revoked), len(other.revoked)) == (2, 1)
        expect(issued.run("--quiet", "revokeCert", "--ca=other", "b"), 0)
        assert (len(hostile.revoked), len(other.revoked)) == (2, 2)
        expect(issued.run("revokeCert", "--ca=nobody", "b"), 2, ".*", "error: --ca: .*nobody.*")
