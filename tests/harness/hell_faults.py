"""What the server from hell does, as a table: each row is one fault (``hell`` says when).

``harmless``: nobody may be kept from a certificate by it.  ``dead``: it says that the order, or a
part of it, is dead or not there; ``denies``: that what was asked for was not done.
"""

import asyncio
import email.utils
import json
import re
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from . import ca
from .hell import Answer, Call, Wire, reset

EVERY = ("directory", "newNonce", "newAccount", "newOrder", "authz", "challenge", "finalize",
         "order", "certificate", "renewalInfo")
BODIES = tuple(kind for kind in EVERY if kind != "newNonce")
OBJECTS = tuple(kind for kind in BODIES if kind != "certificate")
SIGNED = ("newAccount", "newOrder", "authz", "challenge", "finalize", "order", "certificate")
ORDERS = ("newOrder", "order", "finalize")
STALL = 5.0           # seconds: longer than what is waited for one answer
ELSEWHERE = "https://127.0.0.1:9"

Change = Callable[[Call, Answer], Answer | Wire]
Edit = Callable[[dict[str, Any]], Any]


class Fault(NamedTuple):
    """One fault; ``kinds`` are the requests it makes sense at, ``heeded``: Pebble was asked."""

    change: Change
    kinds: tuple[str, ...] = EVERY
    heeded: bool = True
    harmless: bool = False
    dead: bool = False
    denies: bool = False

    def heeds(self, kind: str) -> bool:
        """Say whether Pebble is asked: it has made no order where that is denied."""
        return self.heeded and not (self.denies and kind == "newOrder")


# --- connections ---------------------------------------------------------------------------


async def _after_hello(sock: socket.socket, data: bytes = b"", how: Callable[[socket.socket], None]
                       = socket.socket.close) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_recv(sock, 65536)
    await loop.sock_sendall(sock, data)
    how(sock)


async def _at_once(sock: socket.socket, how: Callable[[socket.socket], None]) -> None:
    how(sock)


async def _stalled(sock: socket.socket, hello: bool) -> None:
    if hello:
        await asyncio.get_running_loop().sock_recv(sock, 65536)
    await asyncio.sleep(STALL)


