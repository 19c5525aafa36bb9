"""Too little memory ends a program in one line, wherever it is noticed.

An import, a thread, a library or a number can be what the limit (setrlimit(2), a cgroup's) has no
room for; what other modules don't catch comes here, and nothing of the trace would help.
"""

import os
import sys
from types import TracebackType

MESSAGE = ("there is too little memory for this program, or no room for a thread "
           "(ulimit -v, -d and -u; MemoryMax=, TasksMax=)")
_LINE = f"error: {MESSAGE}\n".encode()
_ENOMEM = 12
# Of the loader (dlopen(3)) and of the interpreter, which have no exception of their own for it
_WORDS = ("failed to map segment", "annot allocate memory", "can't start new thread",
          "out of memory", "malloc", "error return without exception set")


def is_shortage(exc: BaseException | None) -> bool:
    """True if an exception, or what led to it, is for want of memory."""
    for _ in range(10):
        if exc is None:
            break
        if (isinstance(exc, MemoryError) or isinstance(exc, OSError) and exc.errno == _ENOMEM
                or isinstance(exc, (ImportError, OSError, RuntimeError, SystemError))
                and any(word in str(exc) for word in _WORDS)):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def explain() -> None:
    """Have what nobody catches told in one line if it is a shortage, else as ever."""
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable


def _uncaught(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
    try:
        short = is_shortage(exc)
    except MemoryError:
        short = True
    if short:
        os.write(2, _LINE)
    else:
        sys.__excepthook__(kind, exc, trace)


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    # Whatever could not be cleaned up: the program goes on, or tells of it itself
    if not is_shortage(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
