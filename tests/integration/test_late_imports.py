"""Once confined no program imports anything, whatever goes wrong: it can't any more.

What would be imported is missing just where it is needed then, to tell of an error, say; and where
there is no confinement nobody would notice.  An updater by lexicon is the exception: its providers'
libraries do so, and stay readable for it (dns/updates/lexicon.py).
"""

import signal
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness import (accountd, client, late, misbehaviour, oddities, policies, run, soak, tlsserver,
                     updater, webserver)
from harness.accountd import GOOD, HELLO, Running, conf, request, signing_input, write_key
from harness.bind import PRIMARY, Bind
from harness.client import Master
from harness.hostile import Hostile
from harness.nameserver import Nameserver
from harness.pebble import Pebble
from harness.run import ROOT, Prefix, Site, Users
from harness.tlsserver import challenge, validate
from harness.updater import Updater
from harness.webserver import PATH, Address, connect, exchange, get
from letsencrypt_tiny.common.wire.order import Failed, Issued
from letsencrypt_tiny.common.wire.responder import Clean, Ready

pytestmark = pytest.mark.root
MODES = ["auto", "no"]


@pytest.fixture(scope="module")
def tree(users: Users) -> Iterator[Prefix]:
    """An installed copy of ours, each program of which tells of late imports."""
    made = Prefix()
    late.watch(made.package)
    shutil.copytree(ROOT / "programs", made.package.parent / "programs")
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def programs(tree: Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the harness starts is from there."""
    where = tree.package.parent
    for module in accountd, tlsserver, webserver:
        monkeypatch.setattr(module, "TREE", where)
    monkeypatch.setattr(updater, "ROOT", where)
    monkeypatch.setattr(client, "PROGRAM", [*client.PROGRAM[:-1], str(where)])


@contextmanager
def changed(tree: Prefix, module: str, text: str) -> Iterator[None]:
    """Have a module of the tree end in ``text`` meanwhile."""
    path = tree.package / module
    before = path.read_text()
    late.append(path, text)
    try:
        yield
    finally:
        path.write_text(before)


# --- the signer ----------------------------------------------------------------------------------

ORDER = {"identifiers": [{"type": "dns", "value": "example.org"},
                         {"type": "ip", "value": "2001:db8::1"}]}
LINES = [GOOD, signing_input(request()), signing_input(request(alg="ES256")),
         signing_input(request(), ORDER),
         signing_input(request(), {"csr": accountd.b64_text(policies.good_csr("IP:2001:db8::1"))}),
         signing_input(request(), {"csr": "AAAA"}), signing_input(request(url="http://[::1")),
         signing_input(request(url="https://[::1]:99999/\u0663")), b"", b"\xff\0\x1b", b"OK",
         signing_input(b"[" * 999), signing_input(request(nonce="\u202e")), b"NEXT " + GOOD,
         *(b"EXPLAIN " + line for line in (GOOD, b"x", signing_input(request(), ORDER)))]
FAILS = "\n".join(("from letsencrypt_tiny.signer import request", "def check(*_):",
                   "    raise RuntimeError('nobody thought of this')", "request.check = check"))


@pytest.mark.alike(2)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("more", [[], ["--debug"]], ids=["", "debug"])
@pytest.mark.parametrize("policy", ["", "example.org", "example.org, 2001:db8::1"])
def test_the_signer(mode: str, more: list[str], policy: str, tmp_path: Path) -> None:
    key = write_key(tmp_path, "RSA:2048")
    if policy:
        file = conf(key, "[policy p]", f"identifiers = {policy}",
                    "origins = https://ca.example", "requests-per-hour = 9")
        more = [*more, f"--config={file}", "--policy=p"]
    with Running(tmp_path, key, f"--confine={mode}", *more) as signer:
        with signer.connect(hello=True) as talk:
            for line in LINES:
                talk.ask(line)
            with suppress(OSError):   # it may have had enough
                talk.sock.sendall(b"x" * 300_000)
            talk.rest()
        for line in LINES:
            with signer.connect() as talk:
                talk.ask(line)
        assert signer.stop() == 0
        said = signer.log.read_text()
    assert "SIGNED" in said and "NOSIGN" in said and late.found(said) == []
    done = accountd.run(f"--privkey=file:{key}", "--stdio", f"--confine={mode}", *more,
                        data=HELLO + b"\r\n".join(LINES) + b"\r\n" + b"x" * 300_000)
    assert b"SIGNED" in done.stderr and late.found(done.stderr.decode()) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("more", [[], ["--debug"]], ids=["", "debug"])
def test_a_signer_with_a_fault(mode: str, more: list[str], tmp_path: Path) -> None:
    """The fault is told, and nothing else."""
    key = write_key(tmp_path, "RSA:2048")
    with Running(tmp_path, key, f"--confine={mode}", *more, before=FAILS) as signer:
        with signer.connect() as talk:
            assert talk.ask(GOOD) == b""
        signer.stop()
        said = signer.log.read_text()
    assert "nobody thought of this" in said and late.found(said) == []
    assert "Traceback" in said or not more


def test_one_would_be_seen(tmp_path: Path) -> None:
    """The measure measures; and what is there already is no import."""
    before = FAILS.replace("raise RuntimeError('nobody thought of this')",
                           "import socket, colorsys")
    for mode in MODES:
        with Running(tmp_path, write_key(tmp_path, "RSA:2048"), f"--confine={mode}",
                     before=before) as signer:
            with signer.connect() as talk:
                talk.ask(GOOD)
            signer.stop()
            (what,) = late.found(signer.log.read_text())
        assert what.startswith("colorsys at <string>:")
        (tmp_path / "RSA:2048.pem").unlink()
        signer.path.unlink(missing_ok=True)


# --- the client ----------------------------------------------------------------------------------

@pytest.fixture
def master(hostile: Hostile, users: Users) -> Iterator[Master]:
    with Master.made() as made:
        made.use(hostile)
        yield made


@pytest.mark.alike(2)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("word", soak.some(
    ["", "nulls", "html-502", "skewed-date", "interim", "spaces"], 2))
def test_the_client(mode: str, word: str, hostile: Hostile, master: Master) -> None:
    master.config["confine"] = mode
    outcome = master.register()
    assert late.found(outcome.stderr) == []
    oddities.WORDS.get(word, lambda _: None)(hostile)
    outcome = master.run(master.order("www.a.test"), master.order("b.test"))
    assert len(outcome.of(Issued)) == 2 and late.found(outcome.stderr) == []


REFUSED = {
    "problem": lambda server: misbehaviour.problem(server, "newOrder"),
    "challenge": misbehaviour.failed_challenge,
    "token": lambda server: misbehaviour.bad_token(server, "t\u00f6k\u00e9n"),
    "address": lambda server: server.edit("authz", lambda authz: authz.update(
        identifier={"type": "ip", "value": "2001:db8::1"})),
    "scheme": lambda server: misbehaviour.http_urls(server, "newOrder"),
    "host": lambda server: misbehaviour.foreign_urls(server, "newOrder", "https://b\u00fc.test"),
    "IPv6": lambda server: misbehaviour.foreign_urls(server, "newOrder", "https://[2001:db8::1]"),
    "redirect": lambda server: misbehaviour.redirect(server, "newOrder"),
    "body": lambda server: misbehaviour.endless_body(server, "newOrder"),
    "header": lambda server: misbehaviour.endless_headers(server, "newOrder"),
    "nested": lambda server: misbehaviour.nested_json(server, "newOrder"),
    "PEM": lambda server: misbehaviour.junk_in_pem(server, "\xff"),
    **{f"later {value[:9]}": lambda server, value=value: misbehaviour.busy(
        server, "newOrder", value) for value in misbehaviour.RETRY_AFTER[-6:]},
    **{fault: lambda server, fault=fault: oddities.once(
        server, "newOrder", oddities.FAULTS[fault], 100)
       for fault in ("500 html", "reset", "garbage", "cut in the header", "429 much later")}}


@pytest.mark.alike(2)
@pytest.mark.parametrize("words", soak.some(REFUSED, 3))
def test_what_the_client_refuses(words: str, hostile: Hostile, master: Master) -> None:
    master.access["timeout"] = 3
    master.register()
    REFUSED[words](hostile)
    outcome = master.run(master.order("a.test"))
    assert outcome.of(Failed) or outcome.of(Issued)
    assert late.found(outcome.stderr) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_client_with_a_fault(mode: str, tree: Prefix, hostile: Hostile, master: Master) -> None:
    master.register()
    master.config["confine"] = mode
    with changed(tree, "client/main.py", "whole_run = lambda *_: iter([1 // 0])\n"):
        outcome = master.finish(master.start([master.order("a.test")]))
    assert "ZeroDivisionError" in outcome.only(Failed).message
    assert "Traceback" in outcome.stderr and late.found(outcome.stderr) == []


# --- those that respond --------------------------------------------------------------------------

def say(address: Address, *pieces: bytes) -> None:
    """Say something, and hear what there is to hear."""
    with suppress(OSError):
        with connect(address, 2) as sock:
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
            webserver.read_all(sock)


ASKED = [get(PATH), get(PATH, "HEAD"), get(PATH, "POST"), get("/"), get(PATH[:-1]), get("/" * 9999),
         get(f"http://[::1{PATH}"), get("/%2e%2e/\xff"), b"GET\r\n\r\n", b"\x16\3\1\0\5hello",
         b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nA" + b"a" * 99999, b"\r\n", b"", b"\0",
         get(PATH).replace(b"Host: example.org", b"Host: [::1]\r\nExpect: 100-continue")]


@pytest.mark.parametrize("mode", MODES)
def test_the_web_server(mode: str) -> None:
    with webserver.running(mode) as server:
        (server.directory / webserver.TOKEN).chmod(0)
        exchange(server.addresses[0], get(PATH))
        (server.directory / webserver.TOKEN).chmod(0o644)
        for address in server.addresses:
            for data in ASKED:
                say(address, data)
        webserver.check_serving(server)
        server.process.terminate()
        assert server.process.wait(5) == 0
        assert late.found(server.log.read_text(errors="replace")) == []


def doors(*clients: tlsserver.Client) -> None:
    """Ask for what is there and what isn't, and break off."""
    one, two = clients
    for about in (challenge(), challenge(("ip", "198.51.100.7")), challenge(("dns", "no.example")),
                  challenge(kind="dns-01"), challenge(thumbprint="x" * 43)):
        one.say(tlsserver.wire.Present(about))
        one.hear()
        one.say(Clean(about))
    two.sock.sendall(b'{"present": ["ip", "::1%1", "\xff"]}\n')
    with suppress(OSError, EOFError):
        two.hear()


@pytest.mark.parametrize("mode", MODES)
def test_the_tls_server(mode: str) -> None:
    duty = tlsserver.DUTY._replace(identifiers=frozenset([("dns", "a.example")]))
    with tlsserver.running(mode, duty=duty) as server:
        assert server.clients[0].present(challenge()) == Ready(challenge())
        for address in server.addresses:
            assert validate(address, "a.example").protocol == "acme-tls/1"
            for data in ASKED:
                say(address, data)
            for name in ("", "b.example", "::1", "a.example"):
                with suppress(ssl.SSLError, OSError):
                    validate(address, name, tlsserver.context(() if name else ("h2",)))
        doors(*server.clients)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0
        assert late.found(server.log.read_text(errors="replace")) == []


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with tempfile.TemporaryDirectory(prefix="bind-", dir=run.PARENT) as directory:
        with Bind(Path(directory, "b"), {"a.example": "", "b.example": ""}) as running:
            yield running


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", [PRIMARY, "127.0.0.9", "127.0.0.8"])
def test_the_updater(mode: str, server: str, bind: Bind, tmp_path: Path) -> None:
    """By a server that works, by none, and by one that answers nonsense."""
    with Nameserver("127.0.0.8", {}), Updater(
            tmp_path, identifiers=["b.example", "*.a.example"], server=server, propagation=3,
            timeout=3, secret=bind.key_file.read_text(), confine=mode) as made:
        one, two = made.door(), made.door()
        made.start()
        for name in "b.example", "no.example", "a.example":
            about = one.present(name)
            one.hear()
            one.clean(about)
        one.say(tlsserver.wire.Present(challenge(("ip", "2001:db8::1"), kind="dns-01")))
        one.hear()
        two.socket.sendall(b'{"present": ["ip", "::1%1", "\xff"]}\n')
        two.hear()
        for door in one, two:
            door.close()
        made.end()
        assert "confined" in made.said and late.found(made.said) == []


@pytest.fixture(scope="module")
def pebble443() -> Iterator[Pebble]:
    """Pebble that validates at ports 80 and 443."""
    with Pebble(nosleep=True, authzreuse=0, http_port=80, tls_port=443) as server:
        yield server


# --- all of them ---------------------------------------------------------------------------------

def ordered(tree: Prefix, server: Pebble, kind: str, *more: str) -> "run.Result[str]":
    """Order a certificate at a site of the tree."""
    site = Site(tree)
    try:
        site.use(server)
        site.main["webserver"].pop("listen")
        site.main["tlsserver"] = {"confine": run.CONFINE}
        site.genkey()
        done = site.register()
        assert done.returncode == 0 and late.found(done.stderr) == []
        site.certificate("a", [f"{site.path.name.replace('_', 'x')}.example"], challenge=kind)
        return site.run(*more, "newOrder")
    finally:
        site.remove()


@pytest.mark.alike(2)
@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
@pytest.mark.parametrize("more", [[], ["--debug"]], ids=["", "debug"])
def test_a_whole_run(kind: str, more: list[str], tree: Prefix, pebble443: Pebble) -> None:
    done = ordered(tree, pebble443, kind, *more)
    assert done.returncode == 0, done.stderr
    assert late.found(done.stderr) == []


ANSWERS_FOR_AN_ADDRESS = """
from ..common.wire import responder as _wire
_format = _wire.format_line
_wire.format_line = lambda message: _format(message._replace(
    challenge=message.challenge._replace(identifier=("ip", "2001:db8::1"))))
"""


def test_a_responder_that_answers_for_an_address(tree: Prefix, pebble443: Pebble) -> None:
    """A name's challenge was asked for."""
    with changed(tree, "tlsserver/main.py", ANSWERS_FOR_AN_ADDRESS):
        done = ordered(tree, pebble443, "tls-alpn-01")
    assert done.returncode == 1 and "error: a: " in done.stderr, done.stderr
    assert late.found(done.stderr) == []
