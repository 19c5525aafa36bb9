"""The client program, run as the master runs it: real servers, a real signer, /proc to judge."""

import functools
import http.server
import os
import re
import resource
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from harness import ca, misbehaviour
from harness.caddy import CaddyACME
from harness.hostile import Hostile, Request, Response
from harness.pebble import Pebble
from harness.run import PARENT, ROOT, Server, Users, as_user
from letsencrypt_tiny.common.wire import order as order_protocol
from letsencrypt_tiny.common.wire.order import (Access, Account, AccountObject, AccountUpdate,
                                                ClientConfig, Failed, Issued, Log, Order, Progress,
                                                Revocation, Revoked)

PROGRAM = ["/usr/bin/python3", "-IS", "-c",
           "import sys; sys.path.insert(0, sys.argv.pop(1));"
           "from letsencrypt_tiny.client.main import main; sys.exit(main())", str(ROOT)]


class Outcome(NamedTuple):
    """What a run of the client left."""

    status: int
    answers: tuple[order_protocol.Answer, ...]
    stderr: str
    cpu: float                # seconds
    requests: int
    connections: int

    def of(self, kind: Any) -> list[Any]:
        """Return the answers of a type."""
        return [answer for answer in self.answers if isinstance(answer, kind)]

    def only(self, kind: Any) -> Any:
        """Return the one answer of a type."""
        found = self.of(kind)
        assert len(found) == 1, (self.answers, self.stderr)
        return found[0]


