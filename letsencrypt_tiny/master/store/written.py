"""How a file is written: beside its place, whole, with no bit of its mode that isn't asked for."""

import errno
import os
import stat
from typing import NamedTuple

from ...common import trusted
from ...common.errors import Error


class File(NamedTuple):
    """A file to install."""

    path: str
    data: bytes
    owner: tuple[int, int] | None = None      # uid, gid; -1 leaves it
    mode: int = 0o644


class Written:
    """A temporary file that waits beside the place of the file it is for."""

    def __init__(self, directory: int, name: str, temporary: str) -> None:
        self.directory = directory
        self.name = name
        self.temporary = temporary
        self.renamed = False

    def rename(self) -> None:
        os.rename(self.temporary, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        self.renamed = True

    def rehearse(self) -> None:
        """Rename it durably as ``rename`` would, but to a name that nobody looks for."""
        aside = f".{self.name}.try"
        os.rename(self.temporary, aside, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        self.temporary = aside
        os.fsync(self.directory)

    def close(self, remove: bool = True) -> None:
        if not self.renamed and remove:
            try:
                os.unlink(self.temporary, dir_fd=self.directory)
            except OSError:
                pass
        os.close(self.directory)


def temporary(name: str) -> str:
    """Return where ``name`` is written first.  Always the same: the lock keeps other runs out, and
    what a killed one left is replaced.
    """
    return f".{name}.new"


def open_parent(path: str, owner: int) -> tuple[int, str]:
    """As ``trusted.open_parent``; that there is no such directory is an Error, too."""
    try:
        return trusted.open_parent(path, owner)
    except FileNotFoundError as exc:
        raise Error(f"{exc.filename}: no such directory, needed for {path}") from exc


def write(file: File, durable: bool = True, owner: int = 0, beside: bool = True) -> Written:
    """Write a file ``beside`` its place, or right there; see ``files.install``.

    Raises Error naming it.
    """
    directory, name = open_parent(file.path, owner or (file.owner[0] if file.owner else 0))
    waiting = temporary(name) if beside else name
    item = Written(directory, name, waiting)
    try:
        if is_directory(name, directory):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # no bit more than asked for, at no moment, whatever the umask
        descriptor = _create(waiting, file.mode & 0o600, directory)
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


def _create(name: str, mode: int, directory: int) -> int:
    """Return a descriptor of a new file; what a run that was killed has left of it is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, mode, dir_fd=directory)
    except FileExistsError:
        os.unlink(name, dir_fd=directory)
        return os.open(name, flags, mode, dir_fd=directory)


def unlink(name: str, directory: int) -> None:
    """Remove what is called so, if there is anything."""
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


def exists(name: str, parent: int) -> bool:
    """Say whether anything is called so, a link not followed."""
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_directory(name: str, parent: int) -> bool:
    """True for what rename(2) would refuse to replace, when other files are replaced already."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
