"""The directory in which the client puts the key authorizations of http-01 (RFC 8555 §8.3).

Ours is made for one run and removed with all that is in it, an administrator's is left as it was
found.  Whatever lies in either was put there by somebody that root must not trust.
"""

import os
import stat

from ...common import log, trusted
from ...common.errors import ConfigError, Error
from ...common.wire.challenge import is_token
from ..peers.identity import Identity

PREFIX = "challenges-"   # of those of ours, in the run directory


def make(run: str, client: Identity, gid: int) -> str:
    """Make a directory below ``run`` and return its path.

    The client writes in it; the web server, of group ``gid``, can't list it.  Raises Error.
    """
    trusted.make_directory(run)
    name = f"{PREFIX}{os.urandom(8).hex()}"
    parent = trusted.open_directory(run)
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
        try:
            os.chown(name, client.uid, gid, dir_fd=parent)
            os.chmod(name, 0o710, dir_fd=parent)
        except BaseException:
            os.rmdir(name, dir_fd=parent)
            raise
    except OSError as exc:
        raise Error(f"{run}/{name}: cannot make it: {exc.strerror}") from exc
    finally:
        os.close(parent)
    return f"{run}/{name}"


def divide(path: str, clients: int, client: Identity, gid: int) -> list[str]:
    """Make a directory that nobody uses yet into one of rooms, of which each of several clients
    gets its own: none can write anywhere else in it.  Returns their paths; raises Error.

    They are of one user: it is Landlock that keeps a client in its room.
    """
    try:
        descriptor = _take(path)
    except OSError as exc:
        raise Error(f"{path}: cannot divide it: {exc.strerror}") from exc
    try:
        for room in map(str, range(clients)):
            os.mkdir(room, 0o700, dir_fd=descriptor)
            os.chown(room, client.uid, gid, dir_fd=descriptor)
            os.chmod(room, 0o710, dir_fd=descriptor)
        os.fchown(descriptor, os.geteuid(), gid)
        os.fchmod(descriptor, 0o711)   # to be passed through
    except OSError as exc:
        raise Error(f"{path}: cannot divide it: {exc.strerror}") from exc
    finally:
        os.close(descriptor)
    return [f"{path}/{room}" for room in range(clients)]


def examine(path: str, where: str) -> os.stat_result:
    """Look at the directory of an administrator's; ``where`` tells the setting.

    Raises ConfigError if it is none.
    """
    try:
        info = os.stat(path)
    except OSError as exc:
        raise ConfigError(f"{where} = {path}: {exc.strerror}") from exc
    if not stat.S_ISDIR(info.st_mode):
        raise ConfigError(f"{where} = {path}: not a directory")
    return info


def check_writable(path: str, where: str, client: Identity) -> None:
    """Raise ConfigError unless the client may write in the directory of an administrator's."""
    info = examine(path, where)
    if not (info.st_uid == client.uid and info.st_mode & 0o300 == 0o300
            or info.st_gid == client.gid and info.st_mode & 0o030 == 0o030 or client.uid == 0):
        raise ConfigError(f"{where} = {path}: {client.name} cannot write in it "
                          f"(chown it to {client.name})")


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


def remove(path: str) -> None:
    """Remove a directory that the client could write in; links in it are not followed.

    First it becomes ours: a client that still runs, with the directory as its working
    directory, can put nothing back while its files go.  What stays is warned about.
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
