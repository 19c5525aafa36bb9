"""Conversations of master/peers/ with stand-ins, in the test's own process.

>>> machine.client.plays(words.receive(), Progress("a", "pending"), Failed("a", "no", "refused"))
>>> with Talk(machine) as talk:
...     talk.start([ORDER])
...     talk.run()
>>> talk.answers, talk.error
"""

import time
from collections.abc import Callable, Iterator, Sequence

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire.order import Answer, Order, Request
from letsencrypt_tiny.master.peers.conversation import Answered, Conversation, Ended, greet
from letsencrypt_tiny.master.peers.identity import Identity, identity
from letsencrypt_tiny.master.peers.loop import Loop
from letsencrypt_tiny.master.peers.messages import Messages
from letsencrypt_tiny.master.plan import issuers, signing
from letsencrypt_tiny.master.settings import main as settings

from .machine import Machine

ORDER = Order("a", (("dns", "a.example"),), b"csr")


class Talk:
    """One loop and its conversations, until the end of the ``with``."""

    def __init__(self, machine: Machine, timeout: int = 1) -> None:
        """``timeout`` is the client's, in seconds."""
        machine.main["client"].update({"timeout": str(timeout), "answer-timeout": "1"})
        self.config = settings.load(str(machine.configure()))
        self.loop = Loop()
        self.messages = Messages(self.loop)
        self.conversations: list[Conversation] = []
        self.answers: list[Answer] = []     # of all of them, as they came
        self.ended: list[Ended] = []
        self.seconds = 0.0                  # that ``run`` took

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it all; may be done twice."""
        for conversation in self.conversations:
            conversation.close()
        self.messages.close()

    def start(self, requests: Sequence[Request] = (ORDER,), *, server: str = "",
              signer: bool = True, directory: str = "/", who: Identity | None = None
              ) -> Conversation:
        """Start a client, and a signer for it, for the CA at ``server`` (default: [client]'s)."""
        issuer = issuers.configured(self.config)[""]
        if server:
            issuer = issuer._replace(name=server, access=issuer.access._replace(server=server))
        conversation = Conversation(self.loop, self.messages, self.config, issuer)
        self.conversations.append(conversation)
        if signer:
            # what is asked for in these tests is no DER, from which a policy could be derived
            conversation.start_signer(signing.derive(issuer.access, []))
        conversation.start_client(requests, who or identity(self.config.client.program), directory)
        return conversation

    def greet(self) -> None:
        """Wait for the signers; raises the first one's Error."""
        greet(self.loop, self.conversations)
        for conversation in self.conversations:
            if conversation.error is not None:
                raise conversation.error

    def events(self, account_url: str = "") -> Iterator[object]:
        """Greet, begin, and yield what happens until no client runs; ticks, too."""
        self.greet()
        for conversation in self.conversations:
            conversation.begin(account_url)
        yield from self.loop.events(lambda: any(item.runs for item in self.conversations))

    def run(self, watch: Callable[[object], None] = lambda _: None) -> list[Answer]:
        """Go through all events, of which ``watch`` is told; return the answers."""
        start = time.monotonic()
        try:
            for event in self.events():
                watch(event)
                if isinstance(event, Answered):
                    self.answers.append(event.answer)
                elif isinstance(event, Ended):
                    self.ended.append(event)
        finally:
            self.seconds = time.monotonic() - start
        return self.answers

    @property
    def error(self) -> Error | None:
        """What was wrong with the end of the only conversation."""
        ended, = self.ended
        return ended.error
