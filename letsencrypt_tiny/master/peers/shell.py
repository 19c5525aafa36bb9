"""Commands of the administrator's."""

import os
from collections.abc import Sequence

from ...common import log
from ...common.errors import Error, reason
from ..settings.program import Program
from .identity import identity
from .spawn import spawn


def run_shell(command: str, environment: dict[str, str], seconds: float) -> int:
    """Run a command of the administrator's with /bin/sh -c: see ``run``."""
    return run(("/bin/sh", "-c", command), command, environment, seconds)


def run(command: Sequence[str], called: str, environment: dict[str, str], seconds: float) -> int:
    """Run a program for the administrator, who knows it as ``called``; return its exit status.

    Its standard output joins the standard error.  After ``seconds`` it is ended, with all that it
    has started and that is still of its process group.  Raises Error if it can't be run.
    """
    program = Program("notify", "", "", tuple(command), "no")
    try:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise Error(f"it cannot be run: {reason(exc)}") from exc
    try:
        child = spawn(program, identity(program), [], [null, 2, 2], extra=environment)
    except OSError as exc:
        raise Error(f"it cannot be run: {reason(exc)}") from exc
    finally:
        os.close(null)
    if child.wait(seconds) is None:
        log.warning(f"“{called}” did not end within {seconds:.0f} seconds")
    return child.stop_group() or 0