class _Files(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        return super().translate_path(path.replace("/.well-known/acme-challenge/", "/"))

    def log_message(self, *_: object) -> None:
        pass


class Master:
    """Stands in for the master and the web server; the signer is Debian's lacme-accountd(1)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.challenges = path / "challenges"
        self.challenges.mkdir()
        path.chmod(0o755)
        if os.geteuid() == 0:
            import shutil
            shutil.chown(self.challenges, "_letsencrypt-client", "_letsencrypt-client")
        self.account_key = self.write("account.key", ca.genkey("rsa:2048"))
        self.access: dict[str, Any] = {}
        self.config: dict[str, Any] = {"confine": "auto"}
        self.keyid = ""

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def use(self, server: Server) -> None:
        """Let the client work with this server."""
        self.access.update(server=server.directory, ca_file=str(server.ca_file))
        handler = functools.partial(_Files, directory=str(self.challenges))
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", server.http_port), handler)
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        if hasattr(self, "http"):
            self.http.shutdown()
            self.http.server_close()

    def order(self, section: str, *names: str, key: str | None = None, **more: Any) -> Order:
        names = names or (section,)
        csr = ca.openssl("req", "-outform", "DER",
                         stdin=ca.request(names, key or ca.genkey()).encode())
        return Order(section, tuple(("dns", name) for name in names), csr, **more)

    def start(self, requests: Sequence[order_protocol.Request], signer_key: Path | None = None,
              env: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start signer and client, and hand the client the requests."""
        ours, theirs = socket.socketpair()
        accountd = self.write("accountd.conf", f"keyid = {self.keyid}\n" if self.keyid else "")
        self.signer = subprocess.Popen(
            ["/usr/bin/lacme-accountd", "--stdio", f"--config={accountd}",
             f"--privkey=file:{signer_key or self.account_key}"], stdin=theirs, stdout=theirs,
            stderr=subprocess.DEVNULL)
        theirs.close()
        reading, writing = os.pipe()
        with open(writing, "wb") as stream:
            stream.write(order_protocol.format_config(
                ClientConfig(Access(**self.access), **self.config)))
        argv = [*PROGRAM, "--debug", str(reading), str(ours.fileno())]
        client = subprocess.Popen(
            as_user("_letsencrypt-client", argv) if os.geteuid() == 0 else argv,
            cwd=self.challenges, pass_fds=(reading, ours.fileno()), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **(env or {})})
        os.close(reading)
        ours.close()
        assert client.stdin is not None
        client.stdin.write(b"".join(map(order_protocol.format_request, requests)))
        client.stdin.close()
        client.stdin = None
        return client

    def finish(self, client: "subprocess.Popen[bytes]", timeout: float = 60) -> Outcome:
        """Wait for client and signer."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            out, err = client.communicate(timeout=timeout)
        finally:
            client.kill()
            client.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.signer.wait(10)
        stderr = err.decode()
        count = re.search(r"([0-9]+) requests, ([0-9]+) connections", stderr)
        return Outcome(client.returncode,
                       tuple(map(order_protocol.parse_answer, out.splitlines())), stderr,
                       after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                       *(map(int, count.groups()) if count else (0, 0)))

    def run(self, *requests: order_protocol.Request, timeout: float = 60, **how: Any) -> Outcome:
        """Run the client to its end; no token is ever left behind."""
        outcome = self.finish(self.start(requests, **how), timeout)
        assert os.listdir(self.challenges) == []
        assert "Traceback" not in outcome.stderr
        return outcome

    def register(self) -> Outcome:
        """Register the account."""
        outcome = self.run(AccountUpdate(register=True, terms_agreed=True,
                                         contact=("mailto:root@example.org",)))
        assert outcome.status == 0, outcome
        return outcome


@pytest.fixture
def master(users: Users) -> Iterator[Master]:
    """A master, whose client runs as _letsencrypt-client."""
    with tempfile.TemporaryDirectory(prefix="client-", dir=PARENT) as directory:
        made = Master(Path(directory))
        try:
            yield made
        finally:
            made.close()


def names_of(chain: str) -> list[str]:
    """Return the names in the first certificate of a chain."""
    text = ca.openssl("x509", "-noout", "-ext", "subjectAltName", stdin=chain.encode()).decode()
    return re.findall(r"DNS:([^,\s]+)", text)


# --- the way of a certificate ------------------------------------------------------------------

def test_certificate(pebble: Pebble, master: Master) -> None:
    master.use(pebble)
    registered = master.register().only(AccountObject)
    assert registered.account["status"] == "valid"
    outcome = master.run(master.order("two", "a.example", "b.example"))
    assert outcome.status == 0 and not outcome.of(Failed), outcome
    assert names_of(outcome.only(Issued).chain) == ["a.example", "b.example"]
    assert outcome.only(Account).url == registered.url
    states = [answer.state for answer in outcome.of(Progress)]
    assert states[0] in ("pending", "ready") and states[-1] == "valid"
    assert "landlock" in outcome.stderr.splitlines()[0]
    assert "thumbprint" not in outcome.stderr


def test_the_nuisances_of_pebble(pebble_nuisance: Pebble, master: Master) -> None:
    """Bad nonces, authorizations used again, up to 15 seconds until each validation."""
    master.use(pebble_nuisance)
    master.register()
    orders = [master.order(f"s{i}", f"s{i}.example", "shared.example") for i in range(6)]
    outcome = master.run(*orders, timeout=90)
    assert outcome.status == 0 and len(outcome.of(Issued)) == 6, outcome
    # Six times up to 15 seconds, one after the other, would be late.
    waited = [sum(answer.wait for answer in outcome.of(Progress) if answer.section == f"s{i}")
              for i in range(6)]
    assert max(waited) < 60


def test_many_orders_over_few_connections(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    master.access["jobs"] = 3
    outcome = master.run(*(master.order(f"m{i}.example") for i in range(20)))
    assert len(outcome.of(Issued)) == 20 and outcome.connections == 3, outcome
    # directory, account, a nonce for each connection; seven each, and a poll too early or two
    assert outcome.requests <= 20 * 7.5


def test_one_name_needs_one_connection(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    outcome = master.run(master.order("single.example"))
    assert outcome.only(Issued) and (outcome.requests, outcome.connections) == (10, 1)


def test_a_remembered_account_saves_a_request(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    account = master.register().only(Account)
    master.config.update(account_url=account.url, account_key=account.key)
    outcome = master.run(master.order("remembered.example"))
    assert outcome.only(Issued) and not outcome.of(Account) and outcome.requests == 9


@pytest.mark.parametrize("remembered", ["nobody", "other"])
def test_a_stale_account_is_found_again(pebble_tame: Pebble, master: Master,
                                        remembered: str) -> None:
    master.use(pebble_tame)
    account = master.register().only(Account)
    master.config.update(account_url=account.url + remembered,
                         account_key=account.key if remembered == "nobody" else "A" * 43)
    outcome = master.run(master.order("stale.example"))
    assert outcome.only(Issued) and outcome.only(Account) == account


def test_the_signers_keyid_is_the_account(pebble_tame: Pebble, master: Master) -> None:
    """lacme-accountd(1) with keyid sends no public key."""
    master.use(pebble_tame)
    master.keyid = master.register().only(Account).url
    outcome = master.run(master.order("keyid.example"))
    assert outcome.only(Issued) and outcome.requests == 9
    assert master.run(AccountUpdate()).only(AccountObject).url == master.keyid


def test_two_keys_for_the_same_names_take_turns(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    outcome = master.run(master.order("ec", "both.example"),
                         master.order("rsa", "both.example", key=ca.genkey("rsa:2048")))
    assert {issued.section for issued in outcome.of(Issued)} == {"ec", "rsa"}
    assert outcome.connections == 1


def test_a_failed_order_does_not_harm_another(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    other_names = master.order("mismatch", "x.example")._replace(
        csr=master.order("y.example").csr)
    outcome = master.run(master.order("good.example"), other_names,
                         master.order("*.wild.example"), master.order("also-good.example"))
    assert outcome.status == 0
    assert {issued.section for issued in outcome.of(Issued)} == {"good.example",
                                                                 "also-good.example"}
    failed = {answer.section: answer for answer in outcome.of(Failed)}
    assert set(failed) == {"mismatch", "*.wild.example"}
    assert "dns-01" in failed["*.wild.example"].message
    assert failed["mismatch"].type


def test_why_a_validation_failed(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    master.http.RequestHandlerClass = functools.partial(_Files, directory="/nonexistent")
    outcome = master.run(master.order("s", "fails.example", "fails-too.example"))
    failed = outcome.only(Failed)
    assert failed.section == "s" and "fails.example: " in failed.message
    assert failed.type == "unauthorized" and "404" in failed.message


def test_an_earlier_order_is_taken_up_again(pebble_tame: Pebble, master: Master) -> None:
    master.use(pebble_tame)
    master.register()
    request = master.order("again.example")
    first = master.run(request)
    url = first.of(Progress)[-1].url
    again = master.run(request._replace(url=url))
    assert again.only(Issued).chain == first.only(Issued).chain
    assert again.requests == 5    # directory, nonce, account, order, certificate
    for useless in (url + "x", "https://127.0.0.1:1/order", "http://x/"):
        other = master.run(request._replace(url=useless))
        assert other.only(Issued).chain != first.only(Issued).chain


def test_killed_and_taken_up_again(hostile: Hostile, master: Master) -> None:
    """The token file that a killed client left is in nobody's way."""
    master.use(hostile)
    master.register()
    request = master.order("killed.example")
    hostile.on["challenge"] = lambda _request, _default: Response.json({"status": "pending"})
    client = master.start([request])
    assert client.stdout is not None
    url = None
    while url is None:
        answer = order_protocol.parse_answer(client.stdout.readline())
        if isinstance(answer, Progress) and answer.wait:
            url = answer.url
    client.kill()
    client.communicate()
    master.signer.wait(10)
    assert len(os.listdir(master.challenges)) == 1
    hostile.on.clear()
    outcome = master.run(request._replace(url=url))
    assert outcome.only(Issued) and outcome.of(Progress)[0].url == url
    assert len(hostile.asked("newOrder")) == 1


