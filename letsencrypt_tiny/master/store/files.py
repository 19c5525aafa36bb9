"""How files are installed: atomically, or not at all."""

import errno
import os
from collections.abc import Callable, Sequence

from ...common import trusted
from ...common.errors import Error
from .written import File as File, Written, exists, is_directory, open_parent, \
    temporary as temporary, unlink, write

TRIAL = 16 << 10   # bytes that must find room before anything is ordered


def install(files: Sequence[File], durable: bool = True, together: bool = False, owner: int = 0
            ) -> None:
    """Replace every file of ``files``; each is at any instant the old one or the new one.

    All are written beside their places before the first is renamed, so that nothing is
    replaced when one can't be written.  ``durable``: so it is after a power cut, too, for
    which all is synced.  ``together``: all are renamed even if this process is killed after
    the first.  ``owner`` is a uid that may, besides root and that of a file, own directories on
    the way.  Raises Error naming the file.
    """
    with Prepared(files, durable, owner) as prepared:
        prepared.rename(together)


def fill(files: Sequence[File], owner: int = 0) -> None:
    """Write files right at their places, in directories that nobody looks into yet; all is synced
    but these.  ``owner`` as in ``install``.  Raises Error naming the file."""
    for file in files:
        write(file, True, owner, beside=False).close(remove=False)


class Prepared:
    """Files that are written, and wait beside their places.  To be closed, as with ``with``:
    those that are not in place then are removed."""

    def __init__(self, files: Sequence[File], durable: bool = True, owner: int = 0) -> None:
        """``durable`` and ``owner`` are those of ``install``.  Raises Error naming the file."""
        self._files = files
        self._durable = durable
        self._written: list[Written] = []
        try:
            for file in files:
                self._written.append(write(file, durable, owner))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Prepared":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, remove: bool = True) -> None:
        """``remove`` what is not in place, or leave it waiting."""
        for item in self._written:
            item.close(remove)
        self._written = []

    def rename(self, together: bool = False) -> None:
        """Let all take their places, in order; see ``install``.  Raises Error naming the file."""
        def work() -> None:
            for number in range(len(self._written)):
                self.one(number)
        if together:
            self.together(work)
        work()
        self.sync()

    def one(self, number: int) -> None:
        """Let one take its place, unless it has.  Raises Error naming it."""
        item = self._written[number]
        try:
            if not item.renamed:
                item.rename()
        except OSError as exc:
            raise Error(f"{self._files[number].path}: cannot install it: {exc.strerror}") from exc

    def together(self, work: Callable[[], object]) -> None:
        """Do ``work``, which lets files take their places, as the function of this name does."""
        together(work)
        for item in self._written:
            item.renamed = not exists(item.temporary, item.directory)

    def sync(self) -> None:
        """See that all are in place after a power cut, too.  Raises Error."""
        seen: set[str] = set()
        for item, file in zip(self._written, self._files if self._durable else ()):
            parent = os.path.dirname(file.path)
            if parent not in seen:
                try:
                    os.fsync(item.directory)
                except OSError as exc:
                    raise Error(f"{file.path}: cannot install it: {exc.strerror}") from exc
            seen.add(parent)


def create(file: File, owner: int = 0) -> None:
    """Write a new file, durably, never replacing one that exists.  Raises Error naming it.

    ``owner`` is a uid that may, besides root, own directories on the way.
    """
    item = write(file, True, owner)
    try:
        # link(2), unlike rename(2), fails if the name is taken
        os.link(item.temporary, item.name, src_dir_fd=item.directory, dst_dir_fd=item.directory,
                follow_symlinks=False)
        os.fsync(item.directory)
    except OSError as exc:
        raise Error(f"{file.path}: cannot install it: {exc.strerror}") from exc
    finally:
        item.close()


def tidy(path: str, owner: int = 0) -> None:
    """Remove what a run killed while it wrote the file at ``path`` left beside it."""
    try:
        directory, name = trusted.open_parent(path, owner)
    except FileNotFoundError:
        return
    try:
        unlink(temporary(name), directory)
    except OSError:
        pass   # it does no harm; and it may be a read-only file system
    finally:
        os.close(directory)


def remove(path: str) -> None:
    """Remove the file at ``path`` if there is one, and it can be removed."""
    try:
        directory, name = trusted.open_parent(path)
    except (FileNotFoundError, Error):
        return
    try:
        unlink(name, directory)
    except OSError:
        pass
    finally:
        os.close(directory)


def rehearse(paths: Sequence[str], owner: tuple[int, int] | None = None, trusted_owner: int = 0
             ) -> None:
    """Raise Error if files of ``owner`` could not be installed at all ``paths`` together.

    It is tried, and taken back: file systems are read-only, full, out of inodes or beyond a quota
    in many ways, and some tell at fsync(2) only.  ``trusted_owner`` is a uid that may own
    directories on the way.
    """
    from . import obstacles   # with ctypes, where there is something to do
    last = {os.path.dirname(path): path for path in paths}   # what is the directory's shows once
    written: list[Written] = []
    try:
        for path in paths:
            obstacles.check_path(path, trusted_owner or (owner[0] if owner else 0))
            written.append(write(File(path, bytes(TRIAL), owner, 0o600), path in last.values(),
                                 trusted_owner))
        for item, path in zip(written, paths):
            if path in last.values():
                item.rehearse()
    except OSError as exc:
        raise Error(f"{path}: cannot write it: {exc.strerror}") from exc
    finally:
        for item in written:
            item.close()


def check(path: str, owner: tuple[int, int] | None = None) -> None:
    """Raise Error if a file of ``owner`` could not be installed at ``path``."""
    directory, name = open_parent(path, owner[0] if owner else 0)
    try:
        if is_directory(name, directory):
            raise Error(f"{path}: cannot install it: {os.strerror(errno.EISDIR)}")
    finally:
        os.close(directory)


def together(work: Callable[[], object]) -> None:
    """Do ``work`` in a process of its own that no signal and no kill of this one stops half-way.

    What it can't do is to be done once more, which tells why.
    """
    import signal
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                work()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    except OSError:   # no process more (ulimit -u, pids.max): this one does it
        pass
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
