"""check --online: what is found of names, without an order, a signature or an account request.

BIND 9 has the names; the CA is one that does as it is told; web servers are real.
"""

import email.utils
import http.server
import json
import os
import pwd
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import ca, judge
from harness.frontends import Frontend
from harness.hostile import Hostile, Request, Response
from harness.run import CLIENT_USER, CONFINE, Prefix, Site
from harness.zones import FIRST, SECOND, Zones

CA_NAME = "ca.test"
HERE = "127.0.0.1 (of this machine)"
NOT_CONNECTED = "port 80 can't be connected to"
ELSE = "port 80 answers, but something else than the challenge web server would"


def records(account: str) -> list[str]:
    """What the zone has; ``account`` is ours."""
    return [
        "good A 127.0.0.1", "alias CNAME good", "elsewhere A 192.0.2.1", "refused A 127.0.0.4",
        "mixed A 127.0.0.1", "mixed AAAA ::1", "empty TXT nothing",
        f'ours.caa A 127.0.0.1\nours.caa CAA 0 issue "{CA_NAME}; accounturi={account};'
        ' validationmethods=http-01,dns-01"',
        'other.caa A 127.0.0.1\nother.caa CAA 0 issue "letsencrypt.example"',
        'b.a.other.caa A 127.0.0.1', 'nobody.caa A 127.0.0.1\nnobody.caa CAA 0 issue ";"',
        f'account.caa A 127.0.0.1\naccount.caa CAA 0 issue "{CA_NAME}; accounturi={account}9"',
        f'method.caa A 127.0.0.1\nmethod.caa CAA 0 issue "{CA_NAME}; validationmethods=dns-01"',
        f'wild.caa CAA 0 issue "{CA_NAME}"\nwild.caa CAA 0 issuewild "letsencrypt.example"',
        "critical.caa A 127.0.0.1\ncritical.caa CAA 128 tbs unknown",
        "_acme-challenge.delegated CNAME _acme-challenge.good",
        "_acme-challenge.circle CNAME _acme-challenge.circle",
        f'_validation-persist.persists TXT "{CA_NAME}; accounturi={account}"']


@pytest.fixture(scope="module")
def server(hostile_ca: ca.CA) -> Iterator[Hostile]:
    with Hostile(authority=hostile_ca) as running:
        yield running


@pytest.fixture(scope="module")
def zones(server: Hostile) -> Iterator[Zones]:
    with Zones(*records(server.url("account/0"))) as running:
        yield running


@pytest.fixture(scope="module")
def made(prefix: Prefix, server: Hostile, zones: Zones) -> Iterator[Site]:
    """A site with an account, whose web server is at port 80 of 127.0.0.1."""
    site = Site(prefix)
    site.open_account(server)
    site.main["webserver"]["listen"] = "127.0.0.1:80"
    yield site
    site.remove()


@pytest.fixture
def online(made: Site, server: Hostile) -> Iterator[Site]:
    """The site; the CA tells its name, and afterwards has been asked for nothing but that."""
    main = {name: dict(settings) for name, settings in made.main.items()}
    named(server)
    server.requests.clear()
    yield made
    made.main, made.certs = main, {}
    server.on.clear()
    assert {(request.method, request.resource) for request in server.requests} <= {
        ("GET", "directory")}
    assert judge.tree(made.rundir) <= {"lock"}


def named(server: Hostile, **headers: str) -> None:
    """Let the directory have caaIdentities, and header fields."""
    def handler(_request: Request, default: Any) -> Response:
        message = default().object()
        message["meta"]["caaIdentities"] = [CA_NAME]
        return Response.json(message, headers=headers)
    server.on["directory"] = handler


def look(site: Site, *arguments: str, status: int = 0) -> list[dict[str, str]]:
    """Run check --online --json; return what it says of other things than the CA."""
    done = site.run("check", "--online", "--json", *arguments)
    assert done.returncode == status, (done.stdout, done.stderr)
    found: list[dict[str, str]] = json.loads(done.stdout)
    assert all(set(item) == {"name", "topic", "verdict", "text", "remedy", "subject"}
               for item in found)
    return [item for item in found if item["topic"] not in ("ca", "clock")]


def verdicts(found: list[dict[str, str]]) -> list[tuple[str, str]]:
    return sorted((item["topic"], item["verdict"]) for item in found)


def of(found: list[dict[str, str]], topic: str) -> dict[str, str]:
    """Return the one finding of a topic."""
    item, = [item for item in found if item["topic"] == topic]
    return item


