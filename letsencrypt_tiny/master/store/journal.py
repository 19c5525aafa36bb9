"""What must be remembered between runs: small JSON files, replaced atomically.

``accounts.json`` holds the account URL of each directory and key, ``directories.json`` what each
directory says of its CA, ``revoked.json`` what we had revoked; a file for each section what is
known of its certificate, and another one a chain that was issued and isn't installed yet.  A file
that can't be read is as good as none: what is in it can be found out again, at the cost of a
request or an order (but what was revoked, which is written durably).  One that somebody else
could have written is an Error, whatever is asked.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ...common import log, trusted
from ...common.errors import Error, ProtocolError
from ...common.wire.jsonfields import JsonObject, get_bool, get_int, get_optional_str, get_strs
from . import files, pending, revoked
from .statefile import StateFile, make_directory
from .vicinity import Directory, Vicinity

if TYPE_CHECKING:
    from ...common.wire import order

MAX_SIZE = 256 << 10   # bytes
MAX_MOMENT = 1 << 40   # Unix time
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{0,200}\Z")
_OTHER = re.compile(rb"[^A-Za-z0-9_.-]")
_ACCOUNTS = "accounts.json"
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
    issuer_account: str | None = None    # thumbprint of the key whose account it was issued to
    key_type: str | None = None          # the setting
    ca_file: str | None = None           # what it chains to (``CAFILE`` of commands/due.py)
    access: str | None = None            # owner and mode of its files
    told: int = 0                        # when it was said that it waits without a certificate
    installed: int = 0                   # when we installed it
    preferred_chain: str | None = None   # the setting
    profile: str | None = None           # that the CA issued it under, as the client says
    profile_wish: str | None = None      # the setting, preferred or required
    order_profile: str | None = None     # as ``profile``, of a chain that is not installed yet
    key: str | None = None               # certificate-key, where that is no file
    # Its orders fail: how often in a row, when that was last (Unix time), why, and what was wanted
    failures: int = 0
    failed: int = 0
    why: str | None = None
    wish: str | None = None
    asked: str | None = None             # the directory that an order is asked of, not heard of yet
    hooks: bool = False                  # those of a run were not run since it was installed


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
        return self._section(filename_of(name))

    def sections(self, names: Iterable[str]) -> Iterator[SectionState]:
        """Yield what is remembered of each of many sections.  Raises Error as ``known``."""
        known, nothing = self.known(), SectionState()
        near = Vicinity().directory(self._directory, 0) if known else None
        for file in map(filename_of, names):
            yield self._section(file, near) if file in known else nothing

    def _section(self, file: str, near: Directory | None = None) -> SectionState:
        obj = StateFile(self._directory, file, MAX_SIZE, near).read()
        try:
            values: JsonObject = {
                name: get_optional_str(obj, name) if default is None else
                get_bool(obj, name) if default is False else get_int(obj, name, 0, MAX_MOMENT)
                for name, default in SectionState._field_defaults.items() if name in obj}
        except ProtocolError as exc:
            log.debug(f"{self._directory}/{file}: ignored: {exc}")
            return SectionState()
        return SectionState(**values)

    def remember(self, name: str, state: SectionState) -> None:
        """Replace what is remembered of the section ``name``; raises Error."""
        values = {key: value for key, value in state._asdict().items() if value}
        self._file(filename_of(name)).write(values)

    def check(self) -> None:
        """Raise Error if nothing can be written here: rather now than with a chain in hand."""
        make_directory(self._directory)
        # what is known of a section, its chain, its key
        files.rehearse([f"{self._directory}/trial{number}" for number in range(3)])

    # --- chains that are not installed yet ---------------------------------------------------

    def keep_chain(self, name: str, pem: str) -> None:
        """Write down, durably, the chain that was issued for the section ``name``; raises Error."""
        make_directory(self._directory)
        files.install([files.File(self._chain(name), pem.encode("utf-8", "replace"), None, 0o600)])

    def kept_chain(self, name: str) -> str:
        """Return the chain that was kept for the section ``name``; "" if there is none."""
        return self._file(filename_of(name, "issued-", ".pem")).text().decode("utf-8", "replace")

    def drop_chain(self, name: str) -> None:
        """Remove what ``keep_chain`` wrote; it does no harm if it can't be removed."""
        files.remove(self._chain(name))

    def _chain(self, name: str) -> str:
        return f"{self._directory}/{filename_of(name, 'issued-', '.pem')}"

    def pending_key(self, path: str) -> str:
        """Return where the key waits that takes the place of the one at ``path`` together with
        its certificate."""
        return f"{self._directory}/{filename_of(path, 'key-', '.pem')}"

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
        obj = self._file(revoked.FILE).read()
        return Revoked(*(frozenset(revoked.digests(obj, member)) for member in Revoked._fields))

    def remember_revoked(self, certificate: bytes, key: bytes | None = None) -> None:
        """Remember that a certificate (DER) is revoked and, if its ``key``
        (SubjectPublicKeyInfo) is given, that this is compromised.  Raises Error."""
        file = self._file(revoked.FILE)
        obj = file.read()
        revoked.add(obj, "certificates", certificate)
        if key is not None:
            revoked.add(obj, "keys", key)
        file.write(obj, durable=True)   # nobody else knows of a key that was compromised

    def forget_revoked(self, certificate: bytes) -> None:
        """A certificate (DER) is not revoked; its key stays what it was.  Raises Error."""
        file = self._file(revoked.FILE)
        obj = file.read()
        revoked.take_back(obj, "certificates", certificate)
        file.write(obj)

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

    def account(self, directory: str, key: str) -> str:
        """Return the URL of the account of ``key`` (its thumbprint) at ``directory``, or ""."""
        return self.accounts(directory).get(key, "")

    def accounts(self, directory: str) -> dict[str, str]:
        """Return thumbprint -> URL of all accounts that are known at ``directory``."""
        known = self._accounts(self._file(_ACCOUNTS).read(), directory)
        return {key: url for key, url in known.items() if isinstance(url, str)}

    def directories(self) -> list[str]:
        """Return the URLs of the directories at which an account is known."""
        return list(self._file(_ACCOUNTS).read())

    def remember_account(self, directory: str, key: str, url: str) -> None:
        """Remember the account URL at ``directory``; "" forgets it.  Raises Error."""
        if self.account(directory, key) == url:
            return
        accounts = self._file(_ACCOUNTS).read()
        known = self._accounts(accounts, directory)
        known.pop(key, None)
        if url:
            known[key] = url
        accounts[directory] = known
        self._file(_ACCOUNTS).write(accounts)

    def learn_account(self, directory: str, key: str, account: "order.Account") -> None:
        """Remember what a client says of the account of ``key`` (a thumbprint), and of no other.

        Not to know costs the next run a request, no more: a failure is a warning.
        """
        if account.key != key:
            log.debug("the ACME client tells of the account of another key: ignored")
            return
        try:
            self.remember_account(directory, key, account.url)
        except Error as exc:
            log.warning(exc)

    def heir(self, directory: str, key: str) -> str:
        """Return the thumbprint of the key that has the account of ``key`` by now (RFC 8555
        §7.3.5): the last one that is known to have it."""
        known = self.accounts(directory)
        return [other for other, url in known.items() if url == known.get(key)][-1] \
            if key in known else key

    # --- what directories say ----------------------------------------------------------------

    def issuers(self, directory: str) -> tuple[str, ...]:
        """Return the names that the CA with this directory has in records (RFC 8659 §4.2), as far
        as a client has told them."""
        try:
            return tuple(get_strs(self._told(directory), "issuers"))
        except ProtocolError:
            return ()

    def suggests(self, directory: str) -> bool | None:
        """Say whether the CA with this directory can be asked when to renew (RFC 9773); None if
        nobody has told."""
        told = self._told(directory)
        try:
            return get_bool(told, "renewal_info") if "renewal_info" in told else None
        except ProtocolError:
            return None

    def learn_directory(self, directory: str, told: "order.Directory") -> None:
        """Remember what a client says of a directory; a failure is a warning, as above."""
        issuers = told.issuers or self.issuers(directory)
        if (self.issuers(directory), self.suggests(directory)) != (issuers, told.renewal_info):
            file = self._file(_DIRECTORIES)
            file.try_to_write({**file.read(), directory: {
                "issuers": list(issuers), "renewal_info": told.renewal_info}})

    def _told(self, directory: str) -> JsonObject:
        found = self._file(_DIRECTORIES).read().get(directory)
        return found if isinstance(found, dict) else {}

    @staticmethod
    def _accounts(accounts: JsonObject, directory: str) -> JsonObject:
        """Return thumbprint -> account URL; 1.0 had {"url": …, "key": …} of one key."""
        found = accounts.get(directory)
        if not isinstance(found, dict):
            return {}
        if set(found) == {"url", "key"} and isinstance(found["key"], str):
            return {found["key"]: found["url"]}
        return dict(found)

    def _file(self, filename: str) -> StateFile:
        return StateFile(self._directory, filename, MAX_SIZE)


def filename_of(section: str, prefix: str = "cert-", suffix: str = ".json") -> str:
    """A file name for a section: what is neither letter, digit, dot nor hyphen becomes %XX."""
    if _PLAIN.match(section):
        return f"{prefix}{section}{suffix}"
    encoded = _OTHER.sub(lambda byte: b"%%%02X" % ord(byte[0]), section.encode()).decode()
    if len(encoded) > 200:
        import hashlib
        encoded = encoded[:120] + "%" + hashlib.sha256(section.encode("utf-8")).hexdigest()
    return f"{prefix}{encoded}{suffix}"
