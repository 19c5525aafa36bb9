"""What has failed in a run is remembered until it is mended: since when, and what comes next."""

import time
from collections.abc import Sequence

from ...common.log import printable
from ..plan import lifecycle
from ..report.run import Report
from ..settings.main import Config
from ..store.told import MAX_WHY, Failing, Failure
from ..store.troubles import Troubles
from .life import Life
from .waits import Waits


def settle(config: Config, report: Report, troubles: Troubles, lives: Sequence[Life],
           covered: Sequence[str] | None) -> None:
    """A run is over: remember what is to be told of it, forget what is over.

    ``troubles`` know since when; ``lives`` are those that there was something to be done for,
    ``covered`` the sections that it was about, None for all.
    """
    known = Failing(config.state_directory)
    failed = report.reasons
    if not failed and not known.all():
        return
    now = time.time()
    by_name = {life.name: life for life in lives}
    waits = Waits(config)
    known.settle(
        {name: _failure(reasons, by_name.get(name), waits, now)._replace(
            since=int(now) if (known_of := troubles.of(name)) is None else known_of.since)
         for name, reasons in failed.items()},
        # due, and put off
        [life.name for life in lives if life.due and life.phase == lifecycle.DUE], covered)


def _failure(reasons: Sequence[str], life: Life | None, waits: Waits, now: float) -> Failure:
    why = printable("; ".join(reasons), MAX_WHY)
    if life is None or life.due is None:
        return Failure(int(now), why)
    wait = waits.of(life.section, life.state, life.certificate, now) if life.due else None
    return Failure(int(now), why, expires=life.certificate.not_after if life.certificate else 0,
                   known=life.phase == lifecycle.DUE, again=wait.moment if wait else 0)
