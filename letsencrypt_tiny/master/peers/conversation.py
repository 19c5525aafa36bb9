"""One client and its signer, from start to end; any number of them share a loop.

The order of events is the caller's: ``start_signer``, ``start_client``, then ``greet``, then
``begin``, from which on the client works, and what it answers comes out of the loop.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ...common import log
from ...common.environment import PROXIES
from ...common.errors import Error, ProtocolError
from ...common.wire.order import (Answer, ClientConfig, Door, Log, Progress, Request, format_config,
                                  format_request)
from ...common.wire.policy import Policy
from ...common.wire.signer import Greeting
from ..plan.issuers import Issuer
from ..settings.main import Config
from ..store.journal import Journal
from ..store.outages import Outage
from . import orphans, spawn
from . import signer as signers
from .acknowledging import Acknowledging
from .answers import Reader
from .child import Child
from .explaining import Explainer
from .identity import Identity
from .loop import Loop
from .messages import Messages
from .watchdog import Watchdog


class Answered(NamedTuple):
    """The client of ``conversation`` has an answer: what it was asked for, and not yet believed."""

    conversation: "Conversation"
    answer: Answer


class Ended(NamedTuple):
    """The client of ``conversation`` has ended; with an ``error`` if not as it should."""

    conversation: "Conversation"
    error: Error | None


class Conversation:
    """A client that works for one issuer, and its signer, if what is asked needs signatures."""

    def __init__(self, loop: Loop, messages: Messages, config: Config, issuer: Issuer) -> None:
        self.issuer = issuer
        self._loop = loop
        self._messages = messages
        self._config = config
        self._requests: Sequence[Request] = ()
        self._doors: list[Door] = []
        self._signer: signers.Signer | None = None
        self._used: Greeting | None = None    # that of the key which is used, from then on
        self._client: Child | None = None
        self._uid = 0       # the client's
        self._go = -1       # what it reads its configuration from, and what is written down,
        self._reader = -1   # and writes its answers to
        self._answers: _Answers | None = None
        self._written: Acknowledging | None = None

    # --- the order of events ---

    def start_signer(self, policy: Policy, key: int | None = None) -> None:
        """Connect to the signer, or spawn it; see ``signer.connect``.  Raises Error."""
        self._signer = signers.connect(self._config, self._messages.pipe, policy, key,
                                       self.issuer.socket)
        self._loop.add(self._signer)

    def start_client(self, requests: Sequence[Request], who: Identity,
                     directory: str = "/", doors: Sequence[Door] = ()) -> None:
        """Start the client in ``directory`` with ``requests``.  Raises Error.

        ``doors`` are its own, to the responders it may ask; they are handed over.

        It waits for its configuration: so it can start beside the signer, but reads nothing of
        what that says before the master has.
        """
        program = self._config.client.program
        arguments = ["--debug"] if log.level >= log.DEBUG else []
        stdin = spawn.sealed(b"".join(format_request(request) for request in requests))
        config, self._go = os.pipe()
        self._reader, writer = os.pipe()
        stderr = self._messages.pipe("client")
        descriptors = [stdin, writer, stderr, config, *(door.descriptor for door in doors)]
        lent = [] if self._signer is None else [self._signer.fileno()]
        # as the client will know them
        self._doors = [door._replace(descriptor=number) for number, door in enumerate(doors, 4)]
        orphans.adopt()
        try:
            self._client = spawn.spawn(
                program, who, [*arguments, "3", *(str(len(descriptors)) for _ in lent)],
                [*descriptors, *lent],
                directory=directory, extra=spawn.inherited(PROXIES))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._requests, self._uid = requests, who.uid

    @property
    def heard(self) -> Greeting | None:
        """What the signer has told of its key, and of the next one if it has two."""
        return None if self._signer is None else self._signer.greeting

    @property
    def greeting(self) -> Greeting | None:
        """What holds for the key that is used: the next one if the account is known to have it."""
        heard = self.heard
        if self._used is not None or heard is None:
            return self._used
        following = heard.as_next()
        if following is not None and Journal(self._config.state_directory).account(
                self.issuer.directory, following.thumbprint):
            return following
        return heard

    @property
    def error(self) -> Error | None:
        """Why the signer can't be worked with, once that is known."""
        return None if self._signer is None else self._signer.error

    @property
    def awaited(self) -> bool:
        """True as long as the signer has neither greeted nor failed."""
        return self._signer is not None and self._signer.awaited

    def explainer(self) -> Explainer | None:
        """Who says what the signer would sign; None if it has not greeted, or is too old for that.

        Instead of ``begin``: what the signer says is not for the client then.  Raises Error.
        """
        if self._signer is None or self.greeting is None or not self.greeting.refusals:
            return None
        return Explainer(self._signer.socket)

    def begin(self, account_url: str, issuers: Sequence[str] = (), find_key: bool = False,
              outage: Outage | None = None) -> None:
        """Give the client its configuration, and with it the signer; hear what it answers.

        ``account_url``: the account that the signer's key has, "" if that isn't known;
        ``issuers``: what the CA is called in records, as far as known; ``find_key``: which of two
        keys it has to use is what it is to find out; ``outage``: the CA was out of order last.
        """
        greeting = self._used = self.greeting    # whatever is learnt meanwhile
        thumbprint = greeting.thumbprint if greeting is not None else ""
        text = format_config(ClientConfig(
            self.issuer.access, self._config.client.program.confine, account_url,
            thumbprint if account_url else "", tuple(self._doors), tuple(issuers),
            by_next=greeting is not None and not find_key and greeting.old is not None,
            doubted=outage is not None, directory=outage.document if outage is not None else ""))
        try:
            os.set_blocking(self._go, False)
            if os.write(self._go, text) < len(text):    # a pipe takes 64 kB at once
                raise Error("the configuration of the ACME client is too long")
        except BrokenPipeError:
            pass   # it has ended, as its status will tell
        self._written, self._go = Acknowledging(self._go), -1
        if self._signer is not None:
            self._signer.close()
        self._answers = _Answers(self, self._reader, self._requests)
        self._loop.add(self._answers)

    def acknowledge(self, section: str, url: str, kept: bool) -> None:
        """Tell the client that an order is written down, or can't be."""
        if self._written is not None:
            self._written.say(section, url, kept)

    def tick(self) -> None:
        """What the client could not take is told again."""
        if self._written is not None:
            self._written.flush()

    @property
    def runs(self) -> bool:
        """True until its ``Ended`` has come out of the loop."""
        return self._answers is not None and not self._answers.ended

    # --- the end ---

    def hear_the_end(self) -> Error | None:
        """The client closed its output: collect its status; return what is wrong with that."""
        status = self._client.wait(5) if self._client is not None else None
        self._messages.drain()
        if status is None:
            return Error("the ACME client closed its output but does not end")
        return Error(f"the ACME client ended with status {status}") if status != 0 else None

    def unhear(self, answers: "_Answers") -> None:
        """Its answers are not listened to any more."""
        self._loop.remove(answers)

    def interrupt(self) -> None:
        """Ask the client to finish what can be finished without waiting (signal-safe)."""
        if self._client is not None and self._client.status is None:
            os.kill(self._client.pid, signal.SIGINT)

    def close(self) -> None:
        """End whatever still runs; safe to call twice."""
        if self._signer is not None:
            self._loop.remove(self._signer)
            self._signer.close()
        if self._client is not None:
            self._client.stop()
        # closing its connection ends a signer; give it the moment to say so
        if self._signer is not None and self._signer.child is not None \
                and self._signer.child.wait(1) is None:
            self._signer.child.stop()
        orphans.end(self._uid)
        if self._answers is not None:
            self._answers.ended = True
            self._loop.remove(self._answers)
        if self._written is not None:
            self._written.close()
        for descriptor in (self._go, self._reader):
            if descriptor >= 0:
                os.close(descriptor)
        self._go = self._reader = -1


