"""The ACME server from hell: a TLS proxy in front of the real Pebble that does what it is told.

What goes wrong is a fault (``hell_faults``), bound by a ``Rule`` to a kind of request, to one
section or to all, from the n-th such request on, so many times.  Whatever no rule is about comes
from Pebble as it is: Host is passed on, so that Pebble's URLs, and those that are signed, are the
proxy's own.

It adds renewalInfo (RFC 9773), which not every Pebble has: nothing is to be renewed soon.
"""

import asyncio
import base64
import contextlib
import datetime
import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from . import ca
from .net import free_ports
from .pebble import Pebble

LONG = 1000             # times: for ever
REFUSING = 0.5          # seconds that a refusal takes which ends
RENEWAL_INFO = "/renewal-info"
KINDS = {"/dir": "directory", "/nonce-plz": "newNonce", "/sign-me-up": "newAccount",
         "/order-plz": "newOrder", "/authZ": "authz", "/chalZ": "challenge",
         "/my-order": "order", "/finalize-order": "finalize", "/certZ": "certificate",
         "/my-account": "account", "/list-orderz": "orders", RENEWAL_INFO: "renewalInfo"}
COMMON = ("directory", "newNonce", "newAccount", "connection")    # of no section
Fields = tuple[tuple[str, str], ...]
_RESET = b"\1\0\0\0" * 2    # struct linger: close(2) sends RST


class Rule(NamedTuple):
    """What goes wrong, where, when and how often."""

    kind: str               # of KINDS, or "connection"
    fault: str              # of hell_faults.FAULTS or CONNECTION
    section: str = ""       # "": all
    first: int = 1          # the n-th such request
    times: int = LONG


class Call(NamedTuple):
    """A request as it came; ``proxy`` knows what was before."""

    kind: str
    section: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    proxy: "Proxy"


