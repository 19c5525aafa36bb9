"""A path, step by step: what ``trusted`` walks with."""

import os

from .errors import Error

PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def root(path: str) -> int:
    """Return a descriptor (O_PATH) of /, on the way to an absolute ``path``.  Raises Error."""
    try:
        return os.open("/", PLACE)
    except OSError as exc:   # no descriptor, no memory
        raise Error(f"{path}: cannot open it: {exc.strerror}") from exc


def components(path: str) -> list[str]:
    """Return the components of a path, the first last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def link(name: str, directory: int) -> str | None:
    """Return where a symbolic link in a directory (a descriptor) leads, None if it is none."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None