def test_terminated_it_answers_and_cleans_up(master: Master) -> None:
    with Pebble(sleeptime=15, noncereject=0) as server:
        master.use(server)
        master.register()
        client = master.start([master.order("a.example"), master.order("b.example")])
        assert client.stdout is not None
        first = client.stdout.readline()
        while not os.listdir(master.challenges):
            pass
        client.terminate()
        outcome = master.finish(client, 10)
        assert outcome.status == 0 and first
        assert [answer.message for answer in outcome.of(Failed)] == ["interrupted"] * 2
        assert os.listdir(master.challenges) == []


def test_the_time_for_an_order_ends(master: Master) -> None:
    with Pebble(sleeptime=60, noncereject=0) as server:
        master.use(server)
        master.register()
        master.access["timeout"] = 2
        failed = master.run(master.order("late.example")).only(Failed)
    assert "still pending" in failed.message and failed.retry_after


def test_alternate_chains(master: Master) -> None:
    with Pebble(nosleep=True, alternate_roots=2, noncereject=0) as server:
        master.use(server)
        master.register()
        outcome = master.run(master.order("without.example"),
                             master.order("with.example", alternates=True))
    issued = {answer.section: answer for answer in outcome.of(Issued)}
    assert issued["without.example"].alternates == ()
    chains = {issued["with.example"].chain, *issued["with.example"].alternates}
    assert len(chains) == 3 and all(names_of(chain) == ["with.example"] for chain in chains)


