"""Several CAs in one run, each with a client of its own; the next one where the first can't."""

import json
import re
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import pebble
from harness.judge import expect
from harness.pebble import Pebble
from harness.run import Server, Site

PROFILES = {"default": {"description": "ninety days", "validityPeriod": 7776000},
            "short": {"description": "six days", "validityPeriod": 518400}}


@pytest.fixture(scope="module")
def first() -> Iterator[Pebble]:
    with pebble.newest(authzreuse=0, config={"profiles": PROFILES}) as server:
        yield server


@pytest.fixture(scope="module")
def second(first: Pebble) -> Iterator[Pebble]:
    with pebble.newest(authzreuse=0, http_port=first.http_port) as server:
        yield server


@pytest.fixture
def two(site: Site, first: Pebble, second: Pebble) -> Site:
    """A site with an account at both, of one key; the second one is [ca other]."""
    site.use(first)
    add(site, "other", second)
    site.genkey()
    done = site.register()
    assert done.returncode == 0, done.stderr
    return site


def add(site: Site, name: str, server: Server) -> None:
    """Configure another CA, whose roots are as good as those there are."""
    site.main[f"ca {name}"] = {"server": server.directory, "ca-file": str(server.ca_file)}
    trusted = site._ca_file
    assert trusted is not None
    both = site.etc / f"roots-{name}.pem"
    both.write_text(trusted.read_text() + server.roots().read_text())
    site._ca_file = both
    for settings in site.certs.values():
        settings["CAfile"] = str(both)


def issuer(site: Site, section: str) -> str:
    """Return the directory that a section's certificate is remembered to be of."""
    found = json.loads((site.lib / f"state/cert-{section}.json").read_text())["issuer"]
    assert isinstance(found, str)
    return found


def host(server: Server) -> str:
    """Return what a CA without a name is called."""
    return server.directory.split("/")[2]


# --- both at once --------------------------------------------------------------------------------

def test_two_in_one_run(two: Site, first: Pebble, second: Pebble) -> None:
    """Each has a client with a policy of its own, and a room for its challenge files."""
    two.certificate("a", ["a.example"])
    two.certificate("b", ["b.example"], ca="other")
    done = two.watch("newOrder", "--debug")
    assert done.returncode == 0, done.stderr
    assert issuer(two, "a") == first.directory and issuer(two, "b") == second.directory
    clients = done.of("client")
    assert len(clients) == 2 and len(done.of("letsencrypt-tiny-accountd")) == 2
    assert len(done.of("webserver")) == 1
    rooms = {process.last.cwd for process in clients}
    assert len(rooms) == 2 and len({Path(room).parent for room in rooms}) == 1
    # each is asked when to renew what it issued, and nothing is due
    expect(two.run("newOrder"), 0, *(f"{section}: {said} .*" for section in "ab"
                                     for said in ("its CA wants it renewed", "valid until")))
    two.certs["b"]["ca"] = "default"
    expect(two.run("newOrder", "b"), 0,
           f"b: its CA has changed, from {re.escape(second.directory)}",
           "b: certificate installed, .*")


# --- what the commands know ----------------------------------------------------------------------

def test_account_at_all_of_them(two: Site, first: Pebble, second: Pebble) -> None:
    """Or at one; with a CA that can't be reached the others are told of all the same."""
    done = two.run("account")
    expect(done, 0, *(f"{re.escape(name)}: {what}: .*" for name in (host(first), "other")
                      for what in ("Terms of Service", "Key ID")), stdout=r"(\{.*\}\n){2}")
    done = two.run("account", "--ca=other")
    expect(done, 0, "Terms of Service: .*", f"Key ID: {re.escape(second.directory[:-3])}.*",
           stdout=r"\{.*\}\n")
    two.main["ca gone"] = {"server": "https://127.0.0.1:1/directory"}
    done = two.run("account")
    assert done.returncode == 1 and "error: gone: cannot connect to 127.0.0.1" in done.stderr
    assert "other: Key ID" in done.stderr
    assert two.run("account", "--thumbprint").stdout.count("\n") == 1, "it is one key"


@pytest.mark.parametrize("arguments, said", [
    (["--deactivate"], "say which by --ca=NAME (default, other)"),
    (["--ca=othr"], "--ca: there is no CA “othr”")])
def test_account_of_which(two: Site, arguments: list[str], said: str) -> None:
    done = two.run("account", *arguments)
    assert done.returncode == 2 and said in done.stderr


def test_contact_of_the_configuration(site: Site, first: Pebble, second: Pebble) -> None:
    """It is for a new account, unless the command names another."""
    site.use(first)
    add(site, "other", second)
    site.main["client"]["contact"] = "admin@example.org"
    site.genkey()
    done = site.run("account", "--register", "--tos-agreed", "--ca=default")
    assert done.returncode == 0 and "mailto:admin@example.org" in done.stdout
    done = site.run("account", "--register", "--tos-agreed", "--ca=other")
    assert done.returncode == 0 and "mailto:admin" not in done.stdout


