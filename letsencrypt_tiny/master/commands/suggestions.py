"""Asks CAs when to renew (ARI, RFC 9773), by clients that have neither an account nor a signer.

Whatever goes wrong is told, and keeps no certificate from being renewed: what was said before
holds, or else the lifetime.
"""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import when
from ...common.errors import Error
from ...common.wire.order import Answer, Directory, Failed
from ...common.wire.renewal import RenewalInfo, RenewalQuery
from ..peers.conversation import Answered, Conversation, Ended
from ..peers.identity import identity
from ..peers.loop import Loop
from ..peers.messages import Messages
from ..plan import ari
from ..plan.issuers import Issuer
from ..report.run import SHOWN
from ..settings.main import Config
from ..store.journal import Journal
from ..store.renewals import Renewal, Renewals

PATIENCE = 30   # seconds for one answer at most: others wait for theirs

# Outcomes of failures (common/wire/order.py) that may pass soon
_PASSING = ("busy", "lost")


class Question(NamedTuple):
    """What is to be asked of whom."""

    section: str
    issuer: Issuer
    known: Renewal       # so far


def ask(config: Config, renewals: Renewals, questions: Sequence[Question]) -> None:
    """Ask; ``renewals`` has what was answered, and when to ask again."""
    _Asking(config, renewals, questions).execute()


class _Asking:
    """One client for each CA."""

    def __init__(self, config: Config, renewals: Renewals, questions: Sequence[Question]) -> None:
        self._config = config
        self._renewals = renewals
        self._journal = Journal(config.state_directory)
        self._left = {question.section: question for question in questions}
        self._heard: dict[str, Renewal] = {}
        self._failed: dict[str, list[str]] = {}    # why -> sections
        self._loop = Loop()
        self._messages = Messages(self._loop)
        self._conversations: list[Conversation] = []

    def execute(self) -> None:
        try:
            try:
                self._start()
                for event in self._loop.events(lambda: any(
                        conversation.runs for conversation in self._conversations)):
                    if isinstance(event, Answered):
                        self._answered(event.conversation, event.answer)
                    elif isinstance(event, Ended) and event.error is not None:
                        self._fail(self._of(event.conversation), event.error)
            except Error as exc:    # a run that has nothing to order needs no client
                self._fail(list(self._left), exc)
        finally:
            for conversation in self._conversations:
                conversation.close()
            self._messages.close()
        self._renewals.remember(self._heard, time.time())
        self._tell_of_failures()

    def _start(self) -> None:
        who = identity(self._config.client.program)
        for issuer in dict.fromkeys(question.issuer for question in self._left.values()):
            access = issuer.access._replace(
                timeout=PATIENCE, answer_timeout=min(PATIENCE, issuer.access.answer_timeout))
            conversation = Conversation(self._loop, self._messages, self._config,
                                        issuer._replace(access=access))
            self._conversations.append(conversation)
            conversation.start_client(
                [RenewalQuery(question.section, question.known.certificate)
                 for question in self._left.values() if question.issuer == issuer], who)
        for conversation in self._conversations:
            conversation.begin("")

    def _answered(self, conversation: Conversation, answer: Answer) -> None:
        if isinstance(answer, Directory):
            self._journal.learn_directory(conversation.issuer.directory, answer)
        elif isinstance(answer, RenewalInfo):
            self._learn(self._left.pop(answer.section), answer)
        elif isinstance(answer, Failed):
            self._fail([answer.section], Error(answer.message), answer.outcome,
                       answer.retry_after)

    def _learn(self, question: Question, info: RenewalInfo) -> None:
        before = question.known
        known = ari.learn(before, info, time.time(), int.from_bytes(os.urandom(4), "big") / 2**32)
        self._heard[question.section] = known
        if (before.start, before.end, before.explanation) != (known.start, known.end,
                                                              known.explanation):
            log.info(f"{question.section}: {ari.reason(known)}")
        if not ari.suggested(known):
            log.info(f"{question.section}: that has been done: the next time is by its lifetime")

    def _fail(self, sections: Sequence[str], error: Error, outcome: str = "lost",
              retry_after: int | None = None) -> None:
        """They are asked for again, but not at once."""
        for section in sections:
            question = self._left.pop(section)
            self._heard[section] = ari.fail(question.known, outcome in _PASSING, retry_after,
                                            time.time())
            self._failed.setdefault(str(error), []).append(section)

    def _tell_of_failures(self) -> None:
        """One line for each reason, however many sections it is told for."""
        for why, sections in self._failed.items():
            more = f" and {len(sections) - SHOWN} more" if len(sections) > SHOWN else ""
            again = min(self._heard[section].again for section in sections)
            log.info(f"{', '.join(sections[:SHOWN])}{more}: not told when to renew: {why}; asked "
                     f"again after {when(again)}")

    def _of(self, conversation: Conversation) -> list[str]:
        return [name for name, question in self._left.items()
                if question.issuer.directory == conversation.issuer.directory]