# --- lines -----------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["required", "no"])
def test_all_is_well(mode: str, online: Site, server: Hostile) -> None:
    for section in ("client", "webserver"):
        online.main[section]["confine"] = mode
    online.certificate("a", ["good.test", "alias.test"])
    host = server.directory.split("/")[2]
    expected = [
        rf"{host}: ok: the directory {server.directory} is there, and CAA records call the CA "
        rf"{CA_NAME}", f"{host}: ok: the clock is right, as the CA has it"]
    for name in ("good.test", "alias.test"):
        expected += [f"{name}: ok: no CAA record: every CA may issue",
                     f"{name}: ok: {HERE}: port 80 reaches us"]
    done = online.run("check", "--online")
    assert done.stderr == "" and done.returncode == 0
    written = done.stdout.splitlines()
    assert sorted(written) == sorted(expected)
    names = [row.partition(": ")[0] for row in written]    # what is said of one stands together
    assert names[:2] == [host] * 2 and names[2] == names[3] and names[4] == names[5]
    quiet = online.run("--quiet", "check", "--online")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_nothing_is_signed_or_written(online: Site, server: Hostile) -> None:
    """Without a signer, with two HTTP requests at most; state and certificates are as they were.
    """
    online.certificate("a", ["good.test"])
    online.main["accountd"]["command"] = "/nonexistent"
    before = judge.tree(online.lib)
    done = online.watch("check", "--online")
    assert done.returncode == 0, done.stderr
    assert not done.of("accountd") and done.of("client")
    who = pwd.getpwnam(CLIENT_USER)      # without privilege, and confined
    for client in (life.last for life in done.of("client")):
        assert set(client.uids) == {who.pw_uid} and set(client.gids) == {who.pw_gid}
        assert client.no_new_privs and not client.capabilities
        assert (client.seccomp == 2) == (CONFINE == "required")
    webserver, = done.of("webserver")   # which answers for one key, of nobody's
    assert sum(word.startswith("--thumbprint=") for word in webserver.argv) == 1
    assert judge.tree(online.lib) == before and len(server.requests) == 1


def test_names_and_sections(online: Site) -> None:
    online.certificate("a", ["good.test", "alias.test"])
    online.certificate("b", ["elsewhere.test"])

    def names(*arguments: str, status: int = 0) -> set[str]:
        return {item["name"] for item in look(online, *arguments, status=status)}
    assert names("a") == {"good.test", "alias.test"}
    assert names("alias.test") == {"alias.test"}
    assert names("mixed.test", "good.test") == {"mixed.test", "good.test"}   # not configured yet
    assert names("127.0.0.1") == {"127.0.0.1"}
    done = online.run("check", "--online", "bad name")
    assert done.returncode == 2 and "neither configured nor a name" in done.stderr
    done = online.run("check", "--json")
    assert done.returncode == 2 and "without --online" in done.stderr


def test_a_name_that_is_not_configured(online: Site) -> None:
    """It is looked at as a section would have it that doesn't say more."""
    online.main["webserver"]["listen"] = ""
    done = online.run("check", "--online", "good.test")
    assert done.returncode == 1 and "good.test: the challenge dns-01 needs a section [dns]" \
        in done.stderr
    online.main["dns"] = {"update": "command /bin/true"}
    assert verdicts(look(online, "good.test")) == [("caa", "ok"), ("servers", "ok")]


def test_who_cannot_be_answered_for(online: Site) -> None:
    """A port that is another's: what needs it is not looked at, all else is."""
    online.main["tlsserver"] = {"listen": "127.0.0.1:443"}
    online.certificate("a", ["good.test"])
    online.certificate("b", ["alias.test"], challenge="tls-alpn-01")
    with socket.create_server(("127.0.0.1", 443)):
        found = look(online, status=1)
    item = of(found, "responder")
    assert (item["name"], item["verdict"]) == ("alias.test", "error")
    assert "cannot listen on 127.0.0.1:443" in item["text"] and "tls-alpn-01" in item["remedy"]
    assert of(found, "address")["name"] == "good.test"


def test_a_section_that_cannot_be(online: Site) -> None:
    online.certificate("a", ["good.test"])
    online.certificate("b", ["x!.test"])
    found = look(online, status=1)
    assert of(found, "configuration")["name"] == "b" and of(found, "address")["verdict"] == "ok"


