"""HTTP as far as a validation needs it (RFC 9112, RFC 8555 §8.3): a request head in, an answer out.

Pure: what a token's challenge file holds is asked of a function that is handed in.

Why not http.server: it parses every header with the email package, reads with a time limit for
each recv() rather than for the whole request, needs a thread for each connection, and takes
25 ms to import, more than all the rest.  A request line is all that matters here.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from ..common.wire.challenge import HTTP_PATH, is_token

MAX_HEAD = 8192        # bytes of a request line and its header fields

_PREFIX = HTTP_PATH.encode("ascii")
_VISIBLE = frozenset(range(0x20, 0x7F))
_VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            431: "Request Header Fields Too Large"}

# Key authorization of a token, None if there is none to give out
Find = Callable[[str], bytes | None]


class Answer(NamedTuple):
    """What a request is answered; ``body`` is the key authorization if ``status`` is 200."""

    status: int
    body: bytes = b""


def respond(head: bytes, find: Find) -> Answer | None:
    """Answer a request head, or return None as long as more of it must come.

    A request line that can't become a good one is refused at once (RFC 9112 §3).  The header
    fields have no influence on the answer: they are waited for, not looked at.
    """
    line, crlf, _ = head.partition(b"\r\n")
    if not _VISIBLE.issuperset(line if crlf else line.removesuffix(b"\r")):
        return Answer(400)
    if crlf:
        words = line.split(b" ")
        if len(words) != 3 or not all(words) or words[2] not in _VERSIONS:
            return Answer(400)
    if b"\r\n\r\n" not in head:
        return None if len(head) < MAX_HEAD else Answer(431)
    method, target, _ = words
    if method not in (b"GET", b"HEAD"):
        return Answer(405)
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
    fields = [f"HTTP/1.1 {status} {reason}",
              "Server: letsencrypt-tiny",
              time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
              f"Content-Type: {media_type}",
              f"Content-Length: {len(body)}",
              "Connection: close"]
    if status == 405:
        fields.append("Allow: GET, HEAD")  # RFC 9110 §15.5.6
    head = "\r\n".join(fields) + "\r\n\r\n"
    return head.encode() + (b"" if head_only else body)
