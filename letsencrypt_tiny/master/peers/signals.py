"""Signals: stop, clean up and go; or, for SIGINT during an order, finish what can be finished."""

import signal
from contextlib import contextmanager
from types import FrameType
from collections.abc import Callable, Iterator

# All that end a process by default and are not the kernel's word on a mistake of ours
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM,
            signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2,
            signal.SIGIO, signal.SIGPWR)
_graceful: Callable[[], None] | None = None


class Interrupted(BaseException):
    """A signal asked us to stop: clean up and go."""


def install() -> None:
    """Let what would end this process raise Interrupted, once: the clean-up is not disturbed.

    One that is ignored stays so (nohup(1)); nothing else is inherited.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)   # ignored, it would hide how a child ended
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
    raise Interrupted(signal.Signals(number).name)


@contextmanager
def gracefully(action: Callable[[], None]) -> Iterator[None]:
    """While this lasts, the first SIGINT calls ``action`` instead of raising Interrupted."""
    global _graceful
    _graceful = action
    try:
        yield
    finally:
        _graceful = None
