"""Directories that a walk (trusted.py) has been to: the next one goes on from there.

A run installs many files in few directories, and each walk to one opens and looks at every
directory from / on.  What is remembered is the place itself, by its descriptor, and only where
nobody but those whom that walk trusted could change what is in it.  It is believed as long as its
path leads to the same directory, whose owner and mode are what they were: wherever else the path
might be made to lead, that is not gone to, and nothing is opened by its whole name.

From ``begin`` to ``end``, which is meant to be short, and else there is nothing.
"""

import os
from typing import Any, NamedTuple

from . import steps

MOST = 12    # descriptors that are kept

remembers = False
_ways: "dict[str, _Way]" = {}   # the one that was used last is the last
_lock: Any = None               # a descriptor that is another's by now must not be duplicated


class _Way(NamedTuple):
    """``descriptor`` is of a directory, ``done`` its path without links, ``seen`` what it was when
    nobody but ``trusted`` could change it."""

    descriptor: int
    done: str
    seen: tuple[int, ...]
    trusted: frozenset[int]


def begin() -> None:
    """From now on remember where walks have been.  For a process with no other thread yet."""
    global remembers, _lock
    from _thread import allocate_lock
    _lock = allocate_lock()
    remembers = True


def end() -> None:
    """Remember nothing any more.  For a process with no other thread left that walks."""
    global remembers
    remembers = False
    while _ways:
        os.close(_ways.popitem()[1].descriptor)


def known(path: str, trusted: "set[int]") -> tuple[int, str, list[str]] | None:
    """Return the nearest place on an absolute path that is remembered: a descriptor (O_PATH),
    which the caller closes, its path without links, and the components left to go, the first
    last; None for none.
    """
    place = path
    if not _lock.acquire(False):   # never waited for: a signal's handler may have come between
        return None
    try:
        while place:
            if place in _ways:
                way = _ways[place]
                found = _again(place, trusted)
                if found is not None:
                    return found, way.done, steps.components(path[len(place):])
            place = place.rpartition("/")[0]
    finally:
        _lock.release()
    return None


def there(path: str, trusted: "set[int]") -> int | None:
    """Return a descriptor (O_PATH) of the directory at ``path``, which the caller closes, if that
    itself is remembered; else None."""
    if path not in _ways or not _lock.acquire(False):
        return None
    try:
        return _again(path, trusted)
    finally:
        _lock.release()


def _again(place: str, trusted: "set[int]") -> int | None:
    """Return another descriptor of what is remembered of ``place``; or forget it, if it is not to
    be believed any more."""
    way = _ways.pop(place, None)
    if way is None:
        return None
    try:
        if way.trusted <= trusted and _seen(os.stat(place)) == way.seen:
            found = os.dup(way.descriptor)
            _ways[place] = way
            return found
    except OSError:   # it is gone, or there is no descriptor left: the walk tells
        pass
    os.close(way.descriptor)
    return None


def remember(place: str, descriptor: int, done: str, trusted: "set[int]") -> None:
    """A walk that trusts ``trusted`` has come to the directory at an absolute path ``place``
    (which has no empty component, nor “.”), a ``descriptor``."""
    if place in _ways:
        return
    info = os.fstat(descriptor)
    if info.st_mode & 0o022 or info.st_uid not in trusted:
        return   # as far as lists (acl(5)) let others write, the group's bit says so, too
    if not _lock.acquire(False):
        return
    try:
        if place not in _ways:   # another thread may have been there
            _ways[place] = _Way(os.dup(descriptor), done, _seen(info), frozenset(trusted))
        if len(_ways) > MOST:
            os.close(_ways.pop(next(iter(_ways))).descriptor)
    except OSError:   # no descriptor left
        pass
    finally:
        _lock.release()


def _seen(info: os.stat_result) -> tuple[int, ...]:
    return info.st_dev, info.st_ino, info.st_mode, info.st_uid, info.st_gid
