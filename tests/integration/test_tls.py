"""tls-alpn-01 (RFC 8737): at port 443, behind another server, past a firewall; for names and for
addresses (RFC 8738)."""

import os
import pwd
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from harness import judge, proc, tlsserver
from harness.frontends import TLS_KINDS, Frontend
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, NEW, expect
from harness.net import Listener
from harness.pebble import Pebble
from harness.run import CONFINE, ENVIRONMENT, TLSSERVER_USER, Prefix, Site
from test_listen import GENERATING, TOOLS, ours, rules
from test_renewal import held, tidy

FIRST = [f"a: {NEW}", GENERATING, f"a: {INSTALLED}"]
DROP = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -p tcp -m tcp --dport 443 -m conntrack --ctstate NEW -j DROP
-A INPUT -i lo -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j DROP
COMMIT
"""


@pytest.fixture(scope="module")
def pebble443() -> Iterator[Pebble]:
    """Pebble that validates at ports 80 and 443, as the real ones do."""
    with Pebble(nosleep=True, authzreuse=0, http_port=80, tls_port=443) as server:
        yield server


def prepare(site: Site, server: "Pebble | Hostile", *names: str) -> None:
    """Register an account and configure one certificate; ``listen`` is left to its default."""
    site.use(server)
    site.main["webserver"].clear()
    site.main["tlsserver"] = {"confine": CONFINE}
    site.genkey()
    expect(site.register(), 0, r"Terms of Service: \S+", r"Key ID: https://\S+",
           stdout=r"\{.*\}\n")
    site.certificate("a", names or [f"{site.path.name.replace('_', 'x')}.example"],
                     challenge="tls-alpn-01")


@pytest.fixture
def ready(site: Site, pebble443: Pebble) -> Site:
    """A site prepared for Pebble."""
    prepare(site, pebble443)
    return site


def name_of(site: Site) -> str:
    return site.certs["a"]["names"].partition(",")[0]


# --- issued --------------------------------------------------------------------------------------

@pytest.mark.parametrize("confine", ["required", "no"])
def test_auto_at_a_free_port(confine: str, ready: Site, pebble443: Pebble) -> None:
    """Both families; a name with both addresses, and one with only one of them."""
    ready.main["tlsserver"]["confine"] = confine
    both, one = name_of(ready), f"v6.{name_of(ready)}"
    pebble443.names.set_aaaa(both, ["::1"])
    pebble443.names.set_aaaa(one, ["::1"])
    pebble443.set_a(one, "192.0.2.1")
    ready.certificate("a", [both, one], challenge="tls-alpn-01")
    done = ready.run("--debug", "newOrder")
    assert done.returncode == 0, done.stderr
    assert "listening on [::]:443, 0.0.0.0:443" in done.stderr.splitlines()
    assert ("tlsserver: confined: " in done.stderr) and (
        "seccomp" in done.stderr.partition("tlsserver: confined: ")[2].partition("\n")[0]) == (
        confine == "required")
    assert judge.names(ready.file("a")) == {both, one}
    tidy(ready)


@pytest.mark.parametrize("names", [["127.0.0.1"], ["::1"], ["127.0.0.2", "::1", "a.tls.example"]])
def test_addresses(names: list[str], ready: Site) -> None:
    """The SNI is the reverse name (RFC 8738 §6); names and addresses go together."""
    ready.certificate("a", names, challenge="tls-alpn-01")
    expect(ready.run("newOrder"), 0, *FIRST)
    assert judge.names(ready.file("a")) == set(names)
    tidy(ready)


def test_several_certificates_of_one_name(ready: Site) -> None:
    """Each order has a token of its own, and a certificate answers one: they take turns."""
    names = [name_of(ready), f"b.{name_of(ready)}"]
    for section, order in ("a", names), ("b", names[::-1]), ("c", names[:1]):
        ready.certificate(section, order, challenge="tls-alpn-01")
    done = ready.run("newOrder")
    assert done.returncode == 0, done.stderr
    for section in "abc":
        assert judge.names(ready.file(section)) == set(ready.certs[section]["names"].split(", "))
    tidy(ready)


def test_beside_http_01(ready: Site) -> None:
    """Two sections, two types, two processes."""
    ready.certificate("b", [f"b.{name_of(ready)}"], challenge="http-01")
    done = ready.watch("newOrder")
    assert done.returncode == 0, done.stderr
    assert done.of("tlsserver") and done.of("webserver")
    tidy(ready)


# --- somebody else has the port ------------------------------------------------------------------

@pytest.fixture
def installed(ready: Site, prefix: Prefix) -> Iterator[Site]:
    """The same with the run directory of the prefix, which is that of the snippets."""
    run = prefix.path / "run/letsencrypt-tiny"
    run.mkdir(mode=0o755, parents=True, exist_ok=True)
    ready.main[""]["run-directory"] = str(run)
    ready.rundir = run
    yield ready
    assert judge.tree(run) == {"lock"}


@pytest.mark.alike(2)
@pytest.mark.parametrize("proxied", [False, True], ids=["plain", "proxied"])
@pytest.mark.parametrize("kind", TLS_KINDS)
def test_behind_another_server(kind: str, proxied: bool, installed: Site, prefix: Prefix) -> None:
    """auto finds the port taken and takes the socket; the snippet leads there by ALPN, and all
    others elsewhere, with a PROXY header if that is wanted."""
    expected = prefix.path / "run/letsencrypt-tiny/tls.socket"
    with Listener(port=8443) as others, Frontend(prefix, kind, proxied=proxied) as frontend:
        if kind == "haproxy-tls.cfg":
            expected = frontend.socket
            installed.main["tlsserver"]["listen"] = str(expected)
        with pytest.raises(OSError):
            tlsserver.validate(("127.0.0.1", 443), "www.example", tlsserver.context(["h2"]))
        received = b"".join(others.received)
        assert b"www.example" in received
        assert received.startswith(b"PROXY TCP4 127.0.0.1") == (
            proxied and kind == "nginx-stream.conf")   # haproxy's inner frontend takes it off
        others.received.clear()
        done = installed.run("newOrder")
        told = [rf"{kind.partition('-')[0]} \(process [0-9]+\) listens on port 443: tls-alpn-01 "
                rf"challenges are answered on {expected}, .*/{kind}\)"] \
            if kind != "haproxy-tls.cfg" else []
        expect(done, 0, *FIRST, *told)
        # whoever was refused above may be heard of late
        assert not expected.exists() and not any(others.received)


# --- the firewall --------------------------------------------------------------------------------

@pytest.fixture
def careful() -> Iterator[list[str]]:
    """A firewall that lets nobody in at ports 80 and 443, and its rules."""
    for tool in TOOLS:
        subprocess.run([f"{tool}-restore"], input=DROP, text=True, check=True)
    before = rules()
    yield before
    left = rules()
    for tool in TOOLS:
        subprocess.run([tool, "-F"], check=True)
    assert left == before


def test_the_firewall_is_opened_for_both(careful: list[str], ready: Site) -> None:
    """Without the rules, Pebble could not get in; neither responder closes what is the other's."""
    ready.certificate("b", [f"b.{name_of(ready)}"], challenge="http-01")
    done = ready.run("newOrder")
    assert done.returncode == 0, done.stderr
    assert rules() == careful
    tidy(ready)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_firewall_is_closed(number: signal.Signals, careful: list[str], site: Site,
                                hostile: Hostile) -> None:
    """At the end of the run; after kill -9 at the end of the next one, that needs none."""
    prepare(site, hostile)
    site.certificate("b", ["b.example"], challenge="http-01")
    with held(site, hostile) as run:
        assert {(port, rule.count(f"--dport {port} ")) for rule in ours()
                for port in (80, 443) if f"--dport {port} " in rule} == {(80, 1), (443, 1)}
        assert len(ours()) == 4
        run.process.send_signal(number)
        run.process.wait(10)
        run.go_on()
        if number == signal.SIGKILL:
            assert len(ours()) == 4
            site.certs.clear()     # nothing is due: it cleans up all the same
            expect(site.run("--quiet", "newOrder"), 0)
    assert ours() == []
    tidy(site, run.children)


