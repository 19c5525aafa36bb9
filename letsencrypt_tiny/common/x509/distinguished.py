"""A distinguished name as people read it (RFC 4514): ``CN=R11,O=Let's Encrypt,C=US``.

For showing only: what names are compared as is their DER.
"""

from functools import lru_cache

from .der import OID, SEQUENCE, SET, X509Error, each, elements, oid, only

# RFC 4514 §3, and what certificates have besides
_TYPES = {"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU",
          "2.5.4.6": "C", "2.5.4.9": "STREET", "0.9.2342.19200300.100.1.25": "DC",
          "0.9.2342.19200300.100.1.1": "UID", "2.5.4.5": "serialNumber",
          "1.2.840.113549.1.9.1": "emailAddress"}
_STRINGS = {0x0c: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1c: "utf-32-be",
            0x1e: "utf-16-be"}   # DirectoryString (RFC 5280 §4.1.2.4), IA5String
_WHAT = "name"


@lru_cache(256)   # there are few different ones, each in very many certificates
def text(name: bytes) -> str:
    """Return a Name (DER), its last part first (RFC 4514 §2.1); "" for one that is malformed."""
    try:
        sets = only(SEQUENCE, name, _WHAT)
        return ",".join("+".join(map(_attribute, each(SEQUENCE, relative, _WHAT)))
                        for relative in reversed(each(SET, sets, _WHAT))) if sets else ""
    except X509Error:
        return ""


def _attribute(attribute: bytes) -> str:
    tags, contents, _ = elements(attribute, _WHAT)
    if len(tags) != 2 or tags[:1] != OID:
        raise X509Error("malformed name")
    kind = oid(contents[0])
    try:
        value = contents[1].decode(_STRINGS.get(tags[1], ""))
    except (LookupError, ValueError):
        return f"{_TYPES.get(kind, kind)}=#{contents[1].hex()}"
    return f"{_TYPES.get(kind, kind)}={_escaped(value)}"


def _escaped(value: str) -> str:
    """Return a value as §2.4 has it."""
    shown = "".join(f"\\{char}" if char in '"+,;<>\\' else char if char.isprintable() else
                    "".join(f"\\{octet:02X}" for octet in char.encode("utf-8", "replace"))
                    for char in value)
    if shown[:1] in ("#", " "):
        shown = f"\\{shown}"
    return f"{shown[:-1]}\\ " if len(shown) > 1 and shown.endswith(" ") \
        and not shown.endswith("\\ ") else shown
