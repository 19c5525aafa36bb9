"""Programs of the administrator's that are run once after all that a run has installed."""

import os
from collections.abc import Sequence

from ...common import log, trusted
from ...common.errors import Error
from ..peers.shell import run
from ..plan import lifecycle
from ..report.run import Report
from ..settings.main import Config
from .install import environment
from .life import Life

RUN_PARTS = "/bin/run-parts"   # of debianutils, which is essential
SECONDS = 900


def run_hooks(config: Config, lives: Sequence[Life], report: Report) -> None:
    """Run them for all sections that were installed since they were run last, and could be."""
    waiting = [life for life in lives if life.state.hooks and not life.state.installing]
    if waiting and config.run_hooks:
        names = [life.name for life in waiting]
        log.info(f"running the hooks in {config.run_hooks} for {', '.join(names)}")
        why = _run(config.run_hooks, environment(waiting))
        if why:
            report.notify_failed(f"run-hooks = {config.run_hooks}", why, names)
            return
    for life in waiting:
        life.happens(lifecycle.HOOKED)


def _run(directory: str, variables: dict[str, str]) -> str:
    """Return what went wrong, "" if nothing did."""
    try:
        _check(directory)
        status = run((RUN_PARTS, "--", directory), f"run-parts {directory}", variables, SECONDS)
    except FileNotFoundError as exc:
        return f"cannot be run: {exc.filename}: {exc.strerror}"
    except Error as exc:
        return f"cannot be run: {exc}"
    return f"ended with status {status}" if status else ""


def _check(directory: str) -> None:
    """Raise Error if others than root could change what is executed."""
    descriptor = trusted.open_directory(directory)
    try:
        names = os.listdir(descriptor)
    finally:
        os.close(descriptor)
    for name in names:
        trusted.check_program(os.path.join(directory, name))
