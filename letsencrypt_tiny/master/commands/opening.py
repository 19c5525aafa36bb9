"""Account key and account, where there is none yet: what “add” does before anything is ordered.

    the key, made as the signer's user → is there an account? → terms → the account
"""

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

from ...common import log
from ...common.errors import Error, UsageError
from ...common.wire.account import AccountObject, AccountUpdate
from ...common.wire.order import Failed
from ..peers import signer
from ..peers.loop import Loop
from ..peers.messages import Messages
from ..plan.issuers import Issuer
from ..settings.main import Config
from .asking import ask

KIND = "ec:P-256"
_MAX_LINE = 4096   # bytes


class Missing(NamedTuple):
    """An account that is to be made."""

    issuer: Issuer
    terms: str      # URL of the terms of service, "" if the CA has none (RFC 8555 §7.1.1)


def make_key(config: Config, issuers: Iterable[Issuer]) -> None:
    """Have the signer that we start make an account key, unless there is one; tell of it.

    Whoever uses another signer has seen to it.  Raises Error.
    """
    settings = config.accountd
    if settings is None or not signer.is_ours(settings) \
            or all(issuer.socket for issuer in issuers):
        return
    messages = Messages(Loop())
    reader, writer = os.pipe()
    try:
        status = signer.manage(settings, messages.pipe, f"--genkey={KIND}", "--if-none",
                               stdout=writer)
        os.set_blocking(reader, False)
        made = os.read(reader, _MAX_LINE)
    except BlockingIOError:   # it has said nothing: there was one
        made = b""
    finally:
        os.close(reader)
        os.close(writer)
        messages.close()
    if status != 0:
        raise Error("the account key could not be made")
    log.info(f"account key: made: {made.decode('utf-8', 'replace').strip()}" if made else
             "account key: it is there")


def look_up(config: Config, issuer: Issuer, contact: tuple[str, ...]) -> Missing | None:
    """Find the account at a CA, and have it give the ``contact`` if that is not what it has;
    return what is to be made if there is none.  Raises Error."""
    found = _ask(config, issuer, AccountUpdate(find_terms=True))
    if not found.url:
        return Missing(issuer, found.terms_of_service or "")
    new = contact and found.account.get("contact") != list(contact)
    if new:
        _ask(config, issuer, AccountUpdate(contact=contact))
    log.info(f"account: {found.url} is there{' and has the new contact' if new else ''}")
    return None


def agree(missing: Iterable[Missing], agreed: bool) -> None:
    """Show the terms of service of CAs, and have somebody at the terminal agree to them, unless he
    has ``agreed`` on the command line.  Raises UsageError if nobody does."""
    for wanted in missing:
        if not wanted.terms:
            continue
        terms = f"terms of service of {wanted.issuer.called}: {log.printable(wanted.terms, 500)}"
        if agreed:
            log.info(f"{terms} (agreed to)")
            continue
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(f"{terms}: read them, and add --tos-agreed")
        print(f"{terms}\nDo you agree to them?  [yes/no] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UsageError("nothing is ordered: without an account there is no certificate")


def register(config: Config, wanted: Missing, contact: tuple[str, ...]) -> None:
    """Make the account (RFC 8555 §7.3) whose terms were agreed to.  Raises Error."""
    issuer = wanted.issuer
    made = _ask(config, issuer, AccountUpdate(
        register=True, terms_agreed=True, new_contact=contact or issuer.contact,
        eab_kid=issuer.eab_kid, where=issuer.where))
    log.info(f"account: made {made.url}")


def _ask(config: Config, issuer: Issuer, update: AccountUpdate) -> AccountObject:
    for answer in ask(config, [update], issuer=issuer):
        if isinstance(answer, Failed):
            raise Error(answer.message if issuer.called in answer.message else
                        f"{issuer.called}: {answer.message}")
        if isinstance(answer, AccountObject):
            return answer
    raise Error(f"{issuer.called}: no answer about the account")
