"""Directories beside each other, as those of many sections are: the way to them is walked once.

What is at the end of the way is looked at as ``common.trusted`` does, each time.  Whatever isn't
plainly a directory of root's (or ours), or our own link to a version of it, and a plain file in it,
is left to ``trusted``: other links, other owners, and all that is a fault.
"""

import os
import stat
from collections.abc import Callable

from ...common import trusted
from ...common.errors import Error

_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PARTS = ("", ".", "..")
_TYPE = 0o170000   # stat.S_IFMT


class Vicinity:
    """Remembers the directory above the last one, by its descriptor; for a moment, such as that
    in which all sections are looked at."""

    def __init__(self) -> None:
        self._ours = {0, os.geteuid()}
        self._facts: dict[tuple[Callable[[str], str], str], str] = {}
        self._place = "", -1    # whose what is above, and its owner
        self._above: _Above | None = None
        self._links = False     # whether the last one was a link

    def __enter__(self) -> "Vicinity":
        return self

    def __exit__(self, *_: object) -> None:
        self._place, self._above = ("", -1), None

    def remembered(self, learn: Callable[[str], str], path: str) -> str:
        """Return ``learn(path)``, learnt once: of a file that many sections share."""
        key = learn, path
        if key not in self._facts:
            self._facts[key] = learn(path)
        return self._facts[key]

    def directory(self, path: str, owner: int) -> "Directory":
        """Return the directory at an absolute path; raises as ``trusted.open_directory``."""
        above, _, name = path.rpartition("/")
        if self._place != (above, owner):
            self._place, self._above = (above, owner), _above(above, owner)
        if self._above is not None and name not in _PARTS:
            # nobody else can put anything in its place: so it needs no descriptor
            if self._above.ours and (prefix := self._prefix(name, self._above.descriptor)):
                return Directory(path, owner, self._above, prefix)
        return Directory(path, owner, _Above(trusted.open_directory(path, owner), False), "")

    def _prefix(self, name: str, above: int) -> str:
        """Return the way from the directory ``above`` into that of a ``name``, or into the version
        that our link of this name leads to (as ``versions`` makes them), if nobody else can change
        anything there, nor on the way; else ""."""
        try:
            if self._links:   # as that of the one before
                try:
                    target = os.readlink(name, dir_fd=above)
                except OSError:
                    self._links = False
            if not self._links:
                info = os.stat(name, dir_fd=above, follow_symlinks=False)
                if not stat.S_ISLNK(info.st_mode):
                    return f"{name}/" if self._is_plain(info) else ""
                target = os.readlink(name, dir_fd=above)
                self._links = True
            shelf = f".{name}"
            if target[:len(shelf) + 1] == f"{shelf}/" \
                    and (version := target[len(shelf) + 1:]) not in _PARTS and "/" not in version \
                    and self._is_plain(os.stat(shelf, dir_fd=above, follow_symlinks=False)) \
                    and self._is_plain(os.stat(target, dir_fd=above, follow_symlinks=False)):
                return f"{target}/"
        except OSError:   # why, the walk tells
            pass
        return ""

    def _is_plain(self, info: os.stat_result) -> bool:
        """Say whether it is a directory in which nobody else can change anything."""
        return stat.S_ISDIR(info.st_mode) and not info.st_mode & 0o022 \
            and info.st_uid in self._ours


class _Above:
    """A descriptor of a directory, open as long as somebody needs it."""

    def __init__(self, descriptor: int, ours: bool) -> None:
        """``ours``: nobody but root, or us, can change what is in it."""
        self.descriptor = descriptor
        self.ours = ours

    def __del__(self) -> None:
        os.close(self.descriptor)


def _above(path: str, owner: int) -> _Above | None:
    """Return the directory at a path; None if there is none that can be trusted."""
    try:
        found = _Above(trusted.open_directory(path, owner), False)
    except (OSError, Error):
        return None
    info = os.fstat(found.descriptor)
    found.ours = not info.st_mode & 0o022 and info.st_uid in (0, os.geteuid())
    return found


class Directory:
    """Where most of a section's files are; a path of a file elsewhere is walked to."""

    def __init__(self, path: str, owner: int, above: _Above, prefix: str) -> None:
        """It is at ``prefix`` below ``above`` if it and what is above are nobody else's to
        change; else ``above`` is itself, and the prefix is ""."""
        self._path = path
        self._owner = owner
        self._above = above
        self._prefix = prefix
        self._seen: tuple[str, os.stat_result | None] = "", None   # what was looked at last

    def look(self, path: str) -> os.stat_result:
        """As ``trusted.look``."""
        seen, known = self._seen
        if path == seen and known is not None:
            return known
        info = self._status(path)
        if info is not None and info.st_mode & _TYPE != stat.S_IFLNK:
            self._seen = path, info
            return info
        return trusted.look(path, self._owner)

    def open(self, path: str) -> int:
        """As ``trusted.open_file``; nothing but a plain file is opened."""
        found = self._plain(path)
        return trusted.open_file(path, self._owner) if found is None else found

    def open_unchangeable(self, path: str) -> int:
        """As ``trusted.open_unchangeable``."""
        found = self._plain(path, unchangeable=True)
        return trusted.open_unchangeable(path, self._owner) if found is None else found

    def _plain(self, path: str, unchangeable: bool = False) -> int | None:
        """Return a descriptor of a plain file in here, which nobody but root, or we, may change if
        it is to be ``unchangeable``; None for what the walk has to judge."""
        info = self._status(path) if self._prefix else None
        if info is None or info.st_mode & _TYPE != stat.S_IFREG or unchangeable and (
                info.st_mode & 0o022 or info.st_uid not in (0, os.geteuid())):
            return None
        self._seen = path, info
        try:   # it is still the same: whoever may change that is root
            return os.open(self._prefix + path.rpartition("/")[2], _PLAIN,
                           dir_fd=self._above.descriptor)
        except OSError:   # why not, or a lease: the walk tells
            return None

    def _status(self, path: str) -> os.stat_result | None:
        """Return the status of what is in here, be it a link; None for a path that has to be
        walked.  Raises FileNotFoundError."""
        parent, _, name = path.rpartition("/")
        if parent != self._path:
            return None
        try:
            return os.stat(self._prefix + name, dir_fd=self._above.descriptor,
                           follow_symlinks=False)
        except PermissionError:
            return None