class Answer(NamedTuple):
    """A whole answer, with its length if it is to be told."""

    status: int
    fields: Fields
    body: bytes

    def get(self, name: str) -> str:
        """Return a field, "" without one."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), "")

    def having(self, name: str, *values: str) -> "Answer":
        """Return the same with these fields ``name`` alone."""
        others = tuple(pair for pair in self.fields if pair[0].lower() != name.lower())
        return self._replace(fields=others + tuple((name, value) for value in values))

    def head(self) -> bytes:
        """Return status line and fields."""
        lines = [f"HTTP/1.1 {self.status} X", *(f"{key}: {value}" for key, value in self.fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


class Wire(NamedTuple):
    """What is sent in place of an answer: bytes, and seconds to wait; and how that ends."""

    steps: tuple[bytes | float, ...]
    end: str = "close"      # or "reset", "keep"


class Proxy:
    """One server for one case at a time, with what it has seen.

    It is what ``Site.use`` wants: ``directory``, ``ca_file``, ``http_port``, ``roots()``.
    ``made``: section -> the paths of the orders that Pebble has made for it.
    """

    settings: dict[str, str] = {}

    def __init__(self, pebble: Pebble, authority: ca.CA, stranger: ca.CA, roots: Path) -> None:
        """``stranger`` is an authority that nobody trusts."""
        self._pebble = pebble
        self.authority = authority
        self.ca_file = authority.root
        self._roots = roots
        self.port, self.http_port = free_ports(2)
        self.base = f"https://127.0.0.1:{self.port}"
        self.directory = f"{self.base}/dir"
        self._tls = _server_tls(authority, ca.LOOPBACK)
        self.contexts = {"other name": _server_tls(authority, ["other.example"]),
                         "untrusted": _server_tls(stranger, ca.LOOPBACK)}
        self._upstream = ssl.create_default_context(cafile=str(pebble.ca_file))
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._rules: list[tuple[Rule, list[int]]] = []
        self.clear()

    def roots(self) -> Path:
        """Return the roots of Pebble and of the authority, which issues what is wrong."""
        return self._roots

    def clear(self) -> None:
        """A new case begins: nothing is wrong, nothing was seen."""
        self._rules = []
        self._owners: dict[str, str] = {}
        self.made: dict[str, list[str]] = {}
        self.csr: dict[str, bytes] = {}             # section -> DER
        self.seen: list[tuple[str, str]] = []       # kind, section of each request
        self.met: list[str] = []                    # faults that were met
        self.before: dict[str, Answer] = {}         # kind -> the first answer
        self.nonces: list[str] = []

    def tell(self, *rules: Rule) -> None:
        """Let this go wrong from now on, and nothing else."""
        self._rules = [(rule, [0]) for rule in rules]
        if any(rule.fault == "refused" and rule.times == LONG for rule in rules):
            self._refuse()
        else:
            self._listen()

    async def __aenter__(self) -> "Proxy":
        self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- connections ----------------------------------------------------------------------

    def _listen(self) -> None:
        if self._socket is None:
            self._socket = socket.create_server(("127.0.0.1", self.port), backlog=64)
            self._socket.setblocking(False)
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _refuse(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept() if self._socket else (None, None)
        except OSError:
            return
        if sock is not None:
            sock.setblocking(False)
            task = asyncio.get_running_loop().create_task(self._serve(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket) -> None:
        from . import hell_faults
        # whoever has had enough ends it, on either side
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, http.client.HTTPException), \
                contextlib.closing(sock):
            tls = self._tls
            fault = self._due("connection", "")
            if fault == "refused":
                self._refuse()
                self._again = asyncio.get_running_loop().call_later(REFUSING, self._listen)
                reset(sock)
                return
            if fault in self.contexts:
                tls = self.contexts[fault]
            elif fault:
                await hell_faults.CONNECTION[fault](sock)
                return
            async with self._opened(sock, tls) as (reader, writer):
                upstream = http.client.HTTPSConnection(
                    self._pebble.directory.split("/")[2], context=self._upstream, timeout=30)
                with contextlib.closing(upstream):
                    while await self._exchange(reader, writer, upstream):
                        pass

    @staticmethod
    @contextlib.asynccontextmanager
    async def _opened(sock: socket.socket, tls: ssl.SSLContext
                      ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=tls, ssl_handshake_timeout=20, ssl_shutdown_timeout=1)
        try:
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            yield reader, writer
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 3)    # all is sent
        finally:
            with contextlib.suppress(AttributeError):    # asyncio's, of one that has ended
                transport.abort()

    # --- exchanges ------------------------------------------------------------------------

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                        upstream: http.client.HTTPSConnection) -> bool:
        """Answer one request; False if the connection has ended."""
        from . import hell_faults
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {key.lower(): value for key, _, value in (
            line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        kind = KINDS.get("/" + target.split("/")[1], "other")
        call = Call(kind, self._section(kind, target, body), method, target, headers, body, self)
        self.seen.append((call.kind, call.section))
        name = self._due(call.kind, call.section)
        fault = hell_faults.FAULTS[name] if name else None
        if fault is not None and not fault.heeds(call.kind):
            answer = Answer(200, (("Content-Type", "application/json"),), b"{}")
        else:
            answer = await asyncio.to_thread(self._ask, call, upstream)
            self._learn(call, answer)
        sent: Answer | Wire = answer
        if fault is not None:
            try:
                sent = await asyncio.to_thread(fault.change, call, answer)
                self.met.append(name)
            except (ValueError, LookupError):    # Pebble's answer is none that it is about
                pass
        return await self._send(call, sent, writer)

    async def _send(self, call: Call, sent: Answer | Wire, writer: asyncio.StreamWriter) -> bool:
        if isinstance(sent, Answer):
            if not sent.get("Content-Length") and sent.status not in (204, 304):
                sent = sent.having("Content-Length", str(len(sent.body)))
            sent = Wire((sent.head() + (b"" if call.method == "HEAD" else sent.body),), "keep")
        for step in sent.steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        if sent.end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        return sent.end == "keep"

    def _due(self, kind: str, section: str) -> str:
        """Return the fault that a request is to meet, "" for none."""
        for rule, count in self._rules:
            if rule.kind == kind and rule.section in ("", section):
                count[0] += 1
                if rule.first <= count[0] < rule.first + rule.times:
                    return rule.fault
        return ""

    def _ask(self, call: Call, upstream: http.client.HTTPSConnection) -> Answer:
        if call.kind == "renewalInfo":
            return _not_soon()
        headers = {key: value for key, value in call.headers.items()
                   if key not in ("content-length", "accept-encoding")}
        for last in False, True:
            try:
                upstream.request(call.method, call.target,
                                 call.body if call.method == "POST" else None, headers)
                response = upstream.getresponse()
                body = response.read()
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                upstream.close()    # Pebble has closed it meanwhile
                if last:
                    raise
        fields = tuple((key, value) for key, value in response.getheaders() if key.lower() not in
                       ("content-length", "transfer-encoding", "connection"))
        answer = Answer(response.status, fields, body)
        if call.kind == "directory" and answer.status == 200:
            answer = answer._replace(body=json.dumps(
                {**json.loads(body), "renewalInfo": self.base + RENEWAL_INFO}).encode())
        return answer

    def _section(self, kind: str, target: str, body: bytes) -> str:
        if kind == "newOrder":
            found = payload(body).get("identifiers") or [{"value": "-.-"}]
            return str(found[0]["value"]).split(".")[-2]
        section = self._owners.get(target, "")
        if kind == "finalize":
            csr = payload(body).get("csr", "")
            self.csr[section] = base64.urlsafe_b64decode(csr + "=" * (-len(csr) % 4))
        return section

    def _learn(self, call: Call, answer: Answer) -> None:
        """Note whose the URLs in Pebble's answer are."""
        self.before.setdefault(call.kind, answer)
        self.nonces += [answer.get("Replay-Nonce")] if answer.get("Replay-Nonce") else []
        if call.kind == "newOrder" and answer.status == 201:
            path = answer.get("Location").removeprefix(self.base)
            made = self.made.setdefault(call.section, [])
            made += [path] if path not in made else []
            self._owners[path] = call.section
        if call.section and "json" in answer.get("Content-Type"):
            for text in strings(json.loads(answer.body)):
                if text.startswith(self.base):
                    self._owners[text.removeprefix(self.base)] = call.section


def reset(sock: socket.socket) -> None:
    """Close a connection with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


def payload(body: bytes) -> dict[str, Any]:
    """Return the payload of a JWS (RFC 7515), {} where it is empty."""
    text = json.loads(body)["payload"]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
                                       or b"{}")
    return found


def strings(obj: object) -> list[str]:
    """Return all strings in what was JSON."""
    if isinstance(obj, str):
        return [obj]
    items = obj.values() if isinstance(obj, dict) else obj if isinstance(obj, list) else ()
    return [text for item in items for text in strings(item)]


def _not_soon() -> Answer:
    start = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
    window = {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}",
              "end": f"{start + datetime.timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"}
    return Answer(200, (("Content-Type", "application/json"), ("Retry-After", "21600")),
                  json.dumps({"suggestedWindow": window}).encode())


def _server_tls(authority: ca.CA, names: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server(names))
    return context
