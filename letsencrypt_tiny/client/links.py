"""Link fields (RFC 8288): alternate chains, terms of service.

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
