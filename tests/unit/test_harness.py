"""The harness itself: what the integration tests stand on must bear them."""

import base64
import configparser
import http.client
import json
import os
import pwd
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness import ca, misbehaviour, net, proc, run
from harness.caddy import CaddyACME
from harness.hostile import Hostile, Response
from harness.lacme import Lacme
from harness.pebble import Pebble

TESTS = Path(__file__).parents[1]


def verify(chain: Path, roots: Path, name: str) -> None:
    """Let openssl check the chain and a name; raises RuntimeError."""
    ca.openssl("verify", "-CAfile", str(roots), "-untrusted", str(chain),
               "-verify_hostname", name, str(chain))


class Client:
    """Just enough of an ACME client for Hostile, which checks no signature."""

    def __init__(self, server: Hostile, ca_file: Path | None = None) -> None:
        self.context = ssl.create_default_context(cafile=str(ca_file or server.ca_file))
        self.nonce = ""
        self.directory = json.loads(self.request("GET", server.directory)[2])
        self.request("HEAD", self.directory["newNonce"])

    def request(self, method: str, url: str, body: bytes | None = None
                ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers by lower-case name, and body."""
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(parts.netloc, context=self.context, timeout=10)
        try:
            connection.request(method, parts.path, body)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            self.nonce = headers.get("replay-nonce", self.nonce)
            return response.status, headers, response.read()
        finally:
            connection.close()

    def post(self, url: str, payload: object) -> tuple[int, dict[str, str], bytes]:
        """POST a JWS; None is a POST-as-GET."""
        def encode(value: object) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
        return self.request("POST", url, json.dumps({
            "protected": encode({"nonce": self.nonce, "url": url, "jwk": {"kty": "x"}}),
            "payload": "" if payload is None else encode(payload), "signature": "AA"}).encode())

    def post_json(self, url: str, payload: object) -> tuple[dict[str, str], Any]:
        """POST; return headers and object."""
        status, headers, body = self.post(url, payload)
        if status >= 400:
            raise RuntimeError(body.decode())
        return headers, json.loads(body)

    def order(self, csr: str, *names: str) -> bytes:
        """Return the chain for a CSR, which need not have these names."""
        self.post_json(self.directory["newAccount"], {"termsOfServiceAgreed": True})
        headers, order = self.post_json(self.directory["newOrder"], {
            "identifiers": [{"type": "dns", "value": name} for name in names]})
        for url in order["authorizations"]:
            authz = self.post_json(url, None)[1]
            for challenge in authz["challenges"]:
                if challenge["type"] == "http-01":
                    self.post_json(challenge["url"], {})
        der = ca.openssl("req", "-outform", "DER", stdin=csr.encode())
        _, order = self.post_json(order["finalize"], {
            "csr": base64.urlsafe_b64encode(der).decode().rstrip("=")})
        while order["status"] == "processing":
            order = self.post_json(headers["location"], None)[1]
        return self.post(order["certificate"], None)[2]


# Where we are

@pytest.mark.root
def test_network_is_private() -> None:
    assert os.readlink("/proc/self/ns/net") != os.readlink(f"/proc/{os.getppid()}/ns/net")
    for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
        socket.create_server((address, 80), family=family).close()


def test_run_leaves_nothing(tmp_path: Path) -> None:
    """A run that is killed leaves no server, a test that leaves a process fails."""
    (tmp_path / "test_it.py").write_text(
        "import os, signal, subprocess, sys\n\n"
        "def test_orphan():\n"
        "    subprocess.run(['sh', '-c', 'sleep 60 &'])\n"
        "def test_killed(pebble):\n"
        "    print('servers', pebble._daemon.pid, pebble.names._daemon.pid, file=sys.stderr)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n")
    argv = [sys.executable, "-B", "-m", "pytest", "-s", "-p", "no:cacheprovider", "-p", "conftest",
            str(tmp_path)]
    env = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(TESTS)}
    done = run.run([*argv, "-k", "orphan"], env=env)
    assert done.returncode == 1 and "processes left behind" in done.stdout
    done = run.run([*argv, "-k", "killed"], env=env)
    assert done.returncode == -signal.SIGKILL
    servers = [int(word) for word in done.stderr.split()[1:]]
    assert len(servers) == 2
    deadline = time.monotonic() + 5
    for pid in servers:
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            try:
                os.waitpid(pid, os.WNOHANG)  # we adopted it
            except ChildProcessError:
                pass
        assert not Path(f"/proc/{pid}").exists()


def test_signals_that_are_ignored_are_not_inherited(tmp_path: Path) -> None:
    """A run in the background has SIGINT ignored, one by nohup(1) SIGHUP; what it starts hasn't."""
    (tmp_path / "test_it.py").write_text(
        "import os, signal, subprocess\n\n"
        "def test_child():\n"
        "    text = subprocess.run(['cat', '/proc/self/status'], capture_output=True).stdout\n"
        "    ignored = int(text.partition(b'SigIgn:')[2].split()[0], 16)\n"
        "    assert [n for n in (1, 2, 3, 15) if ignored >> n - 1 & 1] == []\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n")   # as ever, it harms no run in the background
    argv = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-p", "conftest",
            str(tmp_path)]
    env = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(TESTS)}
    done = run.run(["/bin/sh", "-c", 'trap "" INT HUP QUIT; exec "$@"', "sh", *argv], env=env)
    assert done.returncode == 0, done.stdout


