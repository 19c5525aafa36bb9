"""The account command: look up, register, update or deactivate (RFC 8555 §7.3), at each CA."""

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ...common import log
from ...common.errors import ConfigError, Error, UsageError
from ...common.wire.account import AccountObject, AccountUpdate, KnownOrder
from ...common.wire.order import Failed
from ...common.wire.signer import Greeting
from ..plan import issuers
from ..plan.issuers import Issuer
from ..settings import certificates, choice
from ..settings.authorities import DEFAULT
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


def account(config: Config, options: Options, cas: Sequence[str] | None = None) -> int:
    """Do it at the ``cas`` of these names, at all if there are none, and print each account as
    JSON (§7.1.2), or its orders; returns the exit status.  Raises UsageError, ConfigError, Error.
    """
    for contact in options.contact or ():
        if ":" not in contact or not contact.isprintable() or " " in contact:
            raise UsageError(f"“{contact}” is not a contact URL such as mailto:admin@example.org")
    chosen = [_one(config, cas)] if options.deactivate else select(config, cas)
    shown = set[str]()
    for issuer in chosen:
        about = f"{issuer.called}: " if len(chosen) > 1 else ""
        try:
            url = _account(config, issuer, options, about)
        except (ConfigError, UsageError):
            raise
        except Error as exc:
            if not about:
                raise
            log.error(f"{about}{exc}")
            url = ""
        shown.add(url)
    if shown != {""} and not cas:
        _tell_of_others(config, shown)
    return 1 if "" in shown else 0


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


def _one(config: Config, names: Sequence[str] | None) -> Issuer:
    """Return the CA whose account is to be given up.  Raises UsageError."""
    chosen = select(config, names)
    if len(chosen) > 1:
        raise UsageError("account: --deactivate is for the account of one CA: say which by "
                         f"--ca=NAME ({', '.join(word(issuer) for issuer in chosen)})")
    return chosen[0]


def word(issuer: Issuer) -> str:
    """Return what the option --ca calls a CA."""
    return issuer.name or DEFAULT


def _account(config: Config, issuer: Issuer, options: Options, about: str) -> str:
    """Do it at one CA, and return the account's URL, "" where that failed; ``about`` begins what
    is said of it."""
    update = AccountUpdate(options.register, options.terms_agreed, options.deactivate,
                           options.contact, issuer.contact if options.register else (),
                           issuer.eab_kid if options.register else "", issuer.where,
                           options.orders)
    url, orders = "", []
    for answer in ask(config, [update], issuer=issuer):
        if isinstance(answer, KnownOrder):
            orders.append(answer._asdict())
        elif isinstance(answer, AccountObject):
            show(answer, orders if options.orders else answer.account, about)
            url = answer.url
        elif isinstance(answer, Failed):
            log.error(f"{about}{answer.message}")
    return url


def show(found: AccountObject, what: object, about: str = "") -> None:
    """Tell of an account, and print ``what`` of it as JSON."""
    if found.terms_of_service:
        log.info(f"{about}Terms of Service: {found.terms_of_service}")
    log.info(f"{about}Key ID: {found.url}")
    # json.dumps escapes all that isn't printable ASCII
    print(json.dumps(what, indent=4, sort_keys=True))


def _tell_of_others(config: Config, shown: Collection[str]) -> None:
    """Tell which accounts but those ``shown`` are known from earlier runs: at other CAs, or of
    other keys."""
    journal = Journal(config.state_directory)
    for directory in journal.directories():
        for key, url in journal.accounts(directory).items():
            if url not in shown:
                log.info(f"also known: {url} at {directory}, of the key with the thumbprint {key}")


def faults(config: Config, issuer: Issuer, greeting: Greeting) -> Iterator[Error]:
    """Yield why the signer could not have an account registered that is still to be."""
    if issuer.eab_kid and issuer.eab_kid not in dict(greeting.bindings) \
            and not Journal(config.state_directory).accounts(issuer.directory):
        yield ConfigError(f"{issuer.where}: eab-kid = {issuer.eab_kid}: the account key manager "
                          f"has no section [eab {issuer.eab_kid}] in its accountd.conf")


def confirm(config: Config, cas: Sequence[str] | None = None) -> None:
    """Have somebody at a terminal say that the account is to be given up; raises UsageError."""
    issuer = _one(config, cas)
    if not sys.stdin.isatty():
        raise UsageError("account --deactivate gives the account up for ever: add --yes")
    known = ", ".join(Journal(config.state_directory).accounts(issuer.directory).values())
    print(f"Deactivate the account {known}{' ' if known else ''}at {issuer.directory} for ever? "
          "Its certificates can't be renewed or revoked by it any more.  [yes/no] ",
          end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise UsageError("the account stays as it is")


def thumbprint(config: Config, cas: Sequence[str] | None = None) -> int:
    """Print the thumbprint of the account's key (RFC 7638) alone, or of each if the CAs have
    several signers: a web server that has it can answer http-01 by itself.  Only they are asked.
    Returns the exit status.  Raises UsageError, Error."""
    signers = {issuer.socket: issuer for issuer in reversed(select(config, cas))}
    for found in dict.fromkeys(greeted(config, issuer).thumbprint
                               for issuer in reversed(signers.values())):
        print(found)
    return 0
