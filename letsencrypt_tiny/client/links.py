"""Link fields (RFC 8288): alternate chains, terms of service; and URLs that are a part of one.

Read generously, as proxies and CAs write them: several in a field, parameters in any order and
spelling, junk between them.  What a link holds is judged by whoever follows it.
"""

import re
from collections.abc import Iterator

MAX_FIELD = 16384    # bytes of a field that are looked at
MAX_TARGET = 2048    # bytes of a URL

# link-value = "<" URI-Reference ">" *( OWS ";" OWS [ link-param ] ) (RFC 8288 §3)
_TARGET = re.compile(r"<([^<>]*)>")
# link-param = token BWS [ "=" BWS ( token / quoted-string ) ]
_PARAMETER = re.compile(r'\s*;\s*(?:([^\s=;,"<>]+)\s*'
                        r'(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?)?')
# path, query and fragment of a reference without scheme and authority (RFC 3986 §4.2)
_RELATIVE = re.compile(r"([^?#]*)(\?[^#]*)?(#.*)?\Z", re.S)
_BASE = re.compile(r"([^/?#]*:)(//[^/?#]*)([^?#]*)(\?[^#]*)?")


def join(base: str, reference: str) -> str:
    """Return what a reference without a scheme means in the answer of the URL ``base`` (RFC 3986
    §5.2)."""
    match, relative = _BASE.match(base), _RELATIVE.match(reference)
    if match is None or relative is None:
        return reference
    scheme, authority, above, asked = (part or "" for part in match.groups())
    if reference.startswith("//"):
        return scheme + reference
    path, query, fragment = (part or "" for part in relative.groups())
    if not path:
        return scheme + authority + above + (query or asked) + fragment
    if not path.startswith("/"):
        path = above.rpartition("/")[0] + "/" + path
    return scheme + authority + _without_dots(path) + query + fragment


def _without_dots(path: str) -> str:
    """Return a path from the root on without “.” and “..” (RFC 3986 §5.2.4)."""
    parts = path.split("/")[1:]
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def find(fields: tuple[str, ...], relation: str) -> list[str]:
    """Return the URLs, or parts of one, that Link fields name with a relation, each once.

    Those that say of something else what it is related to (“anchor”, §3.2) are left out.
    """
    found: dict[str, None] = {}
    for field in fields:
        for target, parameters in _links(field[:MAX_FIELD]):
            if relation in parameters.get("rel", "").lower().split() \
                    and "anchor" not in parameters and 0 < len(target) <= MAX_TARGET:
                found[target] = None
    return list(found)


def _links(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield target and parameters of each link in a field; of several of a name the first (§3.3).
    """
    start = _TARGET.search(field)
    while start is not None:
        parameters: dict[str, str] = {}
        at = start.end()
        while (match := _PARAMETER.match(field, at)) is not None:
            name, quoted, token = match.groups()
            if name:
                value = token or "" if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters.setdefault(name.lower(), value)
            at = match.end()
        yield start.group(1).strip(), parameters
        start = _TARGET.search(field, at)