CONNECTION: dict[str, Callable[[socket.socket], Awaitable[None]]] = {
    "reset after accept": lambda sock: _at_once(sock, reset),
    "closed after accept": lambda sock: _at_once(sock, socket.socket.close),
    "stalled after accept": lambda sock: _stalled(sock, False),
    "reset in the handshake": lambda sock: _after_hello(sock, how=reset),
    "closed in the handshake": _after_hello,
    "cut in the handshake": lambda sock: _after_hello(sock, b"\x16\x03\x03\x00\x7a\x02\x00"),
    "stalled in the handshake": lambda sock: _stalled(sock, True),
    "alert": lambda sock: _after_hello(sock, b"\x15\x03\x03\x00\x02\x02\x28"),
    "plain HTTP": lambda sock: _after_hello(sock, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "SSH": lambda sock: _after_hello(sock, b"SSH-2.0-OpenSSH_9.2p1\r\n"),
}
CONNECTIONS = ("refused", "other name", "untrusted", *CONNECTION)


# --- answers -------------------------------------------------------------------------------


def _wire(*steps: bytes | float, end: str = "close") -> Change:
    return lambda _call, _answer: Wire(steps, end)


def _cut(part: str, end: str, wait: float = 0.0) -> Change:
    """Of the answer comes some of the ``part``, and the end, after ``wait`` seconds."""
    def change(_call: Call, answer: Answer) -> Wire:
        head = answer.having("Content-Length", str(len(answer.body) + 10)).head()
        sent = {"status": head[:10], "header": head[:-12], "all of the header": head,
                "body": head + answer.body[:len(answer.body) // 2]}[part]
        return Wire((sent, wait), end)
    return change


def _drip(seconds: float, size: int) -> Change:
    def change(_call: Call, answer: Answer) -> Wire:
        data = answer.having("Content-Length", str(len(answer.body))).head() + answer.body
        steps: list[bytes | float] = []
        for start in range(0, len(data), size):
            steps += [data[start:start + size], seconds]
        return Wire(tuple(steps))
    return change


def _field(name: str, *values: str) -> Change:
    return lambda _call, answer: answer.having(name, *values)


def _sent(*fields: tuple[str, str]) -> Change:
    """Whatever it is, it has these fields, as they are, and the connection ends."""
    def change(_call: Call, answer: Answer) -> Wire:
        return Wire((answer._replace(fields=answer.fields + fields).head() + answer.body,))
    return change


def _length(factor: int, more: int) -> Change:
    return lambda call, answer: _sent(("Content-Length", str(len(answer.body) * factor + more))
                                      )(call, answer)


def _status(status: int) -> Change:
    return lambda _call, answer: answer._replace(status=status)


def _problem(status: int, kind: str, *fields: tuple[str, str], detail: str = "Hell.") -> Change:
    body = json.dumps({"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}).encode()
    return lambda _call, answer: Answer(status, (
        ("Content-Type", "application/problem+json"),
        ("Replay-Nonce", answer.get("Replay-Nonce") or "none"), *fields), body)


def _page(status: int) -> Change:
    return lambda _call, _answer: Answer(status, (("Content-Type", "text/html"),),
                                         b"<html><h1>\x1b[31mhell\x07</h1></html>")


def _redirect(status: int, scheme: str = "") -> Change:
    return lambda call, _answer: Answer(status, (
        ("Location", scheme + (ELSEWHERE if not scheme else "") + call.target),), b"")


def _old(call: Call, answer: Answer) -> Answer:
    """What the first request of the kind was answered; at the first, what the directory was."""
    old = call.proxy.before.get(call.kind, answer)
    return old if old is not answer else call.proxy.before.get("directory", answer)


def _twice(call: Call, answer: Answer) -> Wire:
    data = answer.having("Content-Length", str(len(answer.body))).head() + (
        b"" if call.method == "HEAD" else answer.body)
    return Wire((data + data,), "keep")


def _same_nonce(call: Call, answer: Answer) -> Answer:
    nonces = call.proxy.nonces
    return answer.having("Replay-Nonce", nonces[0]) if nonces else answer


def _body(edit: Callable[[bytes], bytes]) -> Change:
    return lambda _call, answer: answer._replace(body=edit(answer.body))


def _edit(edit: Edit) -> Change:
    """``edit`` changes the object, or returns another."""
    def change(_call: Call, answer: Answer) -> Answer:
        obj = json.loads(answer.body)
        changed = edit(obj)
        return answer._replace(body=json.dumps(obj if changed is None else changed).encode())
    return change


def _each(value: object) -> Edit:
    return lambda obj: dict.fromkeys(obj, value)


def _said(status: str) -> Edit:
    return lambda obj: obj.update(status=status)


def _numbers(value: Any) -> Any:
    """Return it with all strings made numbers."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else 7


def _urls(change: Callable[[str], str]) -> Change:
    """All URLs in the body and in Location are others."""
    def edit(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: edit(item) for key, item in value.items()}
        if isinstance(value, list):
            return [edit(item) for item in value]
        return change(value) if isinstance(value, str) and value.startswith("https://") else value

    def whole(_call: Call, answer: Answer) -> Answer:
        if answer.get("Location"):
            answer = answer.having("Location", change(answer.get("Location")))
        return answer._replace(body=json.dumps(edit(json.loads(answer.body))).encode())
    return whole


def _challenges(**members: object) -> Edit:
    def edit(obj: dict[str, Any]) -> None:
        for challenge in obj["challenges"]:
            challenge.update(members)
    return edit


def _now(days: float) -> str:
    return email.utils.formatdate(time.time() + days * 86400, usegmt=True)


# --- chains --------------------------------------------------------------------------------

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)


def _chain(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    return lambda _call, answer: answer._replace(body=b"".join(change(_PEM.findall(answer.body))))


def _leaf(call: Call, answer: Answer, csr: str, names: list[str] | None = None, days: float = 90
          ) -> Answer:
    """Another certificate than Pebble's comes first, of an authority that is trusted, too."""
    authority = call.proxy.authority
    return answer._replace(body=authority.issue(csr, names, days=days).encode()
                           + authority.intermediate.read_bytes())


def _own_csr(call: Call) -> str:
    return ca.pem(call.proxy.csr[call.section], "CERTIFICATE REQUEST")


def _other_key(call: Call, answer: Answer) -> Answer:
    names = [f"{call.section}.example", f"www.{call.section}.example"]
    return _leaf(call, answer, ca.request(names, ca.genkey()))


def _other_names(call: Call, answer: Answer) -> Answer:
    return _leaf(call, answer, _own_csr(call), ["evil.example"])


def _more_names(call: Call, answer: Answer) -> Answer:
    return _leaf(call, answer, _own_csr(call), [
        f"{call.section}.example", f"www.{call.section}.example", "evil.example"])


def _expired(call: Call, answer: Answer) -> Answer:
    return _leaf(call, answer, _own_csr(call), days=0.01)    # it began an hour ago


def _key_in_it(_call: Call, answer: Answer) -> Answer:
    return answer._replace(body=answer.body + ca.genkey().encode())


_CERT = ("certificate",)
_URLS = tuple(kind for kind in OBJECTS if kind != "renewalInfo")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

FAULTS: dict[str, Fault] = {
    # stages
    "reset unheeded": Fault(_wire(end="reset"), heeded=False),
    "closed unheeded": Fault(_wire(), heeded=False),
    "reset": Fault(_wire(end="reset")), "closed": Fault(_wire()),
    "reset after the header": Fault(_cut("all of the header", "reset", 0.05)),
    "reset in the body": Fault(_cut("body", "reset", 0.05), BODIES),
    "cut in the status": Fault(_cut("status", "close")),
    "cut in the header": Fault(_cut("header", "close")),
    "cut in the body": Fault(_cut("body", "close"), BODIES),
    "stall": Fault(_wire(STALL)), "stall in the header": Fault(_cut("header", "close", STALL)),
    "stall in the body": Fault(_cut("body", "close", STALL), BODIES),
    "drip": Fault(_drip(0.25, 1)), "drip, quick": Fault(_drip(0.001, 100), harmless=True),
    # sizes
    "long field": Fault(_field("X-Hell", "x" * 100_000)),
    "field of 8 kB": Fault(_field("X-Hell", "x" * 8192), harmless=True),
    "200 fields": Fault(_field("X-Hell", *["x"] * 200)),
    "body of 3 MB": Fault(_body(lambda body: b" " * (3 << 20) + body), BODIES),
    "body without end": Fault(_wire(OK + b"\r\n", *[b"\n" * 65536] * 160), BODIES),
    "interim without end": Fault(_wire(b"HTTP/1.1 102 X\r\n\r\n" * 100_000)),
    # labels
    "no type": Fault(_field("Content-Type"), BODIES),
    "HTML": Fault(_field("Content-Type", "text/html"), BODIES),
    "type of a problem": Fault(_field("Content-Type", "application/problem+json"), BODIES),
    "longer": Fault(_length(1, 100), BODIES), "shorter": Fault(_length(0, 5), BODIES),
    "two lengths": Fault(_sent(("Content-Length", "5"), ("Content-Length", "7"))),
    "length of -1": Fault(_sent(("Content-Length", "-1"))),
    "huge length": Fault(_sent(("Content-Length", "9" * 30))),
    "gzip, it says": Fault(_field("Content-Encoding", "gzip")),
    "gzip, transferred": Fault(_sent(("Transfer-Encoding", "gzip, chunked")), BODIES),
    "broken chunks": Fault(_sent(("Transfer-Encoding", "chunked")), BODIES),
    **{f"status {status}": Fault(_status(status)) for status in (101, 206, 304, 600, 999)},
    **{f"{status} page": Fault(_page(status), dead=status in (404, 410))
       for status in (400, 403, 404, 410, 429, 500, 502, 503)},
    "500": Fault(_problem(500, "serverInternal"), denies=True),
    "503": Fault(_problem(503, "serverInternal"), denies=True),
    "429": Fault(_problem(429, "rateLimited", ("Retry-After", "1")), denies=True),
    "429 for a day": Fault(_problem(429, "rateLimited", ("Retry-After", "86400")), denies=True),
    "badNonce": Fault(_problem(400, "badNonce"), SIGNED, heeded=False),
    "malformed": Fault(_problem(400, "malformed"), dead=True, denies=True),
    "controls": Fault(_problem(403, "unauthorized", detail="\x1b[2J\r\nerror: x\u202e\x00" * 999),
                      dead=True, denies=True),
    # redirects
    **{f"{status}": Fault(_redirect(status)) for status in (301, 302, 307, 308)},
    "302 to http:": Fault(_redirect(302, "http://127.0.0.1")),
    # replays
    "old answer": Fault(_old, dead=True),    # an older certificate is one for another key
    "two answers": Fault(_twice),
    "first nonce again": Fault(_same_nonce, ("newNonce", *SIGNED)),
    "no nonce": Fault(_field("Replay-Nonce"), ("newNonce", *SIGNED)),
    "illegal nonce": Fault(_field("Replay-Nonce", "no nonce!"), ("newNonce", *SIGNED)),
    "long nonce": Fault(_field("Replay-Nonce", "n" * 9999), ("newNonce", *SIGNED)),
    # JSON
    "half": Fault(_body(lambda body: body[:len(body) // 2]), OBJECTS),
    "nothing": Fault(_body(lambda _body: b""), BODIES),
    "twice": Fault(_body(lambda body: body + body), OBJECTS),
    "duplicate members": Fault(_body(lambda body: re.sub(
        rb"\A\s*\{", b'{"status": "valid", "status": "invalid",', body)), OBJECTS),
    "deep": Fault(_body(lambda _body: b"[" * 100_000), OBJECTS),
    "deep object": Fault(_body(lambda _body: b'{"a":' * 50_000), OBJECTS),
    "list": Fault(_body(lambda body: b"[" + body + b"]"), OBJECTS),
    "numbers": Fault(_edit(_numbers), OBJECTS), "nulls": Fault(_edit(_each(None)), OBJECTS),
    "objects": Fault(_edit(_each({})), OBJECTS), "lists": Fault(_edit(_each([[]])), OBJECTS),
    "NaN": Fault(_body(lambda body: b'{"hell": NaN,' + body.lstrip()[1:]), OBJECTS),
    "huge number": Fault(_body(lambda body: b'{"hell": 1' + b"0" * 9999 + b"," + body.lstrip()[1:]),
                         OBJECTS),
    "BOM": Fault(_body(lambda body: b"\xef\xbb\xbf" + body), OBJECTS, harmless=True),
    "UTF-16": Fault(_body(lambda body: body.decode().encode("utf-16")), OBJECTS),
    "not UTF-8": Fault(_body(lambda body: b'{"hell": "\xff\xc0",' + body.lstrip()[1:]), OBJECTS),
    "lone surrogate": Fault(_edit(lambda obj: {**obj, "hell": "\udc80"}), OBJECTS),
    # states
    **{f"order {status}": Fault(_edit(_said(status)), ORDERS, dead=True)
       for status in ("pending", "ready", "processing", "valid", "invalid", "hell\x1b[1m")},
    **{f"authorization {status}": Fault(_edit(_said(status)), ("authz",), dead=True)
       for status in ("valid", "invalid", "deactivated", "expired", "revoked", "hell")},
    "no challenges": Fault(_edit(lambda obj: obj.update(challenges=[])), ("authz",)),
    "other identifier": Fault(_edit(lambda obj: obj.update(identifier={
        "type": "dns", "value": "evil.example"})), ("authz",)),
    "token of a path": Fault(_edit(_challenges(token="../../etc/passwd")), ("authz",)),
    # (which may cost an order of two names a run more)
    "tokens alike": Fault(_edit(_challenges(token="A" * 43)), ("authz",)),
    "challenge invalid": Fault(_edit(_said("invalid")), ("challenge",)),
    # times
    **{f"{word} by a year": Fault(_field("Date", _now(days)), harmless=True)
       for word, days in (("late", -365), ("ahead", 365))},
    **{f"Retry-After {word}": Fault(_field("Retry-After", value), tuple(
        kind for kind in SIGNED if kind != "newAccount"))
       for word, value in (("of ages", "9" * 40), ("below 0", "-5"), ("of a day", "86400"),
                           ("of a word", "soon"), ("of a year", _now(365)))},
    # URLs
    "other origin": Fault(_urls(lambda url: ELSEWHERE + "/" + url.split("/", 3)[3]), _URLS),
    "http:": Fault(_urls(lambda url: url.replace("https:", "http:", 1)), _URLS),
    "file:": Fault(_urls(lambda _url: "file:///etc/passwd"), _URLS),
    "userinfo": Fault(_urls(lambda url: url.replace("://", "://u:p@", 1)), _URLS),
    "fragments": Fault(_urls(lambda url: url + "#x"), _URLS),
    "line ends": Fault(_urls(lambda url: url + "\r\nX: y"), _URLS),
    "URL of 9 kB": Fault(_urls(lambda url: url + "?" + "x" * 9000), _URLS),
    # chains: what the master has found wrong it does not fetch again
    **{word: Fault(change, _CERT, dead=True) for word, change in {
        "junk between": _chain(lambda items: [b"junk\n", *items, b"\xff\0junk\n"]),
        "text between": _chain(lambda items: [b"subject=x\n", *items]),
        "other order": _chain(lambda items: items[::-1]),
        "leaf twice": _chain(lambda items: items[:1] + items),
        "no intermediate": _chain(lambda items: items[:1]),
        "no leaf": _chain(lambda items: items[1:]),
        "500 certificates": _chain(lambda items: items[:1] + items[1:2] * 500),
        "half a chain": _body(lambda body: body[:len(body) // 3]),
        "a key in it": _key_in_it, "other key": _other_key, "other names": _other_names,
        "more names": _more_names, "expired": _expired}.items()},
}
