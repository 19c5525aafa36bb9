"""Requests that are no orders: put to the client, answered each once."""

from collections.abc import Iterator, Mapping, Sequence

from ...common import log
from ...common.errors import Error
from ...common.wire.account import AccountUpdate, KnownOrder
from ...common.wire.order import Account, Answer, Directory, Failed, Progress, Request
from ...common.wire.signer import Greeting
from ..peers.conversation import Answered, Conversation, Ended, greet
from ..peers.identity import identity
from ..peers.loop import Loop, Tick
from ..peers.messages import Messages
from ..plan import issuers, signing
from ..plan.issuers import Issuer
from ..plan.orders import OrderPlan
from ..settings.main import Config
from ..store.journal import Journal
from .proving import Proving


def ask(config: Config, requests: Sequence[Request], key: int | None = None,
        issuer: Issuer | None = None, proofs: Mapping[str, OrderPlan] | None = None
        ) -> Iterator[Answer]:
    """Yield the answers to ``requests``; raises Error unless each gets its own.

    ``key`` is the descriptor of a private key to sign with instead of the account's; ``issuer`` is
    the CA to ask, that of [client] if it is None.  ``proofs`` are what challenges are answered for,
    by what the requests are called.
    """
    journal = Journal(config.state_directory)
    issuer = issuer or issuers.configured(config)[""]
    finds = any(isinstance(request, AccountUpdate) and (request.find_key or request.rollover)
                for request in requests)
    loop = Loop()
    messages = Messages(loop)
    conversation = Conversation(loop, messages, config, issuer)
    client = identity(config.client.program)
    proving = Proving(config, client, messages, proofs or {})
    try:
        conversation.start_signer(signing.derive(issuer.access, requests, issuer.name), key)
        proving.open()
        conversation.start_client(requests, client, proving.directory, proving.doors())
        greet(loop, [conversation])
        if conversation.greeting is None:
            raise conversation.error or Error("the account key manager does not greet")
        if not finds and key is None:
            settle(config, conversation)
        thumbprint = conversation.greeting.thumbprint
        proving.serve(thumbprint)
        conversation.begin(journal.account(issuer.directory, thumbprint),
                           issuers.names(issuer, journal.issuers(issuer.directory)), finds)
        yield from _answers(loop, conversation, journal, proving, len(requests))
    finally:
        proving.close()
        conversation.close()
        messages.close()


def _answers(loop: Loop, conversation: Conversation, journal: Journal, proving: Proving,
             left: int) -> Iterator[Answer]:
    keys = thumbprints(conversation)
    for event in loop.events(lambda: conversation.runs):
        if isinstance(event, Answered):
            if not _learn(journal, conversation.issuer, keys, event.answer):
                left -= not isinstance(event.answer, KnownOrder)
                yield event.answer
        elif isinstance(event, Ended) and event.error is not None and left:
            raise event.error   # else its answers have told what failed
        elif isinstance(event, Tick):
            proving.check(event.now)


def thumbprints(conversation: Conversation) -> tuple[str, ...]:
    """Return those of the signer's keys."""
    heard = conversation.heard
    if heard is None:
        return ()
    return (heard.thumbprint, *([heard.next.thumbprint] if heard.next else []))


def _learn(journal: Journal, issuer: Issuer, keys: Sequence[str], answer: Answer) -> bool:
    """Remember what a client says of the CA, or of the account of one of the ``keys``; False if
    it is an answer to what was asked."""
    if isinstance(answer, Account) and answer.key in keys:
        journal.learn_account(issuer.directory, answer.key, answer)
    elif isinstance(answer, Directory):
        journal.learn_directory(issuer.directory, answer)
    return isinstance(answer, (Account, Directory, Progress))


def settle(config: Config, conversation: Conversation) -> None:
    """Where the signer has a next key, and it isn't known whether the account has it already, find
    out: a run may have been killed while the CA changed it.  From then on it is known which of
    them a conversation uses.

    What goes wrong is told by who needs the account.
    """
    heard, issuer = conversation.heard, conversation.issuer
    if heard is None or heard.next is None or heard.kid is not None:
        return
    if not Journal(config.state_directory).account(issuer.directory, heard.next.thumbprint):
        try:
            for answer in ask(config, [AccountUpdate(find_key=True)], issuer=issuer):
                if isinstance(answer, Failed):
                    log.debug(f"which of two keys the account has: {answer.message}")
        except Error as exc:
            log.debug(f"which of two keys the account has: {exc}")
    if conversation.greeting is not heard:
        log.warning("a change of the account key is not finished: run “letsencrypt-tiny account "
                    "--rollover”")


def greeted(config: Config, issuer: Issuer) -> Greeting:
    """Return what the signer says of the key that is used: it alone is asked, and may sign
    nothing.  Raises Error.
    """
    return _greeting(config, issuer, used=True)


def heard(config: Config, issuer: Issuer) -> Greeting:
    """Return the same of both, if it has a next key.  Raises Error."""
    return _greeting(config, issuer, used=False)


def _greeting(config: Config, issuer: Issuer, used: bool) -> Greeting:
    loop = Loop()
    messages = Messages(loop)
    conversation = Conversation(loop, messages, config, issuer)
    try:
        conversation.start_signer(signing.derive(issuer.access, [], issuer.name))
        greet(loop, [conversation])
        found = conversation.greeting if used else conversation.heard
        if found is None:
            raise conversation.error or Error("the account key manager does not greet")
        return found
    finally:
        conversation.close()
        messages.close()
