"""Two certificates of one section, EC and RSA: both current, or both as they were."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca, judge, soak
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import expect
from harness.pebble import Pebble
from harness.run import Site
from harness.suggestions import Suggests
from letsencrypt_tiny.common.wire.jose import decode
from letsencrypt_tiny.common.x509.certid import cert_id
from letsencrypt_tiny.master.store.installed import read_certificate
from test_keys import digest
from test_new_keys import killed

PAIRS = (("", "NIST CURVE: P-256"), (".rsa", r"Public-Key: (2048 bit)"))
NAMES = ("a", "a (rsa)")


@pytest.fixture(scope="module")
def pebble() -> Iterator[Pebble]:
    with Pebble(nosleep=True, noncereject=0) as server:
        yield server


def begin(site: Site, server: Pebble | Hostile) -> Site:
    """Make an account, and ask for a certificate of both types."""
    site.open_account(server)
    site.certificate("a", ["a.example", "b.example"], key_type="ec:P-256, rsa:2048",
                     notify=f'echo "$LETSENCRYPT_TINY_SECTIONS" >>{site.path}/notified')
    return site


@pytest.fixture
def issued(site: Site, hostile: Hostile) -> Site:
    """A site that has both certificates."""
    expect(begin(site, hostile).run("--quiet", "newOrder"), 0)
    return site


def pair(site: Site) -> tuple[bytes, ...]:
    """See that each certificate has its key and type; return both."""
    for suffix, kind in PAIRS:
        key = site.file("a", f"privkey{suffix}.pem")
        assert judge.mode(key) == 0o600
        for name in ("fullchain", "cert"):
            assert judge.matches(site.file("a", f"{name}{suffix}.pem"), key)
        assert kind in judge.x509(site.file("a", f"cert{suffix}.pem"), "-text")
    return tuple(site.file("a", f"fullchain{suffix}.pem").read_bytes() for suffix, _ in PAIRS)


def both_or_none(old: tuple[bytes, ...], new: tuple[bytes, ...]) -> bool:
    """See that both are new, or none is; tell which."""
    changed = {one != other for one, other in zip(old, new)}
    assert len(changed) == 1
    return changed.pop()


def state(site: Site) -> list[str]:
    """Return what waits in the state directory, and what the journal says of both."""
    found = sorted(name.partition("-")[0] for name in os.listdir(site.lib / "state")
                   if name.endswith(".pem"))
    return found + [key for path in (site.lib / "state").glob("cert-*.json")
                    for key in ("installing", "kept", "order", "notify")
                    if key in json.loads(path.read_text())]


def test_both(site: Site, pebble: Pebble) -> None:
    begin(site, pebble)
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    first = pair(site)
    assert (site.path / "notified").read_text() == "a\n"
    rows = json.loads(site.run("status", "--json").stdout)["sections"]
    assert [(row["section"], row["due"]) for row in rows] == [(name, False) for name in NAMES]
    expect(site.run("newOrder"), 0, "a: valid until .*", r"a \(rsa\): valid until .*")
    # either name is both
    for name in NAMES:
        expect(site.run("--quiet", "newOrder", "--force", name), 0)
        assert both_or_none(first, pair(site))
        first = pair(site)
    digests = re.findall(r"TLSA\t3 1 1 (\S+)", site.run("records").stdout)
    assert digests == [digest(site.file("a", f"privkey{suffix}.pem")) for suffix, _ in PAIRS] * 2
    assert site.run("records").stdout.count("; [") == 1
    # one is due: both are
    site.file("a", "chain.rsa.pem").unlink()
    expect(site.run("newOrder"), 0, "a: valid until .*", r"a \(rsa\): .*/chain.rsa.pem is missing",
           r"a: together with a \(rsa\)", "a: certificate installed, .*",
           r"a \(rsa\): certificate installed, .*", "running .*", "2 installed, 0 failed")
    assert both_or_none(first, pair(site))
    expect(site.run("check"), 0, "the account key manager answers: .*",
           "2 certificates configured; .*")


def test_where_the_files_are(site: Site, pebble: Pebble) -> None:
    begin(site, pebble)
    place = site.path / "tls"
    place.mkdir()
    site.certs["a"].update({"certificate-key": f"{place}/key", "key-type": "rsa:2048 ec:P-384",
                            "certificate-chain": f"{place}/a.crt.pem"})
    expect(site.run("--quiet", "newOrder"), 0)
    assert set(os.listdir(place)) == {"key", "key.rsa", "a.crt.pem", "a.crt.rsa.pem"}
    assert judge.matches(place / "a.crt.pem", place / "key")
    assert judge.matches(place / "a.crt.rsa.pem", place / "key.rsa")
    keys = (place / "key").read_bytes(), (place / "key.rsa").read_bytes()
    expect(site.run("--quiet", "newOrder", "--force"), 0)
    assert ((place / "key").read_bytes(), (place / "key.rsa").read_bytes()) == keys


def test_one_type_becomes_two(site: Site, pebble: Pebble) -> None:
    """And with a key made ahead for each."""
    begin(site, pebble)
    site.certs["a"]["key-type"] = "rsa:2048"
    expect(site.run("--quiet", "newOrder"), 0)
    site.certs["a"].update({"key-type": "rsa:2048, ec:P-256", "next-key": "yes"})
    site.file("a", "privkey.pem").unlink()
    expect(site.run("--quiet", "newOrder"), 0)
    pair(site)
    rows = json.loads(site.run("status", "--json").stdout)["sections"]
    coming = [row["next_key"] for row in rows]
    expect(site.run("--quiet", "newOrder", "--force"), 0)
    pair(site)
    assert coming == [digest(site.file("a", f"privkey{suffix}.pem")) for suffix, _ in PAIRS]


@pytest.mark.parametrize("text, why", [
    ("ec:P-256, ec:P-384", "more than one key of a kind: name one type, or an ec and an rsa one"),
    ("ec:P-256, rsa:2048, rsa:4096", "more than one key of a kind: name one type, or an ec and an "
                                     "rsa one"),
    ("ec:P-256, dsa:1024", "not one of ec:P-256, ec:P-384, rsa:2048, rsa:3072, rsa:4096")])
def test_types_that_do_not_go_together(text: str, why: str, site: Site) -> None:
    site.certificate("a", ["a.example"], key_type=text)
    done = site.run("status")
    assert done.returncode == 1 and f"certs.conf, [a]: key-type = {text}: {why}" in done.stdout


@pytest.mark.parametrize("order", [("a", "a (rsa)"), ("a (rsa)", "a")])
def test_a_section_of_the_other_name(order: tuple[str, str], site: Site) -> None:
    """Names of twins aren't sections' as well."""
    for name in order:
        site.certificate(name, ["a.example"], certificate=f"{site.path}/{name}",
                         certificate_key=f"{site.path}/{name}.key")
    site.certs["a"]["key-type"] = "rsa:2048, ec:P-256"
    rows = json.loads(site.run("status", "--json").stdout)["sections"]
    assert {row["section"]: row["fault"] is not None for row in rows} == {
        "a": True, "a (rsa)": False}
    assert "there is a section [a (rsa)], too" in site.run("status").stdout


# --- what goes wrong with one ------------------------------------------------------------------

def csr_of(request: Request) -> bytes:
    """Return the CSR of a finalize."""
    assert request.payload is not None
    return decode(request.payload["csr"].encode())


def refuse_rsa(server: Hostile) -> None:
    """Finalize no order with an RSA key."""
    def handler(request: Request, default: Default) -> Response:
        csr = ca.openssl("req", "-inform", "DER", "-noout", "-text", stdin=csr_of(request))
        if b"rsaEncryption" in csr:
            return Response.problem("badCSR", "No RSA today.", 400)
        return default()
    server.on["finalize"] = handler


def test_one_is_refused(issued: Site, hostile: Hostile) -> None:
    """What was issued of the other is kept, and none of it is asked for twice."""
    old = pair(issued)
    refuse_rsa(hostile)
    for _ in range(2):
        done = issued.run("--quiet", "newOrder", "--force" if _ == 0 else "a")
        assert done.returncode == 1 and "a (rsa): " in done.stderr
        assert ("error: a: its certificate is not installed without that of a (rsa); it is kept, "
                "and tried again by the next run") in done.stderr
        assert not both_or_none(old, pair(issued))
    hostile.on.clear()
    before = len(hostile.asked("newOrder"))
    expect(issued.run("--quiet", "newOrder"), 0)
    assert both_or_none(old, pair(issued)) and len(hostile.asked("newOrder")) - before <= 1
    assert state(issued) == []


def test_one_key_cannot_be_used(issued: Site, hostile: Hostile) -> None:
    """Nothing is ordered that can't be installed."""
    old, before = pair(issued), len(hostile.asked("newOrder"))
    issued.file("a", "privkey.rsa.pem").chmod(0o644)
    done = issued.run("--quiet", "newOrder", "--force")
    assert done.returncode == 1 and "privkey.rsa.pem: the private key is open to" in done.stderr
    assert "error: a: nothing is ordered, as its other certificate can't be" in done.stderr
    issued.file("a", "privkey.rsa.pem").chmod(0o600)
    assert not both_or_none(old, pair(issued)) and len(hostile.asked("newOrder")) == before