# --- who asks it ---------------------------------------------------------------------------------

def s_client(port: int, *options: str) -> str:
    """Return what openssl's client tells."""
    argv = ["/usr/bin/openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=20,
                          stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, check=False)
    return done.stdout


def at_challenge(site: Site, hostile: Hostile, ask: Callable[[int, str], None]) -> None:
    """Run an order; ``ask`` a port and a name while the server validates it."""
    port = 4433
    site.main["tlsserver"]["listen"] = f"127.0.0.1:{port}"
    problems: list[BaseException] = []

    def challenge(_request: Request, default: Default) -> Response:
        try:
            ask(port, name_of(site))
        except BaseException as exc:
            problems.append(exc)
        return default()
    hostile.on["challenge"] = challenge
    try:
        done = site.run("newOrder", "--force")
    finally:
        hostile.on.clear()
    assert not problems, problems
    assert done.returncode == 0, done.stderr


def test_who_gets_what(site: Site, hostile: Hostile) -> None:
    """Who speaks acme-tls/1 and asks for the name sees the certificate; everybody else a fatal
    alert, and no certificate."""
    prepare(site, hostile)
    seen: dict[str, str] = {}

    def ask(port: int, name: str) -> None:
        for what, options in {
                "validation": ("-servername", name, "-alpn", "acme-tls/1"),
                "other": ("-servername", name, "-alpn", "h2,http/1.1"),
                "none": ("-servername", name),
                "name": ("-servername", "www.example", "-alpn", "acme-tls/1"),
                "no name": ("-noservername", "-alpn", "acme-tls/1"),
                "old": ("-servername", name, "-alpn", "acme-tls/1", "-tls1_1",
                        "-cipher", "ALL:@SECLEVEL=0")}.items():
            seen[what] = s_client(port, *options)
    at_challenge(site, hostile, ask)
    shown = seen.pop("validation")
    assert "ALPN protocol: acme-tls/1" in shown and "BEGIN CERTIFICATE" in shown
    assert "self-signed certificate" in shown and "unhandled critical extension" in shown
    assert all("BEGIN CERTIFICATE" not in text for text in seen.values()), seen
    for what, number in {"other": 120, "none": 120, "name": 112, "no name": 112}.items():
        assert f"SSL alert number {number}" in seen[what], (what, seen[what])
    assert "alert protocol version" in seen["old"] or "SSL alert number 70" in seen["old"]
    tidy(site)