def test_a_run_is_under_way(online: Site) -> None:
    online.certificate("a", ["good.test"])
    lock = os.open(online.rundir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        import fcntl
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert online.run("check", "--online").returncode == 75
    finally:
        os.close(lock)


def test_a_wait(online: Site) -> None:
    online.certificate("a", ["good.test"])
    state = online.lib / "state/cert-a.json"
    state.write_text(json.dumps({"not_before": int(time.time()) + 3600}))
    try:
        found = of(look(online), "wait")
        assert found["verdict"] == "warning" and "newOrder a" in found["remedy"]
    finally:
        state.unlink()


# --- addresses -------------------------------------------------------------------------------

def test_an_address_elsewhere(online: Site) -> None:
    online.certificate("a", ["elsewhere.test"])
    item = of(look(online), "address")
    assert (item["verdict"], item["subject"]) == ("warning", "192.0.2.1")
    assert item["text"] == (f"192.0.2.1 (not of this machine): {NOT_CONNECTED} (Network is "
                            "unreachable): it can't be tried from here")


@pytest.mark.parametrize("name, words", [
    ("refused.test", f"127.0.0.4 (of this machine): {NOT_CONNECTED} (Connection refused)"),
    ("empty.test", "it has no address"), ("nonexistent.test", "it has no address"),
    ("x.broken.test", "it can't be looked up: x.broken.test AAAA: "),
    ("127.0.0.4", f"127.0.0.4 (of this machine): {NOT_CONNECTED} (Connection refused)")])
def test_what_does_not_reach(name: str, words: str, online: Site) -> None:
    online.certificate("a", [name])
    item = of(look(online, status=1), "address")
    assert item["verdict"] == "error" and item["text"].startswith(words) and item["remedy"]


def test_ipv6_is_dead(online: Site) -> None:
    """CAs then try IPv4: a warning."""
    online.certificate("a", ["mixed.test"])
    six, four = [item for item in look(online) if item["topic"] == "address"]
    assert (six["verdict"], six["subject"], four["verdict"]) == ("warning", "::1", "ok")
    assert six["text"] == f"::1 (of this machine): {NOT_CONNECTED} (Connection refused)"


def test_ipv6_works(online: Site) -> None:
    online.certificate("a", ["mixed.test", "::1"])
    online.main["webserver"]["listen"] = "[::]:80"
    assert verdicts(look(online)) == [("address", "ok")] * 3 + [("caa", "ok")]


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with what the test wants."""

    status = 404
    body = b""
    location = ""

    def do_GET(self) -> None:
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.alike(2)
@pytest.mark.parametrize("status, body, location, words", [
    (404, b"", "", "port 80 answers with HTTP status 404"),
    (200, b"x" * 100_000, "", ELSE),
    (200, b"\x1b[2J\xff", "", ELSE),
    (302, b"", "/again", "port 80 redirects more than 10 times"),
    (302, b"", "ftp://x/", "port 80 redirects to ftp://x/, where no CA goes"),
    (302, b"", "http://127.0.0.9:22/", "port 80 redirects to http://127.0.0.9:22/, where no CA"),
    (302, b"", "http://127.0.0.9/", "port 80 redirects to 127.0.0.9, which has no address that a"),
    (302, b"", "http://refused.test/", "port 80 redirects to refused.test, which has no address"),
    (301, b"", "https://good.test/",
     "port 80 redirects to https://good.test/, which can't be connected to (Connection refused)"),
    (200, b"", "", "port 80 answers, but something else")])
def test_another_web_server(status: int, body: bytes, location: str, words: str,
                            online: Site) -> None:
    """Without our snippet; nothing of what it says reaches the terminal."""
    online.certificate("a", ["good.test"])
    online.main["webserver"].pop("listen")
    handler = type("Handler", (Answers,), {"status": status, "body": body, "location": location})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 80), handler) as other:
        threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
        found = of(look(online, status=1), "address")
        other.shutdown()
    assert found["verdict"] == "error" and found["text"].startswith(f"{HERE}: {words}")
    assert found["text"].isprintable()


def test_behind_a_web_server(online: Site, prefix: Prefix) -> None:
    """With our snippet."""
    run = prefix.path / "run/letsencrypt-tiny"
    run.mkdir(mode=0o755, parents=True, exist_ok=True)
    online.certificate("a", ["good.test"])
    online.main["webserver"].pop("listen")
    online.main[""]["run-directory"] = str(run)
    with Frontend(prefix, "nginx.conf"):
        assert of(look(online), "address")["text"] == f"{HERE}: port 80 reaches us"
    assert judge.tree(run) == {"lock"}


def test_a_challenge_directory(online: Site, prefix: Prefix) -> None:
    online.certificate("a", ["good.test"])
    with Frontend(prefix, "nginx-static.conf") as frontend:
        online.main["webserver"]["challenge-directory"] = str(frontend.directory)
        assert of(look(online), "address")["verdict"] == "ok"
        assert os.listdir(frontend.directory) == []


@pytest.mark.parametrize("body, verdict, words", [
    ("{token}.{ours}", "ok", "port 80 reaches us"),
    ("{token}.{other}\r\n", "error", "port 80 answers for another account's key"),
    ("{token}", "error", "port 80 answers, but something else")])
def test_stateless(body: str, verdict: str, words: str, online: Site, server: Hostile) -> None:
    """Another web server answers, for the account's key."""
    accounts = json.loads((online.lib / "state/accounts.json").read_text())
    ours, = accounts[server.directory]

    class Handler(Answers):
        def do_GET(self) -> None:
            token = self.path.rpartition("/")[2]
            self.body = body.format(token=token, ours=ours, other="x" * 43).encode()
            self.status = 200
            super().do_GET()
    online.certificate("a", ["good.test"], challenge="stateless")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 80), Handler) as other:
        threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
        item = of(look(online, status=int(verdict == "error")), "address")
        other.shutdown()
    assert item["verdict"] == verdict and item["text"].startswith(f"{HERE}: {words}")


