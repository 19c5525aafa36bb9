"""How a program that has nothing to take down begins and ends.

Not for those that run the code of others (dns), which may have something left to do at exit.
"""

import gc
import os
import sys

TYPE_CHECKING = False   # typing takes 4 ms to load
if TYPE_CHECKING:
    from typing import NoReturn

# Objects made, and not gone, before the collector looks for rings: an import alone makes some
# thousands, and none that could go
_YOUNG = 20_000


def begin() -> None:
    """Before the program is imported."""
    gc.set_threshold(_YOUNG, 10, 10)


def end(status: int) -> "NoReturn":
    """End the process at once: to take the interpreter down costs some milliseconds."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):   # nobody reads: the interpreter says what it says then
        sys.exit(status)
    os._exit(status)
