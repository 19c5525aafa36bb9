"""dns-01 by dynamic updates (RFC 2136): Debian's BIND 9, certificates from Pebble."""

import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns.message import Message

from harness import judge, proc, run
from harness.bind import PRIMARY, RESOLVER, SECONDARY, SIGNED, Bind, with_resolver
from harness.nameserver import Nameserver
from harness.pebble import Pebble
from harness.run import Result, Site
from harness.verdict import only_error

pytestmark = pytest.mark.root
THREE = ("b.example", "acme.example", SIGNED)
ZONES = {
    "a.example": "",
    SIGNED: "",
    # x.web has a record of its own: with _acme-challenge below it a wildcard is not for it any more
    "b.example": "*.web 60 IN A 127.0.0.1\nx.web 60 IN A 127.0.0.1\n"
                 "below 60 IN DNAME below.acme.example.\n"
                 "_acme-challenge.www 60 IN CNAME www-b.acme.example.\n"
                 "_acme-challenge.loop 60 IN CNAME _acme-challenge.loop2\n"
                 "_acme-challenge.loop2 60 IN CNAME _acme-challenge.loop\n",
    "acme.example": "", "hidden.example": ""}
NOBODY, GATE = "127.0.0.9", "127.0.0.8"    # who refuses connections; an odd name server


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with tempfile.TemporaryDirectory(prefix="bind-", dir=run.PARENT) as directory:
        with Bind(Path(directory, "b"), ZONES, unresolved=["hidden.example"],
                  still=["b.example"]) as running:
            yield running


@pytest.fixture(scope="module")
def pebble(bind: Bind) -> Iterator[Pebble]:
    with Pebble(nosleep=True, authzreuse=0, dns_server=f"{RESOLVER}:53") as server:
        yield server


@pytest.fixture
def dns(site: Site, pebble: Pebble, bind: Bind) -> Iterator[Site]:
    """A site with an account and [dns]; nothing may be left in any zone, or remembered."""
    site.use(pebble)
    site.genkey()
    del site.main["webserver"]
    site.main["dns"] = {"server": PRIMARY, "key-file": str(bind.key_file), "update-timeout": "10",
                        "confine": run.CONFINE, "propagation-timeout": "20"}
    assert site.register().returncode == 0
    yield site
    assert bind.published() == []
    assert list((site.lib / "state").glob("dns-*")) == []


def command(site: Site, bind: Bind, *arguments: str) -> list[str]:
    """Return the argv of newOrder on a host whose resolver is BIND."""
    return with_resolver(bind.resolv_conf, site.command("newOrder", *arguments))


def order(site: Site, bind: Bind, *arguments: str, timeout: float = 90) -> "Result[str]":
    """Run it."""
    return run.run(command(site, bind, *arguments), timeout=timeout)


