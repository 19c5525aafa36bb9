"""How challenges are answered: at port 80, behind another web server, and past a firewall."""

import os
import pwd
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from harness import judge
from harness.frontends import Frontend
from harness.hostile import Hostile
from harness.judge import INSTALLED, NEW, expect
from harness.net import Listener
from harness.pebble import Pebble
from harness.run import CLIENT_USER, Prefix, Site
from test_renewal import alive, held, tidy

GENERATING = r"a: generating the private key \S+ \(ec:P-256\)"
FIRST = [f"a: {NEW}", GENERATING, f"a: {INSTALLED}"]
CAREFUL = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -p tcp -m tcp ! --dport 80 -j ACCEPT
-A INPUT -i lo -p udp -j ACCEPT
COMMIT
"""


@pytest.fixture(scope="module")
def pebble80() -> Iterator[Pebble]:
    """Pebble that validates at port 80, as the real ones do."""
    with Pebble(nosleep=True, http_port=80) as server:
        yield server


def prepare(site: Site, server: "Pebble | Hostile") -> None:
    """Register an account and configure one certificate; ``listen`` is left to its default."""
    site.use(server)
    site.main["webserver"].clear()
    site.genkey()
    expect(site.register(), 0, r"Terms of Service: \S+", r"Key ID: https://\S+",
           stdout=r"\{.*\}\n")
    site.certificate("a", [f"{site.path.name.replace('_', 'x')}.example"])


@pytest.fixture
def ready(site: Site, pebble80: Pebble) -> Site:
    """A site prepared for Pebble."""
    prepare(site, pebble80)
    return site


@pytest.fixture
def installed(ready: Site, prefix: Prefix) -> Iterator[Site]:
    """The same with the run directory of the prefix, which is that of the snippets."""
    run = prefix.path / "run/letsencrypt-tiny"
    run.mkdir(mode=0o755, parents=True, exist_ok=True)
    ready.main[""]["run-directory"] = str(run)
    ready.rundir = run
    yield ready
    assert judge.tree(run) == {"lock"}


def listening_on(stderr: str) -> str:
    """Return what a run with --debug listened on."""
    match = re.search(r"^listening on (.*)$", stderr, re.M)
    assert match is not None, stderr
    return match.group(1)


# --- the port is free ----------------------------------------------------------------------------

def test_auto_at_a_free_port(ready: Site, pebble80: Pebble) -> None:
    """Both families; the certificate's name has both addresses."""
    name, = ready.certs["a"]["names"].split(", ")
    pebble80.names.set_aaaa(name, ["::1"])
    done = ready.run("--debug", "newOrder")
    assert done.returncode == 0, done.stderr
    assert listening_on(done.stderr) == "[::]:80, 0.0.0.0:80"
    assert judge.names(ready.file("a")) == {name}
    tidy(ready)


@pytest.mark.alike(2)
@pytest.mark.parametrize("listen, names", [
    ("127.0.0.1", ["127.0.0.1"]),
    ("[::1]", ["::1"]),
    ("127.0.0.1, [::1]:80 127.0.0.3:80", ["127.0.0.1", "::1", "127.0.0.3"]),
    ("[::]:80 0.0.0.0:80", ["127.0.0.1", "::1"]),
    ("[::]:80", ["127.0.0.1", "::1"])])      # IPv4 too, by the kernel's default
def test_explicit(listen: str, names: list[str], ready: Site) -> None:
    ready.main["webserver"]["listen"] = listen
    ready.certificate("a", names)
    expect(ready.run("newOrder"), 0, *FIRST)
    assert judge.names(ready.file("a")) == set(names)
    tidy(ready)


def test_the_port_is_taken(ready: Site) -> None:
    """An explicit address is meant; nothing is generated, ordered or left."""
    ready.main["webserver"]["listen"] = "127.0.0.1:80"
    with Listener(port=80):
        expect(ready.run("newOrder"), 1, f"a: {NEW}", GENERATING,
               r"error: a: \S+, \[webserver\]: cannot listen on 127\.0\.0\.1:80: Address already "
               r"in use \(set listen or challenge-directory\)")
    assert not ready.file("a").exists()
    tidy(ready)


# --- another web server has it -------------------------------------------------------------------

@pytest.mark.alike(2)
@pytest.mark.parametrize("kind", ["nginx.conf", "apache2.conf", "haproxy.cfg"])
def test_behind_a_web_server(kind: str, installed: Site, prefix: Prefix) -> None:
    """auto finds the port taken and takes the socket; the snippet leads there."""
    expected = prefix.path / "run/letsencrypt-tiny/www.socket"
    with Frontend(prefix, kind) as frontend:
        if kind == "haproxy.cfg":
            expected = frontend.socket
            installed.main["webserver"]["listen"] = str(expected)
        done = installed.run("--debug", "newOrder")
        assert done.returncode == 0, done.stderr
        assert listening_on(done.stderr) == str(expected)
        assert not expected.exists()
        told = [rf"{kind.partition('.')[0]} \(process [0-9]+\) listens on port 80: challenges are "
                rf"answered on {expected}, .*/{kind}\)"] if kind != "haproxy.cfg" else []
        expect(installed.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}", *told)