@pytest.mark.parametrize("listen, status, words", [
    ("127.0.0.1:443", 0, "port 443 reaches us"),
    ("127.0.0.1:444", 1, "port 443 can't be connected to (Connection refused)")])
def test_tls_alpn(listen: str, status: int, words: str, online: Site) -> None:
    """By the process that answers tls-alpn-01, for a name and for an address."""
    online.main["tlsserver"] = {"listen": listen, "confine": "required"}
    online.certificate("a", ["good.test", "127.0.0.1"], challenge="tls-alpn-01")
    found = look(online, status=status)
    assert [item["text"] for item in found if item["topic"] == "address"] == [
        f"{HERE}: {words}"] * 2


# --- CAA -------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, verdict, words", [
    ("ours.caa.test", "ok", "the CAA record of ours.caa.test lets in ca.test, this account, http-"),
    ("other.caa.test", "error", "the CAA records of other.caa.test let in letsencrypt.example, no"),
    ("b.a.other.caa.test", "error", "the CAA records of other.caa.test let in letsencrypt.exampl"),
    ("nobody.caa.test", "error", "the CAA records of nobody.caa.test let in nobody, not this CA"),
    ("account.caa.test", "error", "the CAA record of account.caa.test lets in another account of"),
    ("method.caa.test", "error", "the CAA record of method.caa.test lets in ca.test by dns-01, no"),
    ("critical.caa.test", "error", "the CAA record “tbs” of critical.caa.test is critical")])
def test_caa(name: str, verdict: str, words: str, online: Site) -> None:
    online.certificate("a", [name])
    found = look(online, status=int(verdict == "error"))
    item = of(found, "caa")
    assert (item["verdict"], item["text"][:len(words)]) == (verdict, words)
    assert bool(item["remedy"]) is (verdict == "error") and of(found, "address")["verdict"] == "ok"


def test_caa_that_nobody_answers(online: Site) -> None:
    online.certificate("a", ["x.broken.test"])
    item = of(look(online, status=1), "caa")
    assert item["verdict"] == "error" and "x.broken.test CAA: " in item["text"]


def test_a_ca_without_a_name(online: Site, server: Hostile) -> None:
    server.on.clear()
    online.certificate("a", ["other.caa.test"])
    assert of(look(online), "caa")["verdict"] == "warning"


# --- dns-01 ----------------------------------------------------------------------------------

@pytest.fixture
def by_dns(online: Site) -> Site:
    online.main["dns"] = {"update": "command /bin/true"}
    return online


def test_wildcards(by_dns: Site) -> None:
    """issuewild, and the name servers; no address is asked for."""
    by_dns.certificate("a", ["*.good.test", "*.wild.caa.test"])
    found = look(by_dns, status=1)
    assert verdicts(found) == [("caa", "error"), ("caa", "ok"), ("servers", "ok"),
                               ("servers", "ok")]
    assert [item["text"] for item in found if item["topic"] == "servers"] == [
        "test: 2 name servers agree (serial 1)"] * 2
    wild, = [item for item in found if item["verdict"] == "error"]
    assert wild["name"] == "*.wild.caa.test" and "0 issuewild" in wild["remedy"]