def test_500_slow_connections_and_one_validation(site: Site, hostile: Hostile) -> None:
    """The validation is answered at once (C 38)."""
    prepare(site, hostile)
    idle: list[socket.socket] = []
    found: list[str | None] = []

    def ask(port: int, name: str) -> None:
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
        for number in range(500):
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            idle[-1].sendall(hello[:number % 200])
        timer = threading.Timer(2, lambda: found.append("late"))
        timer.start()
        found.append(tlsserver.validate(("127.0.0.1", port), name).protocol)
        timer.cancel()
    try:
        at_challenge(site, hostile, ask)
    finally:
        for sock in idle:
            sock.close()
    assert found == ["acme-tls/1"]


def test_what_it_is(site: Site, hostile: Hostile) -> None:
    """Its user, its descriptors, its environment; no key on a disk; and it ends with the run."""
    prepare(site, hostile)
    with held(site, hostile, "challenge") as run:
        process, = [found for found in map(proc.read, run.children)
                    if found.program == "tlsserver"]
        who = pwd.getpwnam(TLSSERVER_USER)
        assert set(process.uids) == {who.pw_uid} and set(process.gids) == {who.pw_gid}
        assert process.no_new_privs and not process.capabilities and process.threads == 1
        assert process.owner == 0, "others of its user look into it"
        assert process.cwd == "/" and (process.seccomp == 2) == (CONFINE == "required")
        assert set(process.environ) - {"LC_CTYPE"} == {
            "PATH", "USER", "LOGNAME", "HOME", "SHELL", "LANG"}
        own = os.readlink("/proc/self/ns/net")
        assert (os.readlink(f"/proc/{process.pid}/ns/net") != own) == (CONFINE == "required")
        # nothing, messages, the door, listeners, epoll, the file of certificates
        assert sorted(target.partition(":")[0] for target in process.fds.values()) == [
            "/dev/null", "/memfd", "anon_inode", *["pipe"] * 2, *["socket"] * 3], process.fds
        run.go_on()
        expect(run.end(), 0)
    tidy(site, run.children)


# --- what check tells ----------------------------------------------------------------------------

def test_check_tells_who_has_the_port(ready: Site) -> None:
    """If a section needs it, and it isn't listened to elsewhere."""
    def told(status: int = 0) -> list[str]:
        done = ready.run("check")
        assert done.returncode == status, done.stderr
        return [line for line in done.stderr.splitlines() if "listens on port 443" in line]
    assert told() == []
    with Listener(port=443), Listener(port=80):
        line, = told()
        assert f"(process {os.getpid()}) listens on port 443: tls-alpn-01 challenges" in line
        ready.certs["a"]["challenge"] = "http-01"
        assert told(1) == []    # through port 80 none comes to us
        ready.certs["a"]["challenge"] = "tls-alpn-01"
        ready.main["tlsserver"]["listen"] = "127.0.0.1:4433"
        assert told() == []
