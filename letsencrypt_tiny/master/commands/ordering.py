"""Orders: keys and CSRs (``preparing``) → signers → responders open → clients → greeting (one wait,
one limit) → responders serve → what happens → install.
"""

import time
from collections.abc import Iterable, Sequence

from ...common import log, ways
from ...common.errors import ConfigError, Error, reason
from ...common.wire.order import Account, Answer, Directory, Failed, Issued, Progress
from ..peers import signals
from ..peers.conversation import Answered, Conversation, Ended, greet
from ..peers.identity import identity
from ..peers.loop import Loop, Tick
from ..peers.messages import Messages
from ..peers.watchdog import Crowd
from ..pki import chains
from ..plan import issuers, lifecycle, signing
from ..plan.issuers import Issuer
from ..plan.orders import OrderPlan
from ..report.run import Report
from ..settings.main import Config
from ..store.journal import Journal
from . import programs, twins
from .answering import Answering, Plans
from .asking import settle
from .chain import Chain
from .elsewhere import Elsewhere
from .install import Install, install_arrived
from .life import Life
from .preparing import install_kept, prepare
from .trial import with_room


def order(config: Config, journal: Journal, report: Report, wanting: Sequence[Life],
          patient: bool = True) -> None:
    """Obtain and install certificates for the sections that want one; ``report`` has the outcome.

    What was issued earlier, and could not be installed, comes first.  Whatever a CA can't do is
    asked of the next one, if a section has several; not ``patient``: of the first one first, even
    if it asked for a pause.  Raises ConfigError before anything is touched, and Error where nothing
    can be remembered.
    """
    ways.begin()   # each section's files are in the same few directories
    try:
        _order(config, journal, report, wanting, patient)
    finally:
        ways.end()


def _order(config: Config, journal: Journal, report: Report, wanting: Sequence[Life],
           patient: bool) -> None:
    programs.check_all(config)
    try:
        journal.check()   # what is ordered must be remembered
    except Error as exc:
        raise Error(f"nothing is ordered: {exc}") from exc
    others = Elsewhere(config, patient)
    wanting = with_room(config, wanting, report)
    plans = prepare(config, journal, wanting, report, others)
    plans, arrived = install_kept(config, plans, report)
    while plans:
        run = Run(config, journal, report, plans, others, arrived)
        run.execute()
        plans, arrived = run.elsewhere, run.arrived


