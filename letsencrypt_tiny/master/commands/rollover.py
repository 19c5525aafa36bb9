"""account --rollover: another key for the account (RFC 8555 §7.3.5), at every CA that has it.

    the next key is made, beside the account key → each CA is asked to take it → it takes its place

Whatever is killed in between, the signer has both keys, and which of them a CA has is found by
asking that CA (``asking.settle``): every run works, and the next rollover goes on where this one
was.  The old key is kept as FILE.old.
"""

from collections.abc import Sequence

from ...common import log
from ...common.errors import ConfigError, Error, UsageError
from ...common.wire.account import AccountObject, AccountUpdate
from ...common.wire.order import Failed
from ...common.wire.signer import Greeting, NextKey
from ..peers import signer
from ..peers.loop import Loop
from ..peers.messages import Messages
from ..plan import issuers
from ..plan.issuers import Issuer
from ..plan.signing import kind_of
from ..settings.main import Config
from ..store.journal import Journal
from .account import select, show, word
from .asking import ask, heard


def rollover(config: Config, cas: Sequence[str] | None = None) -> int:
    """Change the key that the ``cas`` of these names have accounts of, or all have if there are
    none; returns the exit status.  Raises UsageError, ConfigError, Error."""
    chosen = select(config, cas)
    issuer = chosen[0]
    if any(other.socket != issuer.socket for other in chosen):
        raise UsageError("account: --rollover is for one account key, and these CAs have several: "
                         f"say whose by --ca=NAME ({', '.join(map(word, chosen))})")
    greeting = heard(config, issuer)
    sharing = _sharing(config, [*chosen, *select(config, None)], greeting)
    following = greeting.next or _make(config, issuer, greeting)
    changed = [_change(config, each, f"{each.called}: " if len(sharing) > 1 else "")
               for each in sharing]
    if None in changed:
        return 1
    if not any(changed):
        raise Error("the account key has no account at "
                    f"{' or '.join(each.directory for each in sharing)}: run "
                    "“letsencrypt-tiny account --register --tos-agreed” first")
    _adopt(config, issuer)
    _tell_of_others(config, sharing, greeting)
    log.info(f"the account key's thumbprint is {following.thumbprint} now: web servers that "
             "answer challenges by it (challenge = stateless) have to know")
    return 0


def _sharing(config: Config, found: Sequence[Issuer], greeting: Greeting) -> list[Issuer]:
    """Return the CAs, of those ``found`` and that of [client], that have accounts of one key, or
    may have."""
    client = issuers.configured(config)[""]
    if greeting.thumbprint in Journal(config.state_directory).accounts(client.directory):
        found = [*found, client]   # though no certificate is of it
    return list({issuer.directory: issuer for issuer in reversed(found)
                 if issuer.socket == found[0].socket}.values())[::-1]


def _tell_of_others(config: Config, asked: Sequence[Issuer], old: Greeting) -> None:
    """Tell which accounts keep the old key, as nobody knows how their CAs are reached."""
    journal = Journal(config.state_directory)
    known = {issuer.directory for issuer in asked}
    for directory in journal.directories():
        url = journal.account(directory, old.thumbprint)
        if url and directory not in known:
            log.warning(f"{url} at {directory}, which is not configured, keeps the old key")


def _is_ours(config: Config, issuer: Issuer) -> bool:
    """True if the CA's signer is the one that we start."""
    return (not issuer.socket and config.accountd is not None
            and signer.is_ours(config.accountd))


def _make(config: Config, issuer: Issuer, greeting: Greeting) -> NextKey:
    """Have the signer make a key of the same kind; return what it says of it then."""
    if greeting.kid is not None:
        raise Error("the account key manager has “keyid” in its accountd.conf, which keeps the "
                    "key as it is: take it out for as long as the key changes")
    kind = kind_of(greeting.jwk)
    if not _is_ours(config, issuer):
        raise Error("the account key manager is not started here: make the next key where it is "
                    f"(letsencrypt-tiny-accountd --genkey={kind} --next), start it again and "
                    "repeat this command")
    if _manage(config, f"--genkey={kind}", "--next") != 0:
        raise Error("the next account key could not be made")
    following = heard(config, issuer).next
    if following is None:
        raise Error("the next account key was made, but the account key manager does not know it")
    return following


def _change(config: Config, issuer: Issuer, about: str) -> bool | None:
    """Ask a CA; return whether it has the account, and with the next key, None if it refuses.

    ``about`` begins what is said of it.
    """
    changed = None
    try:
        for answer in ask(config, [AccountUpdate(rollover=True)], issuer=issuer):
            if isinstance(answer, AccountObject):
                changed = answer.url != ""
                if changed:
                    show(answer, answer.account, about)
            elif isinstance(answer, Failed):
                log.error(f"{about}{answer.message}")
    except ConfigError:
        raise
    except Error as exc:
        if not about:
            raise
        log.error(f"{about}{exc}")
        return None
    return changed


def _adopt(config: Config, issuer: Issuer) -> None:
    """Every CA has the next key: it takes its place."""
    if not _is_ours(config, issuer):
        log.warning("every CA has the next key now: where the account key manager is, run "
                    "“letsencrypt-tiny-accountd --adopt-next” and start it again")
    elif _manage(config, "--adopt-next") != 0:
        raise Error("every CA has the next key, but it could not take its place: until it does, "
                    "both are used; repeat this command")


def _manage(config: Config, *options: str) -> int:
    if config.accountd is None:
        raise Error("there is no [accountd]")
    messages = Messages(Loop())
    try:
        return signer.manage(config.accountd, messages.pipe, *options)
    finally:
        messages.close()