def test_contact_of_the_configuration_is_for_new_accounts(two: Site) -> None:
    """One that exists keeps what it has."""
    for section in ("client", "ca other"):
        two.main[section]["contact"] = "admin@example.org"
    done = two.run("account", "--register", "--tos-agreed")
    assert done.returncode == 0 and done.stdout.count('"status": "valid"') == 2
    assert "admin@example.org" not in done.stdout


def test_another_key_at_all_of_them(two: Site, first: Pebble, second: Pebble) -> None:
    """The key is one, so either of --ca means all; with one that is down it stays unfinished."""
    two.certificate("a", ["a.example"])
    two.certificate("b", ["b.example"], ca="other")
    old = two.run("account", "--thumbprint").stdout
    two.main["ca gone"] = {"server": "https://127.0.0.1:1/directory"}
    done = two.run("account", "--rollover", "--ca=other")
    assert done.returncode == 1 and "error: gone: cannot connect to 127.0.0.1" in done.stderr
    assert Path(f"{two.account_key}.next").exists()
    done = two.run("newOrder")   # by the next key, which both CAs have
    assert done.returncode == 0 and done.stderr.count("--rollover") == 2, done.stderr
    del two.main["ca gone"]
    expect(two.run("account", "--rollover", "--ca=other"), 0,
           *(f"{name}: {what}: .*" for name in ("other", re.escape(host(first)))
             for what in ("Terms of Service", "Key ID")),
           "the account key's thumbprint is .* now: .*", stdout=r"(\{.*\}\n){2}")
    assert two.run("account", "--thumbprint").stdout != old
    assert not Path(f"{two.account_key}.next").exists()
    assert two.run("newOrder", "--force").returncode == 0


def test_another_key_of_which_signer(two: Site) -> None:
    """And an account that no configured CA has keeps the old one, as is said."""
    two.main["ca third"] = {"server": "https://127.0.0.1:1/directory", "socket": "/nonexistent"}
    done = two.run("account", "--rollover")
    assert done.returncode == 2 and "say whose by --ca=NAME (default, other, third)" in done.stderr
    del two.main["ca third"], two.main["ca other"]
    done = two.run("account", "--rollover")
    assert done.returncode == 0
    assert re.search(r"^warning: https://\S+ at https://\S+, which is not configured, keeps the "
                     "old key$", done.stderr, re.M)


def test_status_shows_lifetime_profile_and_ca(two: Site, first: Pebble, second: Pebble) -> None:
    two.certificate("a", ["a.example"], preferred_profile="short")
    assert two.run("newOrder").returncode == 0
    lines = two.run("status").stdout.splitlines()
    assert lines[0].split() == ["SECTION", "EXPIRES", "LIFETIME", "PROFILE", "STATE", "NAMES"]
    assert re.match(r"a +[-0-9]{10} [:0-9]{5} UTC +144 h +short +valid +a\.example", lines[1])
    two.certificate("b", ["b.example"], ca="other")
    assert two.run("newOrder").returncode == 0
    lines = two.run("status").stdout.splitlines()
    assert lines[0].split()[2:5] == ["LIFETIME", "CA", "PROFILE"]
    assert lines[2].split()[-4] == "other"
    (a, b) = json.loads(two.run("status", "--json").stdout)["sections"]
    assert (a["ca"], a["profile"], a["lifetime"]) == (host(first), "short", 518399)
    assert b["ca"] == "other"


def test_check_looks_at_all(two: Site, first: Pebble) -> None:
    """Each signer greets, each ca-file is there, presets that need something are told of."""
    two.certificate("a", ["a.example"], ca="default, other, zerossl")
    done = two.run("check")
    assert done.returncode == 0, done.stderr
    for name in (re.escape(host(first)), "other", "zerossl"):
        assert re.search(f"^{name}: the account key manager answers: ES256", done.stderr, re.M)
    assert "[ca zerossl]: zerossl ties new accounts to those of its customers: set eab-kid" in \
        done.stderr
    two.main["ca other"]["ca-file"] = "/nonexistent"
    two.certs["a"]["ca"] = "other, buypass"
    done = two.run("check")
    assert done.returncode == 2 and "[ca other]: ca-file = /nonexistent" in done.stderr
    assert "buypass issues no certificates since October 2025: choose another CA" in done.stderr


def test_records_of_all(two: Site) -> None:
    """Each CA may be named in CAA records, with the account that is there."""
    two.certificate("a", ["a.example"], ca="default, zerossl")
    done = two.run("records")
    assert 'IN CAA\t0 issue "pebble.letsencrypt.org; accounturi=' in done.stdout
    assert 'IN CAA\t0 issue "sectigo.com; validationmethods=http-01"' in done.stdout


def test_check_online_asks_each(two: Site, first: Pebble, second: Pebble) -> None:
    """A client each looks at its CA; what is found of a name alike is said once."""
    two.certificate("a", ["a.example"], ca="default, other")
    done = two.watch("check", "--online", "--json")
    found = json.loads(done.stdout)
    assert len(done.of("client")) == 2
    assert {said["name"] for said in found if said["topic"] == "ca" and said["verdict"] == "ok"} \
        == {host(first), host(second)}
    assert len({tuple(said.items()) for said in found}) == len(found)
