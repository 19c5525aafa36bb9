"""HTTP as far as a validation needs it (RFC 9112, RFC 8555 §8.3): a request head in, an answer out.

Pure: what a token's challenge file holds is asked of a function that is handed in.

Why not http.server: it parses every header with the email package, reads with a time limit for
each recv() rather than for the whole request, needs a thread for each connection, and takes
25 ms to import, more than all the rest.  A request line is nearly all that matters here.
"""

import functools
import re
import time
from collections.abc import Callable

from ..common.record import NamedTuple
from ..common.wire.challenge import HTTP_PATH, is_token
from ..common.wire.visits import Visit, plain_host

MAX_HEAD = 8192        # bytes of a request line and its header fields

_PREFIX = HTTP_PATH.encode("ascii")
_VISIBLE = frozenset(range(0x20, 0x7F))
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")   # ignored before a request line (RFC 9112 §2.2)
_REQUEST_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/1\.([01])\Z")
# token ":" field-value (RFC 9110 §5.1, §5.5); nothing of it is a continuation (RFC 9112 §5.2)
_FIELDS = re.compile(rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*)*\Z")
_HOSTS = re.compile(rb"\r\nhost:([^\r]*)", re.I)
_HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?"   # RFC 3986 §3.2.2
_HOST_FIELD = re.compile(rb"[ \t]*" + _HOST + rb"[ \t]*\Z")
# An http URI without a host is none (RFC 9110 §4.2.1)
_ABSOLUTE = re.compile(rb"http://(?!:|/|\Z)" + _HOST + rb"((?:/.*)?)\Z", re.I)
_HOST_VALUE = re.compile(rb"\r\nhost:([ -~\t]*)\r\n", re.I)
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
    return _EMPTY_LINES.sub(b"", head).partition(b"\r\n")[0]


def respond(head: bytes, find: Find) -> Answer | None:
    """Answer a request head, or return None as long as more of it must come.

    A request line that can't become a good one is refused at once (RFC 9112 §3).  The header
    fields have no influence on the answer, as long as they are well formed.
    """
    line, crlf, rest = _EMPTY_LINES.sub(b"", head).partition(b"\r\n")
    match = _REQUEST_LINE.match(line)
    if match is None and (crlf or not _VISIBLE.issuperset(line.removesuffix(b"\r"))):
        return Answer(400)
    fields, end, _ = (crlf + rest).partition(b"\r\n\r\n")
    if match is None or not end:
        return None if len(head) < MAX_HEAD else Answer(431)
    method, target, minor = match.groups()
    if not _are_good(fields, host_needed=minor == b"1"):
        return Answer(400)
    return Answer(405) if method not in (b"GET", b"HEAD") else _look_up(target, find)


def _are_good(fields: bytes, host_needed: bool) -> bool:
    """True for well-formed header fields, each after a CRLF, with one Host, or if not needed none
    (RFC 9112 §3.2)."""
    if _FIELDS.match(fields) is None:
        return False
    hosts = _HOSTS.findall(fields)
    return (host_needed <= len(hosts) <= 1
            and all(_HOST_FIELD.match(value) is not None for value in hosts))


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
    match = _ABSOLUTE.match(target)
    if not (match.group(1) if match else target).startswith(_PREFIX):
        return None
    host = _HOST_VALUE.search(head)
    return Visit(status, plain_host(host.group(1).decode("ascii")) if host else "")


def _look_up(target: bytes, find: Find) -> Answer:
    """Answer a target in origin-form or absolute-form (RFC 9112 §3.2); of which host, is no
    matter: whoever validates a name asks under that name."""
    if target[:7].lower() == b"http://":
        match = _ABSOLUTE.match(target)
        if match is None:
            return Answer(400)
        target = match.group(1)
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
