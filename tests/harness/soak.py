"""What takes long is tried at some places by `make check`, and at all of them by `make soak`."""

import os

SOAK = bool(os.environ.get("SOAK"))


def stride(usual: int) -> int:
    """Return which of many places are tried: each ``usual``th one, all by the soak."""
    return 1 if SOAK else usual
