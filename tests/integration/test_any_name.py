"""Names in Unicode, addresses, and sections whose names can't all be proved in the same way."""

import re
import socket
import subprocess
from collections.abc import Iterator

import pytest

from harness import judge
from harness.judge import INSTALLED, NEW, expect
from harness.pebble import Pebble
from harness.run import Site

ADDRESSES = ("fd00:acce::80", "192.0.2.80")    # of this host, for as long as a test runs
BUCH = "xn--bcher-kva.example"
VALID = r"a: valid until [-0-9]{10} [:0-9]{5} UTC"


@pytest.fixture
def ready(site: Site, pebble: Pebble) -> Site:
    """A site with an account at Pebble, which isn't asked when to renew: not all releases know."""
    site.use(pebble)
    site.certs[""] = {"ari": "no"}
    site.genkey()
    assert site.register().returncode == 0
    return site


@pytest.fixture
def addresses() -> Iterator[None]:
    """More than loopback's."""
    def ip(what: str) -> None:
        for address in ADDRESSES:
            length = 128 if ":" in address else 32
            subprocess.run(["ip", "address", what, f"{address}/{length}", "dev", "lo"], check=True)
    ip("add")
    yield
    ip("del")


def first(section: str) -> list[str]:
    """Return the lines that tell of a section's first certificate."""
    return [f"{section}: {NEW}", rf"{section}: generating the private key \S+ \(ec:P-256\)",
            f"{section}: {INSTALLED}"]


# --- names in Unicode ----------------------------------------------------------------------------

def test_names_in_unicode(ready: Site) -> None:
    """In each setting that has names; what is installed is found to be what is wanted."""
    ready.certificate("a", ["b\u00fccher.example", "STRA\u00dfE.b\u00fccher.example"],
                      subject="/CN=b\u00fccher.example",
                      subjectAltName="DNS:www.bu\u0308cher.example, DNS:a.example")
    expect(ready.run("newOrder"), 0, *first("a"))
    assert judge.names(ready.file("a")) == {
        BUCH, f"xn--strae-oqa.{BUCH}", f"www.{BUCH}", "a.example"}
    # newer Pebbles leave the subject empty
    subject = judge.x509(ready.file("a"), "-subject")
    assert re.fullmatch(rf"subject=\s*(CN ?= ?{re.escape(BUCH)})?\s*", subject)
    expect(ready.run("newOrder"), 0, VALID)    # is what is wanted
    done = ready.run("status")
    assert done.returncode == 0 and f"b\u00fccher.example ({BUCH})" in done.stdout
    assert f"stra\u00dfe.b\u00fccher.example (xn--strae-oqa.{BUCH})" in done.stdout
    assert f'"{BUCH}"' in ready.run("status", "--json").stdout


def test_a_name_in_unicode_that_fails(ready: Site, pebble: Pebble) -> None:
    """It is told as it is read and as it is looked up, in whatever words of the CA's."""
    pebble.names.set_servfail(f"no.{BUCH}")
    ready.certificate("a", ["no.b\u00fccher.example"])
    try:
        done = ready.run("newOrder")
    finally:
        pebble.names.set_servfail(f"no.{BUCH}", False)
    assert done.returncode == 1
    line, = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert f"no.b\u00fccher.example (no.{BUCH})" in line


# --- addresses -----------------------------------------------------------------------------------

@pytest.mark.alike(2)
@pytest.mark.parametrize("names, listen", [
    (["FD00:ACCE::0080"], "[fd00:acce::80]:{0}"),
    (["192.0.2.80"], "192.0.2.80:{0}"),
    (["fd00:acce:0:0::80", "192.0.2.80", "ip.example"],
     "[fd00:acce::80]:{0} 192.0.2.80:{0} 127.0.0.1:{0}"),
    (["192.0.2.80", "fd00:acce::80"], "[::]:{0}")], ids=lambda value: str(len(value)))
def test_addresses(names: list[str], listen: str, addresses: None, ready: Site, pebble: Pebble
                   ) -> None:
    """RFC 8738, over http-01: alone, both families, beside a name."""
    ready.main["webserver"]["listen"] = listen.format(pebble.http_port)
    ready.certificate("a", names)
    expect(ready.run("newOrder"), 0, *first("a"))
    wanted = {name if "." in name else ADDRESSES[0] for name in names}
    assert judge.names(ready.file("a")) == wanted
    expect(ready.run("newOrder"), 0, VALID)    # is what is wanted
    assert wanted <= set(ready.run("status").stdout.split())


