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


# Who issues for the Internet, by the end of the directory's host
_PUBLIC = ("letsencrypt.org", "pki.goog", "zerossl.com", "ssl.com", "buypass.com", "buypass.no",
           "actalis.com")


def is_public(server: str) -> bool:
    """True if the CA with the directory at this URL is known to certify public names only."""
    host = server.partition("://")[2].partition("/")[0].partition(":")[0].lower()
    return any(host == name or host.endswith(f".{name}") for name in _PUBLIC)


def parse_identifier(text: str, public: bool = True) -> Identifier:
    """Return the ACME identifier for a host name or an IP address; raises ValueError.

    Host names in lower case, addresses as RFC 5952 writes them (RFC 8555 §7.1.4, RFC 8738 §3).
    A ``public`` CA certifies no name of one label or with an underscore; others may.
    """
    try:
        return _parse(text, public)
    except ValueError:
        _explain(text, public)
        raise


def _parse(text: str, public: bool) -> Identifier:
    try:
        name = names.a_label(text).lower()
        name = text if name == text else name   # one string, not two
    except ValueError as exc:
        raise ValueError(f"“{text}”: {exc}") from None
    if names.looks_like_address(name):
        try:
            if not text.isascii():   # digits of other scripts
                raise ValueError
            return "ip", names.address(name)
        except ValueError:
            raise ValueError(f"“{text}” is not an IP address") from None
    if names.is_dns(name) and not (public and ("." not in name or "_" in name)):
        return "dns", name
    if name.endswith("."):
        raise ValueError(f"“{text}”: write it without the final dot")
    if names.is_dns(name) and "." not in name:
        raise ValueError(f"“{text}” has one label only: no public CA signs it")
    if names.is_dns(name):
        raise ValueError(f"“{text}” has an underscore: no public CA signs it")
    raise ValueError(f"“{text}” is not a host name (letters, digits, hyphens and dots; RFC 1123)")


def _explain(text: str, public: bool) -> None:
    """Raise ValueError for what is a name but for something around it, which it tells."""
    host, what = text, ""
    if match := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@]*@)?([^/?#]*)", text):
        host, what = match.group(1), "a URL"
    elif match := re.match(r"(?:DNS|IP):(.+)\Z", text):
        host, what = match.group(1), "in openssl's notation, for subjectAltName"
    elif match := re.match(r"([^/@]+)/.*\Z", text):
        host, what = match.group(1), "a name and a path"
    elif match := re.match(r"[^@]+@(.+)\Z", text):
        host, what = match.group(1), "an address of mail"
    if match := re.match(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(:[0-9]*)?\Z", host):
        what = what or ("a name and a port" if match.group(2) else
                        "an address in brackets" if host.startswith("[") else "")
        host = match.group(1).strip("[]")
    if what:
        try:
            _, host = _parse(host, public)
        except ValueError:   # nor is what is left a name
            return
        raise ValueError(f"“{text}” is {what}, but a certificate is for a name alone: “{host}”")


def name_list(text: str, public: bool = True) -> tuple[Identifier, ...]:
    """Parse names and addresses between commas or white space."""
    return tuple(parse_identifier(word, public) for word in text.replace(",", " ").split())


def alternative_names(text: str, public: bool = True) -> tuple[Identifier, ...]:
    """Parse DNS:NAME and IP:ADDRESS between commas, as in openssl's subjectAltName."""
    return tuple(_alternative_name(word, public) for word in text.replace(",", " ").split())


def _alternative_name(item: str, public: bool) -> Identifier:
    kind, colon, value = item.partition(":")
    if kind not in ("DNS", "IP") or not colon:
        raise ValueError(f"“{item}” is not DNS:NAME or IP:ADDRESS")
    identifier = parse_identifier(value, public)
    if identifier[0] != kind.lower():
        raise ValueError(f"“{value}” is no {kind} name")
    return identifier


def parse_subject(text: str, public: bool = True) -> tuple[tuple[str, str], ...]:
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
        if kind == "CN" and not value.isascii():   # also of scripts that have more than letters
            value = _common_name(value, public)
        if not re.match(_SUBJECT_VALUE, value):
            raise ValueError(f"“{item}” is not TYPE=VALUE (letters, digits, spaces and . , : @ ' "
                             "( ) & * ! ? - _ , 64 characters at most)")
        if kind == "CN":
            value = _common_name(value, public)
        pairs.append((kind, value))
    return tuple(pairs)


def _common_name(text: str, public: bool) -> str:
    """Return a CN as it was written or, if it is in Unicode, in A-labels."""
    _, name = parse_identifier(text, public)
    if text.isascii():
        return text
    if len(name) > 64:   # ub-common-name (RFC 5280 §A.1)
        raise ValueError(f"“{text}”: {name} has more than 64 characters; leave it to names")
    return name


def common_names(subject: tuple[tuple[str, str], ...]) -> tuple[Identifier, ...]:
    """Return the identifiers among the values of ``subject``."""
    return tuple(parse_identifier(value, False) for kind, value in subject if kind == "CN")
