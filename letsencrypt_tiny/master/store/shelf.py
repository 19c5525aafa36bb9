"""The directory that versions of another one lie in, by its descriptor."""

import os
import stat

from . import stamps

UNFINISHED = ".new"    # after the name of a version: not everything is in it


def versions(shelf: int) -> tuple[list[str], list[str]]:
    """Return the finished versions and the others, the oldest first."""
    finished: list[str] = []
    unfinished: list[str] = []
    for name in sorted(os.listdir(shelf)):
        version = name.removesuffix(UNFINISHED)
        if stamps.is_one(version) and kind(name, shelf) == stat.S_IFDIR:
            (finished if version == name else unfinished).append(version)
    return finished, unfinished


def free(shelf: int, now: float) -> str:
    """Return the name of a version for the moment ``now``, or of one that is younger than all
    there are.  Raises OSError."""
    version = stamps.of(now)
    names = (name.removesuffix(UNFINISHED) for name in os.listdir(shelf))
    youngest = max(filter(stamps.is_one, names), default="")
    return version if version > youngest else stamps.after(youngest)


def kind(name: str, directory: int) -> int:
    """Return what a name is (S_IFDIR, S_IFLNK, ...), a link not followed; 0 is nothing."""
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0


def link(shelf: int, within: str, version: str, name: str) -> None:
    """Make a link to a version, called ``name`` beside it: what it says is true at the place,
    which ``within`` is beside.  Raises OSError."""
    try:
        os.unlink(name, dir_fd=shelf)
    except FileNotFoundError:
        pass
    os.symlink(f"{within}/{version}", name, dir_fd=shelf)


def dress(directory: int, like: os.stat_result | None) -> None:
    """Give a new directory owner and mode of another one.  Raises OSError."""
    if like is not None:
        os.fchown(directory, like.st_uid, like.st_gid)
    os.fchmod(directory, 0o755 if like is None else stat.S_IMODE(like.st_mode))
