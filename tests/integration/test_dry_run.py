"""newOrder --dry-run: everything but the end, and nothing is left of it but an account."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca, judge, misbehaviour, sid
from harness.hostile import Hostile, Response
from harness.judge import INSTALLED, expect
from harness.pebble import Pebble
from harness.run import Site

WOULD = r"{}: a certificate by “.*”, valid until .* UTC, would be installed; its chain {}"
ENDS = r"ends at a CA of \S+"
UNROOTED = (r"is not verified to a root \(it does not chain to \S+ \(.*\)\), only up to “.*”")
ACCOUNT = r"trial: the account is https://\S+"
TERMS = r"trial: the CA wants its terms of service agreed to: read \S+ and add --tos-agreed"


@pytest.fixture
def ready(site: Site, hostile: Hostile) -> Site:
    """A site with an account and the section "a"."""
    site.open_account(hostile)
    site.certificate("a", ["a.example"], notify=f"touch {site.path}/notified")
    return site


@pytest.fixture
def trial(ready: Site) -> Iterator[Hostile]:
    """Another CA, under another root, which is [ca trial]."""
    (ready.path / "trial").mkdir()
    with Hostile(authority=ca.CA(ready.path / "trial", "Trial")) as server:
        ready.main["ca trial"] = {"server": server.directory, "ca-file": str(server.ca_file)}
        yield server


def left(site: Site) -> dict[str, bytes]:
    """Return what there is below the library directory, but for accounts and directories."""
    return {str(path): path.read_bytes() for path in site.lib.rglob("*") if path.is_file()
            and path.name not in ("accounts.json", "directories.json")}


def test_nothing_is_left(ready: Site, hostile: Hostile, trial: Hostile) -> None:
    """Neither key nor certificate nor state; a real run knows nothing of it."""
    before = left(ready)
    expect(ready.run("newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 0, ACCOUNT,
           "a: trial with trial", WOULD.format("a", UNROOTED))
    assert left(ready) == before and not (ready.path / "notified").exists()
    assert not list(ready.rundir.glob("challenges-*"))
    assert len(trial.certificates) == 1 and hostile.orders == []
    known = json.loads((ready.lib / "state/accounts.json").read_text())
    assert set(known) == {hostile.directory, trial.directory}
    expect(ready.run("newOrder"), 0, "a: there is no certificate yet", "a: generating .*",
           f"a: {INSTALLED}", "running .*")
    assert len(hostile.certificates) == 1 and len(trial.certificates) == 1


def test_with_what_is_there(ready: Site, hostile: Hostile, trial: Hostile) -> None:
    """A section that is not due is tried, with its own key if that stays; the installed pair does.
    """
    ready.certs["a"]["reuse-key"] = "yes"
    assert ready.run("newOrder").returncode == 0
    (ready.path / "notified").unlink()
    before, tries = left(ready), []

    def issuer(csr: str, _names: list[str]) -> str:
        tries.append(csr)
        return trial.issue(csr)
    trial.issuer = issuer
    for _ in range(2):
        expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 0)
        assert left(ready) == before and not (ready.path / "notified").exists()
    public = ca.openssl("pkey", "-pubout", "-in", str(ready.file("a", "privkey.pem")))
    assert len(tries) == 2
    for csr in tries:
        assert ca.openssl("req", "-noout", "-pubkey", stdin=csr.encode()) == public
    ready.certs["a"]["reuse-key"] = "no"
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 0)
    assert ca.openssl("req", "-noout", "-pubkey", stdin=tries[2].encode()) != public
    assert left(ready) == before


def test_verified(ready: Site, trial: Hostile) -> None:
    """To a root of that CA, if CAfile has it; as far as it goes if not; or not at all."""
    options = ("newOrder", "--dry-run", "--ca=trial", "--tos-agreed")
    both = ready.path / "both.pem"
    both.write_text(Path(ready.certs["a"]["CAfile"]).read_text() + trial.ca_file.read_text())
    ready.certs["a"]["CAfile"] = str(both)
    expect(ready.run(*options), 0, ACCOUNT, "a: trial .*", WOULD.format("a", ENDS))
    ready.certs["a"]["CAfile"] = ""
    expect(ready.run(*options), 0, ACCOUNT, "a: trial .*",
           WOULD.format("a", "is not verified, as CAfile is empty"))


def test_a_chain_that_is_none(ready: Site, trial: Hostile, tmp_path: Path) -> None:
    """That no root of its is here doesn't excuse a chain that leads nowhere."""
    (tmp_path / "other").mkdir()
    other = ca.CA(tmp_path / "other", "Trial")    # of the same names
    trial.issuer = lambda csr, _names: trial.ca.issue(csr) + other.intermediate.read_text()
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 1,
           "error: a: the new certificate would not be installed: .*")
    trial.issuer = lambda csr, _names: trial.ca.issue(csr)
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 1,
           "error: a: the new certificate would not be installed: .*")
    misbehaviour.certificate_for_other_names(trial, ["b.example"])
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 1,
           "error: a: the new certificate would not be installed: it is for other names: .*")


