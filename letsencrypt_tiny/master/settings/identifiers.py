"""Text -> names: what a certificate is for, in our notation and in openssl's.

Each parser raises ValueError, with a message that goes on after “setting = value: ”.
"""

import re

from ...common import names
from ...common.names import Identifier

# openssl's names of attribute types; it would skip an unknown one (RFC 4514 §3, RFC 5280 §A.1)
SUBJECT_TYPES = ("CN", "C", "ST", "L", "O", "OU", "street", "postalCode", "DC", "UID",
                 "emailAddress", "serialNumber", "GN", "SN", "title", "description",
                 "businessCategory", "organizationIdentifier",
                 "jurisdictionC", "jurisdictionST", "jurisdictionL")
_LONG_TYPES = {"commonName": "CN", "countryName": "C", "stateOrProvinceName": "ST",
               "localityName": "L", "organizationName": "O", "organizationalUnitName": "OU",
               "givenName": "GN", "surname": "SN"}
_SUBJECT_VALUE = r"[\w .,:@'()&*!?-]{1,64}\Z"   # no slash, backslash, equals, dollar


def parse_identifier(text: str) -> Identifier:
    """Return the ACME identifier for a host name or an IP address; raises ValueError.

    Host names in lower case, addresses as RFC 5952 writes them (RFC 8555 §7.1.4, RFC 8738 §3).
    A certificate's name has two labels at least.
    """
    if not text.isascii():
        raise ValueError(f"“{text}”: write an internationalized name in its A-label form (xn--…)")
    name = text.lower()
    if names.looks_like_address(name):
        try:
            return "ip", names.address(name)
        except ValueError:
            raise ValueError(f"“{text}” is not an IP address") from None
    if name.startswith("*."):
        raise ValueError(f"“{text}”: a wildcard needs the dns-01 challenge, "
                         "which is not supported; list the names")
    if "." in name and names.is_dns(name):
        return "dns", name
    if name.endswith("."):
        raise ValueError(f"“{text}”: write it without the final dot")
    if "." not in name:
        raise ValueError(f"“{text}” has one label only: no public CA signs it")
    raise ValueError(f"“{text}” is not a host name (letters, digits, hyphens and dots; RFC 1123)")


def name_list(text: str) -> tuple[Identifier, ...]:
    """Parse names and addresses between commas or white space."""
    return tuple(map(parse_identifier, text.replace(",", " ").split()))


def alternative_names(text: str) -> tuple[Identifier, ...]:
    """Parse DNS:NAME and IP:ADDRESS between commas, as in openssl's subjectAltName."""
    return tuple(map(_alternative_name, text.replace(",", " ").split()))


def _alternative_name(item: str) -> Identifier:
    kind, colon, value = item.partition(":")
    if kind not in ("DNS", "IP") or not colon:
        raise ValueError(f"“{item}” is not DNS:NAME or IP:ADDRESS")
    identifier = parse_identifier(value)
    if identifier[0] != kind.lower():
        raise ValueError(f"“{value}” is no {kind} name")
    return identifier


def parse_subject(text: str) -> tuple[tuple[str, str], ...]:
    """Parse ``/type0=value0/type1=value1/…``, of which a CN must be a name; raises ValueError."""
    if not text or text == "/":
        return ()
    if not text.startswith("/"):
        raise ValueError("does not begin with a slash")
    pairs = []
    for item in text[1:].split("/"):
        kind, _, value = item.partition("=")
        kind = _LONG_TYPES.get(kind, kind)
        if kind not in SUBJECT_TYPES:
            raise ValueError(f"“{kind}” is not one of {', '.join(SUBJECT_TYPES)}")
        if not re.match(_SUBJECT_VALUE, value):
            raise ValueError(f"“{item}” is not TYPE=VALUE (letters, digits, spaces and . , : @ ' "
                             "( ) & * ! ? - _ , 64 characters at most)")
        if kind == "CN":
            parse_identifier(value)
        pairs.append((kind, value))
    return tuple(pairs)


def common_names(subject: tuple[tuple[str, str], ...]) -> tuple[Identifier, ...]:
    """Return the identifiers among the values of ``subject``."""
    return tuple(parse_identifier(value) for kind, value in subject if kind == "CN")
