"""Orders: keys and CSRs → signers → responders open → clients → greeting (one wait, one limit) →
responders serve → what happens → install.

From the CSRs on a section's failure is its own.
"""

import time
from collections.abc import Iterable, Iterator, Sequence

from ...common import log, trusted
from ...common.clock import when
from ...common.errors import ConfigError, Error
from ...common.wire.order import Account, Answer, Directory, Failed, Issued, Progress
from ..peers import signals
from ..peers.conversation import Answered, Conversation, Ended, greet
from ..peers.identity import identity
from ..peers.loop import Loop, Tick
from ..peers.messages import Messages
from ..peers.watchdog import Crowd
from ..pki import csr
from ..plan import challenges, issuers, lifecycle, orders, signing
from ..plan.issuers import Issuer
from ..plan.lifecycle import Facts
from ..plan.orders import OrderPlan
from ..report import validation
from ..report.run import Report
from ..settings.main import Config
from ..store.journal import Journal
from . import twins
from .answering import Answering, Plans
from .chain import Chain
from .install import install_arrived
from .life import Life
from .wants import wanted


def order(config: Config, journal: Journal, report: Report, wanting: Sequence[Life]) -> None:
    """Obtain and install certificates for the sections that want one; ``report`` has the outcome.

    What was issued earlier, and could not be installed, comes first.  Raises ConfigError before
    anything is touched, and Error where nothing can be remembered.
    """
    for program in config.programs:   # what is configured must be there before anything is touched
        identity(program)
    try:
        trusted.check_program(config.openssl)
    except Error as exc:
        raise ConfigError(f"{config.file}: openssl = {exc}") from exc
    try:
        journal.check()   # what is ordered must be remembered
    except Error as exc:
        raise Error(f"nothing is ordered: {exc}") from exc
    plans = _prepare(config, journal, wanting, report)
    plans, held = _install_kept(config, plans, report)
    if plans:
        _Run(config, journal, report, plans, held).execute()


def _prepare(config: Config, journal: Journal, lives: Sequence[Life], report: Report) -> Plans:
    """Make keys and CSRs; what is to be ordered, by section."""
    known = issuers.configured(config)
    plans: Plans = {}
    wants = [wanted(life) for life in lives]
    failed: set[str] = set()
    for life, made in zip(lives, csr.make_all(config, wants, journal.revoked().keys)):
        if isinstance(made, Error):
            report.failed(life.name, str(made))
            failed.add(life.name)
        else:
            issuer = known[life.section.issuer]
            types = challenges.types(life.section, config)
            plans[life.name] = orders.plan(life.section, issuer, made.csr, life.state, types,
                                           made.new_key, made.seen), life
    for name in twins.without(failed, lives, report):
        del plans[name]
    return plans


def _install_kept(config: Config, plans: Plans, report: Report) -> tuple[Plans, list[Chain]]:
    """Try again what was issued and could not be installed; return what is left to order, and
    what waits for that."""
    tried = [Chain(plan, life, pem, kept=True) for plan, life in plans.values()
             if plan.kept and (pem := life.kept())]
    for one in tried:
        log.info(f"{one.life.name}: what was issued {when(one.life.state.kept)} is tried again")
        one.life.happens(lifecycle.TAKEN_UP)
    waiting = install_arrived(config, tried, report)
    left = dict(plans)
    for one in tried:
        if one.life.phase == lifecycle.DUE and not one.life.state.kept:
            left[one.life.name] = one.plan.anew(), one.life
        else:
            del left[one.life.name]
    alone, held = twins.ready(waiting, left)
    twins.widowed(alone, report)
    return left, held


