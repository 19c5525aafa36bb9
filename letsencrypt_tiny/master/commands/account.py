"""The account command: look up, register, update or deactivate (RFC 8555 §7.3)."""

import json
from collections.abc import Sequence

from ...common import log
from ...common.errors import ConfigError, Error, UsageError
from ...common.wire.order import AccountObject, AccountUpdate, Failed
from ..plan import issuers
from ..plan.issuers import Issuer
from ..settings import certificates, choice
from ..settings.authorities import DEFAULT
from ..settings.main import Config
from .asking import ask, greeted


def account(config: Config, update: AccountUpdate, cas: Sequence[str] | None = None) -> int:
    """Do it at the ``cas`` of these names, at all if there are none, and print each account as
    JSON (§7.1.2); returns the exit status.  Raises UsageError, ConfigError, Error."""
    for contact in update.contact or ():
        if ":" not in contact or not contact.isprintable() or " " in contact:
            raise UsageError(f"“{contact}” is not a contact URL such as mailto:admin@example.org")
    chosen = select(config, cas)
    if update.deactivate and len(chosen) > 1:
        raise UsageError("account: --deactivate is for the account of one CA: say which by "
                         f"--ca=NAME ({', '.join(_word(issuer) for issuer in chosen)})")
    status = 0
    for issuer in chosen:
        about = f"{issuer.called}: " if len(chosen) > 1 else ""
        try:
            status |= _account(config, issuer, update, about)
        except (ConfigError, UsageError):
            raise
        except Error as exc:
            if not about:
                raise
            log.error(f"{about}{exc}")
            status = 1
    return status


def select(config: Config, names: Sequence[str] | None) -> list[Issuer]:
    """Return the CAs of the option --ca; without it all of [ca NAME] and of certificates, and that
    of [client] if one is of it.  Raises UsageError."""
    known = issuers.configured(config)
    if names:
        try:
            return [known[choice.resolve(config, name)] for name in dict.fromkeys(names)]
        except ValueError as exc:
            raise UsageError(f"--ca: {exc}") from exc
    try:
        sections = certificates.load(config).sections.values()
    except Error as exc:   # of no concern here
        log.debug(exc)
        return issuers.used(config, [])
    return issuers.used(config, [section.issuers for section in sections])


def _word(issuer: Issuer) -> str:
    return issuer.name or DEFAULT


def _account(config: Config, issuer: Issuer, update: AccountUpdate, about: str) -> int:
    if update.register and update.contact is None and issuer.contact:
        update = update._replace(contact=issuer.contact)
    status = 0
    for answer in ask(config, [update], issuer=issuer):
        if isinstance(answer, AccountObject):
            if answer.terms_of_service:
                log.info(f"{about}Terms of Service: {answer.terms_of_service}")
            log.info(f"{about}Key ID: {answer.url}")
            # json.dumps escapes all that isn't printable ASCII
            print(json.dumps(answer.account, indent=4, sort_keys=True))
        elif isinstance(answer, Failed):
            log.error(f"{about}{answer.message}")
            status = 1
    return status


def thumbprint(config: Config, cas: Sequence[str] | None = None) -> int:
    """Print the thumbprint of the account's key (RFC 7638) alone, or of each if the CAs have
    several signers: a web server that has it can answer http-01 by itself.  Only they are asked.
    Returns the exit status.  Raises UsageError, Error."""
    signers = {issuer.socket: issuer for issuer in reversed(select(config, cas))}
    for found in dict.fromkeys(greeted(config, issuer).thumbprint
                               for issuer in reversed(signers.values())):
        print(found)
    return 0
