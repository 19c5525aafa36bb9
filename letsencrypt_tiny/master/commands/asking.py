"""Requests that are no orders: put to the client, answered each once."""

from collections.abc import Iterator, Mapping, Sequence

from ...common.errors import Error
from ...common.wire.order import Account, Answer, Directory, Progress, Request
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
            raise conversation.error or Error("the signer does not greet")
        thumbprint = conversation.greeting.thumbprint
        proving.serve(thumbprint)
        conversation.begin(journal.account(issuer.directory, thumbprint),
                           issuers.names(issuer, journal.issuers(issuer.directory)))
        left = len(requests)
        for event in loop.events(lambda: conversation.runs):
            if isinstance(event, Answered):
                if not _learnt(journal, issuer, thumbprint, event.answer):
                    left -= 1
                    yield event.answer
            elif isinstance(event, Ended) and event.error is not None and left:
                raise event.error   # else its answers have told what failed
            elif isinstance(event, Tick):
                proving.check(event.now)
    finally:
        proving.close()
        conversation.close()
        messages.close()


def _learnt(journal: Journal, issuer: Issuer, key: str, answer: Answer) -> bool:
    """Remember what is no answer to a request; say whether it is none."""
    if isinstance(answer, Account):
        journal.learn_account(issuer.directory, key, answer)
    elif isinstance(answer, Directory):
        journal.learn_directory(issuer.directory, answer)
    return isinstance(answer, (Account, Directory, Progress))


def greeted(config: Config, issuer: Issuer) -> Greeting:
    """Return what the signer says of its key: it alone is asked, and may sign nothing.

    Raises Error.
    """
    loop = Loop()
    messages = Messages(loop)
    conversation = Conversation(loop, messages, config, issuer)
    try:
        conversation.start_signer(signing.derive(issuer.access, [], issuer.name))
        greet(loop, [conversation])
        if conversation.greeting is None:
            raise conversation.error or Error("the signer does not greet")
        return conversation.greeting
    finally:
        conversation.close()
        messages.close()