class _Run:
    """The orders of one run, with whoever works on them."""

    def __init__(self, config: Config, journal: Journal, report: Report,
                 plans: Plans, held: Sequence[Chain]) -> None:
        self._config = config
        self._journal = journal
        self._report = report
        self._left = plans                  # what has neither come nor failed
        self._arrived = list(held)          # not looked at yet
        self._ordered: set[str] = set()     # sections with an order at the CA
        self._loop = Loop()
        self._messages = Messages(self._loop)
        self._client = identity(config.client.program)
        self._conversations: dict[Issuer, Conversation] = {}
        self._answering = Answering(config, plans, self._fail)

    def execute(self) -> None:
        """Order everything.  Raises ConfigError, which is no section's failure."""
        plans = [plan for plan, _ in self._left.values()]
        try:
            self._start_signers(plans)
            self._answering.open(self._client, self._messages.pipe)   # meanwhile the signers start
            plans = self._drop_idle()
            # before there is a client: what it makes is not what was there
            crowd = Crowd(self._answering.directory,
                          sum(len(plan.section.identifiers) for plan in plans))
            self._start_clients(plans)
            greet(self._loop, self._conversations.values())
            self._report.begin(self._left)
            self._begin()
            with signals.gracefully(self._interrupt):
                self._listen(crowd)
        except ConfigError:
            raise
        except Error as exc:
            self._install_arrived()
            self._fail(self._left, exc)
            self._install_arrived()
        finally:
            self._close()

    def _start_signers(self, plans: Sequence[OrderPlan]) -> None:
        for issuer in dict.fromkeys(plan.issuer for plan in plans):
            mine = [plan.order() for plan in plans if plan.issuer == issuer]
            conversation = Conversation(self._loop, self._messages, self._config, issuer)
            self._conversations[issuer] = conversation
            conversation.start_signer(signing.derive(issuer.access, mine))

    def _drop_idle(self) -> list[OrderPlan]:
        """End the signers that nothing is left for; return the plans that are."""
        for issuer, conversation in list(self._conversations.items()):
            if not self._of(conversation):
                self._conversations.pop(issuer).close()
        return [plan for plan, _ in self._left.values()]

    def _start_clients(self, plans: Sequence[OrderPlan]) -> None:
        for issuer, conversation in self._conversations.items():
            mine = [plan for plan in plans if plan.issuer == issuer]
            conversation.start_client([plan.order() for plan in mine], self._client,
                                      self._answering.directory, self._answering.doors(mine))

    def _begin(self) -> None:
        """Signers have greeted or failed: who answers challenges starts, then the clients go."""
        able = {}
        for conversation in self._conversations.values():
            if conversation.error is not None:
                self._fail(self._of(conversation), conversation.error)
            elif conversation.greeting is not None:
                able[conversation] = conversation.greeting.thumbprint
        if not able:
            return
        self._answering.serve(able.values())
        for conversation, key in able.items():
            for name in self._of(conversation):
                self._left[name][1].happens(lifecycle.ORDERED)
            directory = conversation.issuer.directory
            conversation.begin(
                self._journal.account(directory, key),
                issuers.names(conversation.issuer, self._journal.issuers(directory)))

    def _listen(self, crowd: Crowd) -> None:
        """What happens, until no client runs any more."""
        for event in self._loop.events(lambda: any(
                conversation.runs for conversation in self._conversations.values())):
            if isinstance(event, Tick):
                crowd.check(event.now)
                self._answering.check()
                self._install_arrived()
                self._report.tick()
            elif isinstance(event, Answered):
                self._answered(event.conversation, event.answer)
            elif isinstance(event, Ended):
                self._install_arrived()
                if event.error is not None:
                    self._fail(self._of(event.conversation), event.error)
        self._install_arrived()

    def _answered(self, conversation: Conversation, answer: Answer) -> None:
        greeting = conversation.greeting
        key = greeting.thumbprint if greeting is not None else ""
        if isinstance(answer, Account):
            self._journal.learn_account(conversation.issuer.directory, key, answer)
        elif isinstance(answer, Directory):
            self._journal.learn_directory(conversation.issuer.directory, answer)
        elif isinstance(answer, Progress):
            self._report.progress(answer)
            plan, life = self._left[answer.section]
            self._ordered.update([answer.section] if answer.url else [])
            life.happens(lifecycle.PROGRESS, plan.facts(answer.url, key, answer.finalize))
        elif isinstance(answer, Issued):
            plan, life = self._left.pop(answer.section)
            life.issued(answer.chain, plan.facts(None, key), int(time.time()))
            self._arrived.append(Chain(plan, life, answer.chain))
        elif isinstance(answer, Failed):
            plan, life = self._left.pop(answer.section)
            self._report.failed(answer.section, "; ".join([answer.message,
                                                           *self._why(plan, answer)]))
            life.happens(answer.outcome, Facts(
                not_before=int(time.time()) + answer.retry_after if answer.retry_after
                and answer.outcome == lifecycle.BUSY else 0))

    def _why(self, plan: OrderPlan, answer: Failed) -> Iterator[str]:
        """Yield what to say of a validation that failed, if that is what happened."""
        if answer.outcome != lifecycle.REFUSED or plan.name not in self._ordered:
            return
        if sentence := validation.sentence(answer.type):
            yield sentence
        if answer.type in validation.REACHING:
            yield from filter(None, self._answering.told(plan.section.identifiers))

    def _install_arrived(self) -> None:
        arrived, self._arrived = twins.ready(self._arrived, self._left)
        twins.widowed(install_arrived(self._config, arrived, self._report), self._report)

    def _of(self, conversation: Conversation) -> list[str]:
        """The sections that are left to a conversation."""
        return [name for name, (plan, _) in self._left.items()
                if plan.issuer == conversation.issuer]

    def _fail(self, names: Iterable[str], error: Error) -> None:
        for name in list(names):
            _, life = self._left.pop(name)
            self._report.failed(name, str(error))
            if life.phase == lifecycle.ORDERING:
                life.happens(lifecycle.LOST)

    def _interrupt(self) -> None:
        log.warning("interrupted: finishing what can be finished; interrupt again to stop at once")
        for conversation in self._conversations.values():
            conversation.interrupt()

    def _close(self) -> None:
        """Take everything back, in whatever state it is."""
        self._report.end()
        self._answering.close()
        for conversation in self._conversations.values():
            conversation.close()
        self._messages.close()
