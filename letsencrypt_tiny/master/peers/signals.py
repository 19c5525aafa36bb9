"""Signals: stop, clean up and go; or, for SIGINT during an order, finish what can be finished."""

import os
import signal
from contextlib import contextmanager
from types import FrameType
from collections.abc import Callable, Iterator
from typing import NoReturn

# All whose default is to end the process (signal(7)), but for those that a mistake of ours causes,
# and SIGPIPE and SIGXFSZ, which are ignored: a write says so then, and its error names the file
_NUMBERS = signal.valid_signals() - {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
    signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGSEGV,
    signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGABRT}
_graceful: Callable[[], None] | None = None


class Interrupted(BaseException):
    """A signal asked us to stop: clean up and go."""

    def __init__(self, number: int) -> None:
        super().__init__(name(number))
        self.number = number


def name(number: int) -> str:
    """Return a signal's name; those of real time have none (signal(7))."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def install() -> None:
    """Let what would end us raise Interrupted, once: the clean-up is not disturbed.

    One that is ignored stays so (nohup(1)); nothing else is inherited.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)   # ignored, it would hide how a child ended
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    global _graceful
    if number == signal.SIGINT and _graceful is not None:
        action, _graceful = _graceful, None   # the next one interrupts
        action()
        return
    for other in _NUMBERS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


def die(number: int) -> NoReturn:
    """End of the signal that interrupted, so that whoever started us sees why; without a core,
    which would hold what we know, and without what is buffered for a standard output that, for
    all we know, nobody reads."""
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)   # not reached: it isn't blocked


@contextmanager
def gracefully(action: Callable[[], None]) -> Iterator[None]:
    """While this lasts, the first SIGINT calls ``action`` instead of raising Interrupted."""
    global _graceful
    _graceful = action
    try:
        yield
    finally:
        _graceful = None
