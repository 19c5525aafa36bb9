"""Which key a certificate is for: reuse-key, next-key, newOrder --new-key; against Pebble."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca, judge
from harness.judge import INSTALLED, expect
from harness.pebble import Pebble
from harness.run import Site

MADE = r"a: the key of the next certificate is made \({}; see “letsencrypt-tiny records a”\)"
NEW = r"a: generating the private key \S+ \(ec:P-256\)"


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    with Pebble(nosleep=True, noncereject=0) as server:
        yield server


@pytest.fixture
def ready(site: Site, pebble: Pebble) -> Site:
    """A site with an account."""
    site.open_account(pebble)
    return site


def digest(path: Path) -> str:
    """Return what TLSA 3 1 1 says of a private key, or a certificate."""
    if b"PRIVATE" in path.read_bytes():
        der = ca.openssl("pkey", "-in", str(path), "-pubout", "-outform", "DER")
    else:
        pem = ca.openssl("x509", "-in", str(path), "-noout", "-pubkey")
        der = ca.openssl("pkey", "-pubin", "-outform", "DER", stdin=pem)
    return hashlib.sha256(der).hexdigest()


def whole(site: Site, key: Path, cert: Path) -> str:
    """See that key and certificate go together; return the key's digest."""
    assert judge.matches(cert, key)
    return digest(key)


def pair(site: Site) -> str:
    """The same of the section “a” in the short form."""
    return whole(site, site.file("a", "privkey.pem"), site.file("a"))


def next_key(site: Site, *sections: str) -> str | None:
    """Return what status says of the next key."""
    row, = json.loads(site.run("status", "--json", *sections).stdout)["sections"]
    found: str | None = row["next_key"]
    return found


def waiting(site: Site) -> list[Path]:
    """Return the keys that wait in the state directory."""
    return list((site.lib / "state").glob("key-*.pem"))