# Real servers

def test_pebble(pebble: Pebble) -> None:
    context = ssl.create_default_context(cafile=str(pebble.ca_file))
    connection = http.client.HTTPSConnection(urlsplit(pebble.directory).netloc, context=context,
                                             timeout=10)
    connection.request("GET", "/dir", headers={"User-Agent": "test"})   # RFC 8555 §6.1
    assert "newOrder" in json.loads(connection.getresponse().read())
    connection.close()
    ca.openssl("verify", "-CAfile", str(pebble.roots()), str(pebble.intermediate()))
    assert "PRIVATE KEY" in pebble.intermediate_key().read_text()
    assert pebble.certificate_status("abcdef") is None


def test_pebble_alternate_roots() -> None:
    with Pebble(alternate_roots=1, chain_length=2) as pebble:
        assert pebble.roots().read_text().count("BEGIN CERTIFICATE") == 2
        assert pebble.root(0).read_text() != pebble.root(1).read_text()


@pytest.mark.root
def test_lacme_and_pebble(pebble_tame: Pebble) -> None:
    """A real order, over http-01; a name that is elsewhere fails."""
    with Lacme(pebble_tame) as lacme:
        chain = lacme.certificate("a", ["a.harness.example", "b.harness.example"])
        done = lacme.register()
        assert done.returncode == 0, done.stderr
        done = lacme.run("newOrder", "a")
        assert done.returncode == 0, done.stderr
        verify(chain, pebble_tame.roots(), "b.harness.example")
        serial = ca.openssl("x509", "-noout", "-serial", "-in", str(chain)).decode().strip()
        status = pebble_tame.certificate_status(serial.partition("=")[2])
        assert status is not None and status["Status"] == "Valid"
        pebble_tame.set_a("elsewhere.harness.example", "127.0.0.77")
        chain = lacme.certificate("b", ["elsewhere.harness.example"])
        done = lacme.run("newOrder", "b")
        assert done.returncode != 0 and "127.0.0.77" in done.stderr
        assert not chain.exists() and pebble_tame.names.queries("elsewhere.harness.example")


def test_lacme_and_caddy(caddy: CaddyACME) -> None:
    """The same from Smallstep's server, at port 80, with names of no other resolver."""
    hosts = Path("/etc/hosts").read_bytes()
    with Lacme(caddy) as lacme:
        chain = lacme.certificate("a", ["a.harness.example", "b.harness.example"])
        done = lacme.register()
        assert done.returncode == 0, done.stderr
        done = lacme.run("newOrder", "a")
        assert done.returncode == 0, done.stderr
        verify(chain, caddy.roots(), "b.harness.example")
    assert Path("/etc/hosts").read_bytes() == hosts


# The hostile server

@pytest.fixture(scope="module")
def csr() -> str:
    """A CSR for one name."""
    return ca.request(["a.example"], ca.genkey())