def good(site: Site, bind: Bind, *arguments: str) -> str:
    """Run it with --debug; return what it wrote, which is good."""
    done = order(site, bind, "--debug", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


# --- what is published, and where ----------------------------------------------------------------

@pytest.mark.parametrize("confine", ["required", "no"])
def test_a_wildcard_and_its_base(confine: str, dns: Site, bind: Bind) -> None:
    """Two values at one name, and a third of somebody else's, which stays."""
    dns.main["dns"]["confine"] = confine
    dns.certificate("a", ["a.example", "*.a.example"], challenge="dns-01")
    bind.update("_acme-challenge.a.example", "others")
    try:
        told = good(dns, bind)
        # the slow one is waited for, and the client told
        assert f"not at ns2.a.example ({SECONDARY})" in told
        assert len(set(re.findall(r"_acme-challenge.a.example TXT (\S{43}) is published",
                                  told))) == 2
        assert bind.published() == ['_acme-challenge.a.example. "others"']
    finally:
        bind.update("_acme-challenge.a.example")


def test_a_signed_zone(dns: Site, bind: Bind) -> None:
    assert bind.is_signed(SIGNED)
    dns.certificate("s", [f"deep.er.{SIGNED}"], challenge="dns-01")
    assert f"_acme-challenge.deep.er.{SIGNED} TXT" in good(dns, bind)


def test_a_name_that_is_an_alias(dns: Site, bind: Bind) -> None:
    """… of one in another zone (delegation): it is there that the record is put."""
    dns.certificate("b", ["www.b.example"], challenge="dns-01")
    told = good(dns, bind)
    assert "www-b.acme.example TXT" in told and "_acme-challenge.www.b.example TXT" not in told


def test_a_name_below_an_alias(dns: Site, bind: Bind) -> None:
    """DNAME (RFC 6672): its name server makes a CNAME of it."""
    dns.certificate("b", ["x.below.b.example"], challenge="dns-01")
    assert "_acme-challenge.x.below.acme.example TXT" in good(dns, bind)


def test_a_circle_of_aliases(dns: Site, bind: Bind) -> None:
    dns.certificate("b", ["loop.b.example"], challenge="dns-01")
    assert only_error(order(dns, bind)) == (
        "error: b: loop.b.example: dns-01: _acme-challenge.loop.b.example → "
        "_acme-challenge.loop2.b.example → _acme-challenge.loop.b.example: a circle of CNAMEs")


@pytest.mark.parametrize("algorithm", ["hmac-sha512"])
def test_another_algorithm(algorithm: str, dns: Site, bind: Bind) -> None:
    dns.main["dns"]["key-file"] = str(bind.keys[algorithm])
    dns.certificate("b", ["b.example"], challenge="dns-01")
    good(dns, bind)


def test_without_a_resolver_the_primary_is_asked(dns: Site, bind: Bind, tmp_path: Path) -> None:
    nowhere = tmp_path / "resolv.conf"
    nowhere.write_text(f"nameserver {NOBODY}\n")
    # a name that no other test has: Pebble's resolver may still know that the others' aren't there
    dns.certificate("b", ["nobody.b.example"], challenge="dns-01")
    done = run.run(with_resolver(nowhere, dns.command("newOrder")))
    assert done.returncode == 0, done.stderr


def test_twenty_names_in_three_zones_and_two_types(dns: Site, bind: Bind, pebble: Pebble) -> None:
    """A process for each zone, and everything at once: no name server has any record before all
    are published and the names of the other section proved by http-01, and nobody waits for
    another."""
    dns.main["webserver"] = {"listen": f"127.0.0.1:{pebble.http_port}", "confine": run.CONFINE}
    common = {**dns.main["dns"], "nameservers": GATE}
    dns.main |= {f"dns {zone}": common for zone in THREE}
    names = [f"{number}.{zone}" for number in range(5) for zone in THREE][:14]
    dns.certificate("dns", names, challenge="dns-01")
    dns.certificate("web", [f"{number}.web.b.example" for number in range(6)], challenge="http-01")

    def late(query: Message, reply: Message) -> Message:
        if len(bind.published()) < len(names) or not dns.file("web").exists():
            reply.answer.clear()
        return reply
    with Nameserver(GATE, {("example", "TXT"): late}):
        told = good(dns, bind)
    assert told.count("is published") == told.count("is taken back") == len(names)
    assert len(re.findall("started .*/dns ", told)) == 3 and dns.file("dns").exists()


def test_a_wildcard_needs_no_setting(dns: Site, bind: Bind, pebble: Pebble) -> None:
    """In one order it is proved by dns-01, its base name by http-01."""
    dns.main["webserver"] = {"listen": f"127.0.0.1:{pebble.http_port}", "confine": run.CONFINE}
    dns.certificate("b", ["x.web.b.example", "*.x.web.b.example"])
    told = good(dns, bind)
    assert told.count("is published") == 1 and "_acme-challenge.x.web.b.example TXT" in told
    assert judge.names(dns.file("b")) == {"x.web.b.example", "*.x.web.b.example"}


@pytest.mark.parametrize("kind", ["http-01", "dns-01"])
def test_what_is_loaded(kind: str, dns: Site, bind: Bind, pebble: Pebble) -> None:
    """Where no section uses [dns], no process reads anything of it, dnspython least of all."""
    dns.main["webserver"] = {"listen": f"127.0.0.1:{pebble.http_port}", "confine": run.CONFINE}
    dns.certificate("b", ["x.web.b.example"], challenge=kind)
    trace = dns.path / "trace"
    done = run.run(["/usr/bin/strace", "-f", "-qq", "-e", "trace=open,openat", "-o", str(trace),
                    *command(dns, bind)], timeout=90)
    assert done.returncode == 0, done.stderr
    opened = trace.read_text(errors="replace").replace("/__pycache__/", "/")
    for module in ("/dist-packages/dns/", "/letsencrypt_tiny/dns/", "/responders/dns01.",
                   "/wire/dns."):
        assert (module in opened) == (kind == "dns-01"), module
    assert "/letsencrypt_tiny/client/" in opened and "/dns/resolver" not in opened


# --- what goes wrong -----------------------------------------------------------------------------

def test_a_server_that_does_not_follow(dns: Site, bind: Bind) -> None:
    dns.main["dns"].update({"nameservers": f"{PRIMARY}, {SECONDARY}", "propagation-timeout": "1"})
    dns.certificate("b", ["b.example"], challenge="dns-01")
    assert only_error(order(dns, bind)) == (
        "error: b: b.example: dns-01: after 1 seconds _acme-challenge.b.example is not "
        f"everywhere: not at {SECONDARY}")


def test_a_server_that_cannot_be_reached(dns: Site, bind: Bind) -> None:
    """When all others have it, it is tried for half the time, and said."""
    dns.main["dns"].update({"nameservers": f"{PRIMARY}, {NOBODY}", "propagation-timeout": "2"})
    dns.certificate("b", ["b.example"], challenge="dns-01")
    assert (f"_acme-challenge.b.example: all others have it, but {NOBODY} can't be reached over "
            "TCP (ECONNREFUSED)") in good(dns, bind)


def test_no_server_can_be_reached(dns: Site, bind: Bind) -> None:
    dns.main["dns"].update({"nameservers": NOBODY, "propagation-timeout": "2"})
    # the resolver, which isn't waited for then, must not know that another test's value has gone
    dns.certificate("b", ["nobody.b.example"], challenge="dns-01")
    done = good(dns, bind)   # what can't be found out by those is found out by the zone's own
    assert "_acme-challenge.nobody.b.example TXT" in done


def test_the_ca_says_no(dns: Site, bind: Bind) -> None:
    """It is taken back then, too."""
    dns.main["dns"]["nameservers"] = PRIMARY
    dns.certificate("h", ["hidden.example"], challenge="dns-01")
    said = only_error(order(dns, bind))   # of whom nobody connects to is told no port
    assert said.startswith("error: h: hidden.example: ") and "port 80" not in said
    assert "public DNS" not in said
    assert "adding an RR at '_acme-challenge.hidden.example' TXT" in bind.log


@pytest.mark.parametrize("change, expected", [
    ("updates", "it does not know the key"), ("secret", "the key is another")])
def test_another_key(change: str, expected: str, dns: Site, bind: Bind) -> None:
    key = dns.write("key", re.sub(r'secret "..', 'secret "AA', bind.key_file.read_text())
                    if change == "secret" else
                    bind.key_file.read_text().replace("updates", "stranger"))
    key.chmod(0o600)
    dns.main["dns"]["key-file"] = str(key)
    dns.certificate("b", ["b.example"], challenge="dns-01")
    assert expected in only_error(order(dns, bind))


def test_a_name_the_key_is_not_for(dns: Site, bind: Bind) -> None:
    dns.main["dns"]["key-file"] = str(bind.keys["hmac-sha224"])   # for acme.example alone
    dns.certificate("b", ["b.example"], challenge="dns-01")
    assert only_error(order(dns, bind)).endswith(
        f"{PRIMARY} answers the update of _acme-challenge.b.example with REFUSED "
        "(the key may not do it)")


@pytest.mark.parametrize("text, expected", [
    ('key "k" { algorithm hmac-md5; secret "AAAAAAAAAAAAAAAA"; };', "hmac-md5, not one of"),
    ("dnssec key\n", "not one key as tsig-keygen(8) prints it")])
def test_a_file_that_is_no_key(text: str, expected: str, dns: Site, bind: Bind) -> None:
    key = dns.write("key", text)
    key.chmod(0o600)
    dns.main["dns"]["key-file"] = str(key)
    dns.certificate("b", ["b.example"], challenge="dns-01")
    done = order(dns, bind)
    assert done.returncode == 1 and "dns: error: key-file: " in done.stderr
    assert expected in done.stderr


# --- what is killed ------------------------------------------------------------------------------

def running(dns: Site, bind: Bind, count: int = 1) -> "run.subprocess.Popen[str]":
    """Start a run that has published ``count`` records, and waits for a server."""
    dns.main["dns"].update({"nameservers": f"{PRIMARY}, {NOBODY}", "propagation-timeout": "30"})
    process = run.subprocess.Popen(command(dns, bind), stderr=run.subprocess.PIPE, text=True,
                                   env=run.ENVIRONMENT)
    deadline = time.monotonic() + 20
    while len(bind.published()) < count:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def gone(bind: Bind, seconds: float = 10) -> bool:
    """Wait for all records to be gone."""
    deadline = time.monotonic() + seconds
    while bind.published():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_everything_is_killed(dns: Site, bind: Bind) -> None:
    """The next run finds what is left in the journal."""
    dns.certificate("b", ["b.example", "*.b.example"], challenge="dns-01")
    with running(dns, bind, 2) as process:
        proc.kill_tree(process.pid)
    assert len(bind.published()) == 2
    file, = (dns.lib / "state").glob("dns-*")
    assert file.stat().st_mode & 0o777 == 0o600 and file.stat().st_uid == 0
    dns.main["dns"]["propagation-timeout"] = "1"
    dns.certs.clear()
    dns.certificate("x", ["x.b.example"], challenge="dns-01")
    told = good(dns, bind)
    assert told.count("b.example TXT") == 2 + 2 and told.count("is published") == 1


def test_the_master_is_killed(dns: Site, bind: Bind) -> None:
    """Its process hears of it by the kernel, and takes back what it published."""
    dns.certificate("b", ["b.example"], challenge="dns-01")
    with running(dns, bind) as process:
        process.kill()
    assert gone(bind)
    dns.main["dns"]["propagation-timeout"] = "1"
    good(dns, bind)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_run_is_ended(number: signal.Signals, dns: Site, bind: Bind) -> None:
    dns.certificate("b", ["b.example"], challenge="dns-01")
    with running(dns, bind) as process:
        process.send_signal(number)
        if number == signal.SIGINT:   # which lets finish what can be finished
            process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode != 0
    assert bind.published() == []
