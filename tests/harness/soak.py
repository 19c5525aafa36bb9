"""What takes long is tried at some places by `make check`, and at all of them by `make soak`."""

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")
SOAK = bool(os.environ.get("SOAK"))


def some(cases: Iterable[T], usual: int) -> list[T]:
    """Return each ``usual``th of many cases that are alike, all by the soak."""
    return list(cases)[::stride(usual)]


def stride(usual: int) -> int:
    """Return which of many places are tried: each ``usual``th one, all by the soak."""
    return 1 if SOAK else usual
