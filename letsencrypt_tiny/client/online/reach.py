"""Whether an address really reaches our responder: it is asked as a CA would ask it.

What answers is anybody's: time and size are limited, and of it nothing is shown but its status.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from ...common.errors import NO_ROUTE, Error, LocalProtocolError, ProtocolError
from ...common.log import printable
from ...common.names import Identifier
from ...common.wire import challenge
from .. import http
from ..stream import MAX_HEAD, Timed
from .asking import connect, hurry

HTTP, HTTPS = 80, 443
PATIENCE = 10.0           # seconds for one address, redirects included
MAX_BODY = 4096           # bytes
MAX_REDIRECTS = 10        # as Let's Encrypt has it
_REDIRECTS = (301, 302, 303, 307, 308)
# acmeIdentifier (RFC 8737 §3), critical, with 32 octets
_ACME_IDENTIFIER = bytes.fromhex("06082b0601050507011f0101ff04220420")


class Unreached(Error):
    """Nobody answers there."""

    no_route = False    # this machine has no way there at all


class Astray(Error):
    """Somebody else answers there."""


class Asked(NamedTuple):
    """What a CA would ask for."""

    identifier: Identifier
    token: str
    thumbprints: tuple[str, ...]    # of keys that the answer may be for; none: any's


def context() -> ssl.SSLContext:
    """Return TLS settings with which nothing is verified, as CAs do it (RFC 8555 §8.3)."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def acme_tls_context() -> ssl.SSLContext:
    """Return the same for tls-alpn-01 (RFC 8737 §3)."""
    made = context()
    made.set_alpn_protocols(["acme-tls/1"])
    return made


def http_host(identifier: Identifier) -> str:
    """Return the Host field that a CA sends (RFC 8738 §4)."""
    kind, value = identifier
    return f"[{value}]" if kind == "ip" and ":" in value else value


def http01(asked: Asked, address: str, tls: ssl.SSLContext,
           look_up: Callable[[str], Sequence[str]]) -> None:
    """Ask one address for the key authorization of the token (§8.3).

    Redirects are followed, to the same address or to where ``look_up`` says that another host
    is.  Raises Unreached or Astray.
    """
    deadline = time.monotonic() + PATIENCE
    url = f"http://{http_host(asked.identifier)}{challenge.HTTP_PATH}{asked.token}"
    first = urlsplit(url).hostname
    who = f"port {HTTP}"
    for _ in range(MAX_REDIRECTS + 1):
        where = urlsplit(url)
        there = address if where.hostname == first else _other(where.hostname or "", look_up)
        status, location, body = _fetch(there, url, tls, deadline, who)
        if status not in _REDIRECTS:
            _judge(asked, status, body, who)
            return
        url = _redirected(url, location)
        who = f"port {HTTP} redirects to {printable(url, 200)}, which"
    raise Astray(f"port {HTTP} redirects more than {MAX_REDIRECTS} times")


def _fetch(address: str, url: str, tls: ssl.SSLContext, deadline: float,
           who: str) -> tuple[int, str, bytes]:
    """GET a URL at an address; return status, Location and body."""
    where = urlsplit(url)
    target = where.path + (f"?{where.query}" if where.query else "")
    secure = where.scheme == "https"
    try:
        sock = connect((address, HTTPS if secure else HTTP), deadline)
    except OSError as exc:
        raise _unreached(who, exc) from exc
    try:
        if secure:
            hurry(sock, deadline)
            sock = tls.wrap_socket(sock, server_hostname=where.hostname)
        return _get(sock, where.netloc, target or "/", deadline)
    except OSError as exc:
        raise _mute(who, exc) from exc
    except (LocalProtocolError, ProtocolError, ValueError) as exc:
        raise Astray(f"{who} does not speak HTTP that makes sense") from exc
    finally:
        sock.close()