def public_key(pem: str, command: str = "x509") -> bytes:
    """Return the public key in a certificate or CSR."""
    return ca.openssl(command, "-noout", "-pubkey", stdin=pem.encode())


def test_hostile_behaves(hostile: Hostile, csr: str, tmp_path: Path) -> None:
    hostile.processing = 2
    chain = Client(hostile).order(csr, "a.example")
    (tmp_path / "chain").write_bytes(chain)
    verify(tmp_path / "chain", hostile.roots(), "a.example")
    assert public_key(chain.decode()) == public_key(csr, "req")
    assert len(hostile.asked("order")) == 2
    assert hostile.asked("newOrder")[0].payload["identifiers"][0]["value"] == "a.example"


def test_hostile_checks_nonces(hostile: Hostile) -> None:
    client = Client(hostile)
    client.nonce = "mine"
    status, _, body = client.post(client.directory["newAccount"], {})
    assert status == 400 and json.loads(body)["type"].endswith(":badNonce")
    assert client.post(client.directory["newAccount"], {})[0] == 201


def test_hostile_replaced(hostile: Hostile) -> None:
    hostile.on["newOrder"] = lambda request, default: Response(
        418, {"X-Path": request.path, "Replay-Nonce": None}, b"tea")
    client = Client(hostile)
    status, headers, body = client.post(client.directory["newOrder"], {})
    assert (status, headers["x-path"], body) == (418, "/newOrder", b"tea")
    assert "replay-nonce" not in headers


def test_hostile_with_another_name() -> None:
    with Hostile(names=["other.example"]) as hostile:
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            Client(hostile)
        deadline = time.monotonic() + 5
        while not hostile.handshake_errors and time.monotonic() < deadline:
            time.sleep(0.01)
        assert hostile.handshake_errors and not hostile.requests


Install = Callable[[Hostile], object]


def ordered(hostile: Hostile, csr: str, install: Install) -> str:
    """Return the chain got from a server that misbehaves."""
    install(hostile)
    return Client(hostile).order(csr, "a.example").decode()


def test_certificate_for_another_key(hostile: Hostile, csr: str) -> None:
    chain = ordered(hostile, csr, misbehaviour.certificate_for_another_key)
    assert public_key(chain) != public_key(csr, "req")


def test_certificate_for_other_names(hostile: Hostile, csr: str) -> None:
    chain = ordered(hostile, csr, lambda server: misbehaviour.certificate_for_other_names(
        server, ["evil.example", "192.0.2.1", "2001:db8::1"]))
    text = ca.openssl("x509", "-noout", "-ext", "subjectAltName", stdin=chain.encode()).decode()
    assert "DNS:evil.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1" in text
    assert public_key(chain) == public_key(csr, "req")


@pytest.mark.parametrize("install, problem", [
    (misbehaviour.expired_certificate, "certificate has expired"),
    (misbehaviour.certificate_of_the_future, "certificate is not yet valid")])
def test_dated_certificate(hostile: Hostile, csr: str, tmp_path: Path, install: Install,
                           problem: str) -> None:
    (tmp_path / "chain").write_text(ordered(hostile, csr, install))
    with pytest.raises(RuntimeError, match=problem):
        verify(tmp_path / "chain", hostile.roots(), "a.example")


def test_private_key_in_pem(hostile: Hostile, csr: str) -> None:
    assert "PRIVATE KEY" in ordered(hostile, csr, misbehaviour.private_key_in_pem)


def test_truncated_chain(hostile: Hostile, csr: str) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ordered(hostile, csr, misbehaviour.truncated_chain)


def test_huge_pem(hostile: Hostile, csr: str) -> None:
    chain = ordered(hostile, csr, lambda server: misbehaviour.huge_pem(server, 1_000_000))
    assert 900_000 < len(chain) < 1_100_000


def test_valid_without_certificate(hostile: Hostile, csr: str) -> None:
    with pytest.raises(KeyError, match="certificate"):
        ordered(hostile, csr, misbehaviour.valid_without_certificate)


