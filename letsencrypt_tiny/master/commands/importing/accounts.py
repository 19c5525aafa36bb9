"""The account of another client becomes ours: its key, which only the account key manager reads,
and its URL.

The master opens the key's file and has the kernel copy it to where nobody can change it, and lends
that to the account key manager, which is started as its own user and writes the key (--import).
"""

import os
from collections.abc import Sequence

from ....common import log, trusted
from ....common.errors import Error, ProtocolError
from ....common.wire.taken import MAX_LINE, OTHER, SAME, WOULD_BE_TAKEN, Taken, parse_taken
from ...peers import signer
from ...peers.loop import Loop
from ...peers.messages import Messages
from ...plan import issuers
from ...settings import choice
from ...settings.main import Config
from ...store.journal import Journal
from ...store.keys import MAX_KEY
from .model import Account, Estate, Found


def main_one(config: Config, estate: Estate) -> Account | None:
    """Return the account to take over: there is one key here for all CAs.

    It is that of the CA of [client], or else that of the most certificates; the others are told
    among what is left.
    """
    if not estate.accounts:
        estate.left.append("account: there is none")
        return None

    def rank(account: Account) -> tuple[bool, int]:
        return (_is_default(config, account.server),
                sum(found.server == account.server for found in estate.certificates))
    chosen, *others = sorted(estate.accounts, key=rank, reverse=True)   # stable
    estate.left += [f"{account.key}: the account at {log.printable(account.server, 300)}, as there "
                    "is one key here for all CAs, and that is of another one: “letsencrypt-tiny "
                    "account --ca=NAME --register” makes an account there" for account in others]
    return chosen


def _is_default(config: Config, server: str) -> bool:
    try:
        return not server or choice.resolve(config, server) == ""
    except ValueError:
        return False


def take(config: Config, account: Account, estate: Estate, dry_run: bool) -> str:
    """Take over key and URL, or with ``dry_run`` see whether that could be done; return the
    thumbprint of the key, "" if it isn't ours.  Raises Error."""
    settings = config.accountd
    if settings is None or not signer.is_ours(settings):
        estate.left.append(f"{account.key}: the account key manager is not started by us: have it "
                           f"take the key over: letsencrypt-tiny-accountd --import=file:"
                           f"{account.key}")
        return ""
    taken = _told(config, account.key, ["--dry-run"] if dry_run else [])
    if taken.state == OTHER:
        estate.left.append(
            f"{account.key}: the account at {log.printable(account.server, 300) or 'its CA'}: "
            f"{taken.path} is another key, which stays, and certificates are ordered with the "
            "account of that")
        return ""
    log.info(f"account key: {account.key}, {taken.kind}, thumbprint {taken.thumbprint}: " + (
        f"would be {taken.path}" if taken.state == WOULD_BE_TAKEN else
        f"is {taken.path}" + (" already" if taken.state == SAME else " now")))
    _remember(config, account, taken, estate, dry_run)
    return taken.thumbprint


def _told(config: Config, path: str, options: Sequence[str]) -> Taken:
    """Have the signer take a key over, and return what it says.  Raises Error."""
    settings = config.accountd
    assert settings is not None
    messages = Messages(Loop())
    key = _copied(path)
    reader, writer = os.pipe()
    try:
        status = signer.manage(settings, messages.pipe, "--import=fd:3", *options, stdout=writer,
                               key=key)
        os.set_blocking(reader, False)
        return parse_taken(os.read(reader, MAX_LINE).decode("utf-8", "replace"))
    except (BlockingIOError, ProtocolError) as exc:
        raise Error(f"{path}: the account key is not taken over (the account key manager ended "
                    f"with status {status})") from exc
    finally:
        for descriptor in (reader, writer, key):
            os.close(descriptor)
        messages.close()


def _copied(path: str) -> int:
    """Return a descriptor of an anonymous file with the key at ``path``, which we don't read.

    Raises Error.
    """
    copy = -1
    try:
        descriptor = trusted.open_file(path, anybody=True)
        try:
            if not 0 < os.fstat(descriptor).st_size <= MAX_KEY:
                raise Error(f"{path}: not an account key ({os.fstat(descriptor).st_size} bytes)")
            copy = os.memfd_create("key", os.MFD_CLOEXEC)
            os.sendfile(copy, descriptor, 0, MAX_KEY)
        finally:
            os.close(descriptor)
        os.lseek(copy, 0, os.SEEK_SET)
        return copy
    except BaseException as exc:
        if copy >= 0:
            os.close(copy)
        if isinstance(exc, OSError):
            raise Error(f"{path}: cannot read the account key: {exc.strerror}") from exc
        raise


def _remember(config: Config, account: Account, taken: Taken, estate: Estate, dry_run: bool
              ) -> None:
    """Remember the account's URL, which else the first order asks for."""
    if not account.url:
        log.info("account: its URL is not written down there, and asked for by the first order")
        return
    try:
        directory = issuers.of_directory(config, account.server).directory if account.server \
            else config.client.access.server
        from ....common import urls
        urls.parse(account.url)
    except ValueError as exc:
        estate.left.append(f"{account.key}: the account's URL, {log.printable(account.url, 300)}: "
                           f"{exc}")
        return
    log.info(f"account: {account.url}{' would be remembered' if dry_run else ''}")
    if not dry_run:
        Journal(config.state_directory).remember_account(directory, taken.thumbprint, account.url)


def servers(config: Config) -> dict[str, str]:
    """Return the directories of all CAs that are known here, by their hosts (and ports)."""
    from ...settings.presets import PRESETS
    known = [url for preset in PRESETS.values() for url in (preset.staging, preset.directory)
             if url]
    known += [issuer.directory for issuer in reversed(issuers.configured(config).values())]
    return {issuers.host(url): url for url in known}


def directory_of(config: Config, found: Found) -> str:
    """Return the directory of the CA that has issued a certificate; "" if nobody knows."""
    try:
        return issuers.of_directory(config, found.server).directory if found.server else ""
    except ValueError:
        return ""
