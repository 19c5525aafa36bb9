"""What must be remembered between runs: small JSON files, replaced atomically.

``accounts.json`` holds the account URL of each directory; a file for each section what is
known of its certificate.  A state file that can't be read is as good as none: everything
in it can be found out again, at the cost of a request or an order.
"""

import os
from typing import Any, NamedTuple

from ...common import log
from ...common.errors import Error, ProtocolError
from ...common.wire.jsonfields import (dump, get_bool, get_int, get_optional_object,
                                       get_optional_str, parse_object)
from . import trusted as directories, files as store

MAX_SIZE = 256 << 10   # bytes
_ACCOUNTS = "accounts.json"


class SectionState(NamedTuple):
    """What is remembered of one section."""

    directory: str | None = None         # the URL of the directory that issued, or has the order
    order: str | None = None             # the URL of an unfinished order (RFC 8555 §7.1.3)
    order_key: str | None = None         # SHA-256 of the SubjectPublicKeyInfo it is for
    installing: bool = False             # a certificate was being installed
    notify: bool = False                 # a notification is not yet delivered
    not_before: int = 0                  # the server asked not to order again before (Unix time)


class State:
    """The state directory, opened lazily."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def section(self, name: str) -> SectionState:
        """Return what is remembered of the section ``name``."""
        obj = self._read(_filename(name))
        try:
            return SectionState(
                get_optional_str(obj, "directory"), get_optional_str(obj, "order"),
                get_optional_str(obj, "order_key"), get_bool(obj, "installing"),
                get_bool(obj, "notify"),
                get_int(obj, "not_before", 0, 1 << 40) if "not_before" in obj else 0)
        except ProtocolError as exc:
            log.debug(f"{self._directory}/{_filename(name)}: ignored: {exc}")
            return SectionState()

    def remember(self, name: str, state: SectionState) -> None:
        """Replace what is remembered of the section ``name``; raises Error."""
        values = {key: value for key, value in state._asdict().items() if value}
        self._write(_filename(name), values)

    def known(self) -> "set[str]":
        """The file names there are: lets a run over many sections skip those without state."""
        try:
            return set(os.listdir(self._directory))
        except OSError:
            return set()

    def has(self, name: str, known: "set[str]") -> bool:
        """True if ``known`` holds the file of the section ``name``."""
        return _filename(name) in known

    def account(self, directory: str) -> "tuple[str, str]":
        """Return the account URL at ``directory`` and its key's thumbprint, "" if unknown."""
        try:
            account = get_optional_object(self._read(_ACCOUNTS), directory) or {}
            return get_optional_str(account, "url") or "", get_optional_str(account, "key") or ""
        except ProtocolError:
            return "", ""

    def remember_account(self, directory: str, url: str, key: str) -> None:
        """Remember the account URL at ``directory``; "" forgets it.  Raises Error."""
        if self.account(directory) == (url, key):
            return
        accounts = self._read(_ACCOUNTS)
        accounts.pop(directory, None)
        if url:
            accounts[directory] = {"url": url, "key": key}
        self._write(_ACCOUNTS, accounts)

    def _read(self, filename: str) -> dict[str, Any]:
        try:
            with open(f"{self._directory}/{filename}", "rb") as file:
                return parse_object(file.read(MAX_SIZE + 1), filename, MAX_SIZE)
        except FileNotFoundError:
            return {}
        except OSError as exc:
            log.debug(f"{self._directory}/{filename}: {exc.strerror}")
        except ProtocolError as exc:
            log.debug(f"{self._directory}/{filename}: ignored: {exc}")
        return {}

    def _write(self, filename: str, values: dict[str, Any]) -> None:
        try:
            directories.make_directory(self._directory, 0o700)
        except FileNotFoundError as exc:
            raise Error(f"{exc.filename}: no such directory; create it (mkdir {exc.filename}) or "
                        "set library-directory") from exc
        # not durable: after a power cut the old state, or none, is as good (see above)
        store.install([store.File(f"{self._directory}/{filename}", dump(values) + b"\n", None,
                                  0o600)], durable=False)


def _filename(section: str) -> str:
    """A file name for a section: what is neither letter, digit, dot nor hyphen becomes %XX."""
    encoded = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 or byte in b"-_." else
                      f"%{byte:02X}" for byte in section.encode("utf-8"))
    if len(encoded) > 200:
        import hashlib
        encoded = encoded[:120] + "%" + hashlib.sha256(section.encode("utf-8")).hexdigest()
    return f"cert-{encoded}.json"
