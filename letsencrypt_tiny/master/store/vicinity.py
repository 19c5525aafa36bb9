"""Directories beside each other, as those of many sections are: the way to them is walked once.

What is at the end of the way is looked at as ``common.trusted`` does, each time.  Whatever isn't
plainly a directory of root's (or ours), and a plain file in it, is left to ``trusted``: links,
other owners, and all that is a fault.
"""

import os
import stat
from collections.abc import Callable

from ...common import trusted
from ...common.errors import Error

_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PARTS = ("", ".", "..")


class Vicinity:
    """Remembers the directory above the last one, by its descriptor; for a moment, such as that
    in which all sections are looked at."""

    def __init__(self) -> None:
        self._ours = {0, os.geteuid()}
        self._facts: dict[tuple[Callable[[str], str], str], str] = {}
        self._above = "", -1
        self._descriptor = -1

    def __enter__(self) -> "Vicinity":
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._above, self._descriptor = ("", -1), -1

    def remembered(self, learn: Callable[[str], str], path: str) -> str:
        """Return ``learn(path)``, learnt once: of a file that many sections share."""
        key = learn, path
        if key not in self._facts:
            self._facts[key] = learn(path)
        return self._facts[key]

    def directory(self, path: str, owner: int) -> "Directory":
        """Return the directory at an absolute path; raises as ``trusted.open_directory``."""
        above, _, name = path.rpartition("/")
        if name not in _PARTS and self._is_above(above, owner):
            try:
                place = os.open(name, _PLACE, dir_fd=self._descriptor)
            except OSError:   # a link, or why not: the walk tells
                place = -1
            if place >= 0:
                info = os.fstat(place)
                if info.st_uid in self._ours and not info.st_mode & 0o022:
                    return Directory(path, owner, place, True)
                os.close(place)
        return Directory(path, owner, trusted.open_directory(path, owner), False)

    def _is_above(self, above: str, owner: int) -> bool:
        """Be in the directory ``above``; False if there is none that can be trusted."""
        if self._above != (above, owner):
            self._forget()
            try:
                self._descriptor = trusted.open_directory(above, owner)
            except (OSError, Error):
                pass
            self._above = above, owner
        return self._descriptor >= 0


class Directory:
    """Where most of a section's files are; a path of a file elsewhere is walked to."""

    def __init__(self, path: str, owner: int, descriptor: int, ours: bool) -> None:
        """``ours``: nobody else can change what is in it."""
        self._path = path
        self._owner = owner
        self._descriptor = descriptor
        self._is_ours = ours
        self._seen: tuple[str, os.stat_result] | None = None   # what was opened last

    def __enter__(self) -> "Directory":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def look(self, path: str) -> os.stat_result:
        """As ``trusted.look``."""
        if self._seen is not None and path == self._seen[0]:
            return self._seen[1]
        parent, _, name = path.rpartition("/")
        if parent == self._path:
            info = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode):
                return info
        return trusted.look(path, self._owner)

    def open(self, path: str) -> int:
        """As ``trusted.open_file``; nothing but a plain file is opened."""
        parent, _, name = path.rpartition("/")
        if self._is_ours and parent == self._path:
            info = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode):   # and so it stays: whoever may change that is root
                self._seen = path, info
                try:
                    return os.open(name, _PLAIN, dir_fd=self._descriptor)
                except OSError:   # why not, or a lease: as above
                    pass
        return trusted.open_file(path, self._owner)

    def has(self, path: str) -> bool:
        """As os.path.exists, but that no link of others' is followed."""
        try:
            self.look(path)
        except FileNotFoundError:
            return False
        except Error:
            pass
        return True
