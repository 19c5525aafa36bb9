"""Link fields (RFC 8288): alternate chains, terms of service."""

import re

# link-value = "<" URI-Reference ">" *( OWS ";" OWS link-param ) (RFC 8288 §3)
_LINK = re.compile(r'<([^<>"\s]{1,2048})>((?:\s*;\s*[A-Za-z0-9*-]+(?:=(?:"[^"]*"|[^\s";,]+))?)*)')
_RELATION = re.compile(r';\s*rel=(?:"([^"]*)"|([^\s";,]+))', re.I)


def find(fields: tuple[str, ...], relation: str) -> list[str]:
    """Return the URLs, or parts of one, that Link fields name with a relation."""
    found: list[str] = []
    for field in fields:
        for url, parameters in _LINK.findall(field):
            match = _RELATION.search(parameters)
            if match and relation in (match.group(1) or match.group(2)).lower().split():
                found.append(url)
    return found
