"""Text -> value: what settings say of addresses and TLS.

Each parser raises ValueError, with a message that goes on after “setting = value: ”.
"""

import os
import re
from typing import NamedTuple

from ...common import paths
from ...common.wire.access import MAX_ORIGINS

HTTP_PORT = 80
TLS_PORT = 443
TLS_VERSIONS = ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3")

_PORT = r"(?::([0-9]{1,5}))?\Z"


class Address(NamedTuple):
    """An address to listen on."""

    family: int
    host: str                      # the path of a UNIX socket
    port: int = 0

    def __str__(self) -> str:
        import _socket as socket
        if self.family == socket.AF_UNIX:
            return self.host
        host = f"[{self.host}]" if self.family == socket.AF_INET6 else self.host
        return f"{host}:{self.port}"


def server(text: str) -> str:
    """Return the https URL of a directory: as it was given, or that of a CA by its name; or
    nothing."""
    if text in ("", paths.DIRECTORY_URL):   # what most have needs no judge, which costs time
        return text
    if "://" not in text:
        from .presets import PRESETS
        if text in PRESETS:
            return PRESETS[text].directory
    from ...common import urls
    try:
        urls.parse(text)
    except ValueError as exc:
        if "://" in text:
            raise
        from .presets import PRESETS
        raise ValueError(f"{exc}, nor one of {', '.join(PRESETS)}") from None
    return text


def origins(text: str) -> tuple[str, ...]:
    """Parse https://HOST[:PORT] between commas or spaces, in whatever spelling."""
    if not text:
        return ()
    from ...common import urls
    found = urls.parse_origins(text)
    if len(found) > MAX_ORIGINS:
        raise ValueError(f"more than {MAX_ORIGINS} origins")
    return tuple(found)


def proxy(text: str) -> str:
    """Return an HTTP proxy, as it was given, or nothing."""
    if text:
        from ...common import urls
        urls.parse_proxy(text)
    return text


def listen(text: str) -> tuple[Address, ...] | None:
    """Parse ``auto`` (None), or IPV4[:PORT], [IPV6][:PORT] and /PATH between commas or spaces."""
    return _listen(text, HTTP_PORT)


def listen_tls(text: str) -> tuple[Address, ...] | None:
    """Parse the same, with the port of HTTPS where none is given; at least one address."""
    found = _listen(text, TLS_PORT)
    if found == ():
        raise ValueError("no address")
    return found


def _listen(text: str, port: int) -> tuple[Address, ...] | None:
    if text == "auto":
        return None
    return tuple(_address(word, port) for word in text.replace(",", " ").split())


def _address(word: str, default: int) -> Address:
    import _socket as socket   # which “auto” does not need; the rest of it takes 2 ms to load
    if word.startswith("/"):
        if len(os.fsencode(word)) > 107:   # sockaddr_un
            raise ValueError(f"“{word}” is too long for a UNIX socket (107 bytes)")
        return Address(socket.AF_UNIX, word)
    for family, pattern in ((socket.AF_INET, r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})"),
                            (socket.AF_INET6, r"\[([0-9A-Fa-f:.]{2,45})\]")):
        match = re.match(pattern + _PORT, word)
        if match is not None:
            port = int(match.group(2) or default)
            try:
                socket.inet_pton(family, match.group(1))
            except OSError:
                break
            if 0 < port < 65536:
                return Address(family, match.group(1), port)
    raise ValueError(f"“{word}” is not IPV4[:PORT], [IPV6][:PORT] or /PATH")


def host_port(text: str, default: int, name: bool = True) -> tuple[str, int]:
    """Parse HOST[:PORT]; HOST is an address, an IPv6 one in brackets if a port follows, or a
    ``name``."""
    from ...common import names
    match = re.match(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)|([0-9A-Fa-f:.]+\Z))" + _PORT, text)
    host = next(filter(None, match.groups()[:3]), "").lower() if match else ""
    port = int(match.group(4) or default) if match else 0
    try:
        host = names.address(host)
    except ValueError:
        if not name or not names.is_dns(host):
            host = ""
    if not host or not 0 < port < 65536:
        raise ValueError(f"“{text}” is not {'HOST' if name else 'ADDRESS'}[:PORT]")
    return host, port


def ciphers(text: str) -> str:
    """Return ``text`` if openssl knows a cipher by it (ciphers(1ssl))."""
    if text:
        import ssl
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(text)
        except ssl.SSLError:
            raise ValueError("openssl knows no cipher by that name") from None
    return text


# In lower case; no library of today speaks SSLv2 or SSLv3
_TLS_REFUSED: dict[str, tuple[str, ...]] = {
    "tlsv1": ("TLSv1",), "tlsv1_1": ("TLSv1_1",), "tlsv11": ("TLSv1_1",), "tlsv1_2": ("TLSv1_2",),
    "tlsv12": ("TLSv1_2",), "tlsv1_3": ("TLSv1_3",), "tlsv13": ("TLSv1_3",), "sslv2": (),
    "sslv3": ()}
_TLS_ALLOWED = {name: versions for name, versions in _TLS_REFUSED.items() if versions}
_TLS_ALLOWED.update({"sslv23": TLS_VERSIONS, "sslv2/3": TLS_VERSIONS})


def tls_versions(text: str) -> tuple[str, str]:
    """Return the least and greatest TLS version that ``text`` allows, two times "" if it's empty.

    The syntax is lacme's, IO::Socket::SSL's: one version such as ``TLSv1_2``, or ``SSLv23``
    (any) followed by ``:!VERSION`` for those to leave out, in any case.
    """
    if not text:
        return "", ""
    allowed: set[str] = set()
    for word in text.replace(",", ":").split(":"):
        refused = word.startswith("!")
        versions = (_TLS_REFUSED if refused else _TLS_ALLOWED).get(word.removeprefix("!").lower())
        if versions is None:
            raise ValueError(f"“{word}” is not SSLv23 or one of {', '.join(TLS_VERSIONS)}, "
                             "with “!” to leave it out")
        allowed = allowed.difference(versions) if refused else allowed.union(versions)
    indices = sorted(map(TLS_VERSIONS.index, allowed))
    if not indices:
        raise ValueError("allows no version of TLS")
    if indices != list(range(indices[0], indices[-1] + 1)):
        raise ValueError("leaves a gap between the versions it allows")
    least, greatest = (TLS_VERSIONS[indices[i]].replace("_", ".") for i in (0, -1))
    return least, greatest