def test_an_alias(by_dns: Site) -> None:
    by_dns.certificate("a", ["delegated.test"], challenge="dns-01")
    found = look(by_dns)
    assert of(found, "alias")["text"] == ("_acme-challenge.delegated.test → _acme-challenge.good."
                                          "test: the record is looked for there")
    by_dns.certificate("a", ["circle.test"], challenge="dns-01")
    assert {"alias", "servers"} & {item["topic"] for item in look(by_dns, status=1)
                                   if item["verdict"] == "error"}


def test_servers_that_do_not_answer(by_dns: Site) -> None:
    by_dns.certificate("a", ["good.test"], challenge="dns-01")
    by_dns.main["dns"]["nameservers"] = f"{FIRST}, 127.0.0.5:5353"
    found = [item for item in look(by_dns, status=1) if item["topic"] == "servers"]
    assert [item["verdict"] for item in found] == ["error", "ok"]
    assert "127.0.0.5 port 5353 can't be asked over TCP (Connection refused)" in found[0]["text"]


def test_servers_that_differ(by_dns: Site, zones: Zones, server: Hostile) -> None:
    by_dns.certificate("a", ["good.test"], challenge="dns-01")
    zones.differ(*records(server.url("account/0")))
    item = of(look(by_dns), "servers")
    assert item["verdict"] == "warning" and "the servers don't agree" in item["text"]
    assert f"ns1.test ({FIRST}) has 1, ns2.test ({SECOND}) has 7" in item["text"]


def test_a_record_that_persists(by_dns: Site) -> None:
    by_dns.certificate("a", ["persists.test", "*.persists.test"], challenge="dns-persist-01")
    found = {item["name"]: item for item in look(by_dns, status=1) if item["topic"] == "persist"}
    assert found["persists.test"]["verdict"] == "ok"
    assert found["*.persists.test"]["remedy"].endswith("; policy=wildcard\"")


# --- the CA ----------------------------------------------------------------------------------

@pytest.mark.parametrize("ahead, verdict", [(5, "ok"), (100, "warning"), (-4000, "error")])
def test_the_clock(ahead: int, verdict: str, online: Site, server: Hostile) -> None:
    named(server, Date=email.utils.formatdate(time.time() - ahead, usegmt=True))
    online.certificate("a", ["good.test"])
    done = online.run("check", "--online", "--json")
    item = of(json.loads(done.stdout), "clock")
    assert item["verdict"] == verdict and done.returncode == int(verdict == "error")
    assert verdict == "ok" or ("ahead of" if ahead > 0 else "behind") in item["text"]


@pytest.mark.parametrize("answer", [
    Response(500), Response(200, {"Content-Type": "text/html"}, b"\x1b[2J"), Response(raw=b""),
    Response.json({"newNonce": "https://other.example/"})])
def test_a_ca_that_makes_no_sense(answer: Response, online: Site, server: Hostile) -> None:
    """Names are looked at all the same."""
    online.certificate("a", ["good.test"])
    server.on["directory"] = lambda _request, _default: answer
    done = online.run("check", "--online", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and of(found, "ca")["verdict"] == "error"
    assert of(found, "address")["verdict"] == of(found, "caa")["verdict"] == "ok"


def test_a_ca_without_an_address(online: Site) -> None:
    online.certificate("a", ["good.test"])
    online.main["client"]["server"] = "https://ca.invalid/dir"
    done = online.run("check", "--online", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and of(found, "ca")["verdict"] == "error"
    assert of(found, "address")["verdict"] == "ok"


# --- what is missing --------------------------------------------------------------------------

def test_without_dnspython(made: Site, online: Site, tmp_path: Path) -> None:
    """One line; addresses, and the CA, are looked at all the same."""
    client = made.path / "client"
    text = made.prefix.client.read_text().replace(
        "from letsencrypt_tiny.client.main",
        "from letsencrypt_tiny.common.sandbox import seccomp\nimport sys\n"
        "sys.modules['dns'] = None\nfrom letsencrypt_tiny.client.main")
    client.write_text(text)
    client.chmod(0o755)
    online.main["client"]["command"] = str(client)
    online.certificate("a", ["good.test", "127.0.0.1"])
    done = online.run("check", "--online")
    told = [row for row in done.stdout.splitlines() if "python3-dnspython" in row]
    assert done.returncode == 1 and len(told) == 1
    assert f"127.0.0.1: ok: {HERE}: port 80 reaches us" in done.stdout