def test_with_its_own_ca(ready: Site, hostile: Hostile, tmp_path: Path) -> None:
    """It is in earnest: CAfile holds, and the account is the one there is."""
    expect(ready.run("newOrder", "--dry-run", "--ca=default"), 0, "a: trial with 127.0.0.1:.*",
           WOULD.format("a", ENDS))
    (tmp_path / "other").mkdir()
    ready.certs["a"]["CAfile"] = str(ca.CA(tmp_path / "other").root)
    root = ready.path / "root.pem"
    root.write_text(Path(ready.certs["a"]["CAfile"]).read_text())
    ready.certs["a"]["CAfile"] = str(root)
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=default"), 1,
           "error: a: the new certificate would not be installed: it does not chain to .*")
    assert not hostile.asked("newAccount")


def test_what_goes_wrong(ready: Site, hostile: Hostile, trial: Hostile) -> None:
    """One line each, which names what to change; the others are tried."""
    expect(ready.run("newOrder", "--dry-run"), 1, r"error: a: no twin of 127\.0\.0\.1:\d+ for "
           r"trials is known: name the CA to try it with \(--ca=NAME\)")
    expect(ready.run("newOrder", "--dry-run", "--ca=nobody"), 2, "error: --ca: .*nobody.*")
    expect(ready.run("newOrder", "--dry-run", "--force"), 2, "error: newOrder: --dry-run .*")
    expect(ready.run("newOrder", "--ca=trial"), 2, "error: newOrder: --ca is for --dry-run")
    expect(ready.run("newOrder", "--dry-run", "b"), 2, r"error: there is no section \[b\] .*")
    no_account = r"error: a: the account key has no account at .*"
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial"), 1, no_account)
    ready.certificate("b", ["b.example"], colour="blue")
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 1,
           r"error: .*\[b\]: unknown setting “colour” .*")
    misbehaviour.failed_challenge(trial, "not yours", "unauthorized")
    trial.edit("order", lambda order: order.update(status="invalid"))
    done = ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "a")
    assert done.returncode == 1 and "error: a: a.example: not yours" in done.stderr
    trial.on["newOrder"] = lambda _request, _default: Response.problem(
        "rateLimited", "enough", 429, {"Retry-After": "86000"})
    assert ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "a").returncode == 1
    assert not list((ready.lib / "state").glob("cert-*"))
    expect(ready.run("--quiet", "newOrder", "a"), 0)    # nobody waits for it


def test_a_key_that_was_compromised(ready: Site, trial: Hostile) -> None:
    """No CA gets a CSR with it, as in a real run; no other is made either."""
    assert ready.run("newOrder").returncode == 0
    assert ready.run("revokeCert", "--reason=1", "a").returncode == 0
    before, tries = left(ready), []

    def issuer(csr: str, _names: list[str]) -> str:
        tries.append(csr)
        return trial.issue(csr)
    trial.issuer = issuer
    expect(ready.run("--quiet", "newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 0)
    public = ca.openssl("pkey", "-pubout", "-in", str(ready.file("a", "privkey.pem")))
    assert left(ready) == before
    assert ca.openssl("req", "-noout", "-pubkey", stdin=tries[0].encode()) != public


def test_pebble(site: Site, pebble: Pebble) -> None:
    """Two Pebbles: one in earnest, one for trials, where the account is made on the fly."""
    site.open_account(pebble)
    for section in "ab":
        site.certificate(section, [f"{section}.trial.example"])
    with Pebble(nosleep=True, http_port=pebble.http_port, program=sid.newest("pebble"),
                dns_server=pebble.names.address) as twin:
        site.main["ca trial"] = {"server": twin.directory, "ca-file": str(twin.ca_file)}
        expect(site.run("newOrder", "--dry-run", "--ca=trial", "--tos-agreed"), 0, ACCOUNT,
               "[ab]: trial with trial", WOULD.format("[ab]", UNROOTED), "2 tried, 0 failed")
        assert not site.file("a").exists()
        roots = site.path / "twin.pem"
        roots.write_bytes(twin.roots().read_bytes())
        for section in "ab":
            site.certs[section]["CAfile"] = str(roots)
        expect(site.run("newOrder", "--dry-run", "--ca=trial"), 0,
               "[ab]: trial with trial", WOULD.format("[ab]", ENDS), "2 tried, 0 failed")
    assert judge.tree(site.lib / "certs") == set()
