"""How files are installed: atomically, or not at all."""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...common import trusted
from ...common.errors import Error


TRIAL = 16 << 10   # bytes that must find room before anything is ordered


class File(NamedTuple):
    """A file to install."""

    path: str
    data: bytes
    owner: tuple[int, int] | None = None      # uid, gid; -1 leaves it
    mode: int = 0o644


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


class Prepared:
    """Files that are written, and wait beside their places.  To be closed, as with ``with``:
    those that are not in place then are removed."""

    def __init__(self, files: Sequence[File], durable: bool = True, owner: int = 0) -> None:
        """``durable`` and ``owner`` are those of ``install``.  Raises Error naming the file."""
        self._files = files
        self._durable = durable
        self._written: list[_Written] = []
        try:
            for file in files:
                self._written.append(_write(file, durable, owner))
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
            item.renamed = not _exists(item.temporary, item.directory)

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
    item = _write(file, True, owner)
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
        _remove(temporary(name), directory)
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
        _remove(name, directory)
    except OSError:
        pass
    finally:
        os.close(directory)


def probe(path: str, size: int, owner: tuple[int, int] | None = None, trusted_owner: int = 0
          ) -> None:
    """Raise Error if a file of ``owner`` with that many bytes could not be installed at ``path``.

    It is tried, and taken back: file systems are read-only, or full, in many ways.
    ``trusted_owner`` is a uid that may own directories on the way.
    """
    _write(File(path, bytes(size), owner, 0o600), False, trusted_owner).close()


def check(path: str, owner: tuple[int, int] | None = None) -> None:
    """Raise Error if a file of ``owner`` could not be installed at ``path``."""
    directory, name = _open_parent(path, owner[0] if owner else 0)
    try:
        if _is_directory(name, directory):
            raise Error(f"{path}: cannot install it: {os.strerror(errno.EISDIR)}")
    finally:
        os.close(directory)


class _Written:
    """A temporary file that waits beside the place of the file it is for."""

    def __init__(self, directory: int, name: str, temporary: str) -> None:
        self.directory = directory
        self.name = name
        self.temporary = temporary
        self.renamed = False

    def rename(self) -> None:
        os.rename(self.temporary, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        self.renamed = True

    def close(self, remove: bool = True) -> None:
        if not self.renamed and remove:
            try:
                os.unlink(self.temporary, dir_fd=self.directory)
            except OSError:
                pass
        os.close(self.directory)


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


def temporary(name: str) -> str:
    """Return where ``name`` is written first.  Always the same: the lock keeps other runs out, and
    what a killed one left is replaced.
    """
    return f".{name}.new"


def _open_parent(path: str, owner: int) -> tuple[int, str]:
    try:
        return trusted.open_parent(path, owner)
    except FileNotFoundError as exc:
        raise Error(f"{exc.filename}: no such directory, needed for {path}") from exc


def _write(file: File, durable: bool = True, owner: int = 0) -> _Written:
    directory, name = _open_parent(file.path, owner or (file.owner[0] if file.owner else 0))
    waiting = temporary(name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    item = _Written(directory, name, waiting)
    try:
        _remove(waiting, directory)
        if _is_directory(name, directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # no bit more than asked for, at no moment, whatever the umask
        descriptor = os.open(waiting, flags, file.mode & 0o600, dir_fd=directory)
        try:
            data = memoryview(file.data)
            while data:
                data = data[os.write(descriptor, data):]
            if file.owner:
                os.fchown(descriptor, *file.owner)
            os.fchmod(descriptor, file.mode)
            if not file.mode & 0o004:
                _remove_list(descriptor)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        item.close()
        raise Error(f"{file.path}: cannot write it: {exc.strerror}") from exc
    except BaseException:   # a signal
        item.close()
        raise
    return item


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _remove_list(descriptor: int) -> None:
    """A directory's default access control list (acl(5)) would let others in by the group's."""
    try:
        os.removexattr(descriptor, "system.posix_acl_access")
    except OSError:
        pass   # there is none


def _exists(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_directory(name: str, parent: int) -> bool:
    """True for what rename(2) would refuse to replace, when other files are replaced already."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
