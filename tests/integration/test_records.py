"""What “records” prints is what a CA looks for: dns-persist-01, with Pebble 2.10 (Debian sid's)."""

import re
import subprocess

import pytest

from harness import judge
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import Site
from test_renewal import tidy

GENERATING = r"a: generating the private key \S+ \(ec:P-256\)"
PERSIST = re.compile(r'^_validation-persist\.(\S+)\.\tIN TXT\t"(.*)"$', re.M)
CAA_NAME = "ca.example"    # Pebble's


@pytest.fixture
def ready(site: Site, newest: Pebble) -> Site:
    """A site without an account; nothing may listen."""
    site.use(newest)
    site.main["webserver"]["listen"] = ""
    site.genkey()
    return site


def records(site: Site, *sections: str) -> str:
    """Return what is printed where nothing is missing."""
    done = site.watch("records", *sections)
    assert (done.returncode, done.stderr) == (0, "") and not done.of("client")
    return done.stdout


def publish(server: Pebble, zone: str) -> None:
    """Let the CA find each _validation-persist."""
    for name, value in PERSIST.findall(zone):
        server.names.set_txt(f"_validation-persist.{name}", [value])


def test_what_is_printed_is_what_is_looked_for(ready: Site, newest: Pebble) -> None:
    """A name, and a wildcard alone, in one order: no responder, no directory, no token."""
    names = ["persist.example", "*.wild.example"]
    ready.certificate("a", names, challenge="dns-persist-01")
    # before anything is known
    done = ready.run("records")
    assert done.returncode == 1 and done.stdout == "; [a]\n\n"
    assert "no _validation-persist and no CAA" in done.stderr
    assert "the account's URL is not known" in done.stderr and "no TLSA" in done.stderr
    assert ready.register().returncode == 0
    done = ready.run("records")
    assert done.returncode == 1 and PERSIST.search(done.stdout)
    # not published yet: Pebble looks, and finds nothing
    done = ready.run("newOrder")
    assert done.returncode == 1 and "No TXT records found" in done.stderr, done.stderr
    zone = records(ready)
    account, = set(re.findall(r"accounturi=([^;\"]+)", zone))
    assert PERSIST.findall(zone) == [
        ("persist.example", f"{CAA_NAME}; accounturi={account}"),
        ("wild.example", f"{CAA_NAME}; accounturi={account}; policy=wildcard")]
    publish(newest, zone)
    done = ready.watch("newOrder")
    assert done.returncode == 0, done.stderr
    assert not done.of("webserver") and {life.last.cwd for life in done.of("client")} == {"/"}
    assert judge.names(ready.file("a")) == set(names)
    # the key's digest, as openssl computes it
    digest = _digest(ready)
    assert re.findall(r"^_443\._tcp\.(\S+)\.\tIN TLSA\t3 1 1 ([0-9a-f]{64})$", records(ready),
                      re.M) == [(names[0], digest)]
    assert f"; _443._tcp.NAME.wild.example.\tIN TLSA\t3 1 1 {digest}\n" in records(ready)
    tidy(ready)


def _digest(site: Site) -> str:
    """Return the SHA-256 of the public key of the certificate."""
    done = subprocess.run(
        f"openssl x509 -in {site.file('a')} -noout -pubkey | openssl pkey -pubin -outform DER | "
        "openssl dgst -sha256 -r", shell=True, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()[0]


def test_records_of_another_account(ready: Site, newest: Pebble) -> None:
    """The CA names its own; what it asks for must be what was printed, else nothing is asked."""
    ready.certificate("a", ["other.example"], challenge="dns-persist-01")
    assert ready.register().returncode == 0
    state = ready.lib / "state/directories.json"
    state.write_text(state.read_text().replace(CAA_NAME, "old.example"))
    newest.names.set_txt("_validation-persist.other.example", ["old.example; accounturi=x"])
    done = ready.run("newOrder")
    assert done.returncode == 1
    assert f"for records that name {CAA_NAME}, not old.example" in done.stderr
    assert "old.example" not in state.read_text(), "what is true was learnt"


def test_with_another_type_to_fall_back_on(ready: Site, newest: Pebble) -> None:
    """What doesn't fit is passed over."""
    ready.main["webserver"]["listen"] = f"127.0.0.1:{newest.http_port}"
    ready.certificate("a", ["back.example"], challenge="dns-persist-01, http-01")
    assert ready.register().returncode == 0
    (ready.lib / "state/directories.json").unlink()
    expect(ready.run("newOrder"), 0, f"a: {NEW}", GENERATING, f"a: {INSTALLED}")


def test_caa(ready: Site) -> None:
    """Zone-file form: named-checkzone reads it."""
    ready.main["dns"] = {"server": "127.0.0.1", "key-file": str(ready.etc / "absent")}
    ready.certificate("a", ["caa.example", "*.caa.example", "xn--bcher-kva.example", "192.0.2.1"])
    ready.certificate("b", ["b.caa.example"], challenge="stateless, tls-alpn-01")
    ready.main["webserver"]["listen"] = "127.0.0.1:1"
    assert ready.register().returncode == 0
    done = ready.run("records")
    assert "no TLSA" in done.stderr and done.returncode == 1
    account = re.search(r"accounturi=([^;\"]+)", done.stdout)
    assert account is not None
    said = f'"{CAA_NAME}; accounturi={account[1]}; validationmethods='
    assert re.findall(r"^(\S+)\.\tIN CAA\t(.*)$", done.stdout, re.M) == [
        ("caa.example", f'0 issue {said}http-01,dns-01"'),
        ("caa.example", f'0 issuewild {said}dns-01"'),
        ("xn--bcher-kva.example", f'0 issue {said}http-01,dns-01"'),
        ("b.caa.example", f'0 issue {said}http-01,tls-alpn-01"')]
    assert "; bücher.example (xn--bcher-kva.example)\n" in done.stdout
    assert "192.0.2.1" not in done.stdout
    zone = ready.write("zone", "$ORIGIN .\n$TTL 60\n"
                       "example. IN SOA ns.example. root.example. 1 1 1 1 1\n"
                       "example. IN NS ns.example.\nns.example. IN A 127.0.0.1\n" + done.stdout)
    checked = subprocess.run(["/usr/bin/named-checkzone", "example", str(zone)],
                             capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    only = ready.run("records", "b")
    assert only.stdout.startswith("; [b]\n_validation-persist.b.caa.example.")
