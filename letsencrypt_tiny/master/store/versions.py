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

from . import carried, shelf, stamps
from .carried import opened
from .exchange import exchange
from .place import Place, Plain as Plain
from .shelf import UNFINISHED

_LINK = ".new"          # alone: the link, before it takes its place


class Versions(Place):
    """The versions of the directory at the absolute path ``place``, and the link to one of them.

    Raises Error, Untrusted if another than root could change them, FileNotFoundError where there
    is no parent directory.  To be closed, as with ``with``.
    """

    def rehearse(self) -> None:
        """Raise Error if no version could be made; that is tried, and taken back."""
        above, name = (self._above, self._within) if self._shelf < 0 else (
            self._shelf, stamps.of(0) + UNFINISHED)   # which is removed, should we be killed
        try:
            os.mkdir(name, 0o700, dir_fd=above)
            os.rmdir(name, dir_fd=above)
        except FileExistsError:
            pass
        except OSError as exc:
            raise self._error(exc) from exc

    def remove(self) -> None:
        """Remove all versions, and the link to one of them.  Raises Error."""
        try:
            if self._named_by(self._name, self._above):
                os.unlink(self._name, dir_fd=self._above)
            if self._shelf >= 0 and not self._kind(self._name, self._above):
                for version in [name for names in shelf.versions(self._shelf) for name in names]:
                    self.discard(version)
                os.rmdir(self._within, dir_fd=self._above)
        except OSError as exc:
            raise self._error(exc) from exc

    def mend(self) -> None:
        """Remove a link of ours to a version that somebody removed.  Raises Error."""
        try:
            if self._named_by(self._name, self._above) and not self.current():
                os.unlink(self._name, dir_fd=self._above)
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
                carried.carry(source, target, {
                    *ours, *(f".{name}.{end}" for name in ours for end in ("new", "try"))})
        except OSError as exc:
            raise self._error(exc) from exc

    def switch(self, version: str) -> None:
        """Let a version take its place: whoever looks finds the old one or this one, whole.

        Its files are synced already; that they are in it is, before the link leads there.  May be
        repeated, by a run after one that was killed.  Raises Error, Plain if what is there is not a
        link of ours, nor an empty directory: that is not replaced.
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
            os.fsync(self._above)   # whether it has left the shelf, ``repair`` looks
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

    def _dress(self, name: str) -> None:
        """Give a new directory owner and mode of the one that it will replace."""
        like = None
        if self.current() or self._is_plain():   # our own link alone is followed
            like = os.stat(self._name, dir_fd=self._above)
        with opened(name, self._shelf) as descriptor:
            shelf.dress(descriptor, like)
