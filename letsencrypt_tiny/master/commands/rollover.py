"""account --rollover: another key for the account (RFC 8555 §7.3.5), at every CA that has it.

    the next key is made, beside the account key → each CA is asked to take it → it takes its place

Whatever is killed in between, the signer has both keys, and which of them a CA has is found by
asking that CA (``asking.settle``): every run works, and the next rollover goes on where this one
was.  The old key is kept as FILE.old.
"""

from ...common import log
from ...common.errors import Error
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
from .account import show
from .asking import ask, heard


def rollover(config: Config) -> int:
    """Change the key; returns the exit status.  Raises Error."""
    known = issuers.configured(config)
    greeting = heard(config, known[""])
    following = greeting.next or _make(config, known[""], greeting)
    changed = [_change(config, issuer) for issuer in known.values()]
    if None in changed:
        return 1
    if not any(changed):
        raise Error(f"the account key has no account at {known[''].directory}: run "
                    "“letsencrypt-tiny account --register --tos-agreed” first")
    _adopt(config)
    log.info(f"the account key's thumbprint is {following.thumbprint} now: web servers that "
             "answer challenges by it (challenge = stateless) have to know")
    return 0


def _make(config: Config, issuer: Issuer, greeting: Greeting) -> NextKey:
    """Have the signer make a key of the same kind; return what it says of it then."""
    if greeting.kid is not None:
        raise Error("the account key manager has “keyid” in its accountd.conf, which keeps the "
                    "key as it is: take it out for as long as the key changes")
    kind = kind_of(greeting.jwk)
    if config.accountd is None or not signer.is_ours(config.accountd):
        raise Error("the account key manager is not started here: make the next key where it is "
                    f"(letsencrypt-tiny-accountd --genkey={kind} --next), start it again and "
                    "repeat this command")
    if _manage(config, f"--genkey={kind}", "--next") != 0:
        raise Error("the next account key could not be made")
    following = heard(config, issuer).next
    if following is None:
        raise Error("the next account key was made, but the account key manager does not know it")
    return following


def _change(config: Config, issuer: Issuer) -> bool | None:
    """Ask a CA; return whether it has the account, and with the next key, None if it refuses."""
    changed = None
    for answer in ask(config, [AccountUpdate(rollover=True)], issuer=issuer):
        if isinstance(answer, AccountObject):
            changed = answer.url != ""
            if changed:
                show(answer, answer.account)
        elif isinstance(answer, Failed):
            log.error(answer.message)
    return changed


def _adopt(config: Config) -> None:
    """Every CA has the next key: it takes its place."""
    if config.accountd is None or not signer.is_ours(config.accountd):
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
