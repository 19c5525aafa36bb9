"""The account command: look up, register, update or deactivate (RFC 8555 §7.3)."""

import json
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ...common import log
from ...common.errors import ConfigError, Error, UsageError
from ...common.wire.account import AccountObject, AccountUpdate, KnownOrder
from ...common.wire.order import Failed
from ...common.wire.signer import Greeting
from ..plan import issuers
from ..plan.issuers import Issuer
from ..settings.main import Config
from ..store.journal import Journal
from .asking import ask, greeted


class Options(NamedTuple):
    """The options of the account command."""

    register: bool = False
    terms_agreed: bool = False
    deactivate: bool = False
    contact: tuple[str, ...] | None = None    # None: as it is; (): none any more
    orders: bool = False                      # print the account's orders instead of it
    rollover: bool = False                    # change its key
    yes: bool = False                         # nobody is asked whether to deactivate it


def account(config: Config, options: Options) -> int:
    """Do it, and print the account as JSON (§7.1.2), or its orders; returns the exit status."""
    for contact in options.contact or ():
        if ":" not in contact or not contact.isprintable() or " " in contact:
            raise UsageError(f"“{contact}” is not a contact URL such as mailto:admin@example.org")
    issuer = issuers.configured(config)[""]
    update = AccountUpdate(options.register, options.terms_agreed, options.deactivate,
                           options.contact, issuer.eab_kid if options.register else "",
                           issuer.where, options.orders)
    status, orders = 0, []
    for answer in ask(config, [update]):
        if isinstance(answer, KnownOrder):
            orders.append(answer._asdict())
        elif isinstance(answer, AccountObject):
            show(answer, orders if options.orders else answer.account)
            _tell_of_others(config, issuer.directory, answer.url)
        elif isinstance(answer, Failed):
            log.error(answer.message)
            status = 1
    return status


def show(found: AccountObject, what: object) -> None:
    """Tell of an account, and print ``what`` of it as JSON."""
    if found.terms_of_service:
        log.info(f"Terms of Service: {found.terms_of_service}")
    log.info(f"Key ID: {found.url}")
    # json.dumps escapes all that isn't printable ASCII
    print(json.dumps(what, indent=4, sort_keys=True))


def _tell_of_others(config: Config, directory: str, url: str) -> None:
    """Tell which other accounts are known from earlier runs: at other CAs, or of other keys."""
    journal = Journal(config.state_directory)
    for place in journal.directories():
        for key, known in journal.accounts(place).items():
            if (place, known) != (directory, url):
                log.info(f"also known: {known} at {place}, of the key with the thumbprint {key}")


def faults(config: Config, issuer: Issuer, greeting: Greeting) -> Iterator[Error]:
    """Yield why the signer could not have an account registered that is still to be."""
    if issuer.eab_kid and issuer.eab_kid not in dict(greeting.bindings) \
            and not Journal(config.state_directory).accounts(issuer.directory):
        yield ConfigError(f"{issuer.where}: eab-kid = {issuer.eab_kid}: the account key manager "
                          f"has no section [eab {issuer.eab_kid}] in its accountd.conf")


def confirm(config: Config) -> None:
    """Have somebody at a terminal say that the account is to be given up; raises UsageError."""
    if not sys.stdin.isatty():
        raise UsageError("account --deactivate gives the account up for ever: add --yes")
    issuer = issuers.configured(config)[""]
    known = ", ".join(Journal(config.state_directory).accounts(issuer.directory).values())
    print(f"Deactivate the account {known}{' ' if known else ''}at {issuer.directory} for ever? "
          "Its certificates can't be renewed or revoked by it any more.  [yes/no] ",
          end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise UsageError("the account stays as it is")


def thumbprint(config: Config) -> int:
    """Print the thumbprint of the account's key (RFC 7638) alone: a web server that has it can
    answer http-01 by itself.  Only the signer is asked.  Returns the exit status."""
    print(greeted(config, issuers.configured(config)[""]).thumbprint)
    return 0
