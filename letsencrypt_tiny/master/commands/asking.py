"""Requests that need no challenge: put to the client, answered each once."""

from collections.abc import Iterator, Sequence

from ...common.errors import Error
from ...common.wire.order import Account, Answer, Directory, Progress, Request
from ...common.wire.signer import Greeting
from ..peers.conversation import Answered, Conversation, Ended, greet
from ..peers.identity import identity
from ..peers.loop import Loop
from ..peers.messages import Messages
from ..plan import issuers, signing
from ..plan.issuers import Issuer
from ..settings.main import Config
from ..store.journal import Journal


def ask(config: Config, requests: Sequence[Request], key: int | None = None,
        issuer: Issuer | None = None) -> Iterator[Answer]:
    """Yield the answers to ``requests``; raises Error unless each gets its own.

    ``key`` is the descriptor of a private key to sign with instead of the account's; ``issuer`` is
    the CA to ask, that of [client] if it is None.
    """
    journal = Journal(config.state_directory)
    issuer = issuer or issuers.configured(config)[""]
    loop = Loop()
    messages = Messages(loop)
    conversation = Conversation(loop, messages, config, issuer)
    try:
        conversation.start_signer(signing.derive(issuer.access, requests, issuer.name), key)
        conversation.start_client(requests, identity(config.client.program))
        greet(loop, [conversation])
        if conversation.greeting is None:
            raise conversation.error or Error("the signer does not greet")
        thumbprint = conversation.greeting.thumbprint
        conversation.begin(journal.account(issuer.directory, thumbprint),
                           issuers.names(issuer, journal.issuers(issuer.directory)))
        left = len(requests)
        for event in loop.events(lambda: conversation.runs):
            if isinstance(event, Answered) and isinstance(event.answer, Account):
                journal.learn_account(issuer.directory, thumbprint, event.answer)
            elif isinstance(event, Answered) and isinstance(event.answer, Directory):
                journal.learn_directory(issuer.directory, event.answer)
            elif isinstance(event, Answered) and not isinstance(event.answer, Progress):
                left -= 1
                yield event.answer
            elif isinstance(event, Ended) and event.error is not None and left:
                raise event.error   # else its answers have told what failed
    finally:
        conversation.close()
        messages.close()


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