@pytest.mark.parametrize("install, check", [
    (lambda s: misbehaviour.http_urls(s, "newOrder"),
     lambda h, o: h["location"].startswith("http://") and o["finalize"].startswith("http://")),
    (lambda s: misbehaviour.foreign_urls(s, "newOrder"),
     lambda h, o: o["authorizations"][0].startswith("https://169.254.169.254/")),
    (misbehaviour.many_authorizations,
     lambda h, o: len(set(o["authorizations"])) == 10_000),
    (lambda s: misbehaviour.foreign_identifier(s, "newOrder"),
     lambda h, o: o["identifiers"][0]["value"] == "victim.example"),
    (lambda s: misbehaviour.shell_words(s, "newOrder", "$(id)"),
     lambda h, o: o["identifiers"][0]["value"] == "a.example$(id)" and o["status"] == "pending"),
])
def test_misbehaviour_of_newOrder(hostile: Hostile, install: Install,
                                  check: Callable[[dict[str, str], Any], bool]) -> None:
    install(hostile)
    client = Client(hostile)
    assert check(*client.post_json(client.directory["newOrder"], {
        "identifiers": [{"type": "dns", "value": "a.example"}]}))


def test_bad_tokens(hostile: Hostile) -> None:
    client = Client(hostile)
    order = client.post_json(client.directory["newOrder"], {
        "identifiers": [{"type": "dns", "value": "a.example"}]})[1]
    for token in misbehaviour.BAD_TOKENS:
        misbehaviour.bad_token(hostile, token)
        authz = client.post_json(order["authorizations"][0], None)[1]
        assert [challenge["token"] for challenge in authz["challenges"]] == [token] * 4


def test_busy_for_a_while(hostile: Hostile) -> None:
    client = Client(hostile)
    for value in misbehaviour.RETRY_AFTER:
        misbehaviour.busy(hostile, "newOrder", value, times=1)
        status, headers, _ = client.post(client.directory["newOrder"], {})
        assert (status, headers["retry-after"]) == (503, value)
        assert client.post(client.directory["newOrder"], {})[0] == 400


def test_problem_with_control_characters(hostile: Hostile) -> None:
    misbehaviour.problem(hostile, "newOrder")
    client = Client(hostile)
    status, _, body = client.post(client.directory["newOrder"], {})
    problem = json.loads(body)
    assert status == 403 and problem["detail"] == misbehaviour.CONTROL
    assert problem["subproblems"][0]["detail"] == misbehaviour.CONTROL


