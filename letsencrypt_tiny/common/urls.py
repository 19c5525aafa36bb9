"""https URLs and proxies: one grammar for all who judge one (RFC 3986, RFC 9110 §4.2.2).

What has several spellings is normalized (case of scheme and host, default port, RFC 3986 §6.2),
what has several readings is refused: userinfo, fragments, backslashes, empty labels, a final dot,
numbers that only look like an address.  A ValueError says what is wrong, without the URL.
"""

import re
from functools import lru_cache
from typing import NamedTuple

MAX_URL = 2048   # characters

_URL = re.compile(r"https://([^/?#]*)(/[^?#]*)?(\?[^#]*)?\Z", re.I | re.A)
_PROXY = re.compile(r"(?:http://)?(?:([!-.0-?A-~]*)@)?([^/?#@]*)/?\Z", re.I | re.A)
# pchar, "/" and "?" (RFC 3986 §3.3, §3.4); brackets, which are none, are let pass
_TARGET = re.compile(r"(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*\Z")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?\Z", re.A)
# Letters, digits and hyphens (RFC 1123 §2.1); inside a network the underscore, too
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# What inet_aton(3) reads as (the last part of) an address
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")


class Url(NamedTuple):
    """An https URL, taken apart and normalized."""

    host: str      # lower case; an IPv6 address without brackets
    port: int
    target: str    # path and query as they were given, at least "/"

    @property
    def authority(self) -> str:
        """The host, and the port where it isn't 443, as in the Host field (RFC 9110 §7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: https://HOST[:PORT] (RFC 6454 §6.2)."""
        return f"https://{self.authority}"


class Proxy(NamedTuple):
    """An HTTP proxy that tunnels (CONNECT, RFC 9110 §9.3.6)."""

    host: str
    port: int
    userinfo: str = ""   # USER[:PASSWORD], percent-encoded as it was given


@lru_cache(64)   # a request's is looked at by one after the other, an account's with each request
def parse(text: str) -> Url:
    """Take an https URL apart; raises ValueError."""
    if len(text) > MAX_URL:
        raise ValueError(f"longer than {MAX_URL} characters")
    match = _URL.match(text)
    if match is None:
        raise ValueError("not an https URL" + (" without fragment" if "#" in text else ""))
    if "@" in match.group(1):
        raise ValueError("not an https URL without user name")
    target = (match.group(2) or "/") + (match.group(3) or "")
    if not _TARGET.match(target):
        raise ValueError("not an https URL: it holds a character that RFC 3986 does not allow")
    host, port = _split(match.group(1), 443)
    return Url(host, port, target)


def parse_origin(text: str) -> str:
    """Return an origin in its canonical form (RFC 6454 §6.2): an https URL without path and
    query, in whatever spelling.  Raises ValueError.
    """
    url = parse(text)
    if url.target != "/":
        raise ValueError("it has a path or a query")
    return url.origin


def parse_origins(text: str) -> list[str]:
    """Return the origins between commas and white space, each once; raises ValueError."""
    found: dict[str, None] = {}
    for word in text.replace(",", " ").split():
        try:
            found[parse_origin(word)] = None
        except ValueError as exc:
            raise ValueError(f"“{word}” is not https://HOST[:PORT]: {exc}") from exc
    return list(found)


def parse_proxy(text: str) -> Proxy:
    """Take [http://][USER[:PASSWORD]@]HOST[:PORT] apart; raises ValueError, without password."""
    match = _PROXY.match(text) if len(text) <= MAX_URL else None
    if match is None:
        raise ValueError("not of the form http://[USER:PASSWORD@]HOST:PORT")
    host, port = _split(match.group(2), 80)
    return Proxy(host, port, match.group(1) or "")


@lru_cache(16)   # a CA has one or two
def _split(authority: str, default_port: int) -> tuple[str, int]:
    # lower() would make a k of the Kelvin sign
    match = _AUTHORITY.match(authority) if authority.isascii() else None
    if match is None:
        raise ValueError("not a host name or address with an optional port")
    digits = match.group(2) or str(default_port)   # an empty port is the default's (§6.2.3)
    port = int(digits) if len(digits) <= 5 else 0
    if not 0 < port < 65536:
        raise ValueError("its port is not a number from 1 to 65535")
    host = match.group(1).lower()
    if host.startswith("["):
        return _ipv6(host[1:-1]), port
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.match, labels)):
        raise ValueError("its host is not a host name or address" if host else "it has no host")
    if _NUMBER.match(labels[-1]) and not _is_ipv4(labels):
        raise ValueError("its host ends in a number and is not an IPv4 address")
    return host, port


def _is_ipv4(labels: list[str]) -> bool:
    return len(labels) == 4 and all(
        label.isdigit() and len(label) <= 3 and int(label) < 256 and label == str(int(label))
        for label in labels)


def _ipv6(text: str) -> str:
    import socket
    try:
        return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text))
    except (OSError, ValueError):
        raise ValueError("its host is not an IPv6 address in brackets") from None
