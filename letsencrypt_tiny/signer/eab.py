"""External accounts (RFC 8555 §7.3.4): their MAC keys, which never leave here.

A section ``[eab KID]`` of accountd.conf is one: what a CA gave a customer, so that an account
can be tied to him.  No message, log or representation of an object holds any of a key.
"""

import os
import stat
from collections.abc import Callable

from ..common import specifiers
from ..common.errors import ConfigError, ProtocolError
from ..common.inifile import Settings
from ..common.wire import jose
from ..common.wire.inner import MAC_ALGORITHMS, is_kid

SETTINGS = ("key", "key-file", "algorithm")
PREFIX = "eab "
MAX_KEY = 1024      # bytes, of which no CA has so many
_LEAST = 16         # bytes; RFC 7518 §3.2 wants 32, and more for the others


class Binding:
    """The MAC key of one external account; ``kid`` is what the CA calls that."""

    __slots__ = ("kid", "algorithm", "_mac")

    def __init__(self, kid: str, algorithm: str, key: bytes) -> None:
        """``algorithm`` is of MAC_ALGORITHMS."""
        from hmac import digest   # once confined it is too late
        name = f"sha{algorithm[2:]}"
        self.kid, self.algorithm = kid, algorithm
        self._mac: Callable[[bytes], bytes] = lambda data: digest(key, data, name)
        self.mac(b"letsencrypt-tiny")    # loads what is loaded on first use

    def mac(self, data: bytes) -> bytes:
        """Return the MAC of a signing input (RFC 7518 §3.2)."""
        return self._mac(data)


def read(section: Settings) -> Binding:
    """Return what a section ``[eab KID]`` says; raises ConfigError."""
    kid = section.name.removeprefix(PREFIX).strip()
    if not is_kid(kid):
        raise ConfigError(f"{section.file}: [{section.name}]: what follows “eab” is no key "
                          "identifier: 1 to 200 letters, digits and . _ ~ + / = : @ -")
    section.allow_only(SETTINGS)
    algorithm = section.choice("algorithm", MAC_ALGORITHMS, MAC_ALGORITHMS[0])
    return Binding(kid, algorithm, _key(section))


def _key(section: Settings) -> bytes:
    text, file = section.text("key"), section.text("key-file")
    if bool(text) == bool(file):
        raise ConfigError(f"{section.where}: " + (
            "key and key-file exclude each other" if text else
            "key is missing: the MAC key that the CA gave with this key identifier, in "
            "base64url, or key-file"))
    if text:
        _check_private(f"{section.where}: key", section.file)
        return _decode(f"{section.where}: key", text)
    try:
        path = specifiers.expand(file)
    except ConfigError as exc:
        raise ConfigError(f"{section.where}: key-file: {exc}") from exc
    where = f"{section.where}: key-file = {path}"
    _check_private(where, path)
    try:
        with open(path, "rb", buffering=0) as source:
            data = source.read(2 * MAX_KEY) or b""
    except OSError as exc:
        raise ConfigError(f"{where}: {exc.strerror}") from exc
    return _decode(where, data.decode("latin-1").strip())


def _check_private(where: str, path: str) -> None:
    """A file that holds a key is nobody's to read but its owner's and group's."""
    try:
        info = os.stat(path)
    except OSError as exc:
        raise ConfigError(f"{where}: {exc.strerror}") from exc
    if stat.S_ISREG(info.st_mode) and info.st_mode & 0o007:
        raise ConfigError(f"{where}: everybody can use the MAC key in {path} (chmod o= it; whoever "
                          "runs letsencrypt-tiny-accountd must own it or be in its group)")


def _decode(where: str, text: str) -> bytes:
    """Decode base64url with or without padding; what is wrong is said without the text."""
    try:
        key = jose.decode(text.rstrip("=").encode("ascii"))
    except (ProtocolError, UnicodeEncodeError):
        raise ConfigError(f"{where}: not base64url (RFC 4648 §5)") from None
    if not _LEAST <= len(key) <= MAX_KEY:
        raise ConfigError(f"{where}: {len(key)} bytes, where a MAC key has {_LEAST} to {MAX_KEY}")
    return key
