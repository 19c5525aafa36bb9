"""Walks to a directory by descriptor, trusting no component that others may change.

Root reads keys and installs certificates below paths that the administrator chose.  A
directory on the way that somebody else could write would let them swap what lies below,
so each component must belong to root (or to us, or to the section's owner) and be
writable by nobody else; symbolic links are followed only where they stand in a directory
of root's (or ours): the section's owner must not lead us out of his own.  Descriptors, not
names, are kept: no race can win.
"""

import os
import stat

from ...common.errors import Error

MAX_LINKS = 40   # as the kernel's own limit (path_resolution(7))


def open_directory(path: str, owner: int = 0) -> int:
    """Return a descriptor of the directory at the absolute ``path``.

    ``owner`` is a uid that may own components besides root.  Raises Error naming the
    component at fault; the caller closes the descriptor.
    """
    descriptor, _ = _walk(path, owner, directory=True)
    return descriptor


def open_parent(path: str, owner: int = 0) -> tuple[int, str]:
    """Return a descriptor of the directory of ``path`` and the name of the file in it.

    The last component is neither followed nor required to exist.  Raises Error.
    """
    parent, name = os.path.split(path)
    if not name:
        raise Error(f"{path}: not the path of a file")
    return open_directory(parent, owner), name


def open_file(path: str, owner: int = 0) -> int:
    """Return a descriptor for reading the plain file at ``path``.

    A symbolic link is followed if it stands in a trusted directory.  Raises Error;
    FileNotFoundError if there is no such file.
    """
    descriptor, _ = _walk(path, owner, directory=False)
    return descriptor


def make_directory(path: str, mode: int = 0o755) -> None:
    """Create the directory at ``path`` unless it exists; its parent must be trusted."""
    descriptor, name = open_parent(path)
    try:
        os.mkdir(name, mode, dir_fd=descriptor)
        os.chmod(name, mode, dir_fd=descriptor, follow_symlinks=True)
    except FileExistsError:
        pass
    except OSError as exc:
        raise Error(f"{path}: cannot create the directory: {exc.strerror}") from exc
    finally:
        os.close(descriptor)
    os.close(open_directory(path))


def _walk(path: str, owner: int, directory: bool) -> tuple[int, str]:
    if not path.startswith("/"):
        raise Error(f"{path}: not an absolute path")
    ours = {0, os.geteuid()}
    trusted = ours | {owner}
    todo: list[str] = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done = ""
    links = 0
    current = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(current, "/", trusted)
        while todo:
            part = todo.pop()
            # the parent of a trusted directory is one that we came through, or is checked as well
            here = done.rpartition("/")[0] if part == ".." else f"{done}/{part}"
            want_directory = directory or bool(todo)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            try:
                if want_directory:
                    flags |= os.O_DIRECTORY
                descriptor = os.open(part, flags, dir_fd=current)
            except OSError as exc:
                target = _link(part, current)
                if target is None:
                    if isinstance(exc, FileNotFoundError):
                        raise FileNotFoundError(exc.errno, exc.strerror, here) from exc
                    raise Error(f"{here}: cannot open it: {exc.strerror}") from exc
                if os.fstat(current).st_uid not in ours:
                    raise Error(f"{here}: a symbolic link in a directory that is not root's is not "
                                "followed") from exc
                links += 1
                if links > MAX_LINKS:
                    raise Error(f"{path}: too many symbolic links") from exc
                todo += [p for p in reversed(target.split("/")) if p not in ("", ".")]
                if target.startswith("/"):
                    os.close(current)
                    current = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    done = ""
                continue
            os.close(current)
            current, done = descriptor, here
            if want_directory:
                _check(current, here or "/", trusted)
        if not directory and not stat.S_ISREG(os.fstat(current).st_mode):
            raise Error(f"{path}: not a plain file")
        return current, done
    except BaseException:
        os.close(current)
        raise


def _link(name: str, directory: int) -> "str | None":
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None


def _check(descriptor: int, path: str, trusted: "set[int]") -> None:
    info = os.fstat(descriptor)
    if info.st_uid not in trusted:
        raise Error(f"{path}: belongs to uid {info.st_uid}, who could change what lies below; "
                    "use a directory of root's")
    if info.st_mode & stat.S_IWOTH:
        raise Error(f"{path}: writable by everybody, who could change what lies below; "
                    "use another directory")
    # With an access control list the bits of the group are the most that others can have
    if info.st_mode & stat.S_IWGRP and (info.st_gid != 0 or _has_list(descriptor)):
        raise Error(f"{path}: writable by its group, who could change what lies below "
                    "(chmod g-w it, or use another directory)")


def _has_list(descriptor: int) -> bool:
    """True if there is an access control list (acl(5)) besides the mode."""
    try:
        return bool(os.getxattr(descriptor, "system.posix_acl_access"))
    except OSError:
        return False   # ENODATA; ENOTSUP where there are none