def test_caddy(caddy: CaddyACME, master: Master) -> None:
    """A second opinion on the protocol: Smallstep's."""
    master.use(caddy)
    master.register()
    chain = master.run(master.order("s", "a.example", "b.example")).only(Issued).chain
    assert names_of(chain) == ["a.example", "b.example"]


# --- accounts and revocation -------------------------------------------------------------------

def test_account(pebble: Pebble, master: Master) -> None:
    master.use(pebble)
    missing = master.run(AccountUpdate()).only(Failed)
    assert missing.section == "" and "account --register --tos-agreed" in missing.message
    terms = master.run(AccountUpdate(register=True)).only(Failed)
    assert "--tos-agreed" in terms.message and "data:text/plain" in terms.message
    made = master.run(AccountUpdate(register=True, terms_agreed=True, contact=())).only(
        AccountObject)
    assert made.account["status"] == "valid" and made.terms_of_service
    changed = master.run(AccountUpdate(contact=("mailto:new@example.org",))).only(AccountObject)
    assert (changed.url, changed.account["contact"]) == (made.url, ["mailto:new@example.org"])
    again = master.run(AccountUpdate(register=True, contact=("mailto:b@example.org",))).only(
        AccountObject)
    assert (again.url, again.account["contact"]) == (made.url, ["mailto:b@example.org"])
    bad = master.run(AccountUpdate(contact=("gopher:x",))).only(Failed)
    assert bad.type == "unsupportedContact"
    gone = master.run(AccountUpdate(deactivate=True))
    assert gone.only(AccountObject).account["status"] == "deactivated"
    assert gone.only(Account).url == ""
    assert master.run(master.order("late.example")).only(Failed).section == "late.example"


def test_no_account_fails_every_order(pebble: Pebble, master: Master) -> None:
    master.use(pebble)
    outcome = master.run(master.order("a.example"), master.order("b.example"))
    assert outcome.status == 1
    assert [answer.section for answer in outcome.of(Failed)] == ["a.example", "b.example"]
    assert all("account --register" in answer.message for answer in outcome.of(Failed))


