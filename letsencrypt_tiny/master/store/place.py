"""A directory that can be a link to one of several versions of it, and what is there of these."""

import errno
import os
import stat
from typing import Self

from ...common import trusted
from ...common.errors import Error
from . import shelf, stamps
from .carried import DIRECTORY, opened
from .shelf import UNFINISHED


class Plain(Error):
    """What is at the place stays as it is: its files have to be replaced one by one."""


class Place:
    """The directory at the absolute path ``place``; its versions are in .NAME beside it.

    Raises Error, Untrusted if another than root could change them, FileNotFoundError where there
    is no parent directory.  To be closed, as with ``with``.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._above, self._name = trusted.open_parent(place)
        self._within = f".{self._name}"
        self._shelf = -1
        try:
            if self._name.startswith("."):
                raise Plain(f"{place}: a name that begins with a dot has no versions")
            self._open_shelf()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories."""
        for descriptor in (self._above, self._shelf):
            if descriptor >= 0:
                os.close(descriptor)
        self._above = self._shelf = -1

    def current(self) -> str:
        """Return the version that the link names; "" if there is none, or not a link of ours."""
        version = self._named_by(self._name, self._above)
        return version if version and self._kind(version) == stat.S_IFDIR else ""

    def usable(self) -> bool:
        """Say whether a version may take the place: of nothing, a directory, a link of ours."""
        return self._kind(self._name, self._above) in (0, stat.S_IFDIR) or \
            self._named_by(self._name, self._above) != ""

    def path(self, version: str) -> str:
        """Return the absolute path of a version's directory, finished or not."""
        ready = version if self._kind(version) == stat.S_IFDIR else version + UNFINISHED
        return os.path.join(os.path.dirname(self._place), self._within, ready)

    def free(self, now: float) -> str:
        """Return the name of a new version.

        It is the UTC moment ``now`` (seconds since 1970), or the second after the youngest there
        is: they are in order of age, whatever the clock did.  Raises Error.
        """
        try:
            return shelf.free(self._shelf, now) if self._shelf >= 0 else stamps.of(now)
        except OSError as exc:
            raise self._error(exc) from exc

    def is_full(self) -> bool:
        """Say whether there is a plain directory at the place, with something in it."""
        if not self._is_plain():
            return False
        try:
            with opened(self._name, self._above) as directory:
                return bool(os.listdir(directory))
        except OSError as exc:
            raise self._error(exc) from exc

    def _open_shelf(self) -> None:
        """Open the directory of the versions, if it is there."""
        try:
            self._shelf = os.open(self._within, DIRECTORY, dir_fd=self._above)
        except FileNotFoundError:
            return
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):   # it may be one, another time
                raise self._error(exc) from exc
            raise Plain(f"{self._shelf_path()}: cannot be used for versions: {exc.strerror}"
                        ) from exc
        os.close(trusted.open_directory(self._shelf_path()))   # that it is nobody else's

    def _make_shelf(self) -> None:
        if self._shelf < 0:
            os.mkdir(self._within, 0o755, dir_fd=self._above)
            self._open_shelf()
        if not os.listdir(self._shelf):   # just made, be it by a run that was killed
            os.fchmod(self._shelf, 0o755)   # whatever the umask
            os.fsync(self._above)

    def _shelf_path(self) -> str:
        return os.path.join(os.path.dirname(self._place), self._within)

    def _named_by(self, link: str, directory: int) -> str:
        """Return the version that a link is to; "" unless it is just as we make it."""
        try:
            target = os.readlink(link, dir_fd=directory)
        except OSError:
            return ""
        within, _, version = target.partition("/")
        return version if within == self._within and stamps.is_one(version) else ""

    def _kind(self, name: str, directory: int = -1) -> int:
        directory = self._shelf if directory < 0 else directory
        return shelf.kind(name, directory) if directory >= 0 else 0

    def _is_plain(self) -> bool:
        return self._kind(self._name, self._above) == stat.S_IFDIR

    def _error(self, exc: OSError) -> Error:
        return Error(f"{self._place}: cannot make a version of it: {exc.strerror}")
