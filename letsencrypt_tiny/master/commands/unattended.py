"""A run that nobody watches: cron(8) mails what it writes, systemd(1) what has failed.

Nothing is written when all is well.  What lasts is told once a day, with since when, what is tried
next and when the certificate expires; the system's log has it at each run.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from ...common import log, paths, shortage
from ...common.errors import Error, LockedError, reason
from ...common.log import About, printable
from ..report import failing as text
from ..settings.main import Config
from ..store.told import MAX_WHY, Failure, Failing


def unattended(load: Callable[[], Config], command: Callable[[Config], int]) -> int:
    """Run ``command`` with the configuration that is to be ``load``ed; return its exit status.

    What they raise is raised on, and shown on standard error no more.
    """
    log.use_system(paths.PROGRAM, hold=True)
    directory = usual = f"{paths.STATE_DIR}/state"
    why = ""
    try:
        config = load()
        directory = config.state_directory
        if directory != usual:   # where it was told that there is no configuration
            Failing(usual).settle({}, (), ())
        return command(config)
    except LockedError as exc:   # there is a run, and next time there may be none
        log.warning(exc)
        raise
    except (Error, OSError) as exc:
        why = shortage.MESSAGE if shortage.is_shortage(exc) else \
            f"cannot go on: {reason(exc)}" if isinstance(exc, OSError) else str(exc)
        raise
    finally:
        _tell(directory, log.held(), printable(why, MAX_WHY))


def _tell(directory: str, held: Sequence[tuple[str, About]], why: str) -> None:
    """Write to standard error what is to be told of a run.

    ``held`` is what was not; ``why`` is what ended it before it was over, if anything has.
    ``directory`` is that of the state.
    """
    now = time.time()
    known = Failing(directory)
    try:
        if why:
            known.run_failed(why, int(now))
        there = known.all()
        # else it is for “failures --mail”, which systemd starts after this run
        if log.shows() and known.untold(now):
            for line in text.lines(there, now):
                log.show(line)
            known.told(now)
        for line in known.fresh(_others(held, there), now):
            log.show(line)
    except Error as exc:   # the file is another's: nothing is believed of what was told
        for line in [*(line for line, _ in held), *filter(None, [why]), str(exc)]:
            log.show(line)


def _others(held: Sequence[tuple[str, About]], failures: Mapping[str, Failure]) -> list[str]:
    """Return the lines that are about none of what fails."""
    return [line for line, about in held if not about.sections
            or not failures.keys() >= set(about.sections)]