def _get(sock: socket.socket, host: str, target: str, deadline: float) -> tuple[int, str, bytes]:
    timed = Timed(sock, deadline)
    timed.begin(deadline, MAX_BODY + MAX_HEAD)
    timed.send(http.request("GET", target, (("Host", host), ("Accept", "*/*"),
                                            ("Connection", "close"))))
    found = http.receive(timed, "GET", MAX_BODY)
    location = next((value for name, value in found.fields if name == "location"), "")
    return found.status, location, found.body


def _unreached(who: str, exc: OSError) -> Unreached:
    error = Unreached(f"{who} can't be connected to ({_why(exc)})")
    error.no_route = exc.errno in NO_ROUTE
    return error


def _mute(who: str, exc: OSError) -> Astray:
    """No CA tries another address then."""
    return Astray(f"{who} accepts a connection, and no more ({_why(exc)})")


def _why(exc: OSError) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return printable(exc.strerror or exc, 200) or type(exc).__name__


def _redirected(url: str, location: str) -> str:
    """Return where to; raises Astray for what no CA follows."""
    try:
        given = urlsplit(location)
        sensible = location and location.isascii() and location.isprintable() \
            and " " not in location and not (given.scheme and not given.netloc)
        target = urljoin(url, location) if sensible else ""
        where = urlsplit(target)
        port = where.port
    except ValueError:
        target, port = "", None
    if not target or where.scheme not in ("http", "https") or not where.hostname \
            or port not in (None, HTTPS if where.scheme == "https" else HTTP) \
            or "@" in where.netloc:
        raise Astray(f"port {HTTP} redirects to {printable(location, 200) or 'nowhere'}, where no "
                     "CA goes")
    return target


def _other(host: str, look_up: Callable[[str], Sequence[str]]) -> str:
    """Return an address of another host that a redirect leads to.

    Whoever answers may not send us to our neighbours: only to addresses of the Internet.
    """
    for address in look_up(host):
        if ipaddress.ip_address(address).is_global:
            return address
    raise Astray(f"port {HTTP} redirects to {printable(host, 200)}, which has no address that a CA "
                 "goes to")


def _judge(asked: Asked, status: int, body: bytes, who: str) -> None:
    """The key authorization, and white space after it (§8.3), is ours; raises Astray."""
    if status != 200:
        raise Astray(f"{who} answers with HTTP status {status}")
    text = body.rstrip().decode("ascii", "replace")
    token, _, thumbprint = text.partition(".")
    if token != asked.token or not challenge.is_thumbprint(thumbprint):
        raise Astray(f"{who} answers, but something else than the challenge web server would")
    if asked.thumbprints and thumbprint not in asked.thumbprints:
        raise Astray(f"{who} answers for another account's key, with the thumbprint "
                     f"{thumbprint}")


def tls_alpn01(asked: Asked, address: str, tls: ssl.SSLContext) -> None:
    """Ask one address for the certificate with the digest of the key authorization (RFC 8737).

    Raises Unreached or Astray.
    """
    deadline = time.monotonic() + PATIENCE
    kind, value = asked.identifier
    name = ipaddress.ip_address(value).reverse_pointer if kind == "ip" else value   # RFC 8738 §6
    try:
        sock = connect((address, HTTPS), deadline)
    except OSError as exc:
        raise _unreached(f"port {HTTPS}", exc) from exc
    try:
        hurry(sock, deadline)
        with tls.wrap_socket(sock, server_hostname=name) as wrapped:
            chosen, certificate = wrapped.selected_alpn_protocol(), wrapped.getpeercert(True)
    except (ssl.SSLError, ValueError) as exc:
        raise Astray(f"port {HTTPS} does not do TLS for “acme-tls/1”") from exc
    except OSError as exc:
        raise _mute(f"port {HTTPS}", exc) from exc
    finally:
        sock.close()
    digests = [challenge.digest(challenge.key_authorization(asked.token, key))
               for key in asked.thumbprints]
    if chosen != "acme-tls/1":
        raise Astray(f"port {HTTPS} does not do TLS for “acme-tls/1”")
    if not any(_ACME_IDENTIFIER + digest in (certificate or b"") for digest in digests):
        raise Astray(f"port {HTTPS} answers, but something else than the challenge TLS server "
                     "would")