def test_both_are_revoked(issued: Site, hostile: Hostile) -> None:
    """By the section's name; by the other one that alone.  They are replaced together."""
    old = pair(issued)
    done = issued.run("revokeCert", "a")
    assert done.returncode == 0 and done.stderr.count(": revoked (") == 2, done.stderr
    assert len(hostile.asked("revokeCert")) == 2
    expect(issued.run("--quiet", "newOrder"), 0)
    done = issued.run("revokeCert", "a (rsa)")
    assert done.returncode == 0 and done.stderr.count(": revoked (") == 1, done.stderr
    expect(issued.run("--quiet", "newOrder"), 0)
    assert both_or_none(old, pair(issued))


def test_each_says_what_it_replaces(issued: Site, hostile: Hostile) -> None:
    """As each is an order of its own (RFC 9773 §5)."""
    suggests = Suggests(hostile)
    names = {cert_id(read_certificate(str(issued.file("a", f"cert{suffix}.pem"))))
             for suffix, _ in PAIRS}
    expect(issued.run("--quiet", "newOrder", "--force"), 0)
    assert set(suggests.replaced[-2:]) == names and len(names) == 2


def test_both_are_tried(issued: Site, hostile: Hostile) -> None:
    """Each by itself; nothing takes its place."""
    old = pair(issued)
    done = issued.run("newOrder", "--dry-run", "--ca=default", "--tos-agreed")
    assert done.returncode == 0 and done.stderr.count("would be installed") == 2, done.stderr
    assert not both_or_none(old, pair(issued))


