"""The newOrder command, from top to bottom.

Here: what is due; from ``ordering`` on keys and CSRs → signers → responders open → clients →
greeting → responders serve → what happens; then ``install``: verify → install → notify.

What goes wrong with one section is told and leaves its files as they were; the others go on.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from ...common import log
from ...common.clock import DAY
from ...common.errors import Error
from ..plan import issuers, lifecycle, renewal
from ..plan.renewal import Due
from ..report.run import Report
from ..settings.certificates import Certificates
from ..settings.main import Config
from ..store.installed import Busy, check_authorities
from ..store.journal import Journal
from ..store.renewals import Renewals
from ..store.troubles import Troubles
from ..store.vicinity import Vicinity
from . import due, failing
from .life import Life
from .waits import Wait, Waits
from .wishes import settle

if TYPE_CHECKING:
    from .suggestions import Question


class Options(NamedTuple):
    """The options of the newOrder command."""

    sections: Sequence[str] = ()
    min_days: int | None = None       # negative: force
    new_key: bool = False             # what is ordered is for another key


def new_order(config: Config, certificates: Certificates, options: Options) -> int:
    """Obtain, verify and install every certificate that is due; return the exit status.

    Raises UsageError and ConfigError before anything is touched.
    """
    if options.new_key and options.min_days is None:
        options = options._replace(min_days=renewal.FORCED)
    began = time.time()
    journal, troubles = Journal(config.state_directory), Troubles(config.state_directory)
    report = Report(troubles.known())
    if certificates.empty and not options.sections:
        log.info(certificates.hint)
    waiting: list[tuple[Life, Wait]] = []
    lives, wanted = _look(config, options, _read(certificates, options, journal, report), waiting)
    wanting = [life for life in _within_limits(config, wanted) if _usable(life, report)]
    _tell_of_waits(waiting, report)
    if any(life.section.twin for life in wanting):
        from .twins import couple
        wanting = couple(lives, wanting)
    if wanting:   # a night with nothing due doesn't load what it doesn't need
        from .ordering import order
        order(config, journal, report, wanting,
              patient=not options.sections and options.min_days is None)
    _make_next_keys(config, lives)
    _notify(config, lives, report)
    report.summary()
    troubles.learn(report.failures, report.mended, time.time())
    failing.settle(config, report, troubles, lives, options.sections or None)
    if config.metrics_file:
        from .metrics import after_run
        after_run(config, certificates, began, report.exit_status)
    return report.exit_status


def _read(certificates: Certificates, options: Options, journal: Journal, report: Report
          ) -> Iterator[Life]:
    """Read what is remembered of what is wanted; tell of the sections that cannot be."""
    sections, faults = due.select(certificates, options.sections)
    for name, fault in faults.items():
        report.failed(name, str(fault))
    for section, state in zip(sections, journal.sections(section.name for section in sections)):
        yield Life(section, state, journal, report)


def _look(config: Config, options: Options, lives: Iterable[Life],
          waiting: list[tuple[Life, Wait]]) -> tuple[list[Life], list[tuple[Life, Due]]]:
    """Look at one after the other; return those that there is more to be done for, and of these
    those that want to be ordered.  ``waiting`` is that of ``_wants``.

    The others are forgotten: there may be a hundred thousand.
    """
    kept: list[tuple[int, Life]] = []
    wanted: list[tuple[int, Life, Due]] = []
    waits = Waits(config, os.isatty(2) and log.level >= log.NORMAL)
    with Vicinity() as vicinity:
        for number, life, verdict in _judge(config, options, lives, vicinity):
            if verdict is not None and _wants(options, life, verdict, vicinity) \
                    and not _waits(options, life, verdict, waits, waiting):
                wanted.append((number, life, verdict))
            if life.due is not False or life.section.twin or life.section.next_key \
                    or life.phase == lifecycle.INSTALLED or life.state.hooks:
                kept.append((number, life))
    kept.sort(key=itemgetter(0))
    wanted.sort(key=itemgetter(0))
    return [life for _, life in kept], [(life, verdict) for _, life, verdict in wanted]


def _judge(config: Config, options: Options, lives: Iterable[Life], vicinity: Vicinity
           ) -> Iterator[tuple[int, Life, Due | None]]:
    """Decide which sections are due: at once, or once the CA was asked of which no answer holds
    any more.  A section of which nothing is known is told of.
    """
    renewals = Renewals(config.state_directory)
    judge = due.Judge(config, vicinity, complete=not options.sections)
    inquirer = due.Inquirer(config, renewals)
    later: list[tuple[int, Life]] = []
    questions: list[Question] = []

    def decide(life: Life) -> Due | None:
        try:
            return judge.decide(life.section, life.state, time.time(), options.min_days,
                                renewals.of(life.name))
        except Busy as exc:
            life.report.failed(life.name, str(exc))
            return None

    for number, life in enumerate(lives):
        verdict = decide(life)
        question = inquirer.question(life, verdict)
        if question is None:
            yield number, life, verdict
        else:
            questions.append(question)
            later.append((number, life))
    if questions:
        from .suggestions import ask
        ask(config, renewals, questions)
    for number, life in later:
        yield number, life, decide(life)
    judge.keep()


def _wants(options: Options, life: Life, verdict: Due, vicinity: Vicinity) -> bool:
    """Say whether a section wants a certificate."""
    life.due, life.certificate = verdict.due, verdict.certificate
    if not verdict.due:
        log.info(f"{life.name}: {verdict.reason}")
        life.report.well(life.name)
        settle(life, verdict.access, vicinity)
        return False
    life.renew(forced=options.min_days is not None and options.min_days < 0)
    life.new_key = options.new_key
    return True


def _waits(options: Options, life: Life, verdict: Due, waits: Waits,
           waiting: list[tuple[Life, Wait]]) -> bool:
    """Say whether a section that is due is not to be ordered in this run.

    To ``waiting`` are added those that wait without a valid certificate.
    """
    now = time.time()
    wait = None if options.sections or options.min_days is not None \
        else waits.of(life.section, life.state, verdict.certificate, now)
    if wait is None:
        log.info(f"{life.name}: {verdict.reason}")
        return False
    log.info(f"{life.name}: {verdict.reason}, but {wait} (name the section to try all the same)")
    if not life.is_valid(now):
        waiting.append((life, wait))
    return True


def _within_limits(config: Config, wanting: Sequence[tuple[Life, Due]]) -> list[Life]:
    """Return those that no limit of a CA's keeps from being ordered; an order there is, and what
    was issued, count for none any more."""
    counted = {life: verdict.welcome for life, verdict in wanting
               if not (life.forced or life.state.order or life.state.kept)}
    held: set[Life] = set()
    if counted:
        from .limits import Limits
        held = Limits(config.state_directory).hold(issuers.configured(config), counted)
    return [life for life, _ in wanting if life not in held]


def _tell_of_waits(waiting: Sequence[tuple[Life, Wait]], report: Report) -> None:
    """A certificate that isn't there is a failure at each run, and worth a line once a day."""
    now = int(time.time())
    fresh: dict[str, list[tuple[Life, Wait]]] = {}
    for life, wait in waiting:
        report.waits(life.name, wait.why)
        if not now - DAY < life.state.told <= now:
            fresh.setdefault(wait.why, []).append((life, wait))
    for those in fresh.values():
        first = min((wait for _, wait in those))
        report.tell_of_waits([life.name for life, _ in those], str(first))
    for life in (life for those in fresh.values() for life, _ in those):
        life.happens(lifecycle.TOLD, lifecycle.Facts(told=now))


def _make_next_keys(config: Config, lives: Sequence[Life]) -> None:
    """Whoever is notified, or asks for records, finds the keys of the next renewal."""
    for life in lives:
        if life.section.next_key:
            from .next_keys import make
            make(config, life)


def _notify(config: Config, lives: Sequence[Life], report: Report) -> None:
    """Tell whoever uses what is new."""
    if any(life.phase == lifecycle.INSTALLED for life in lives):
        from .install import notify
        notify(lives, report)
    if any(life.state.hooks for life in lives):
        from .hooks import run_hooks
        run_hooks(config, lives, report)


def _usable(life: Life, report: Report) -> bool:
    """Say whether what the section refers to is there; what isn't is told."""
    try:
        check_authorities(life.section)
    except Error as exc:
        report.failed(life.name, str(exc))
        return False
    return True
