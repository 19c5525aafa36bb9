"""HTTP as far as a validation needs it (RFC 9112, RFC 8555 §8.3): a request head in, an answer out.

Pure: what a token's challenge file holds is asked of a function that is handed in.

Why not http.server: it parses every header with the email package, reads with a time limit for
each recv() rather than for the whole request, needs a thread for each connection, and takes
25 ms to import, more than all the rest.  A request line is nearly all that matters here.  Nor are
there regular expressions: to load them and to compile those of this room took a fifth of the start.
"""

import functools
import time
from collections.abc import Callable

from ..common.record import NamedTuple
from ..common.wire.challenge import HTTP_PATH, is_token
from ..common.wire.visits import Visit, plain_host

MAX_HEAD = 8192        # bytes of a request line and its header fields

_PREFIX = HTTP_PATH.encode("ascii")
_VISIBLE = bytes(range(0x20, 0x7F))
_NO_SPACE = _VISIBLE[1:]
_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = _ALPHANUMERIC + b"!#$%&'*+-.^_`|~"         # RFC 9110 §5.6.2
_REG_NAME = _ALPHANUMERIC + b"-._~!$&'()*+,;=%"     # RFC 3986 §3.2.2
_LITERAL = b"0123456789ABCDEFabcdef:."
_DIGITS = b"0123456789"
_HOST = b"\r\nhost:"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            431: "Request Header Fields Too Large"}

# Key authorization of a token, None if there is none to give out
Find = Callable[[str], bytes | None]


class Answer(NamedTuple):
    """What a request is answered; ``body`` is the key authorization if ``status`` is 200."""

    status: int
    body: bytes = b""


def request_line(head: bytes) -> bytes:
    """Return the request line of a head, or as much of it as has come, without CRLF."""
    return _begin(head).partition(b"\r\n")[0]


def respond(head: bytes, find: Find) -> Answer | None:
    """Answer a request head, or return None as long as more of it must come.

    A request line that can't become a good one is refused at once (RFC 9112 §3).  The header
    fields have no influence on the answer, as long as they are well formed.
    """
    line, crlf, rest = _begin(head).partition(b"\r\n")
    words = _words(line)
    if words is None and (crlf or not _are(line.removesuffix(b"\r"), _VISIBLE)):
        return Answer(400)
    fields, end, _ = (crlf + rest).partition(b"\r\n\r\n")
    if words is None or not end:
        return None if len(head) < MAX_HEAD else Answer(431)
    method, target, version = words
    if not _are_good(fields, host_needed=version == b"HTTP/1.1"):
        return Answer(400)
    return Answer(405) if method not in (b"GET", b"HEAD") else _look_up(target, find)


def _are(data: bytes, characters: bytes) -> bool:
    """True if nothing but ``characters`` is in ``data``."""
    return not data.translate(None, characters)


def _begin(head: bytes) -> bytes:
    """Return a head without empty lines before it, which are ignored (RFC 9112 §2.2)."""
    at = 0
    while head.startswith(b"\r\n", at):
        at += 2
    return head[at:]


def _words(line: bytes) -> list[bytes] | None:
    """Return method, target and version of a request line (RFC 9112 §3); None if it is none."""
    words = line.split(b" ")
    good = len(words) == 3 and words[2] in (b"HTTP/1.0", b"HTTP/1.1") and words[0] and words[1] \
        and _are(words[0] + words[1], _NO_SPACE)
    return words if good else None


def _are_good(fields: bytes, host_needed: bool) -> bool:
    """True for well-formed header fields, each after a CRLF, with one Host, or if not needed none
    (RFC 9112 §3.2): token ":" field-value (RFC 9110 §5.1, §5.5); nothing of it is a continuation
    (RFC 9112 §5.2)."""
    before, *lines = fields.split(b"\r\n")
    if before or b"\0" in fields or not fields.count(b"\r") == fields.count(b"\n") == len(lines):
        return False
    hosts = 0
    for line in lines:
        name, colon, value = line.partition(b":")
        if not (colon and name) or name.translate(None, _TOKEN):
            return False
        if len(name) == 4 and name.lower() == b"host":
            hosts += 1
            if not _is_host(value.strip(b" \t")):
                return False
    return host_needed <= hosts <= 1


