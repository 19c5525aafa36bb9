"""What must be remembered between runs: small JSON files, replaced atomically.

``accounts.json`` holds the account URL of each directory and key; a file for each section what is
known of its certificate.  A state file that can't be read is as good as none: everything
in it can be found out again, at the cost of a request or an order.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

from ...common import log
from ...common.errors import Error, ProtocolError
from ...common.wire.jsonfields import (JsonObject, dump, get_bool, get_int, get_optional_str,
                                       parse_object)
from . import files, trusted

if TYPE_CHECKING:
    from ...common.wire.order import Account

MAX_SIZE = 256 << 10   # bytes
_ACCOUNTS = "accounts.json"


class SectionState(NamedTuple):
    """What is remembered of one section."""

    directory: str | None = None         # the URL of the directory that issued, or has the order
    account: str | None = None           # thumbprint of the key whose account has it
    order: str | None = None             # the URL of an unfinished order (RFC 8555 §7.1.3)
    order_key: str | None = None         # SHA-256 of the SubjectPublicKeyInfo it is for
    installing: bool = False             # a certificate was being installed
    notify: bool = False                 # a notification is not yet delivered
    not_before: int = 0                  # the server asked not to order again before (Unix time)
    finalize: str | None = None          # where the order is finalized: not all say it twice


class Journal:
    """The state directory, opened lazily."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def section(self, name: str) -> SectionState:
        """Return what is remembered of the section ``name``."""
        obj = self._read(_filename(name))
        try:
            return SectionState(
                get_optional_str(obj, "directory"), get_optional_str(obj, "account"),
                get_optional_str(obj, "order"),
                get_optional_str(obj, "order_key"), get_bool(obj, "installing"),
                get_bool(obj, "notify"),
                get_int(obj, "not_before", 0, 1 << 40) if "not_before" in obj else 0,
                get_optional_str(obj, "finalize"))
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

    def account(self, directory: str, key: str) -> str:
        """Return the URL of the account that ``key`` (a thumbprint) has at ``directory``, or "".
        """
        try:
            return get_optional_str(self._accounts(self._read(_ACCOUNTS), directory), key) or ""
        except ProtocolError:
            return ""

    def remember_account(self, directory: str, key: str, url: str) -> None:
        """Remember the account URL at ``directory``; "" forgets it.  Raises Error."""
        if self.account(directory, key) == url:
            return
        accounts = self._read(_ACCOUNTS)
        known = self._accounts(accounts, directory)
        known.pop(key, None)
        if url:
            known[key] = url
        accounts[directory] = known
        self._write(_ACCOUNTS, accounts)

    def learn_account(self, directory: str, key: str, account: "Account") -> None:
        """Remember what a client says of the account of ``key`` (a thumbprint), and of no other.

        Not to know costs the next run a request, no more: a failure is a warning.
        """
        if account.key != key:
            log.debug("the client tells of the account of another key: ignored")
            return
        try:
            self.remember_account(directory, key, account.url)
        except Error as exc:
            log.warning(exc)

    @staticmethod
    def _accounts(accounts: JsonObject, directory: str) -> JsonObject:
        """Return thumbprint -> account URL; 1.0 had {"url": …, "key": …} of one key."""
        found = accounts.get(directory)
        if not isinstance(found, dict):
            return {}
        if set(found) == {"url", "key"} and isinstance(found["key"], str):
            return {found["key"]: found["url"]}
        return dict(found)

    def _read(self, filename: str) -> JsonObject:
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

    def _write(self, filename: str, values: JsonObject) -> None:
        try:
            trusted.make_directory(self._directory, 0o700)
        except FileNotFoundError as exc:
            raise Error(f"{exc.filename}: no such directory; create it (mkdir {exc.filename}) or "
                        "set library-directory") from exc
        # not durable: after a power cut the old state, or none, is as good (see above)
        files.install([files.File(f"{self._directory}/{filename}", dump(values) + b"\n", None,
                                  0o600)], durable=False)


def _filename(section: str) -> str:
    """A file name for a section: what is neither letter, digit, dot nor hyphen becomes %XX."""
    encoded = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 or byte in b"-_." else
                      f"%{byte:02X}" for byte in section.encode("utf-8"))
    if len(encoded) > 200:
        import hashlib
        encoded = encoded[:120] + "%" + hashlib.sha256(section.encode("utf-8")).hexdigest()
    return f"cert-{encoded}.json"