def test_addresses_and_names_at_the_newest_ca(addresses: None, site: Site, newest: Pebble) -> None:
    """Over both types, in orders that name no profile; what else it offers is passed over."""
    site.open_account(newest)
    site.main["webserver"]["listen"] = f"[::]:{newest.http_port}"
    site.main["tlsserver"] = {"listen": f"[::]:{newest.tls_port}"}
    names = [*ADDRESSES, "new.example"]
    site.certificate("a", names, challenge="http-01")
    site.certificate("b", names, challenge="tls-alpn-01")
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    for section in "ab":
        assert judge.names(site.file(section)) == set(names)


def test_an_address_nobody_answers_at(addresses: None, ready: Site, pebble: Pebble) -> None:
    """The other section gets its certificate."""
    ready.certificate("a", ["fd00:acce::80"])      # listen is 127.0.0.1
    ready.certificate("b", ["b.example"])
    done = ready.run("newOrder")
    assert done.returncode == 1 and ready.file("b").exists() and not ready.file("a").exists()
    assert re.search(r"^error: a: fd00:acce::80: ", done.stderr, re.M), done.stderr


# --- wishes --------------------------------------------------------------------------------------

def test_a_wish_that_cannot_be_is_that_sections_matter(ready: Site) -> None:
    """What the settings tell is told before anything is asked; what the CA tells, by the CA."""
    ready.certificate("good", ["good.example"])
    ready.certificate("wild", ["w.example", "*.w.example"])
    ready.certificate("address", ["192.0.2.1"], challenge="dns-persist-01")
    ready.certificate("offered", ["o.example"], challenge="dns-persist-01")
    done = ready.run("newOrder")
    assert done.returncode == 1 and ready.file("good").exists()
    for section, told in (("wild", r"\*\.w\.example: a wildcard needs the challenge dns-01"),
                          ("address", "192.0.2.1: an address needs the challenge http-01"),
                          ("offered", "o.example: the CA offers no dns-persist-01 challenge, but "
                                      r"only \S.*add \S+ to the section's “challenge”")):
        lines = [line for line in done.stderr.splitlines()
                 if line.startswith("error: ") and re.search(rf"\b{section}\b", line)]
        assert lines and all(re.search(told, line) for line in lines), done.stderr
        assert not ready.file(section).exists()


def test_a_type_that_is_not_offered_is_passed_over(ready: Site) -> None:
    ready.certificate("a", ["over.example"], challenge="dns-persist-01, http-01")
    expect(ready.run("newOrder"), 0, *first("a"))


def test_nothing_is_started_that_no_section_needs(ready: Site) -> None:
    """No web server, and no directory for a client that makes no file."""
    ready.certificate("a", ["nothing.example"], challenge="dns-persist-01")
    ready.certificate("b", ["other.example"])
    done = ready.watch("newOrder", "a")
    assert done.returncode == 1 and done.of("client") and not done.of("webserver")
    assert {life.last.cwd for life in done.of("client")} == {"/"}
    assert ready.watch("newOrder", "b").of("webserver")


def test_who_cannot_be_answered_for(ready: Site) -> None:
    """A key-file that is missing, a port that is another's: who needs them fails, and nobody
    else."""
    ready.main["dns"] = {"server": "127.0.0.1", "key-file": str(ready.etc / "missing")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ready.main["tlsserver"] = {"listen": f"127.0.0.1:{port}"}
        ready.certificate("good", ["good.example"])
        ready.certificate("wild", ["*.w.example"])
        ready.certificate("tls", ["t.example"], challenge="tls-alpn-01")
        ready.certificate("either", ["e.example"], challenge="dns-01, tls-alpn-01, http-01")
        done = ready.run("newOrder")
        assert done.returncode == 1
        for section, told in (("wild", "missing: no such file"), ("tls", f"127.0.0.1:{port}")):
            assert re.search(rf"^error: {section}: .*{re.escape(told)}", done.stderr, re.M), \
                done.stderr
            assert not ready.file(section).exists()
        for section in "good", "either":
            assert ready.file(section).exists() and f"error: {section}: " not in done.stderr
        # what was wished first can't be, and that is told
        del ready.certs["wild"], ready.certs["tls"], ready.certs["good"]
        done = ready.run("newOrder", "--force")
        assert done.returncode == 0
        assert re.search("^warning: dns-01: .*missing: no such file", done.stderr, re.M)
        assert re.search("^warning: tls-alpn-01: ", done.stderr, re.M)
        # who needs it is all there is: a mistake in the configuration
        ready.certs["either"]["challenge"] = "dns-01"
        done = ready.run("newOrder", "--force")
        assert done.returncode == 2 and "missing: no such file" in done.stderr