def test_bodies_that_do_not_end(hostile: Hostile) -> None:
    """They are there while read, and the server ends all the same."""
    misbehaviour.slow_body(hostile, "newOrder", 0.05)
    misbehaviour.endless_body(hostile, "directory")
    misbehaviour.nested_json(hostile, "newNonce")
    misbehaviour.redirect(hostile, "newAccount")
    context = ssl.create_default_context(cafile=str(hostile.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", hostile.port, context=context, timeout=5)
    connection.request("GET", "/directory")
    response = connection.getresponse()
    assert len(response.read(5_000_000)) == 5_000_000
    connection.close()
    connection.request("POST", "/newAccount")
    response = connection.getresponse()
    assert response.status == 307 and response.headers["Location"] == f"{hostile.base}/elsewhere"
    response.read()
    connection.request("POST", "/newOrder")
    response = connection.getresponse()
    start = time.monotonic()
    assert len(response.read(5)) == 5 and time.monotonic() - start > 0.15
    connection.close()


def test_listener_tells_who_came() -> None:
    with net.Listener() as trap:
        socket.create_connection(("127.0.0.1", trap.port)).close()
        deadline = time.monotonic() + 5
        while not trap.received and time.monotonic() < deadline:
            time.sleep(0.01)
        assert trap.received == [b""]


# Eyes

def test_proc_reads_this_process() -> None:
    me = proc.read(os.getpid())
    assert me.uids == os.getresuid() + (os.geteuid(),) and me.gids[:3] == os.getresgid()
    assert me.cwd == os.getcwd() and me.ppid == os.getppid() and not me.no_new_privs
    assert me.groups == tuple(sorted(os.getgroups()))
    with open("/dev/null", "rb") as file:
        assert proc.read(os.getpid()).fds[file.fileno()] == "/dev/null"
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            proc.read(child.pid)


@pytest.mark.root
def test_watch_sees_descendants(tmp_path: Path) -> None:
    seen = proc.watch(["/bin/sh", "-c", "echo hello; cd /; /usr/bin/setpriv --no-new-privs "
                       "--reuid=65534 --regid=65534 --clear-groups env -i A=b sleep 0.2 "
                       "</dev/null; exit 3"], cwd=tmp_path)
    assert (seen.returncode, seen.stdout, seen.stderr) == (3, "hello\n", "")
    assert seen.lives[0].program == "sh" and seen.lives[0].seen("uids") == {(0, 0, 0, 0)}
    sleep, = seen.of("sleep")
    assert sleep.seen("uids") == sleep.seen("gids") == {(65534,) * 4}
    assert sleep.seen("groups") == {()} and sleep.seen("no_new_privs") == {True}
    assert sleep.seen("capabilities") == {0} and sleep.seen("cwd") == {"/"}
    assert sleep.environ == {"A": frozenset({"b"})} and "/dev/null" in sleep.fds[0]
    assert set(sleep.fds) == {0, 1, 2}


def test_watch_kills_all_on_timeout() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        proc.watch(["/bin/sh", "-c", "sleep 61 & sleep 61"], timeout=0.2)


def test_executed_lists_commands() -> None:
    done, commands = proc.executed(
        ["/bin/sh", "-c", "/bin/echo 'a\"], [\"b' $(id -u); /nowhere; exit 4"])
    assert done.returncode == 4 and done.stdout == f'a"], ["b {os.getuid()}\n'
    assert ["/bin/echo", 'a"], ["b', str(os.getuid())] in commands
    assert sorted(command[0].rpartition("/")[2] for command in commands) == ["echo", "id", "sh"]


# The programs

def test_users(users: run.Users) -> None:
    entries = [pwd.getpwnam(name) for name in run.USERS]
    assert len({entry.pw_uid for entry in entries}) == len({e.pw_gid for e in entries}) == 5
    assert 0 not in [entry.pw_uid for entry in entries]


def test_prefix(prefix: run.Prefix) -> None:
    assert str(prefix.path).startswith("/srv/") and prefix.path.stat().st_mode & 0o22 == 0
    for program in (prefix.master, prefix.accountd, prefix.client, prefix.webserver,
                    prefix.tlsserver):
        assert os.access(program, os.X_OK)
        assert f'"{prefix.path}/share/letsencrypt-tiny"' in program.read_text()
    assert f'PREFIX = "{prefix.path}"' in (prefix.package / "common/paths.py").read_text()


def test_site_configuration(site: run.Site, pebble: Pebble) -> None:
    site.use(pebble)
    site.genkey("rsa:2048")
    site.certificate("a", ["a.example", "b.example"], min_days="7")
    own = site.write("accountd.conf", "privkey = file:/nowhere\n")
    argv = site.command("newOrder", "a")
    assert argv[1:] == [f"--config={site.config}", "newOrder", "a"]
    main = configparser.ConfigParser(interpolation=None)
    main.read_string("[-]\n" + site.config.read_text())
    assert main["client"]["server"] == pebble.directory
    assert main["webserver"]["listen"] == f"127.0.0.1:{pebble.http_port}"
    certs = configparser.ConfigParser(interpolation=None)
    certs.read_string((site.etc / "certs.conf").read_text())
    assert dict(certs["a"]) == {"names": "a.example, b.example", "min-days": "7",
                                "cafile": str(pebble.roots()), **pebble.settings}
    assert own.read_text() == "privkey = file:/nowhere\n"
    key = site.account_key.stat()
    assert key.st_mode & 0o777 == 0o600 and key.st_uid == pwd.getpwnam(run.SIGNER_USER).pw_uid


def test_run_kills_all_on_timeout() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run.run(["/bin/sh", "-c", "sleep 62 & sleep 62"], timeout=0.2)


@pytest.mark.root
def test_as_user() -> None:
    done = run.run(run.as_user("nobody", ["id", "-un"]))
    assert done.stdout == "nobody\n"


def test_free_ports_differ() -> None:
    ports: list[int] = net.free_ports(20)
    assert len(set(ports)) == 20
