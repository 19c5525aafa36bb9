"""What takes long is tried at some places by `make check`, and at all of them by `make soak`."""

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")
SOAK = bool(os.environ.get("SOAK"))


def some(cases: Iterable[T], usual: int) -> list[T]:
    """Return each ``usual``th of many cases that are alike, all by the soak."""
    return list(cases)[::stride(usual)]


def kinds(of: Iterable[str]) -> list[str]:
    """Return those types of keys that are made at once; all, by the soak: a long RSA key takes
    seconds, and differs in nothing else."""
    return [kind for kind in of if SOAK or kind not in ("rsa:3072", "rsa:4096")]


def stride(usual: int) -> int:
    """Return which of many places are tried: each ``usual``th one, all by the soak."""
    return 1 if SOAK else usual
