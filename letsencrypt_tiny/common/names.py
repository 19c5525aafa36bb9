"""Host names and addresses as a certificate has them: one grammar (RFC 1123 §2.1, RFC 5890).

Inside a network labels have underscores, too (RFC 2181 §11), and a name may have but one label:
whether to certify such is the CA's business.

Canonical are lower case and the addresses' form of RFC 5952 (RFC 8555 §7.1.4, RFC 8738 §3).
"""

import re

MAX_NAME = 253   # characters

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# What ends in a number is an address, or nothing
_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}\Z")

# A name with A-labels in a message: not in a URL, nor behind its Unicode form
_WITH_A_LABEL = r"(?<![\w./@:(*-])(?:\*\.)?(?:[a-z0-9_-]+\.)*xn--[a-z0-9.-]*[a-z0-9]"

Identifier = tuple[str, str]   # ("dns" | "ip", value), RFC 8555 §9.7.7, RFC 8738 §3


def is_dns(value: str) -> bool:
    """True for a canonical host name, of however many labels, or a wildcard of one."""
    return len(value) <= MAX_NAME and _NAME.match(value) is not None


def looks_like_address(value: str) -> bool:
    """True for what no host name can be: it has a colon, or nothing but digits and dots."""
    return ":" in value or bool(value) and value.replace(".", "").isdecimal() and value.isascii()


def address(value: str) -> str:
    """Return an IP address in its canonical form; raises ValueError."""
    import ipaddress
    if "%" in value:   # a zone (RFC 4007 §11), of any characters
        raise ValueError("an address with a zone")
    return str(ipaddress.ip_address(value))


def is_identifier(identifier: tuple[object, object]) -> bool:
    """True for a canonical host name or address with its type."""
    kind, value = identifier
    if not isinstance(value, str):
        return False
    if kind == "ip":
        try:
            return address(value) == value
        except ValueError:
            return False
    return kind == "dns" and is_dns(value)


def in_zone(name: str, zone: str) -> bool:
    """True if a name is that of a zone, or below it; every name is in the zone ""."""
    return not zone or name == zone or name.endswith("." + zone)


def a_label(name: str) -> str:
    """Return a host name written in Unicode as certificates have it (RFC 5890, UTS 46), in lower
    case; what is ASCII stays as it is.  Raises ValueError, also without python3-idna."""
    if name.isascii():
        return name
    try:
        import idna
    except ImportError:
        raise ValueError("an internationalized name needs the Debian package python3-idna, or to "
                         "be written in its A-label form (xn--…)") from None
    wildcard = "*." if name.startswith("*.") else ""
    try:
        if len(name) > MAX_NAME:   # A-labels are no shorter; and idna takes its time
            raise UnicodeError(f"more than {MAX_NAME} characters")
        return wildcard + idna.encode(name.removeprefix("*."), uts46=True).decode("ascii")
    except UnicodeError as exc:   # of idna's own kinds, too
        raise ValueError(f"no internationalized name (RFC 5891, UTS 46): {exc}") from None


def shown(name: str) -> str:
    """Return a host name for people: with A-labels also in Unicode, as far as that is known."""
    if "xn--" not in name or not is_dns(name):   # idna takes its time for what is too long
        return name
    try:
        import idna
        text = idna.decode(name.removeprefix("*."))
    except (ImportError, UnicodeError):
        return name
    return f"{'*.' if name.startswith('*.') else ''}{text} ({name})"


def shown_in(text: str) -> str:
    """Return a message with each name in it as ``shown``."""
    return re.sub(_WITH_A_LABEL, lambda match: shown(match[0]), text) if "xn--" in text else text
