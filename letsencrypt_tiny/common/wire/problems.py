"""Problem documents (RFC 7807, RFC 8555 §6.7): what the server says went wrong.

Pure functions: no I/O here.
"""

import re
from typing import NamedTuple

from ..log import printable
from .jsonfields import JsonObject

# Of the RFC, and of the drafts before it
NAMESPACES = ("urn:ietf:params:acme:error:", "urn:acme:error:")
MAX_SUBPROBLEMS = 1000      # parsed
SHOWN_SUBPROBLEMS = 20      # named one by one in a message
MAX_TEXT = 8000             # characters of a message
MAX_WORDS = 160             # characters shown of a page that is no problem document

# What isn't read: elements whose content isn't shown, comments, tags
_MARKUP = re.compile(r"<(style|script)\b.*?</\1\s*>|<!--.*?-->|<[^<>]*>", re.S | re.I)


class Problem(NamedTuple):
    """One problem; callers branch on ``type``, never on ``detail``."""

    type: str                       # without the namespace: "badNonce", "rateLimited" …
    detail: str = ""
    status: int = 0                 # of HTTP, 0 if unknown
    identifier: str = ""            # in a subproblem (§6.7.1)
    subproblems: tuple["Problem", ...] = ()
    instance: str = ""              # a URL with more about it (§7.3.3)

    def text(self) -> str:
        """Return one line for the administrator: detail, type, and each subproblem."""
        parts = [self._own_text()]
        parts += [subproblem._own_text() for subproblem in self.subproblems[:SHOWN_SUBPROBLEMS]]
        if len(self.subproblems) > SHOWN_SUBPROBLEMS:
            parts.append(f"and {len(self.subproblems) - SHOWN_SUBPROBLEMS} more")
        return printable("; ".join(parts), MAX_TEXT)

    def _own_text(self) -> str:
        name = printable(self.identifier, 300) + ": " if self.identifier else ""
        detail = printable(self.detail, 2000)
        status = f"HTTP status {self.status}"
        if not detail:
            return name + (printable(self.type, 200) or status)
        if self.type:
            return f"{name}{detail} ({printable(self.type, 200)})"
        return f"{name}{status}: {detail}" if self.status else name + detail


def from_text(body: bytes, status: int) -> Problem:
    """Make a Problem of the page that somebody before the server sent: its first words."""
    page = body[:65536].decode("utf-8", "replace")
    words = " ".join(_MARKUP.sub(" ", page).split())
    return Problem("", words if len(words) <= MAX_WORDS else words[:MAX_WORDS] + "…", status)


def parse(value: object, status: int = 0) -> Problem:
    """Make a Problem of a JSON object; what is malformed in it is left out, never an error.

    (A server that complains badly must not hide what it complains about.)
    """
    obj: JsonObject = value if isinstance(value, dict) else {}
    found = obj.get("subproblems")
    subproblems = tuple(_parse_one(item, 0) for item in found[:MAX_SUBPROBLEMS]
                        if isinstance(item, dict)) if isinstance(found, list) else ()
    return _parse_one(obj, status)._replace(subproblems=subproblems)


def _parse_one(obj: JsonObject, status: int) -> Problem:
    kind, detail, own = obj.get("type"), obj.get("detail"), obj.get("status")
    if not isinstance(kind, str) or kind == "about:blank":
        kind = ""
    for namespace in NAMESPACES:
        kind = kind.removeprefix(namespace)
    instance = obj.get("instance")
    identifier = obj.get("identifier")
    name = identifier.get("value") if isinstance(identifier, dict) else None
    return Problem(type=kind[:200], detail=detail[:4096] if isinstance(detail, str) else "",
                   status=status or (own if isinstance(own, int) and 0 < own < 600 else 0),
                   identifier=name[:300] if isinstance(name, str) else "",
                   instance=instance[:2048] if isinstance(instance, str) else "")
