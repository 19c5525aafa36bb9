"""What the administrator put beside a section's files: it goes on from version to version.

By descriptors, no link followed: the directory may belong to the section's owner.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager

_DEPTH = 16   # of directories in one another
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened(name: str, parent: int) -> Iterator[int]:
    """Open a directory in another one, for reading, no link followed, while ``with`` lasts."""
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def carry(source: int, target: int, without: Collection[str], depth: int = _DEPTH) -> None:
    """Link what is in the directory ``source`` into ``target``, and what is in those below.

    Names ``without`` are passed over at the top; what ``target`` has already stays.  All is synced
    but ``target`` itself.  Raises OSError.
    """
    for name in os.listdir(source):
        if name in without:
            continue
        info = os.stat(name, dir_fd=source, follow_symlinks=False)
        try:
            if stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
                os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
            elif stat.S_ISDIR(info.st_mode):
                _carry_directory(name, source, target, depth)
            else:
                os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError:
            pass


def _carry_directory(name: str, source: int, target: int, depth: int) -> None:
    if depth <= 0:
        raise OSError(errno.ELOOP, "too many directories in one another")
    with opened(name, source) as inner:
        try:
            os.mkdir(name, 0o700, dir_fd=target)
        except FileExistsError:
            pass
        with opened(name, target) as new:
            info = os.fstat(inner)
            os.fchown(new, info.st_uid, info.st_gid)
            os.fchmod(new, stat.S_IMODE(info.st_mode))
            carry(inner, new, (), depth - 1)
            os.fsync(new)


def leading_out(top: int) -> str:
    """Return the path of a link below ``top`` that leads out of it by “..”; "" if there is none.

    One directory deeper it would name another place.  Raises OSError.
    """
    for where, directories, names, descriptor in os.fwalk(".", dir_fd=top):
        for name in directories + names:
            target = _target(name, descriptor)
            if not target or target.startswith("/"):
                continue
            if os.path.normpath(os.path.join(where, target)).split("/")[0] == "..":
                return os.path.normpath(os.path.join(where, name))
    return ""


def _target(name: str, directory: int) -> str:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return ""
