"""What must be remembered between runs: small JSON files, replaced atomically.

``accounts.json`` holds the account URL of each directory and key, ``directories.json`` what each
directory says of its CA, ``revoked.json`` what we had revoked; a file for each section what is
known of its certificate, and another one a chain that the CA has issued and that is not installed
yet.  A state file that can't be read is as good as none: everything in it can be found out again,
at the cost of a request or an order.  One that somebody else could have written is an Error,
whatever is asked.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

from ...common import log, trusted
from ...common.errors import Error, ProtocolError
from ...common.wire.jsonfields import (JsonObject, dump, get_bool, get_int, get_optional_object,
                                       get_optional_str, get_strs, parse_object)
from . import files, pending

if TYPE_CHECKING:
    from ...common.wire.order import Account, Directory

MAX_SIZE = 256 << 10   # bytes
MAX_MOMENT = 1 << 40   # Unix time
MAX_REVOKED = 1000     # certificates, and keys, that are remembered
_ACCOUNTS = "accounts.json"
_REVOKED = "revoked.json"
_DIRECTORIES = "directories.json"


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
    kept: int = 0                        # when a chain was issued that is not installed yet
    # Of the certificate that is installed: under which wishes that was
    issuer: str | None = None            # the URL of the directory that issued it
    key_type: str | None = None          # the setting
    ca_file: str | None = None           # what it chains to (``CAFILE`` of commands/due.py)
    access: str | None = None            # owner and mode of its files
    told: int = 0                        # when it was said that it waits without a certificate
    installed: int = 0                   # when we installed it
    profile: str | None = None           # that the CA issued it under, as the client says
    profile_wish: str | None = None      # the setting, preferred or required
    order_profile: str | None = None     # as ``profile``, of a chain that is not installed yet
    key: str | None = None               # certificate-key, where that is no file


class Revoked(NamedTuple):
    """What we had revoked: SHA-256, in hexadecimal, of certificates (DER) and compromised keys
    (SubjectPublicKeyInfo)."""

    certificates: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()


class Journal:
    """The state directory, opened lazily."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._waits: bool | None = None   # whether there is a chain or a key, when last looked

    def section(self, name: str) -> SectionState:
        """Return what is remembered of the section ``name``."""
        obj = self._read(_filename(name))
        try:
            return SectionState._make(
                get_optional_str(obj, name) if default is None else
                get_bool(obj, name) if default is False else _moment(obj, name)
                for name, default in SectionState._field_defaults.items())
        except ProtocolError as exc:
            log.debug(f"{self._directory}/{_filename(name)}: ignored: {exc}")
            return SectionState()

    def remember(self, name: str, state: SectionState) -> None:
        """Replace what is remembered of the section ``name``; raises Error."""
        values = {key: value for key, value in state._asdict().items() if value}
        self._write(_filename(name), values)

    def check(self) -> None:
        """Raise Error if nothing can be written here: rather now than with a chain in hand."""
        self._make_directory()
        files.probe(f"{self._directory}/trial", files.TRIAL)

    # --- chains that are not installed yet ---------------------------------------------------

    def keep_chain(self, name: str, pem: str) -> None:
        """Write down, durably, the chain that was issued for the section ``name``; raises Error."""
        self._make_directory()
        files.install([files.File(self._chain(name), pem.encode("utf-8", "replace"), None, 0o600)])

    def kept_chain(self, name: str) -> str:
        """Return the chain that was kept for the section ``name``; "" if there is none."""
        return self._text(_filename(name, "issued-", ".pem")).decode("utf-8", "replace")

    def drop_chain(self, name: str) -> None:
        """Remove what ``keep_chain`` wrote; it does no harm if it can't be removed."""
        files.remove(self._chain(name))

    def _chain(self, name: str) -> str:
        return f"{self._directory}/{_filename(name, 'issued-', '.pem')}"

    def pending_key(self, path: str) -> str:
        """Return where the key waits that takes the place of the one at ``path`` together with
        its certificate."""
        return f"{self._directory}/{_filename(path, 'key-', '.pem')}"

    def tidy(self, name: str, path: str, owner: int = 0) -> None:
        """Remove a chain that nobody remembers, and a key that is in its place already.

        ``owner`` is a uid that may, besides root, own directories on the way to the key.
        """
        if self._waits is None:
            self._waits = any(file.endswith(".pem") for file in self.known())
        if not self._waits:
            return
        waiting = self.pending_key(path)
        if os.path.exists(self._chain(name)):
            self.drop_chain(name)
        if os.path.exists(waiting):
            try:
                with open(trusted.open_unchangeable(waiting), "rb") as ours, \
                        open(trusted.open_file(path, owner), "rb") as theirs:
                    if pending.private_key(ours.read(MAX_SIZE)) != theirs.read(MAX_SIZE):
                        return
            except (OSError, Error):
                return
            files.remove(waiting)

    # --- what we had revoked -----------------------------------------------------------------

    def revoked(self) -> Revoked:
        """Return what was revoked by us."""
        obj = self._read(_REVOKED)
        found = [obj.get(member) for member in ("certificates", "keys")]
        return Revoked(*(frozenset(map(str, item)) if isinstance(item, list) else frozenset()
                         for item in found))

    def remember_revoked(self, certificate: bytes, key: bytes | None = None) -> None:
        """Remember that a certificate (DER) is revoked and, if its ``key``
        (SubjectPublicKeyInfo) is given, that this is compromised.  Raises Error."""
        from hashlib import sha256
        obj = self._read(_REVOKED)
        for member, data in (("certificates", certificate), ("keys", key)):
            known = obj.get(member)
            digests = [item for item in known if isinstance(item, str)] \
                if isinstance(known, list) else []
            if data is not None:
                digest = sha256(data).hexdigest()
                digests = [item for item in digests if item != digest] + [digest]
            obj[member] = digests[-MAX_REVOKED:]
        self._write(_REVOKED, obj)

    def known(self) -> "set[str]":
        """The file names there are: lets a run over many sections skip those without state.

        Raises Error for a directory that somebody else could change.
        """
        try:
            directory = trusted.open_directory(self._directory)
            try:
                return set(os.listdir(directory))
            finally:
                os.close(directory)
        except trusted.Untrusted:
            raise
        except (OSError, Error):
            return set()

    def has(self, name: str, known: "set[str]") -> bool:
        """True if ``known`` holds the file of the section ``name``."""
        return _filename(name) in known

    def account(self, directory: str, key: str) -> str:
        """Return the URL of the account that ``key`` (its thumbprint) has at ``directory``."""
        try:
            return get_optional_str(self._accounts(self._read(_ACCOUNTS), directory), key) or ""
        except ProtocolError:
            return ""

    def accounts(self, directory: str) -> dict[str, str]:
        """Return thumbprint -> URL of all accounts that are known at ``directory``."""
        return {key: url for key, url in self._accounts(self._read(_ACCOUNTS), directory).items()
                if isinstance(url, str)}

    def directories(self) -> list[str]:
        """Return the URLs of the directories at which an account is known."""
        return list(self._read(_ACCOUNTS))

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

    def issuers(self, directory: str) -> tuple[str, ...]:
        """Return the names that the CA with this directory has in records (RFC 8659 §4.2), as far
        as a client has told them."""
        try:
            found = get_optional_object(self._read(_DIRECTORIES), directory)
            return tuple(get_strs(found, "issuers")) if found else ()
        except ProtocolError:
            return ()

    def learn_directory(self, directory: str, told: "Directory") -> None:
        """Remember what a client says of a directory; a failure is a warning, as above."""
        if self.issuers(directory) == told.issuers:
            return
        known = self._read(_DIRECTORIES)
        known[directory] = {"issuers": list(told.issuers)}
        try:
            self._write(_DIRECTORIES, known)
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
            text = self._text(filename)
            return parse_object(text, filename, MAX_SIZE) if text else {}
        except ProtocolError as exc:
            log.debug(f"{self._directory}/{filename}: ignored: {exc}")
        return {}

    def _text(self, filename: str) -> bytes:
        try:
            with open(trusted.open_unchangeable(f"{self._directory}/{filename}"), "rb") as file:
                return file.read(MAX_SIZE + 1)
        except FileNotFoundError:
            pass
        except trusted.Untrusted:
            raise
        except (OSError, Error) as exc:   # status may be asked for by somebody else than root
            log.debug(f"{self._directory}/{filename}: {exc}")
        return b""

    def _make_directory(self) -> None:
        try:
            trusted.make_directory(self._directory, 0o700)
        except FileNotFoundError as exc:
            raise Error(f"{exc.filename}: no such directory; create it (mkdir {exc.filename}) or "
                        "set library-directory") from exc

    def _write(self, filename: str, values: JsonObject) -> None:
        self._make_directory()
        # not durable: after a power cut the old state, or none, is as good (see above)
        files.install([files.File(f"{self._directory}/{filename}", dump(values) + b"\n", None,
                                  0o600)], durable=False)


def _moment(obj: JsonObject, name: str) -> int:
    return get_int(obj, name, 0, MAX_MOMENT) if name in obj else 0


def _filename(section: str, prefix: str = "cert-", suffix: str = ".json") -> str:
    """A file name for a section: what is neither letter, digit, dot nor hyphen becomes %XX."""
    encoded = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 or byte in b"-_." else
                      f"%{byte:02X}" for byte in section.encode("utf-8"))
    if len(encoded) > 200:
        import hashlib
        encoded = encoded[:120] + "%" + hashlib.sha256(section.encode("utf-8")).hexdigest()
    return f"{prefix}{encoded}{suffix}"
