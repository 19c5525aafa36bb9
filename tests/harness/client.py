"""The client program as the master runs it, and its parts without a socket.

``Master`` starts it with a real signer and shows challenges to a real server; ``Words`` is a
session whose server consists of what the test has it say.
"""

import contextlib
import functools
import http.server
import json
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from letsencrypt_tiny.client import directory, transport
from letsencrypt_tiny.client.connection import Response
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.client.scheduler import Outcome as Ended
from letsencrypt_tiny.client.session import Session
from letsencrypt_tiny.common.wire import jose, order as order_protocol
from letsencrypt_tiny.common.wire.order import Access, AccountUpdate, ClientConfig, Order
from letsencrypt_tiny.common.wire.problems import Problem
from letsencrypt_tiny.common.wire.signer import Greeting

from . import ca
from .run import PARENT, ROOT, Server, as_user

JWK = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
GREETING = Greeting("ES256", JWK, jose.thumbprint(JWK))
CHAIN = "-----BEGIN CERTIFICATE-----\n"

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
            shutil.chown(self.challenges, "_letsencrypt-client", "_letsencrypt-client")
        self.account_key = self.write("account.key", ca.genkey("rsa:2048"))
        self.access: dict[str, Any] = {}
        self.config: dict[str, Any] = {"confine": "auto"}
        self.keyid = ""
        self.hosts = ""    # what the client finds in /etc/hosts, unless that is empty
        self.signer: subprocess.Popen[bytes] | None = None
        self.http: http.server.ThreadingHTTPServer | None = None

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> "Iterator[Master]":
        """A master in a directory of its own."""
        with tempfile.TemporaryDirectory(prefix="client-", dir=PARENT) as directory:
            master = cls(Path(directory))
            try:
                yield master
            finally:
                master.close()

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
        if self.http is not None:
            self.http.shutdown()
            self.http.server_close()

    def serve(self, directory: Path) -> None:
        """Let the web server answer from another directory."""
        assert self.http is not None
        self.http.RequestHandlerClass = functools.partial(  # type: ignore[assignment]
            _Files, directory=str(directory))

    def order(self, section: str, *names: str, key: str | None = None, **more: Any) -> Order:
        names = names or (section,)
        csr = ca.openssl("req", "-outform", "DER",
                         stdin=ca.request(names, key or ca.genkey()).encode())
        return Order(section, tuple(("dns", name) for name in names), csr, **more)

    def start(self, requests: Sequence[order_protocol.Request], signer_key: Path | None = None,
              env: dict[str, str] | None = None, signer: bool = True) -> "subprocess.Popen[bytes]":
        """Start signer, if wanted, and client, and hand the client the requests."""
        signers = [self._start_signer(signer_key or self.account_key)] if signer else []
        reading, writing = os.pipe()
        with open(writing, "wb") as stream:
            stream.write(order_protocol.format_config(
                ClientConfig(Access(**self.access), **self.config)))
        fds = [reading, *(sock.fileno() for sock in signers)]
        argv = [*PROGRAM, "--debug", *map(str, fds)]
        client = subprocess.Popen(
            self._with_hosts(as_user("_letsencrypt-client", argv) if os.geteuid() == 0 else argv),
            cwd=self.challenges, pass_fds=fds, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **(env or {})})
        os.close(reading)
        for sock in signers:
            sock.close()
        assert client.stdin is not None
        client.stdin.write(b"".join(map(order_protocol.format_request, requests)))
        client.stdin.close()
        client.stdin = None
        return client

    def _with_hosts(self, argv: list[str]) -> list[str]:
        if not self.hosts:
            return argv
        hosts = self.write("hosts", self.hosts)
        hosts.chmod(0o644)
        return ["/usr/bin/unshare", "--mount", "/bin/sh", "-c",
                'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts), *argv]

    def _start_signer(self, key: Path) -> socket.socket:
        ours, theirs = socket.socketpair()
        accountd = self.write("accountd.conf", f"keyid = {self.keyid}\n" if self.keyid else "")
        with theirs:
            self.signer = subprocess.Popen(
                ["/usr/bin/lacme-accountd", "--stdio", f"--config={accountd}",
                 f"--privkey=file:{key}"], stdin=theirs, stdout=theirs,
                stderr=subprocess.DEVNULL)
        return ours

    def finish(self, client: "subprocess.Popen[bytes]", timeout: float = 60) -> Outcome:
        """Wait for client and signer."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            out, err = client.communicate(timeout=timeout)
        finally:
            client.kill()
            client.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if self.signer is not None:
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


def names_of(chain: str) -> list[str]:
    """Return the names in the first certificate of a chain."""
    text = ca.openssl("x509", "-noout", "-ext", "subjectAltName", stdin=chain.encode()).decode()
    return re.findall(r"DNS:([^,\s]+)", text)


# --- without a socket --------------------------------------------------------------------------

Answer = dict[str, Any] | Exception
CA = "https://ca.example"
NONCE = ("replay-nonce", "n")    # each answer to a POST has one (§6.5)


def refusal(kind: str, status: int = 403, retry_after: int | None = None) -> ProblemError:
    """What a session raises where the server answers with a problem."""
    return ProblemError(Problem(kind, "No.", status), retry_after)


class Words(Session):
    """A session whose server says what it is told to: url -> its answers, the last for ever."""

    def __init__(self, **answers: Sequence[Answer]) -> None:
        super().__init__(f"{CA}/dir", transport.Route(transport.parse_url(CA, "x"), None, ()),
                         ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None, lambda: 0.0)
        self._directory = directory.Directory(f"{CA}/nonce", f"{CA}/account", f"{CA}/new", None,
                                              None, None, False, None)
        self.answers = {f"{CA}/{key}": list(found) for key, found in answers.items()}
        self.asked: list[tuple[str, Any]] = []    # path, payload

    @property
    def greeting(self) -> Greeting:
        return GREETING

    def post(self, url: str, payload: Any, _what: str, **_how: Any) -> Response:
        self.asked.append((url.removeprefix(f"{CA}/"), payload))
        found = self.answers[url]
        answer = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(answer, Exception):
            raise answer
        if "chain" in answer:
            return Response(200, (("content-type", "application/pem-certificate-chain"), NONCE),
                            answer["chain"].encode())
        return Response(201, (("content-type", "application/json"), ("location", f"{CA}/order"),
                              NONCE), json.dumps(answer).encode())


def order_object(**changes: Any) -> dict[str, Any]:
    """An order of ``Words`` for a.example (RFC 8555 §7.1.3)."""
    return {"status": "pending", "finalize": f"{CA}/finalize", "authorizations": [f"{CA}/authz"],
            "identifiers": [{"type": "dns", "value": "a.example"}], **changes}


def authorization_object(*challenges: Any, **changes: Any) -> dict[str, Any]:
    """An authorization of ``Words`` for a.example (§7.1.4)."""
    return {"identifier": {"type": "dns", "value": "A.example"}, "status": "pending",
            "challenges": list(challenges), **changes}


def challenge_object(kind: Any = "http-01", **changes: Any) -> dict[str, Any]:
    """A challenge of ``Words`` (§8)."""
    return {"type": kind, "url": f"{CA}/challenge", "status": "pending", "token": "t" * 43,
            **changes}


def finish(task: Any, waits: Callable[[float], object] = lambda _: None) -> Any:
    """Run a task to its end without waiting; ``waits`` is told of each second it wanted."""
    resume: list[Ended] | None = None
    while True:
        try:
            wanted = task.send(resume)
        except StopIteration as stop:
            return stop.value
        resume = None
        if isinstance(wanted, list):
            resume = [_ended(part, waits) for part in wanted]
        else:
            waits(wanted)


def _ended(task: Any, waits: Callable[[float], object]) -> Ended:
    try:
        return Ended(finish(task, waits))
    except Exception as exc:
        return Ended(error=exc)
