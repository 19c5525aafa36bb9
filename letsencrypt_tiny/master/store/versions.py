"""One switch: a directory of files that belong together is a link, and renaming that replaces all.

    certs/NAME -> .NAME/2026-11-25T010203Z     privkey.pem, cert.pem, chain.pem, fullchain.pem
                  .NAME/2026-08-26T010107Z     the one before
                  .NAME/2027-02-23T010500Z.new what is being made

Who opens the directory once and its files in it finds those of one generation, at any instant.
Whoever opens two files by their whole paths may do so just before and just after the switch: no
file system can help that.

Nothing here knows what an order is: a version begins, is filled, and takes its place; what was
left half done by a run that was killed is mended by ``repair``.  The parent directory must be
root's (or ours), and written by nobody else: the link is followed by everybody who reads.
"""

import errno
import os
import stat
from collections.abc import Collection

from ...common import trusted
from ...common.errors import Error
from . import carried, shelf, stamps
from .carried import DIRECTORY, opened
from .exchange import exchange
from .shelf import UNFINISHED

_LINK = ".new"          # alone: the link, before it takes its place


class Plain(Error):
    """What is at the place stays as it is: its files have to be replaced one by one."""


class Versions:
    """The versions of the directory at the absolute path ``place``, and the link to one of them.

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

    def __enter__(self) -> "Versions":
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

    def mend(self) -> None:
        """Remove a link of ours to a version that somebody removed.  Raises Error."""
        try:
            if self._named_by(self._name, self._above) and not self.current():
                os.unlink(self._name, dir_fd=self._above)
        except OSError as exc:
            raise self._error(exc) from exc

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

    def begin(self, version: str) -> None:
        """Make an empty version, unfinished.

        Owner and mode are those of the directory that it will replace.  Raises Error.
        """
        try:
            self._make_shelf()
            os.mkdir(version + UNFINISHED, 0o700, dir_fd=self._shelf)
            self._dress(version + UNFINISHED)
            os.fsync(self._shelf)
        except OSError as exc:
            raise self._error(exc) from exc

    def carry(self, version: str, ours: Collection[str]) -> None:
        """Let a version have what the administrator put into the one before, all but ``ours``.

        Files are the same ones (links).  What is there already stays.  Raises Error.
        """
        if not self.current():
            return
        try:
            with opened(self.current(), self._shelf) as source, \
                    opened(version + UNFINISHED, self._shelf) as target:
                carried.carry(source, target, {*ours, *(f".{name}.new" for name in ours)})
        except OSError as exc:
            raise self._error(exc) from exc

    def switch(self, version: str) -> None:
        """Let a version take its place: whoever looks finds the old one or this one, whole.

        Its files are synced already.  May be repeated, by a run after one that was killed.
        Raises Error, Plain if what is there is not a link of ours, nor an empty directory: that is
        not replaced.
        """
        try:
            if not self.usable():
                raise Plain(f"{self._place}: not a link to a version")
            if self._kind(version) != stat.S_IFDIR:
                with opened(version + UNFINISHED, self._shelf) as filled:
                    os.fsync(filled)
                os.rename(version + UNFINISHED, version, src_dir_fd=self._shelf,
                          dst_dir_fd=self._shelf)
            os.fsync(self._shelf)
            shelf.link(self._shelf, self._within, version, _LINK)
            if self._is_plain():
                os.rmdir(self._name, dir_fd=self._above)   # made before there was anything in it
            os.rename(_LINK, self._name, src_dir_fd=self._shelf, dst_dir_fd=self._above)
            os.fsync(self._above)
            os.fsync(self._shelf)
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

    def take_over(self, now: float) -> bool:
        """Make a version of a plain directory, as it is, with all that is in it; say whether.

        Link and directory change places at once (renameat2(2), RENAME_EXCHANGE).  On file systems
        that can't, there is nothing at the place between two system calls, and after a kill right
        there until ``repair``.  An empty one is none.  Raises Error, Plain if links in it would
        lead elsewhere.
        """
        if not self.is_full():
            return False
        try:
            with opened(self._name, self._above) as top:
                if link := carried.leading_out(top):
                    raise Plain(f"{self._place}: stays a plain directory, as the link {link} leads "
                                "out of it by “..”: let it name an absolute path")
            self._make_shelf()
            version = shelf.free(self._shelf, now)
            shelf.link(self._shelf, self._within, version, version)
            os.fsync(self._shelf)
            try:
                exchange(self._above, self._name, self._shelf, version)
            except OSError as exc:
                os.unlink(version, dir_fd=self._shelf)
                if exc.errno not in (errno.EINVAL, errno.ENOSYS):   # EXDEV, EBUSY: never possible
                    raise
                shelf.link(self._shelf, self._within, version, _LINK)
                os.fsync(self._shelf)
                os.rename(self._name, version, src_dir_fd=self._above, dst_dir_fd=self._shelf)
                os.rename(_LINK, self._name, src_dir_fd=self._shelf, dst_dir_fd=self._above)
            os.fsync(self._above)
            os.fsync(self._shelf)
        except OSError as exc:
            if exc.errno in (errno.EXDEV, errno.EBUSY):
                raise Plain(f"{self._place}: stays a plain directory: {exc.strerror}") from exc
            raise self._error(exc) from exc
        return True

    def repair(self) -> None:
        """Finish, or take back, what a run left that was killed: links only; repeatable.

        Versions that nobody needs ``remove_old`` removes.  Raises Error.
        """
        if self._shelf < 0:
            return
        try:
            waiting = self._named_by(_LINK, self._shelf)
            if waiting and not self._kind(self._name, self._above) \
                    and self._kind(waiting) == stat.S_IFDIR:
                os.rename(_LINK, self._name, src_dir_fd=self._shelf, dst_dir_fd=self._above)
                os.fsync(self._above)
            for name in os.listdir(self._shelf):
                if (name == _LINK or stamps.is_one(name)) and self._kind(name) == stat.S_IFLNK:
                    os.unlink(name, dir_fd=self._shelf)
        except OSError as exc:
            raise self._error(exc) from exc

    def remove_old(self, keep: int, needed: Collection[str] = ()) -> None:
        """Remove all versions but the ``keep`` youngest, the current one, and those ``needed``.

        Unfinished ones are removed unless needed.  What can't be removed stays, and is tried
        again by the next run.
        """
        if self._shelf < 0:
            return
        finished, unfinished = shelf.versions(self._shelf)
        current = self.current()   # else another link may lead to any
        stay = {current, *needed, *finished[-keep:]} if current and keep > 0 else set(finished)
        for version in (*finished, *unfinished):
            if version not in stay and version not in needed:
                self.discard(version)

    def discard(self, version: str) -> None:
        """Remove a version, finished or not, unless it is the current one."""
        if self._shelf < 0 or not stamps.is_one(version) or \
                version == self._named_by(self._name, self._above):
            return
        import shutil
        try:   # half of one shall not look like a whole one
            os.rename(version, version + UNFINISHED, src_dir_fd=self._shelf,
                      dst_dir_fd=self._shelf)
        except OSError:   # there is none, or one of each: the next time
            pass
        # by descriptors: the owner of what is in it may be at work there
        shutil.rmtree(version + UNFINISHED, ignore_errors=True, dir_fd=self._shelf)

    def _open_shelf(self) -> None:
        """Open the directory of the versions, if it is there."""
        try:
            self._shelf = os.open(self._within, DIRECTORY, dir_fd=self._above)
        except FileNotFoundError:
            return
        except OSError as exc:
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

    def _dress(self, name: str) -> None:
        """Give a new directory owner and mode of the one that it will replace."""
        like = None
        if self.current() or self._is_plain():   # our own link alone is followed
            like = os.stat(self._name, dir_fd=self._above)
        with opened(name, self._shelf) as descriptor:
            shelf.dress(descriptor, like)

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