def _is_host(text: bytes) -> bool:
    """True for a host, be it empty, with or without a port (RFC 3986 §3.2.2 and §3.2.3)."""
    if text.startswith(b"["):
        host, bracket, after = text[1:].partition(b"]")
        good = bracket and host and _are(host, _LITERAL)
    else:
        host, colon, port = text.partition(b":")
        good, after = _are(host, _REG_NAME), colon + port
    return bool(good) and (not after or after.startswith(b":") and _are(after[1:], _DIGITS))


def _path(target: bytes) -> bytes | None:
    """Return the path of a target in absolute-form (RFC 9112 §3.2.2); None if it is none."""
    if target[:7].lower() != b"http://":
        return None
    host, slash, rest = target[7:].partition(b"/")
    # an http URI without a host is none (RFC 9110 §4.2.1)
    good = host and not host.startswith(b":") and _is_host(host) and b"\n" not in rest
    return slash + rest if good else None


def is_last(head: bytes) -> bool:
    """True for a request that ends with its head, and whose peer sends nothing after it: it has
    said so (RFC 9112 §9.6), or speaks HTTP/1.0 and has not asked to go on (§9.3)."""
    end = head.find(b"\r\n\r\n")
    if end != len(head) - 4 or not head.startswith(b"GET "):
        return False
    fields = head.lower()
    if b"\r\ncontent-length:" in fields or b"\r\ntransfer-encoding:" in fields:
        return False
    return b"\r\nconnection: close\r\n" in fields or (
        head[:head.index(b"\r\n")].endswith(b" HTTP/1.0") and b"\r\nconnection:" not in fields)


def visit(head: bytes, status: int) -> Visit | None:
    """Return what is told of a request that was answered so, None if it was for no challenge."""
    words = request_line(head).split(b" ")
    target = words[1] if len(words) > 1 else b""
    path = _path(target)
    if not (target if path is None else path).startswith(_PREFIX):
        return None
    return Visit(status, plain_host(_host_of(head).decode("ascii")))


def _host_of(head: bytes) -> bytes:
    """Return the value of the first Host field that can be shown; b"" if there is none."""
    lower = head.lower()
    at = lower.find(_HOST)
    while at >= 0:
        begin = at + len(_HOST)
        at = head.find(b"\r\n", begin)
        if at >= 0 and _are(value := head[begin:at], _VISIBLE + b"\t"):
            return value
        at = lower.find(_HOST, at) if at >= 0 else -1
    return b""


def _look_up(target: bytes, find: Find) -> Answer:
    """Answer a target in origin-form or absolute-form (RFC 9112 §3.2); of which host, is no
    matter: whoever validates a name asks under that name."""
    if target[:7].lower() == b"http://":
        path = _path(target)
        if path is None:
            return Answer(400)
        target = path
    token = target.removeprefix(_PREFIX).decode("ascii")
    if not target.startswith(_PREFIX) or not is_token(token):
        return Answer(404)
    body = find(token)
    return Answer(404) if body is None else Answer(200, body)


def render(answer: Answer, head_only: bool) -> bytes:
    """Return the response (RFC 9112 §4) to a GET, or with ``head_only`` to a HEAD request.

    Nothing of the request is ever part of it.
    """
    status, body = answer
    reason = _REASONS[status]
    media_type = "application/octet-stream"  # as RFC 8555 §8.3 wishes
    if status != 200:
        media_type, body = "text/plain", f"{status} {reason}\n".encode()
    allow = "Allow: GET, HEAD\r\n" if status == 405 else ""   # RFC 9110 §15.5.6
    head = (f"HTTP/1.1 {status} {reason}\r\nServer: letsencrypt-tiny\r\n"
            f"Date: {_date(int(time.time()))}\r\nContent-Type: {media_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n{allow}\r\n")
    return head.encode() + (b"" if head_only else body)


@functools.lru_cache(1)
def _date(now: int) -> str:
    """Return a moment, Unix time, as HTTP has it (RFC 9110 §5.6.7)."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