class _Answers:
    """What a client writes, as a source of the loop's; each is looked at once, and in order."""

    def __init__(self, conversation: Conversation, descriptor: int,
                 requests: Sequence[Request]) -> None:
        self.ended = False
        self._conversation = conversation
        self._descriptor = descriptor
        self._reader = Reader(requests)
        self._watchdog = Watchdog(time.monotonic(), conversation.issuer.access.timeout,
                                  len(requests), conversation.issuer.access.answer_timeout)

    def fileno(self) -> int:
        return self._descriptor

    def deadline(self) -> float:
        return self._watchdog.deadline

    def expire(self) -> Iterator[object]:
        why = self._watchdog.overdue(time.monotonic())
        if why:
            yield self._end(Error(why))

    def receive(self) -> Iterator[object]:
        """Read once; what was good before something bad has come out before the bad."""
        data = os.read(self._descriptor, 65536)
        try:
            if not data:
                self._reader.end()
                yield self._end(self._conversation.hear_the_end())
                return
            wait, heard = 0, False
            for answer in self._reader.feed(data):
                heard = True
                if isinstance(answer, Progress):
                    wait = max(wait, answer.wait)
                if isinstance(answer, Log):
                    _show(answer)
                else:
                    yield Answered(self._conversation, answer)
            if heard:   # whole lines are signs of life
                self._watchdog.heard(time.monotonic(), wait)
        except ProtocolError as exc:
            yield self._end(Error(f"the ACME client broke the protocol: {exc}"))

    def _end(self, error: Error | None) -> Ended:
        self.ended = True
        self._conversation.unhear(self)
        if error is None and self._reader.left:
            error = Error("the ACME client ended before its work was done")
        return Ended(self._conversation, error)


def _show(answer: Log) -> None:
    show: dict[str, Callable[[object], None]] = {
        "error": log.error, "warning": log.warning, "info": log.info}
    show.get(answer.level, log.debug)(answer.text)


def greet(loop: Loop, conversations: Iterable[Conversation]) -> None:
    """Wait for every signer to greet: once, with one limit, whatever the command.

    Meanwhile messages are relayed.  Afterwards each conversation has its ``greeting``, or the
    ``error`` that keeps it from beginning.
    """
    waiting = list(conversations)
    for event in loop.events(lambda: any(item.awaited for item in waiting)):
        if isinstance(event, signers.Heard):   # it is the client's to listen to from now on
            loop.remove(event.signer)
