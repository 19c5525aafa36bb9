"""Commands of the administrator's."""

import os

from ...common import log
from ..settings.program import Program
from .identity import identity
from .spawn import spawn


def run_shell(command: str, environment: dict[str, str], seconds: float) -> int:
    """Run a command of the administrator's with /bin/sh -c; return its exit status.

    Its standard output joins the standard error.  After ``seconds`` it is ended, with all that it
    has started and that is still of its process group.
    """
    shell = Program("notify", "", "", ("/bin/sh",), "no")
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        child = spawn(shell, identity(shell), ["-c", command], [null, 2, 2], extra=environment)
    finally:
        os.close(null)
    if child.wait(seconds) is None:
        log.warning(f"“{command}” did not end within {seconds:.0f} seconds")
    return child.stop_group() or 0