@pytest.mark.parametrize("by", ["account", "certificate key", "certificate key unsaid"])
def test_revocation(pebble: Pebble, master: Master, by: str) -> None:
    master.use(pebble)
    master.register()
    key = ca.genkey("rsa:2048")
    chain = master.run(master.order("revoked.example", key=key)).only(Issued).chain
    certificate = ca.openssl("x509", "-outform", "DER", stdin=chain.encode())
    serial = ca.openssl("x509", "-noout", "-serial", stdin=chain.encode()).decode()
    request = Revocation("cert.pem", certificate, 4, by == "certificate key")
    signer = None if by == "account" else master.write("certificate.key", key)
    outcome = master.run(request, signer_key=signer)
    assert outcome.only(Revoked).section == "cert.pem"
    status = pebble.certificate_status(serial.strip().split("=")[1])
    assert status is not None and status["Status"] == "Revoked" and status["Reason"] == 4
    again = master.run(request, signer_key=signer)
    assert again.only(Revoked) and "revoked before" in again.only(Log).text


# --- proxies -----------------------------------------------------------------------------------

class Proxy(http.server.BaseHTTPRequestHandler):
    """A tunnel that wants a password."""

    seen: list[str] = []

    def do_CONNECT(self) -> None:
        if self.headers.get("Proxy-Authorization") != "Basic dTpwdw==":    # u:pw
            self.send_error(407)
            return
        self.seen.append(self.path)
        host, port = self.path.split(":")
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=self.pump, args=(server, self.connection))
            back.start()
            self.pump(self.connection, server)
            back.join()

    @staticmethod
    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    Proxy.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_through_a_proxy(pebble: Pebble, master: Master, proxy: str) -> None:
    master.use(pebble)
    wrong = master.run(AccountUpdate(register=True, terms_agreed=True),
                       env={"https_proxy": f"http://u:secret@{proxy}"})
    assert wrong.status == 1 and "407" in wrong.only(Failed).message
    assert "secret" not in wrong.stderr + wrong.only(Failed).message
    master.run(AccountUpdate(register=True, terms_agreed=True),
               env={"https_proxy": f"http://u:pw@{proxy}"})
    assert len(Proxy.seen) == 1
    master.access["proxy"] = f"http://u:pw@{proxy}"
    assert master.run(master.order("proxied.example")).only(Issued)
    assert len(Proxy.seen) > 1
    master.access["proxy"] = ""
    count = len(Proxy.seen)
    assert master.run(AccountUpdate(), env={"https_proxy": f"http://u:pw@{proxy}",
                                            "no_proxy": "127.0.0.1"}).only(AccountObject)
    assert len(Proxy.seen) == count


# --- hostile servers (SECURITY.md, A) ----------------------------------------------------------

def refused(hostile: Hostile, master: Master, words: str, **how: Any) -> Outcome:
    """Order a certificate that mustn't come; the one answer is a line that holds ``words``."""
    outcome = master.run(master.order("s", "a.example", "b.example"), **how)
    failed = outcome.only(Failed)
    assert not outcome.of(Issued) and failed.section == "s"
    assert re.search(words, failed.message), failed
    assert failed.message.isprintable() and not re.search(r"\n[^\n]*\x1b", outcome.stderr)
    assert not hostile.handshake_errors
    return outcome


@pytest.fixture
def registered(hostile: Hostile, master: Master) -> Master:
    """A master whose account the hostile server knows."""
    master.use(hostile)
    master.register()
    hostile.requests.clear()
    return master


def test_the_hostile_server_works_if_left_alone(hostile: Hostile, registered: Master) -> None:
    assert registered.run(registered.order("s", "a.example", "b.example")).only(Issued)
    for request in hostile.requests:
        assert request.headers["user-agent"].startswith("letsencrypt-tiny/")
        assert request.headers["accept-language"] == "en"


@pytest.mark.parametrize("token", ["../x", "a/b", "a\0b", "a\nb", "", "x" * 10000, None])
def test_a1_bad_tokens(hostile: Hostile, registered: Master, token: str | None) -> None:
    misbehaviour.bad_token(hostile, token)
    refused(hostile, registered, "token")
    assert not hostile.asked("challenge")