def test_one_waits(issued: Site, hostile: Hostile) -> None:
    """The CA asked to be left alone: so both wait."""
    old = pair(issued)

    def busy(request: Request, default: Default) -> Response:
        return Response.problem("rateLimited", "Later.", 429, {"Retry-After": "3600"})
    issued.main["client"]["timeout"] = "1"
    hostile.on["newOrder"] = busy
    for suffix, _ in PAIRS:
        issued.file("a", f"chain{suffix}.pem").unlink()
    assert issued.run("newOrder").returncode == 1
    path = issued.lib / "state/cert-a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "not_before": 0}))
    hostile.on.clear()
    before = len(hostile.asked("newOrder"))
    done = issued.run("newOrder")
    assert "a: not without a (rsa)" in done.stderr
    assert len(hostile.asked("newOrder")) == before
    assert not both_or_none(old, pair(issued))
    expect(issued.run("--quiet", "newOrder", "a"), 0)
    assert both_or_none(old, pair(issued))


@pytest.mark.parametrize("call, stride", [("renameat", soak.stride(30)),
                                          ("wait4", soak.stride(40))])
def test_killed_at_any_step(call: str, stride: int, issued: Site, hostile: Hostile) -> None:
    """Both are new, or none is; and no order is made twice."""
    number, was_killed, kills = 1, True, 0
    while was_killed:
        old, before = pair(issued), len(hostile.asked("newOrder"))
        was_killed = killed(issued, call, number, "--force")
        renewed = both_or_none(old, pair(issued))
        expect(issued.run("--quiet", "newOrder", *([] if renewed else ["--force"])), 0)
        assert both_or_none(old, pair(issued)), number
        assert len(hostile.asked("newOrder")) - before <= 4
        assert state(issued) == [], number
        number += stride
        kills += was_killed
    assert kills >= 1
    assert {Path(path).name for path in os.listdir(issued.file("a", ""))} == {
        f"{name}{suffix}.pem" for name in ("privkey", "cert", "chain", "fullchain")
        for suffix, _ in PAIRS} | {"privkey.pem.old", "privkey.rsa.pem.old"}
