"""How to reach one https origin: URL, proxy, addresses, TLS settings.

Names are resolved once, before the process confines itself; afterwards only these
addresses are connected to.
"""

import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..common import log, paths
from ..common.errors import ConfigError, Error, ProtocolError
from ..common.wire.access import Access

_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]{2,45}\]"
# No userinfo, no fragment, nothing that would have to be normalized (RFC 3986 §3)
_URL = re.compile(rf"https://({_HOST})(?::([0-9]{{1,5}}))?"
                  r"(/[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?\Z")
_PROXY = re.compile(rf"(?:http://)?(?:([!-.0-?A-~]*)@)?({_HOST})(?::([0-9]{{1,5}}))?/?\Z")

_TLS_VERSIONS = {"TLSv1": ssl.TLSVersion.TLSv1, "TLSv1.0": ssl.TLSVersion.TLSv1,
                 "TLSv1.1": ssl.TLSVersion.TLSv1_1, "TLSv1.2": ssl.TLSVersion.TLSv1_2,
                 "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class TransportError(Error):
    """The server could not be reached, or not in time."""


class Url(NamedTuple):
    """An https URL, taken apart."""

    host: str      # lower case; an IPv6 address without brackets
    port: int
    target: str    # path and query

    @property
    def authority(self) -> str:
        """The host, and the port where it isn't 443, as in the Host field."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


class Proxy(NamedTuple):
    """An HTTP proxy that tunnels (CONNECT, RFC 9110 §9.3.6)."""

    host: str
    port: int
    authorization: str | None = None       # value of Proxy-Authorization


def parse_url(url: str, what: str) -> Url:
    """Take an https URL apart; raises ProtocolError naming ``what`` for anything else."""
    match = _URL.match(url) if len(url) <= 2048 else None
    if match is None:
        raise ProtocolError(f"{what} is not an https URL: “{log.printable(url, 200)}”")
    port = int(match.group(2) or 443)
    if not 0 < port < 65536:
        raise ProtocolError(f"{what} has an impossible port: “{log.printable(url, 200)}”")
    return Url(match.group(1).lower().strip("[]"), port, match.group(3) or "/")


def parse_proxy(setting: str) -> Proxy:
    """Take ``http://[user:password@]host[:port]`` apart; raises ConfigError.

    The message doesn't repeat the setting: it may hold a password.
    """
    match = _PROXY.match(setting)
    if match is None or not 0 < int(match.group(3) or 80) < 65536:
        raise ConfigError("the proxy for https is not of the form http://[user:password@]host:port")
    authorization = None
    if match.group(1) is not None:
        import binascii
        from urllib.parse import unquote_to_bytes
        user, _, password = match.group(1).partition(":")
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        authorization = "Basic " + binascii.b2a_base64(pair, newline=False).decode("ascii")
    return Proxy(match.group(2).strip("[]"), int(match.group(3) or 80), authorization)


def find_proxy(setting: str, url: Url, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for ``url``: the setting, else https_proxy unless no_proxy forbids it."""
    if setting:
        return parse_proxy(setting)
    value = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    if not value or _bypassed(url, environ.get("no_proxy", environ.get("NO_PROXY", ""))):
        return None
    return parse_proxy(value)


def _bypassed(url: Url, no_proxy: str) -> bool:
    """True if the list ``no_proxy`` names the host, a domain above it, or ``*``."""
    for entry in no_proxy.lower().replace(",", " ").split():
        name = entry.lstrip("*").lstrip(".")
        if entry == "*" or name in (url.host, f"{url.host}:{url.port}") or (
                name and url.host.endswith("." + name)):
            return True
    return False


def tls_context(access: Access) -> ssl.SSLContext:
    """Return the TLS settings, with the trusted CAs loaded; raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)    # verifies certificate and host name
    try:
        context.minimum_version = _TLS_VERSIONS[access.tls_minimum or "TLSv1.2"]
        if access.tls_maximum:
            context.maximum_version = _TLS_VERSIONS[access.tls_maximum]
        if access.ciphers:
            context.set_ciphers(access.ciphers)
    except KeyError as exc:
        raise ConfigError(f"unknown TLS version “{exc.args[0]}”: one of "
                          f"{', '.join(_TLS_VERSIONS)}") from exc
    except (ssl.SSLError, ValueError) as exc:
        raise ConfigError(f"openssl does not accept the TLS versions or ciphers: {exc}") from exc
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    ca_file = access.ca_file or paths.CA_BUNDLE
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"cannot load the trusted CAs from {ca_file}: "
                          f"{exc.strerror or exc} (setting ca-file)") from exc
    return context


class Route(NamedTuple):
    """How to reach the server, resolved."""

    url: Url
    proxy: Proxy | None
    addresses: tuple[Any, ...]    # of the proxy or server, as of socket.getaddrinfo

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that must be connected to."""
        return (self.url.port if self.proxy is None else self.proxy.port,)


def find_route(url: Url, proxy: Proxy | None) -> Route:
    """Resolve the name of the proxy or, without one, of the server; raises TransportError."""
    host, port = (url.host, url.port) if proxy is None else (proxy.host, proxy.port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise TransportError(f"cannot resolve {'the proxy ' if proxy else ''}{host}: {reason}"
                             ) from exc
    return Route(url, proxy, tuple(found))
