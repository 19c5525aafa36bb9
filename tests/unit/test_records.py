"""The records command, what it knows from earlier runs, and what nobody needs is not started."""

import json
import os
import re
from typing import Any

import pytest

from harness import ca, words
from harness.machine import SERVER, Machine
from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.common.wire.order import (Account, AccountObject, Directory, Failed,
                                                format_answer, parse_answer)
from letsencrypt_tiny.client import directory
from letsencrypt_tiny.master.plan import issuers
from letsencrypt_tiny.master.plan.issuers import Issuer
from letsencrypt_tiny.master.store.journal import Journal

pytestmark = pytest.mark.root

KEY = words.GREETING.thumbprint
ACCOUNT = "https://ca.example/acct/7"
LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


@pytest.fixture
def known(machine: Machine) -> Machine:
    """A machine whose earlier runs have learnt what there is, with a section and its key."""
    learns(machine, Directory(("ca.example", "ca.example.net")), Account(ACCOUNT, KEY))
    machine.section("a")
    with_key(machine)
    return machine


def learns(machine: Machine, *answers: Any) -> None:
    """Have a run of the account command learn this."""
    machine.client.plays(words.receive(), *answers, AccountObject(ACCOUNT, {"status": "valid"}))
    assert machine.run("account").returncode == 0


def with_key(machine: Machine) -> str:
    """Make the key of section a; return it."""
    key = ca.genkey()
    machine.file("a", "").mkdir(exist_ok=True)
    machine.file("a", "privkey.pem").write_text(key)
    machine.file("a", "privkey.pem").chmod(0o600)
    return key


def records(machine: Machine, status: int = 0) -> tuple[list[str], str]:
    """Return the lines without white space around, and what is told besides; no client runs."""
    machine.client.forget()
    done = machine.run("records")
    assert done.returncode == status, done.stderr
    assert not machine.client.told("config") and "Traceback" not in done.stderr
    machine.childless()
    return [" ".join(line.split()) for line in done.stdout.splitlines()], done.stderr


def test_what_is_printed(known: Machine) -> None:
    """A CA may have several names; each may be what it looks for."""
    lines, told = records(known)
    assert told == "" and lines[0] == "; [a]" and lines[-1] == ""
    assert lines[1:5] == [
        f'_validation-persist.a.example. IN TXT "{name}; accounturi={ACCOUNT}"'
        for name in ("ca.example", "ca.example.net")] + [
        f'a.example. IN CAA 0 issue "{name}; accounturi={ACCOUNT}; validationmethods=http-01"'
        for name in ("ca.example", "ca.example.net")]
    assert re.fullmatch(r"_443\._tcp\.a\.example\. IN TLSA 3 1 1 [0-9a-f]{64}", lines[5])
    assert len(lines) == 7


def test_a_wildcard_has_no_port(known: Machine) -> None:
    """An asterisk behind other labels would be one (RFC 4592 §2.1.1): a comment tells instead."""
    known.certs["a"].update({"names": "a.example *.a.example", "challenge": "dns-persist-01"})
    lines, _ = records(known)
    tlsa = [line for line in lines if "TLSA" in line]
    assert [line.split(" IN ")[0] for line in tlsa] == [
        "_443._tcp.a.example.", "; _443._tcp.NAME.a.example."]
    assert lines[lines.index(tlsa[1]) - 1].startswith("; ") and not [
        line for line in lines if "_tcp.*" in line]


