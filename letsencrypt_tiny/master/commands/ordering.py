"""Orders: keys and CSRs → signers → responders open → clients → greeting (one wait, one limit) →
responders serve → what happens → install.

From the CSRs on a section's failure is its own.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...common import log, trusted
from ...common.clock import when
from ...common.errors import ConfigError, Error
from ...common.names import Identifier
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
from ..responders.table import Responder, responders_for
from ..settings.main import Config
from ..store.journal import Journal
from . import twins
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


Plans = dict[str, tuple[OrderPlan, Life]]


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
        self._responders: list[Responder] = []

    def execute(self) -> None:
        """Order everything.  Raises ConfigError, which is no section's failure."""
        plans = [plan for plan, _ in self._left.values()]
        try:
            self._start_signers(plans)
            plans = self._open_responders(plans)
            # before there is a client: what it makes is not what was there
            crowd = Crowd(self._directory,
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

    def _open_responders(self, plans: Sequence[OrderPlan]) -> list[OrderPlan]:
        """Open them; return the plans that are left, as they are then.  Raises Error."""
        kinds = dict.fromkeys(kind for plan in plans for kind in plan.challenges)
        self._responders = responders_for(kinds, self._config, self._client, self._messages.pipe)
        for responder in list(self._responders):   # meanwhile the signers start
            names = self._names(responder.types)
            try:
                unable = responder.open(names) if names else {}
            except Error as exc:
                unable = dict.fromkeys(names, exc)
            if unable.keys() >= names:
                self._responders.remove(responder)
                responder.close()
            self._go_without(responder.types, unable)
        for issuer, conversation in list(self._conversations.items()):
            if not self._of(conversation):
                self._conversations.pop(issuer).close()
        return [plan for plan, _ in self._left.values()]

    def _names(self, types: Sequence[str]) -> set[Identifier]:
        """Return the names that challenges of these types may be asked for."""
        found: set[Identifier] = set()
        for plan, _ in self._left.values():
            for kind in set(types).intersection(plan.challenges):
                found |= challenges.names(plan.section, kind, self._config)
        return found

    def _go_without(self, types: Sequence[str], unable: Mapping[Identifier, Error]) -> None:
        """Challenges of ``types`` can't be answered for some names: that is a matter of the
        sections that need them.  Raises the error if it is one, and all need them."""
        failed: dict[str, Error] = {}
        for name, (plan, life) in self._left.items():
            kinds, error = challenges.without(plan.section, plan.challenges, types, unable,
                                              self._config)
            if error is not None:
                failed[name] = error
            else:
                self._left[name] = plan._replace(challenges=kinds), life
        errors = dict.fromkeys([*failed.values(), *unable.values()])
        if len(errors) == 1 and len(failed) == len(self._left):
            raise next(iter(errors))
        for error in errors:
            if error not in failed.values():
                log.warning(f"{' and '.join(types)}: {error}")
        for name, error in failed.items():
            self._fail([name], error)

    def _start_clients(self, plans: Sequence[OrderPlan]) -> None:
        for issuer, conversation in self._conversations.items():
            mine = [plan for plan in plans if plan.issuer == issuer]
            types = {kind for plan in mine for kind in plan.challenges}
            doors = [door for responder in self._responders if types.intersection(responder.types)
                     for door in responder.doors()]
            conversation.start_client([plan.order() for plan in mine], self._client,
                                      self._directory, doors)

    @property
    def _directory(self) -> str:
        """Where the clients work: the directory of the responder that has one."""
        return next((responder.directory for responder in self._responders
                     if responder.directory != "/"), "/")

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
        for responder in self._responders:
            responder.serve(list(dict.fromkeys(able.values())))
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
                for responder in self._responders:
                    responder.check()
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
            yield from filter(None, (responder.told(plan.section.identifiers)
                                     for responder in self._responders))

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
        for responder in self._responders:
            responder.close()
        for conversation in self._conversations.values():
            conversation.close()
        self._messages.close()