class Run:
    """The orders of one round, with whoever works on them."""

    def __init__(self, config: Config, journal: Journal, report: Report, plans: Plans,
                 others: Elsewhere, arrived: Sequence[Chain] = (),
                 install: Install = install_arrived) -> None:
        self._config = config
        self._journal = journal
        self._report = report
        self._left = plans                  # what has neither come nor failed
        self._others = others
        self._install = install
        self.elsewhere: Plans = {}          # what another CA is to be asked for, in another round
        self.arrived = list(arrived)        # not looked at yet, or waits for its twin
        self._interrupted = False
        self._ordered: set[str] = set()     # sections with an order at the CA
        self._loop = Loop()
        self._messages = Messages(self._loop)
        self._client = identity(config.client.program)
        self._conversations: dict[Issuer, Conversation] = {}
        self._crowds: dict[Conversation, Crowd] = {}
        self._answering = Answering(config, plans, self._fail)

    def execute(self) -> None:
        """Order everything.  Raises ConfigError, which is no section's failure."""
        try:
            self._start_signers([plan for plan, _ in self._left.values()])
            self._answering.open(self._client, self._messages.pipe)   # meanwhile the signers start
            self._drop_idle()
            self._start_clients()
            greet(self._loop, self._conversations.values())
            self._report.begin(self._left)
            self._begin()
            with signals.gracefully(self._interrupt):
                self._listen()
        except ConfigError:
            raise
        except (Error, OSError) as exc:
            self._install_arrived()
            self._fail(self._left, exc if isinstance(exc, Error) else Error(
                f"what it takes for an order cannot be had: {reason(exc)}"))
            self._install_arrived()
        finally:
            self._close()

    def _start_signers(self, plans: Sequence[OrderPlan]) -> None:
        for issuer in dict.fromkeys(plan.issuer for plan in plans):
            mine = [plan.order() for plan in plans if plan.issuer == issuer]
            conversation = Conversation(self._loop, self._messages, self._config, issuer)
            self._conversations[issuer] = conversation
            try:
                conversation.start_signer(signing.derive(issuer.access, mine, issuer.name))
            except ConfigError:
                raise
            except Error as exc:   # a CA with a signer of its own is alone with that
                self._fail(self._of(conversation), exc)

    def _drop_idle(self) -> None:
        """End the signers that nothing is left for."""
        for issuer, conversation in list(self._conversations.items()):
            if not self._of(conversation):
                self._conversations.pop(issuer).close()

    def _start_clients(self) -> None:
        directories = self._answering.directories(len(self._conversations))
        for directory, conversation in zip(directories, self._conversations.values()):
            mine = self._others.in_turn(conversation.issuer, [
                self._left[name][0] for name in self._of(conversation)])
            # before there is a client: what it makes is not what was there.  Several may have one
            # directory to share, an administrator's
            self._crowds[conversation] = Crowd(directory, sum(
                len(plan.section.identifiers) for plan, _ in self._left.values()))
            conversation.start_client([plan.order() for plan in mine], self._client, directory,
                                      self._answering.doors(mine))

    def _begin(self) -> None:
        """Signers have greeted or failed: who answers challenges starts, then the clients go."""
        able = {}
        for conversation in self._conversations.values():
            settle(self._config, conversation)
            if conversation.error is not None:
                self._fail(self._of(conversation), conversation.error)
            elif conversation.greeting is not None:
                able[conversation] = conversation.greeting.thumbprint
        if not able:
            return
        self._answering.serve(able.values())
        for conversation, key in able.items():
            for name in self._of(conversation):
                plan, life = self._left[name]
                life.happens(lifecycle.ORDERED, plan.facts(None, key))
            directory = conversation.issuer.directory
            conversation.begin(
                self._journal.account(directory, key),
                issuers.names(conversation.issuer, self._journal.issuers(directory)),
                outage=self._others.outage(conversation.issuer))

    def _listen(self) -> None:
        """What happens, until no client runs any more."""
        for event in self._loop.events(lambda: any(
                conversation.runs for conversation in self._conversations.values())):
            if isinstance(event, Tick):
                self._watch(event.now)
                for conversation in self._conversations.values():
                    conversation.tick()
                self._answering.check()
                self._install_arrived()
                self._report.tick()
            elif isinstance(event, Answered):
                self._answered(event.conversation, event.answer)
            elif isinstance(event, Ended):
                self._ended(event.conversation, event.error)
        self._install_arrived()

    def _watch(self, now: float) -> None:
        """A client that makes files without end harms no other CA's."""
        for conversation, crowd in self._crowds.items():
            try:
                if conversation.runs:
                    crowd.check(now)
            except Error as exc:
                conversation.close()
                self._ended(conversation, exc)

    def _ended(self, conversation: Conversation, error: Error | None) -> None:
        self._install_arrived()
        for name in self._of(conversation) if error is not None else []:
            self._failed(Failed(name, str(error), lifecycle.LOST, elsewhere="down"), ours=True)

    def _answered(self, conversation: Conversation, answer: Answer) -> None:
        greeting = conversation.greeting
        key = greeting.thumbprint if greeting is not None else ""
        if isinstance(answer, Account):
            self._journal.learn_account(conversation.issuer.directory, key, answer)
        elif isinstance(answer, Directory):
            self._journal.learn_directory(conversation.issuer.directory, answer)
            self._others.learn(conversation.issuer, answer)
        elif isinstance(answer, Progress):
            self._report.progress(answer)
            plan, life = self._left[answer.section]
            self._ordered.update([answer.section] if answer.url else [])
            kept = life.happens(lifecycle.PROGRESS, plan.facts(answer.url, key, answer.finalize))
            if answer.url:
                conversation.acknowledge(answer.section, answer.url, kept)
        elif isinstance(answer, Issued):
            plan, life = self._left.pop(answer.section)
            pem = chains.pack(answer.chain, answer.alternates if plan.alternates else ())
            life.issued(pem, plan.facts(None, key)._replace(profile=answer.profile or ""),
                        int(time.time()))
            self._others.issued(plan)
            self.arrived.append(Chain(plan, life, pem))
        elif isinstance(answer, Failed):
            self._answering.explain()
            self._failed(answer)

    def _failed(self, failed: Failed, ours: bool = False) -> None:
        """An order failed: another CA is asked in the next round, or that is it.

        ``ours``: so did the client, whatever the CA is like.
        """
        plan, life = self._left.pop(failed.section)
        down = not ours and self._others.is_down(plan, failed)
        if failed.section in self._ordered:
            self._others.count(plan, failed)
        several = len(plan.section.issuers) > 1
        message = f"{plan.issuer.called}: {failed.message}" if several else failed.message
        about = log.About((), plan.issuer.called, failed.type or "")
        issuer = None if self._interrupted else self._others.next(plan, failed)
        if issuer is not None:
            self.elsewhere[failed.section] = plan._replace(issuer=issuer).anew(), life
            self._report.goes_on(failed.section, f"{message}; {issuer.called} is asked instead",
                                 about)
            life.happens(failed.outcome)
            return
        why = self._answering.why(plan, failed, failed.section in self._ordered)
        message = "; ".join(filter(None, [message, self._others.hint(plan, failed), *why]))
        if life.unwritten:   # which is why: it was told
            log.debug(f"{failed.section}: {message}")
        elif down or ours or failed.section not in self._ordered:
            self._report.failed_alike(failed.section, message, plan.issuer.called if down else "",
                                      about)
        else:
            self._report.failed(failed.section, message, about)
        life.fails(failed.outcome, failed.message, self._others.not_before(plan, failed)
                   if failed.outcome == lifecycle.BUSY else 0, counts=not (down or ours),
                   heard=not (ours or failed.asked))

    def _install_arrived(self) -> None:
        arrived, self.arrived = twins.ready(self.arrived, {**self._left, **self.elsewhere})
        if arrived:
            twins.widowed(self._install(self._config, arrived, self._report), self._report)

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
        self._interrupted = True
        for conversation in self._conversations.values():
            conversation.interrupt()

    def _close(self) -> None:
        """Take everything back, in whatever state it is."""
        self._others.settle()
        self._report.end()
        self._answering.close()
        for conversation in self._conversations.values():
            conversation.close()
        self._messages.close()