@pytest.mark.parametrize("kind", ["nginx-static.conf", "apache2-static.conf"])
def test_challenge_directory(kind: str, ready: Site, prefix: Prefix) -> None:
    """The other web server serves the files; ours isn't started, whatever ``listen`` says."""
    ready.main["webserver"]["listen"] = "127.0.0.1:1"
    with Frontend(prefix, kind) as frontend:
        ready.main["webserver"]["challenge-directory"] = str(frontend.directory)
        (frontend.directory / "robots.txt").write_text("not ours\n")
        done = ready.watch("newOrder")
        expect(done, 0, *FIRST)
        assert not done.of("webserver") and done.of("client")
        assert os.listdir(frontend.directory) == ["robots.txt"]
    assert judge.matches(ready.file("a"), ready.file("a", "privkey.pem"))
    tidy(ready)


def test_challenge_directory_after_kill_9(site: Site, hostile: Hostile) -> None:
    """What a killed run left there is removed by the next."""
    prepare(site, hostile)
    directory = site.path / "challenges"
    directory.mkdir()
    site.main["webserver"]["challenge-directory"] = str(directory)
    client = pwd.getpwnam(CLIENT_USER)
    os.chown(directory, client.pw_uid, client.pw_gid)
    with held(site, hostile, "challenge") as run:
        assert len(os.listdir(directory)) == 1
        run.process.kill()
        run.process.wait()
        run.go_on()
    assert len(os.listdir(directory)) == 1
    expect(site.run("--quiet", "newOrder"), 0)
    assert os.listdir(directory) == []
    tidy(site, run.children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_socket_is_removed(number: signal.Signals, site: Site, hostile: Hostile) -> None:
    """At the end of the run; after kill -9 at the end of the next one."""
    prepare(site, hostile)
    socket = site.path / "www.socket"
    site.main["webserver"]["listen"] = str(socket)
    with held(site, hostile) as run:
        assert socket.is_socket() and judge.mode(socket) == 0o666
        run.process.send_signal(number)
        run.process.wait(10)
        assert socket.exists() is (number == signal.SIGKILL)
        expect(site.run("--quiet", "newOrder"), 0)
        assert not socket.exists()
        tidy(site, run.children)


# --- the firewall --------------------------------------------------------------------------------

TOOLS = ["/usr/sbin/iptables", "/usr/sbin/ip6tables"]


def rules() -> list[str]:
    """Return all rules there are, of both families."""
    return [line for tool in TOOLS for line in subprocess.run(
        [tool, "-w", "-S"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()]


def ours() -> list[str]:
    """Return our rules."""
    return [line for line in rules() if "letsencrypt-tiny" in line]


@pytest.fixture
def careful() -> Iterator[list[str]]:
    """A firewall that lets nobody in at port 80, and its rules."""
    for tool in TOOLS:
        subprocess.run([f"{tool}-restore"], input=CAREFUL, text=True, check=True)
    before = rules()
    yield before
    left = rules()
    for tool in TOOLS:
        subprocess.run([tool, "-P", "INPUT", "ACCEPT"], check=True)
        subprocess.run([tool, "-F"], check=True)
    assert left == before


def test_the_firewall_is_opened(careful: list[str], ready: Site) -> None:
    """Without the rule, Pebble could not get in."""
    ready.certificate("a", ["127.0.0.1", "::1"])
    expect(ready.run("newOrder"), 0, *FIRST)
    assert rules() == careful


def test_what_is_executed(careful: list[str], ready: Site, prefix: Prefix) -> None:
    """The four programs, openssl, and what opens and closes the firewall."""
    done, executed = ready.executed("--quiet", "newOrder")
    expect(done, 0)
    programs = {str(path) for path in (prefix.master, prefix.accountd, prefix.client,
                                       prefix.webserver)}
    assert programs | {"/usr/bin/openssl", *TOOLS} <= {argv[0] for argv in executed} <= {
        *programs, "/usr/bin/openssl", *TOOLS, "/usr/sbin/nft"}
    assert rules() == careful


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_firewall_is_closed(number: signal.Signals, careful: list[str], site: Site,
                                hostile: Hostile) -> None:
    """One rule for each family while the run lasts, others changing theirs meanwhile."""
    prepare(site, hostile)
    with held(site, hostile) as run:
        assert len(ours()) == 2
        assert all("--dport 80 " in rule and rule.endswith("-j ACCEPT") for rule in ours())
        subprocess.run([TOOLS[0], "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"], check=True)
        run.process.send_signal(number)
        run.process.wait(10)
        run.go_on()
        if number == signal.SIGKILL:
            assert len(ours()) == 2
            site.certs.clear()     # nothing is due: it cleans up all the same
            expect(site.run("--quiet", "newOrder"), 0)
    assert ours() == [] and any("192.0.2.1" in rule for rule in rules())
    subprocess.run([TOOLS[0], "-D", "INPUT", "-s", "192.0.2.1", "-j", "DROP"], check=True)
    tidy(site, run.children)


def test_the_firewall_is_left_alone(careful: list[str], site: Site, hostile: Hostile) -> None:
    """iptables = no; and an address that only this host reaches."""
    prepare(site, hostile)
    site.main["webserver"]["iptables"] = "no"
    with held(site, hostile) as run:
        assert rules() == careful
        run.go_on()
        expect(run.end(), 0)
    site.main["webserver"].update({"iptables": "yes", "listen": "127.0.0.1:80"})
    site.certificate("a", ["loopback.example"])
    with held(site, hostile) as run:
        assert rules() == careful
        run.go_on()
        expect(run.end(), 0)
    assert not any(map(alive, run.children))
