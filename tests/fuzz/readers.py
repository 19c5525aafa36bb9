"""Everything that reads what others wrote, as a table: bytes in, and nothing but its error out.

Our own files, which others may have damaged, are in ``remembered.py``.
``unit/test_fuzz.py`` changes the seeds by hypothesis; ``python3 -m fuzz.guided`` by what they
reach (atheris).  A seed is something that is read without an error.
"""

import base64
import contextlib
import io
import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from fuzz import remembered
from harness import ca
from letsencrypt_tiny.client import http, links
from letsencrypt_tiny.client.stream import Timed
from letsencrypt_tiny.common import inifile, urls
from letsencrypt_tiny.common.errors import ConfigError, ProtocolError
from letsencrypt_tiny.common.wire import (account, challenge, dns, jose, jsonfields, order,
                                          policy as policies, probe, problems, renewal, responder,
                                          signer, visits, written)
from letsencrypt_tiny.common.x509.certificate import parse_certificate, parse_chain
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.common.x509.der import X509Error, pem_blocks
from letsencrypt_tiny.master.pki import check
from letsencrypt_tiny.signer import account_key, policy
from letsencrypt_tiny.tlsserver import hello
from letsencrypt_tiny.webserver import http as webserver

MOST = 1 << 20     # bytes of an answer
CA = "https://ca.example"
RULES = policies.Policy("fuzz", frozenset([CA]), frozenset(policies.OPERATIONS),
                        frozenset(["example.org", ".example.net"]), frozenset(["short"]))
CORPUS = Path(__file__).parent / "corpus"
REACHED = Path(__file__).parent / "reached"
LONG, MANY = 600, 24    # bytes of an input that is kept there, and how many are
# Keys and what was signed with them are the same each time: what is found can be found again
SEEDS = Path(__file__).parent / "seeds"


def _own() -> signer.Greeting:
    own, following = (account_key.load((SEEDS / name).read_bytes(), "", lambda _: b"")
                      for name in ("account-key.pem", "next-account-key.pem"))
    return signer.Greeting(own.alg, own.jwk, own.thumbprint, bindings=(("kid-1", "HS256"),),
                           next=signer.NextKey(following.alg, following.jwk, following.thumbprint))


OWN = _own()


class Reader(NamedTuple):
    """Who reads, what it may raise, and what it reads without that."""

    read: Callable[[bytes], object]
    error: type[Exception] | tuple[type[Exception], ...]
    seeds: Sequence[bytes]


class _Pieces:
    """A socket that has received what it ever will."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def settimeout(self, seconds: float) -> None:
        """It never waits."""

    def recv(self, size: int) -> bytes:
        """Return what is left, and b"" at the end."""
        return self._data.read(size)


def _answer(data: bytes) -> object:
    timed = Timed(cast(socket.socket, _Pieces(data)), time.monotonic() + 60)
    timed.begin(time.monotonic() + 60, MOST)
    return http.receive(timed, "POST", MOST // 2)


def _signed(line: bytes) -> object:
    """What the signer would sign under a policy that allows much: that is read in one way, and
    what isn't understood was foreseen."""
    verdict = policy.judge(line, OWN, [RULES])
    if verdict.why.startswith("cannot be understood"):
        raise AssertionError(verdict.why)
    if verdict.why:
        raise ProtocolError(verdict.why)
    found = jose.parse_signing_input(line)
    if jose.signing_input(found.protected, found.payload) != line:
        raise AssertionError("signed what has another form, too")
    return verdict


def _served(head: bytes) -> object:
    answer = webserver.respond(head, lambda _: b"token.key")
    if answer is not None and answer.status == 200 and answer.body != b"token.key":
        raise AssertionError("answered with what nobody has found")
    visit = webserver.visit(head, answer.status) if answer is not None else None
    if visit is not None and visits.parse_visit(visits.format_visit(visit)[:-1]) != visit:
        raise AssertionError("a visit that is told otherwise")
    return webserver.is_last(head), answer


def _ini(data: bytes) -> object:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ConfigError):
        inifile.parse(text, "file", lacme=True)
    return inifile.parse(text, "file")