@pytest.mark.parametrize("resource", ["directory", "newOrder", "authz", "order", "certificate"])
def test_a3_control_characters(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.problem(hostile, resource)
    failed = refused(hostile, registered, r"\\x1b\[31mred").only(Failed)
    assert failed.type == "malformed"


def test_a3_control_characters_of_a_challenge(hostile: Hostile, registered: Master) -> None:
    misbehaviour.failed_challenge(hostile)
    hostile.edit("order", lambda order: order.update(status="invalid"))
    refused(hostile, registered, r"example: \\x1b\[31mred")


@pytest.mark.parametrize("resource, where", [
    ("directory", "newNonce"), ("newAccount", "Location"), ("newOrder", "Location|authoriz"),
    ("authz", "url"), ("order", "authoriz")])
@pytest.mark.parametrize("kind", ["http", "foreign"])
def test_a4_a5_urls(hostile: Hostile, registered: Master, resource: str, where: str,
                    kind: str) -> None:
    if kind == "http":
        misbehaviour.http_urls(hostile, resource)
        refused(hostile, registered, f"({where}).* is not an https URL")
    else:
        with Hostile(authority=hostile.ca) as other:
            misbehaviour.foreign_urls(hostile, resource, other.base)
            refused(hostile, registered, f"({where}).* another origin")
            assert not other.requests and not other.handshake_errors


@pytest.mark.parametrize("resource", ["directory", "newNonce", "newAccount", "newOrder"])
def test_a6_redirects(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.redirect(hostile, resource)
    refused(hostile, registered, "redirect")
    assert not hostile.asked("elsewhere")


@pytest.mark.parametrize("resource", ["directory", "newOrder", "authz", "certificate"])
def test_a7_endless_answers(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.endless_body(hostile, resource)
    refused(hostile, registered, "more than [0-9]+ bytes" if resource != "certificate"
            else "more than [0-9]+ bytes|instead of a certificate")


def test_a7_endless_headers(hostile: Hostile, registered: Master) -> None:
    misbehaviour.endless_headers(hostile, "newOrder")
    refused(hostile, registered, "header")


def test_a9_retry_after(hostile: Hostile, registered: Master) -> None:
    registered.access["timeout"] = 5
    for value in ("1000000000", "-1", "", "soon", "Fri, 31 Dec 9999 23:59:59 GMT"):
        misbehaviour.retry_after(hostile, value)
        outcome = registered.run(registered.order("s", "a.example"))
        for failed in outcome.of(Failed):
            assert failed.retry_after == 86400 and "timeout" in failed.message
        assert len(outcome.of(Failed)) + len(outcome.of(Issued)) == 1


def test_a9_overload_is_waited_for_rate_limits_are_told(hostile: Hostile,
                                                        registered: Master) -> None:
    misbehaviour.busy(hostile, "newOrder", "1", times=1)
    assert registered.run(registered.order("s", "a.example")).only(Issued)
    misbehaviour.busy(hostile, "newOrder", "7200")
    assert refused(hostile, registered, "too busy").only(Failed).retry_after == 7200
    misbehaviour.busy(hostile, "newOrder", "30", status=429)
    failed = refused(hostile, registered, "too busy").only(Failed)
    assert (failed.type, failed.retry_after) == ("rateLimited", 30)


def test_a10_bad_nonces(hostile: Hostile, registered: Master) -> None:
    misbehaviour.bad_nonce(hostile, "newOrder", times=3)
    assert registered.run(registered.order("s", "a.example")).only(Issued)
    hostile.requests.clear()
    misbehaviour.bad_nonce(hostile, "newOrder")
    assert refused(hostile, registered, "badNonce").only(Failed).type == "badNonce"
    assert len(hostile.asked("newOrder")) == 11


@pytest.mark.parametrize("resource", ["directory", "newOrder", "authz", "order"])
def test_a16_nested_json(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.nested_json(hostile, resource)
    refused(hostile, registered, "nested too deeply")


@pytest.mark.parametrize("resource", ["newOrder", "order", "authz"])
def test_a17_foreign_identifiers(hostile: Hostile, registered: Master, resource: str) -> None:
    misbehaviour.foreign_identifier(hostile, resource)
    refused(hostile, registered, "victim.example")
    if resource != "order":
        assert not hostile.asked("finalize")


def test_a18_valid_without_certificate(hostile: Hostile, registered: Master) -> None:
    misbehaviour.valid_without_certificate(hostile)
    refused(hostile, registered, "names no certificate")


def test_a19_untrusted_servers(hostile: Hostile, registered: Master) -> None:
    registered.access["ca_file"] = "/etc/ssl/certs/ca-certificates.crt"
    outcome = registered.run(registered.order("s", "a.example"))
    assert outcome.status == 1 and "not trusted" in outcome.only(Failed).message
    registered.access.update(ca_file=str(hostile.ca_file))
    with Hostile(["other.example"], hostile.ca) as other:
        registered.access["server"] = other.directory
        outcome = registered.run(registered.order("s", "a.example"))
        assert outcome.status == 1 and "not trusted" in outcome.only(Failed).message
        assert not other.requests
        registered.access["verify"] = False
        outcome = registered.run(registered.order("s", "a.example"))
        assert other.requests and "not verified" in outcome.only(Log).text


def test_a20_too_many_authorizations(hostile: Hostile, registered: Master) -> None:
    misbehaviour.many_authorizations(hostile)
    refused(hostile, registered, "authorizations")
    assert not hostile.asked("authz")
    misbehaviour.many_authorizations(hostile, 2)
    refused(hostile, registered, "two authorizations for")


def test_truncated_and_huge_chains(hostile: Hostile, registered: Master) -> None:
    misbehaviour.truncated_chain(hostile)
    refused(hostile, registered, "closed in the middle")
    misbehaviour.huge_pem(hostile)
    refused(hostile, registered, "more than 262144 bytes")


def test_a_state_that_goes_back(hostile: Hostile, registered: Master) -> None:
    hostile.edit("finalize", lambda order: order.update(status="pending"))
    refused(hostile, registered, "from ready to pending")
    hostile.edit("newOrder", lambda order: order.update(status="$(id)"))
    refused(hostile, registered, "unknown status")


def test_a_connection_closed_between_requests_is_opened_again(hostile: Hostile,
                                                              registered: Master) -> None:
    """As a server does with one that has been idle."""
    def closing(_request: Request, default: Any) -> Response:
        response: Response = default()
        headers = {**response.headers, "Connection": "close"}
        return response._replace(headers=headers)
    hostile.on["authz"] = closing
    assert registered.run(registered.order("s", "a.example")).only(Issued)


def test_replaces_and_profiles(hostile: Hostile, registered: Master) -> None:
    unknown = registered.run(registered.order("s", "a.example", profile="tiny")).only(Failed)
    assert "no profile" in unknown.message
    hostile.edit("directory", lambda directory: directory.update(
        renewalInfo=hostile.url("renewalInfo"), meta={"profiles": {"tiny": "x"}}))

    def picky(request: Request, default: Any) -> Response:
        if "replaces" in request.payload:
            return Response.problem("alreadyReplaced", "No.", 409)
        response: Response = default()
        return response
    hostile.on["newOrder"] = picky
    hostile.requests.clear()
    assert registered.run(registered.order("s", "a.example", profile="tiny",
                                           replaces="a.b")).only(Issued)
    first, second = (request.payload for request in hostile.asked("newOrder"))
    assert first == {**second, "replaces": "a.b"} and second["profile"] == "tiny"


def test_no_server(master: Master, hostile: Hostile) -> None:
    master.use(hostile)
    for url, words in (("https://127.0.0.1:1/dir", "cannot connect"),
                       ("http://127.0.0.1/", "not an https URL"),
                       ("https://no.such.name.invalid/", "cannot resolve")):
        master.access["server"] = url
        outcome = master.run(master.order("a.example"), master.order("b.example"))
        assert outcome.status == 1 and len(outcome.of(Failed)) == 2
        assert words in outcome.of(Failed)[0].message
