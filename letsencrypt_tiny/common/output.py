"""Standard output: what goes wrong with it is told as such, and not as whatever else failed."""

import io
import os
import sys

NAME = "standard output"


class _Named(io.FileIO):
    """A descriptor whose errors say that it is standard output."""

    def write(self, data):   # type: ignore[no-untyped-def]   # any buffer
        try:
            return super().write(data)
        except OSError as exc:
            exc.filename = NAME
            raise


def name() -> None:
    """Have what is printed written by somebody who says what can't be."""
    old = sys.stdout
    if isinstance(old, io.TextIOWrapper):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Named(old.fileno(), "w", closefd=False)), old.encoding, old.errors,
            line_buffering=old.line_buffering)


def is_unread(exc: OSError) -> bool:
    """Say whether nobody reads it any more: head(1), say, had enough."""
    return isinstance(exc, BrokenPipeError) and exc.filename == NAME


def forget() -> None:
    """What is left in its buffer is of no use, and would be an error at the process's end."""
    try:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    except OSError:   # there is none: then into a pipe, of which the other end is ours
        os.dup2(os.pipe()[1], 1)