def test_the_next_key_waits(known: Machine) -> None:
    """Its digest can be published before it takes its place; a section without a key has none."""
    first = records(known)[0][5]
    waiting = Journal(f"{known.lib}/state").pending_key(str(known.file("a", "privkey.pem")))
    with open(os.open(waiting, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
        file.write(ca.genkey())
    lines, _ = records(known)
    assert lines[5] == first and lines[6] != first and lines[6].split()[:6] == first.split()[:6]
    known.file("a", "privkey.pem").unlink()
    assert records(known)[0][5] == lines[6]
    with open(waiting, "w", encoding="ascii") as file:
        file.write("no key")
    assert f"no TLSA for {waiting}: " in records(known, 1)[1]


@pytest.mark.parametrize("url", [
    "https://evil.example/acct/7", "http://ca.example/acct/7", "https://ca.example/a;b",
    "https://ca.example/a\"b", "https://ca.example/a b", "https://ca.example/a\\b",
    "https://ca.example/\u00e4", "https://ca.example:8443/acct/7", "x", "https://ca.example/a\nb",
    "https://ca.example@evil.example/"])
def test_an_account_that_a_client_made_up(known: Machine, url: str) -> None:
    """What can't be the CA's, or would be another record, is not printed."""
    path = known.lib / "state/accounts.json"
    path.write_text(json.dumps({SERVER: {KEY: url}}))
    lines, told = records(known, 1)
    assert "is another server's, or can't be in a record" in told
    assert not any("TXT" in line or "accounturi" in line for line in lines)
    assert lines[1] == 'a.example. IN CAA 0 issue "ca.example; validationmethods=http-01"'


def test_the_signers_keyid_counts(known: Machine) -> None:
    known.signer.plays(words.greet(words.KEYLESS), words.sign())
    assert all("https://ca.example/acct/1" in line for line in records(known)[0][1:5])


def test_long_values_are_several_strings(known: Machine) -> None:
    url = f"https://ca.example/{'a' * 300}"
    (known.lib / "state/accounts.json").write_text(json.dumps({SERVER: {KEY: url}}))
    line = records(known)[0][1]
    strings = re.findall(r'"([^"]*)"', line)
    assert "".join(strings) == f"ca.example; accounturi={url}"
    assert [len(string) for string in strings] == [255, len("".join(strings)) - 255]


def test_what_is_missing_is_told(machine: Machine) -> None:
    """Each thing once, however many sections there are; addresses have no records."""
    for name in "abc":
        machine.section(name, [f"{name}.example", "192.0.2.1"])
    lines, told = records(machine, 1)
    assert [line for line in lines if line] == ["; [a]", "; [b]", "; [c]"]
    assert told.count("what this CA is called in records is not known") == 1
    assert told.count("the account's URL is not known") == 1 and told.count("no TLSA") == 3


def test_a_section_that_cannot_be(known: Machine) -> None:
    known.section("b", ["*.b.example"])
    lines, told = records(known, 1)
    assert "; [b]" not in lines and len(lines) == 7 and "a wildcard needs" in told
    done = known.run("records", "nonsense")
    assert done.returncode == 2 and done.stdout == "" and "nonsense" in done.stderr
    assert known.run("records", "--json").returncode == 2


def test_without_a_signer(known: Machine) -> None:
    known.signer.stops_listening()
    done = known.run("records")
    assert done.returncode == 1 and done.stdout == ""


# --- what a CA is called -------------------------------------------------------------------------

@pytest.mark.parametrize("server, told, names", [
    (LETSENCRYPT, (), ("letsencrypt.org",)), (LETSENCRYPT, ("x.example",), ("letsencrypt.org",)),
    ("https://acme-staging-v02.api.letsencrypt.org:443/directory", (), ("letsencrypt.org",)),
    (SERVER, (), ()), (SERVER, ("ca.example",), ("ca.example",)),
    ("https://api.letsencrypt.org.evil.example/", (), ()),
    ("https://xapi.letsencrypt.org/", (), ())])
def test_names_of_a_ca(server: str, told: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert issuers.names(Issuer("", Access(server)), told) == names


@pytest.mark.parametrize("identities, issued", [
    (["CA.example.", "ca.example", "b.example"], ("ca.example", "b.example")), (None, ()),
    ("ca.example", ()), ([1, {}, "a b", "*.x.example", "a;b", "", "x" * 300, "ok.example"],
                         ("ok.example",)),
    ([f"{i}.example" for i in range(50)], tuple(f"{i}.example" for i in range(20)))])
def test_what_a_directory_says(identities: Any, issued: tuple[str, ...]) -> None:
    """What is no name is nobody's; nothing fails because of it."""
    found = directory.parse({"newNonce": "n", "newAccount": "a", "newOrder": "o",
                             "meta": {"caaIdentities": identities}}, lambda obj, key: obj[key], "x")
    assert found.issuers == issued


@pytest.mark.parametrize("names", [["*.x.example"], ["a b"], ["a;b.example"], [1], "x", None,
                                   ["x.example"] * 21, ["X.example"]])
def test_what_the_master_takes_of_a_client(names: Any) -> None:
    told = Directory(("ca.example", "x.example"))
    assert parse_answer(format_answer(told)) == told
    with pytest.raises(ProtocolError):
        parse_answer(json.dumps({"answer": "Directory", "issuers": names}).encode())


def test_the_journal_remembers_each_directory(known: Machine) -> None:
    journal = Journal(f"{known.lib}/state")
    journal.learn_directory("https://b.example/", Directory(("b.example",)))
    assert journal.issuers(SERVER) == ("ca.example", "ca.example.net")
    assert journal.issuers("https://b.example/") == ("b.example",)
    assert journal.issuers("https://c.example/") == ()
    for damaged in '{"%s": []}' % SERVER, '{"%s": {"issuers": 1}}' % SERVER, "[", "":
        (known.lib / "state/directories.json").write_text(damaged)
        assert journal.issuers(SERVER) == ()
    # and the client is told what was known, by either command
    learns(known, Directory(("d.example",)))
    known.client.plays(words.receive(), Directory(("e.example",)), Failed("a", "no", "refused"))
    assert known.run("newOrder").returncode == 1
    assert journal.issuers(SERVER) == ("e.example",)
    assert [config["issuers"] for config in known.client.told("config")][-2:] == [
        [], ["d.example"]]


# --- nothing is started that no section needs ----------------------------------------------------

@pytest.mark.parametrize("challenge, listen, starts", [
    ("stateless", "", False), ("dns-persist-01", "", False), ("stateless, http-01", "", False),
    ("dns-persist-01", "/www", False), ("dns-persist-01 http-01", "/www", True),
    ("", "/www", True)])
def test_what_is_started(machine: Machine, challenge: str, listen: str, starts: bool) -> None:
    """Neither the web server nor the client's directory; the client works in /."""
    machine.section("a", challenge=challenge)
    machine.main["webserver"]["listen"] = listen and f"{machine.path}{listen}"
    machine.client.plays(words.receive(), Failed("a", "no", "refused"))
    done = machine.run("--debug", "newOrder")
    assert done.returncode == 1 and "error: a: no\n" in done.stderr
    assert (f"listening on {machine.path}/www" in done.stderr) is starts
    assert ("listening on" in done.stderr) is starts
    started, = machine.client.told("started")
    assert started["directory"].startswith(f"{machine.rundir}/challenges-" if starts else "/")
    assert (started["directory"] == "/") is not starts
    machine.clean()
