"""The challenge directory: the client writes in it, a web server reads.

What is removed here belongs to somebody else until it is ours: links are not followed, and no
depth is too much.
"""

import os
import stat

from ...common import log
from ...common.wire.challenge import is_token
from ..peers.identity import Identity
from ..store import trusted

_PREFIX = "challenges-"


def create(run_directory: str, client: Identity, reader: Identity) -> str:
    """Make a challenge directory: ``client`` writes in it, ``reader`` can't list it.

    Returns its path.  Raises Error, OSError, and leaves nothing then.
    """
    trusted.make_directory(run_directory)
    path = f"{run_directory}/{_PREFIX}{os.urandom(8).hex()}"
    descriptor = trusted.open_directory(run_directory)
    try:
        os.mkdir(path, 0o700)
        try:
            os.chown(path, client.uid, reader.gid)
            os.chmod(path, 0o710)
        except BaseException:
            os.rmdir(path)
            raise
    finally:
        os.close(descriptor)
    return path


def remove_tokens(path: str, uid: int) -> None:
    """Remove the challenge files that the client left in a directory that isn't ours."""
    if uid == 0:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        log.warning(f"{path}: {exc.strerror}")
        return
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if not is_token(entry.name):
                    continue
                try:
                    info = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
                    if info.st_uid == uid and stat.S_ISREG(info.st_mode):
                        os.unlink(entry.name, dir_fd=descriptor)
                except FileNotFoundError:
                    pass   # whoever made it was faster
    except OSError as exc:
        log.warning(f"{path}: {exc.strerror}")
    finally:
        os.close(descriptor)


def remove_stale(run_directory: str) -> None:
    """Remove challenge directories that a killed run left; called under the lock."""
    try:
        names = os.listdir(run_directory)
    except OSError:
        return
    for name in names:
        if name.startswith(_PREFIX):
            remove(f"{run_directory}/{name}")


def remove(path: str) -> None:
    """Remove a directory that the client could write in; links in it are not followed.

    First it becomes ours: a client that still runs, with the directory as its working
    directory, can put nothing back while its files go.
    """
    try:
        top = _take(path)
        try:
            _clear(top, top)
        finally:
            os.close(top)
        os.rmdir(path)
    except OSError as exc:
        log.warning(f"{path}: cannot remove it: {exc.strerror}")


def _take(path: str, parent: int | None = None) -> int:
    """Return a descriptor of a directory in which from now on nobody but us can write."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                         dir_fd=parent)
    try:
        os.fchown(descriptor, os.geteuid(), os.getegid())
        os.fchmod(descriptor, 0o700)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _clear(directory: int, top: int) -> None:
    """Empty a directory that is, or is in, ``top``.

    Our own client makes no directories; if others nest them, those further in move up to
    ``top``: neither the stack nor the number of descriptors grows with their depth.
    """
    found = True
    while found:
        found = False
        with os.scandir(directory) as entries:   # of however many, a few in memory
            for entry in entries:
                found = True
                try:
                    os.unlink(entry.name, dir_fd=directory)
                    continue
                except IsADirectoryError:
                    pass
                if directory != top:
                    os.rename(entry.name, os.urandom(8).hex(), src_dir_fd=directory,
                              dst_dir_fd=top)
                    continue
                inner = _take(entry.name, top)
                try:
                    _clear(inner, top)
                finally:
                    os.close(inner)
                os.rmdir(entry.name, dir_fd=top)
