"""The account command: look up, register, update or deactivate (RFC 8555 §7.3)."""

import json

from ...common import log
from ...common.errors import UsageError
from ...common.wire.order import AccountObject, AccountUpdate, Failed
from ..plan import issuers
from ..settings.main import Config
from .asking import ask, greeted


def account(config: Config, update: AccountUpdate) -> int:
    """Do it, and print the account as JSON (§7.1.2); returns the exit status."""
    for contact in update.contact or ():
        if ":" not in contact or not contact.isprintable() or " " in contact:
            raise UsageError(f"“{contact}” is not a contact URL such as mailto:admin@example.org")
    status = 0
    for answer in ask(config, [update]):
        if isinstance(answer, AccountObject):
            if answer.terms_of_service:
                log.info(f"Terms of Service: {answer.terms_of_service}")
            log.info(f"Key ID: {answer.url}")
            # json.dumps escapes all that isn't printable ASCII
            print(json.dumps(answer.account, indent=4, sort_keys=True))
        elif isinstance(answer, Failed):
            log.error(answer.message)
            status = 1
    return status


def thumbprint(config: Config) -> int:
    """Print the thumbprint of the account's key (RFC 7638) alone: a web server that has it can
    answer http-01 by itself.  Only the signer is asked.  Returns the exit status."""
    print(greeted(config, issuers.configured(config)[""]).thumbprint)
    return 0