def _url(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        urls.parse_proxy(text)
    found = urls.parse(text)
    if urls.parse(f"{found.origin}{found.target}").origin != found.origin:
        raise AssertionError("another origin")
    return found


def _problem(data: bytes) -> object:
    problems.from_text(data, 502).text()
    found = problems.parse(jsonfields.parse_object(data, "a problem", MOST), 400)
    if "\n" in found.text() or "\x1b" in found.text():
        raise AssertionError("raw control characters")
    return found


def _greeted(data: bytes) -> object:
    first, _, second = data.partition(b"\r\n")
    found = signer.parse_greeting(first, second)
    again = signer.parse_greeting(*signer.format_greeting(found).split(b"\r\n")[:2])
    if again._replace(jwk={}) != found._replace(jwk={}):
        raise AssertionError("a greeting that is told otherwise")
    return found


def _task(data: bytes) -> object:
    found = dns.parse_task(data)
    if dns.parse_task(dns.format_task(found)) != found:
        raise AssertionError("a task that is told otherwise")
    return found


def _links(data: bytes) -> object:
    found = links.find((data.decode("latin-1"),), "next")
    if any("<" in target or ">" in target for target in found):
        raise AssertionError("what is no target")
    return found


def _hello(data: bytes) -> object:
    found = hello.parse(data)
    if found is not None and hello.parse(data + b"\0") != found:
        raise AssertionError("what follows was looked at")
    return found


def _object(parse: Callable[[jsonfields.JsonObject], object]) -> Callable[[bytes], object]:
    return lambda data: parse(jsonfields.parse_object(data, "a message", MOST))


def _line(header: dict[str, object], payload: dict[str, object] | None) -> bytes:
    return jose.signing_input(jsonfields.dump(header),
                              b"" if payload is None else jsonfields.dump(payload))


def _signer_seeds() -> list[bytes]:
    header = {"alg": OWN.alg, "nonce": "n", "url": f"{CA}/new", "kid": f"{CA}/acct/1"}
    names = {"identifiers": [{"type": "dns", "value": "example.org"}]}
    csr = _der("csr-of-an-order.pem")
    return [_line(header, None), _line(header, {}), _line(header, names),
            _line(header, {**names, "profile": "short"}),
            _line(header, {"csr": jose.encode_text(csr)})]


def _der(name: str) -> bytes:
    ((_, der),) = pem_blocks((SEEDS / name).read_bytes())
    return der


def corpus(name: str) -> list[bytes]:
    """Return what is tried of a reader besides its seeds, read or refused: it once did harm, or
    has reached what the seeds do not (each a line in base64)."""
    reached = REACHED / folder(name)
    return [path.read_bytes() for path in sorted((CORPUS / folder(name)).glob("*"))] + [
        base64.b64decode(line) for line in (
            reached.read_text().split() if reached.exists() else ())]


def keep(name: str, inputs: Iterable[bytes]) -> None:
    """Keep some of what has reached something new, short and not so short, for ``corpus``."""
    found = sorted({data for data in inputs if 0 < len(data) <= LONG}, key=lambda x: (len(x), x))
    if found:
        REACHED.mkdir(exist_ok=True)
        (REACHED / folder(name)).write_text("".join(
            base64.b64encode(data).decode() + "\n" for data in found[::-(-len(found) // MANY)]))


def folder(name: str) -> str:
    """Return what a reader's directories are called."""
    return re.sub("[^a-z0-9]", "-", name.lower())


def readers() -> dict[str, Reader]:
    """Return all of them."""
    certificate, csr = _der("certificate.pem"), _der("csr.pem")
    key = (SEEDS / "key.pem").read_bytes()
    pem = ca.pem(certificate, "CERTIFICATE").encode()
    a_challenge = responder.Challenge("dns-01", ("dns", "a.example"), "t" * 43, "k" * 43)
    config = order.ClientConfig(order.Access(f"{CA}/dir"), doors=(order.Door("dns-01", 5),))
    an_order = order.Order("a", (("dns", "a.example"),), csr)
    duty = responder.Duty(frozenset([("dns", "a.example")]), frozenset(["k" * 43]))
    a_task = dns.Task("a.example", ("command", "/x", "y"), "[::1]:53", ("192.0.2.1",), 1, 2, 3,
                      duty)
    ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nReplay-Nonce: abc\r\n"
    return {
        "signer": Reader(_signed, ProtocolError, _signer_seeds()),
        "signer's lines": Reader(signer.parse_signature, (ProtocolError, signer.Refusal),
                                 [signer.format_signature(b"x" * 64)[:-2]]),
        "policy": Reader(policies.parse_policy, ProtocolError, [policies.format_policy(RULES)]),
        "web server": Reader(_served, (), [
            b"GET /.well-known/acme-challenge/abc HTTP/1.1\r\nHost: a.example\r\n\r\n",
            b"GET http://a.example/.well-known/acme-challenge/abc HTTP/1.0\r\nX: y\r\n\r\n"]),
        "answers": Reader(_answer, (ProtocolError, ConnectionError, TimeoutError), [
            ok + b"Content-Length: 2\r\n\r\n{}",
            ok + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nA: b\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" + ok + b"Connection: close\r\n\r\n{}"]),
        "problems": Reader(_problem, ProtocolError, [
            b'{"type":"urn:ietf:params:acme:error:dns","detail":"no","status":400,"subproblems":'
            b'[{"type":"x","detail":"\\u001b[31m","identifier":{"type":"dns","value":"a"}}]}']),
        "certificate": Reader(parse_certificate, X509Error, [certificate]),
        "chain": Reader(parse_chain, X509Error, [pem, pem + pem]),
        "csr": Reader(parse_csr, X509Error, [csr]),
        "private key": Reader(check.public_key, (), [key]),
        "pem": Reader(lambda data: pem_blocks(data), X509Error, [b"x\n" + pem + key]),
        "requests": Reader(order.parse_request, ProtocolError,
                           [order.format_request(an_order)[:-1]]),
        "configuration of the client": Reader(order.parse_config, ProtocolError,
                                              [order.format_config(config)]),
        "client": Reader(order.parse_answer, ProtocolError, [order.format_answer(answer)[:-1]
                         for answer in (order.Progress("a", "new", f"{CA}/o", 3),
                                        order.Issued("a", pem.decode()),
                                        order.Failed("a", "no", "busy", retry_after=3),
                                        order.Account(f"{CA}/a", "k"), order.Log("info", "x"))]),
        "written": Reader(written.parse_written, ProtocolError,
                          [written.format_written(written.Written("a", f"{CA}/o", True))[:-1]]),
        "challenges": Reader(responder.parse_asked, ProtocolError,
                             [responder.format_line(responder.Present(a_challenge))[:-1]]),
        "responders": Reader(responder.parse_answered, ProtocolError, [
            responder.format_line(answer)[:-1]
            for answer in (responder.Ready(a_challenge), responder.Failed(a_challenge, "no"),
                           responder.Waits(a_challenge, 3, "x"))]),
        "greeting": Reader(_greeted, ProtocolError, [
            signer.format_greeting(own)[:-2]
            for own in (OWN, OWN._replace(refusals=True, next=None),
                        OWN._replace(kid=f"{CA}/acct/1"))]),
        "task of the DNS updater": Reader(_task, ProtocolError, [dns.format_task(a_task)]),
        "links": Reader(_links, (), [
            b'<https://ca.example/o?2>;rel="next", </x>; title="a\\"b" ;rel=index,,<y>;REL=next']),
        "TLS hello": Reader(_hello, hello.Alert, [
            (SEEDS / "client-hello").read_bytes()]),
        "orders of an account": Reader(_object(account.parse_order), ProtocolError, [
            jsonfields.dump(account.KnownOrder(f"{CA}/o", "valid", "", ("a",))._asdict())]),
        "probes": Reader(_object(probe.parse_probe), ProtocolError, [
            jsonfields.dump(probe.Probe("a", ("dns", "a.example"), "http-01", "t" * 43,
                                        "k" * 43)._asdict())]),
        "renewal": Reader(_object(renewal.parse_info), ProtocolError, [
            jsonfields.dump(renewal.RenewalInfo("a", 1, 2, 3, f"{CA}/why")._asdict())]),
        "configuration": Reader(_ini, ConfigError, [
            b"# comment\na = b\n[client]\nserver = https://ca.example ; x\n[ca x]\n"
            b"c = \"d # e\"\n"]),
        "urls": Reader(_url, ValueError, [b"https://ca.example:8443/dir?x=y",
                                          b"https://[2001:db8::1]/a/b"]),
        "tokens": Reader(lambda data: challenge.is_token(data.decode("utf-8", "replace")), (),
                         [b"abc"]),
        **{name: Reader(read, (), seeds) for name, (read, seeds) in remembered.files().items()}}