def test_the_short_form_has_a_new_key_each_time(ready: Site) -> None:
    ready.certificate("a", ["a.example"])
    expect(ready.run("--quiet", "newOrder"), 0)
    seen = [pair(ready)]
    for _ in range(2):
        expect(ready.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
        old = ready.file("a", "privkey.pem.old")
        assert digest(old) == seen[-1] and judge.mode(old) == 0o600
        seen.append(pair(ready))
    assert len(set(seen)) == 3 and waiting(ready) == []
    ready.certs["a"]["reuse-key"] = "yes"
    expect(ready.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert pair(ready) == seen[-1]


def test_a_key_that_was_chosen_stays(ready: Site) -> None:
    """… unless it is not to."""
    key = ready.path / "k.pem"
    ready.certificate("a", ["a.example"], certificate_key=str(key))
    expect(ready.run("--quiet", "newOrder"), 0)
    first = whole(ready, key, ready.file("a"))
    expect(ready.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert whole(ready, key, ready.file("a")) == first
    ready.certs["a"]["reuse-key"] = "no"
    expect(ready.run("newOrder"), 0, "a: valid until .*")
    expect(ready.run("--quiet", "newOrder", "--force"), 0)
    assert whole(ready, key, ready.file("a")) != first


def test_a_key_that_was_put_there_is_used_once(ready: Site) -> None:
    """By hand, before the first certificate or later; a certificate later it is another."""
    ready.certificate("a", ["a.example"])
    key = ready.file("a", "privkey.pem")
    key.parent.mkdir()
    for _ in range(2):
        key.write_text(ca.genkey())
        key.chmod(0o600)
        mine = digest(key)
        expect(ready.run("--quiet", "newOrder"), 0)
        assert pair(ready) == mine
        expect(ready.run("--quiet", "newOrder", "--force"), 0)
        assert pair(ready) != mine


def test_a_key_of_two_sections_stays(ready: Site) -> None:
    """The other certificate would have none."""
    ready.certificate("a", ["a.example"])
    ready.certificate("b", ["b.example"], certificate_key=str(ready.file("a", "privkey.pem")))
    expect(ready.run("--quiet", "newOrder"), 0)
    first = pair(ready)
    assert judge.matches(ready.file("b"), ready.file("a", "privkey.pem"))
    expect(ready.run("--quiet", "newOrder", "--force", "a"), 0)
    assert pair(ready) == first
    for setting, value in (("reuse-key", "no"), ("next-key", "yes")):
        ready.certs["a"] = {**ready.certs["a"], setting: value}
        done = ready.run("--quiet", "newOrder", "--force")
        assert done.returncode == 1 and done.stderr == (
            f"error: {ready.etc}/certs.conf, [a]: {setting} = {value}: "
            f"{ready.file('a', 'privkey.pem')} is the certificate-key of {ready.etc}/certs.conf, "
            "[b], too; give each a key of its own, or let it stay (reuse-key = yes)\n")
        assert pair(ready) == first


def test_another_key_is_asked_for(ready: Site) -> None:
    """newOrder --new-key, whatever reuse-key says; with --min-days only what is due."""
    ready.certificate("a", ["a.example"], reuse_key="yes")
    expect(ready.run("--quiet", "newOrder"), 0)
    first = pair(ready)
    expect(ready.run("newOrder", "--new-key", "--min-days=1"), 0, "a: valid until .*")
    assert pair(ready) == first
    expect(ready.run("newOrder", "--new-key", "a"), 0, "a: forced", NEW, f"a: {INSTALLED}")
    second = pair(ready)
    assert second != first
    expect(ready.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    assert pair(ready) == second and waiting(ready) == []


def test_the_next_key(ready: Site) -> None:
    """Made with the certificate, told of by records and status, used by the next order."""
    ready.certificate("a", ["a.example"], next_key="yes",
                      notify=f"{ready.prefix.master} --config={ready.config} records a "
                             f">{ready.path}/told 2>/dev/null; true")
    done = ready.run("newOrder")
    assert done.returncode == 0 and re.search(MADE.format("ec:P-256"), done.stderr), done.stderr
    for _ in range(2):
        coming, current = next_key(ready), pair(ready)
        assert coming is not None and coming != current
        zone = ready.run("records").stdout
        assert re.findall(r"IN TLSA\t3 1 1 (\S+)$", zone, re.M) == [current, coming]
        assert (ready.path / "told").read_text() == zone
        assert f"a: next key: TLSA 3 1 1 {coming}\n" in ready.run("status").stdout
        assert [judge.mode(path) for path in waiting(ready)] == [0o600]
        expect(ready.run("newOrder"), 0, "a: valid until .*")
        assert next_key(ready) == coming
        expect(ready.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}",
               MADE.format("ec:P-256"), "running .*")
        assert pair(ready) == coming
        assert ready.file("a", "privkey.pem").read_text().count("BEGIN") == 1


def test_a_next_key_of_another_type(ready: Site) -> None:
    """No reason to renew: it is published first."""
    ready.certificate("a", ["a.example"], next_key="yes")
    expect(ready.run("--quiet", "newOrder"), 0)
    first, coming = pair(ready), next_key(ready)
    ready.certs["a"]["key-type"] = "ec:P-384"
    expect(ready.run("newOrder"), 0, "a: valid until .*", MADE.format("ec:P-384"))
    assert pair(ready) == first and next_key(ready) not in (None, first, coming)
    coming = next_key(ready)
    expect(ready.run("--quiet", "newOrder", "--force"), 0)
    assert pair(ready) == coming
    assert "NIST CURVE: P-384" in judge.x509(ready.file("a"), "-text")
    # asked for at once, what was published is used
    coming, ready.certs["a"]["key-type"] = next_key(ready), "ec:P-256"
    expect(ready.run("--quiet", "newOrder", "--force"), 0)
    assert pair(ready) == coming


def test_a_next_key_that_cannot_be_made(ready: Site) -> None:
    """The certificate is there; a line, and the next run tries it again."""
    fake = ready.path / "openssl"
    fake.write_text('#!/bin/sh\nif [ "$1" = genpkey ] && [ -e "$0.no" ]; then exit 1; fi\n'
                    'exec /usr/bin/openssl "$@"\n')
    fake.chmod(0o755)
    ready.main[""]["openssl"] = str(fake)
    ready.certificate("a", ["a.example"])
    expect(ready.run("--quiet", "newOrder"), 0)
    ready.certs["a"]["next-key"] = "yes"
    (ready.path / "openssl.no").touch()
    for _ in range(2):
        done = ready.run("--quiet", "newOrder")
        assert done.returncode == 1 and done.stderr == (
            "error: a: the key of the next certificate is not made: openssl genpkey failed: no "
            "reason given\n")
        assert waiting(ready) == []
    os.remove(ready.path / "openssl.no")
    expect(ready.run("--quiet", "newOrder"), 0)
    assert next_key(ready)


def test_what_excludes_each_other(ready: Site) -> None:
    ready.certificate("a", ["a.example"], next_key="yes", reuse_key="yes")
    done = ready.run("newOrder")
    assert done.returncode == 1 and done.stderr == (
        f"error: {ready.etc}/certs.conf, [a]: next-key = yes and reuse-key = yes exclude each "
        "other: the next certificate has another key, or it has not\n")


def test_a_compromised_key_with_a_next_one(ready: Site) -> None:
    """The next one takes its place; one that is compromised itself is made anew."""
    ready.certificate("a", ["a.example"], next_key="yes")
    expect(ready.run("--quiet", "newOrder"), 0)
    coming = next_key(ready)
    done = ready.run("--quiet", "revokeCert", "--reason=keyCompromise", str(ready.file("a")))
    expect(done, 0)
    expect(ready.run("--quiet", "newOrder"), 0)
    assert pair(ready) == coming
    revoked = ready.lib / "state/revoked.json"
    lost = next_key(ready)
    known = json.loads(revoked.read_text())
    revoked.write_text(json.dumps({**known, "keys": [*known["keys"], lost]}))
    expect(ready.run("--quiet", "newOrder"), 0)
    assert next_key(ready) not in (None, lost)


def requests(argvs: list[list[str]]) -> int:
    """Count the CSRs that were made."""
    return sum(argv[1:2] == ["req"] for argv in argvs)


def test_what_a_key_asked_for_is_kept(ready: Site) -> None:
    """A renewal with the same key for the same needs no new CSR; whatever changes, it does."""
    ready.certificate("a", ["a.example"], reuse_key="yes")

    def renew(*, made: int) -> None:
        done, argvs = ready.executed("newOrder", "--force")
        expect(done, 0, "a: forced", f"a: {INSTALLED}")
        assert requests(argvs) == made
        pair(ready)

    expect(ready.run("--quiet", "newOrder"), 0)
    renew(made=0)
    ready.certs["a"]["names"] = "a.example, b.example"
    renew(made=1)
    kept, = (ready.lib / "state/requests").iterdir()
    assert judge.mode(kept) == 0o600
    ready.file("a", "privkey.pem").write_text(ca.genkey())
    renew(made=1)
    text = kept.read_text()
    kept.write_text(text.replace('"csr":"M', '"csr":"N'))
    assert kept.read_text() != text
    renew(made=1)
    kept.write_text("{")
    renew(made=1)
    renew(made=0)


def test_what_others_could_have_kept(ready: Site) -> None:
    """It is not believed, and keeps no certificate from being installed."""
    place = ready.lib / "state/requests"
    place.mkdir()
    place.chmod(0o777)
    ready.certificate("a", ["a.example"], reuse_key="yes")
    ready.certificate("b", ["b.example"], reuse_key="yes")
    untrusted = rf"warning: {place}: .*"
    expect(ready.run("--quiet", "newOrder"), 0, untrusted)
    seen = pair(ready)
    expect(ready.run("--quiet", "newOrder", "--force"), 0, untrusted)
    assert pair(ready) == seen and list(place.iterdir()) == []
