"""How to reach one https origin: URL, proxy, addresses, TLS settings.

Names are resolved once, before the process confines itself; afterwards only these
addresses are connected to.
"""

import binascii
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from ..common import log, paths, urls
from ..common.errors import ConfigError, Error, ProtocolError
from ..common.urls import Proxy, Url
from ..common.wire.access import Access

_TLS_VERSIONS = {"TLSv1": ssl.TLSVersion.TLSv1, "TLSv1.0": ssl.TLSVersion.TLSv1,
                 "TLSv1.1": ssl.TLSVersion.TLSv1_1, "TLSv1.2": ssl.TLSVersion.TLSv1_2,
                 "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class TransportError(Error):
    """The server could not be reached, or not in time."""


class CutOff(TransportError):
    """The connection ended before the answer was complete: whether it was heeded is not known."""


class NoAnswer(TransportError):
    """No complete answer came in time: whether the request was heeded is not known."""


def parse_url(url: str, what: str) -> Url:
    """Take an https URL apart; raises ProtocolError naming ``what`` for anything else."""
    try:
        return urls.parse(url)
    except ValueError as exc:
        reason = str(exc)
        if not reason.startswith("not an https URL"):
            reason = f"not an https URL: {reason}"
        raise ProtocolError(f"{what} is {reason}: “{log.printable(url, 200)}”") from None


def parse_proxy(setting: str) -> Proxy:
    """Take ``http://[user:password@]host[:port]`` apart; raises ConfigError.

    The message doesn't repeat the setting: it may hold a password.
    """
    try:
        return urls.parse_proxy(setting)
    except ValueError as exc:
        reason = str(exc)
        if not reason.startswith("not "):
            reason = f"not usable: {reason}"
        raise ConfigError(f"the proxy for https is {reason}") from None


def proxy_authorization(proxy: Proxy) -> str | None:
    """Return the value of Proxy-Authorization (RFC 7617 §2), None without a user."""
    if not proxy.userinfo:
        return None
    user, _, password = proxy.userinfo.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return "Basic " + binascii.b2a_base64(pair, newline=False).decode("ascii")


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
    context.hostname_checks_common_name = False          # RFC 9525 §2
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
