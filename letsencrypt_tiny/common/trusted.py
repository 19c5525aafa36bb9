"""Walks to a directory by descriptor, trusting no component that others may change.

Root reads keys and installs certificates below paths that the administrator chose.  A
directory on the way that somebody else could write would let them swap what lies below,
so each component must belong to root (or to us, or to the section's owner) and be
writable by nobody else; symbolic links are followed only where they stand in a directory
of root's (or ours): the section's owner must not lead us out of his own.  Descriptors, not
names, are kept: no race can win.

Two kinds of directory are written by others and yet harmless.  In a sticky one (such as /tmp)
nobody can rename or remove what belongs to root: it may be on the way to such a directory, but
holds neither a file nor a link that we would use.  And below /usr/local and /var/local the
distribution itself lets the group staff write (Debian Policy §9.1.2): as what lies there is
executed by root, its members are root's equals.
"""

import os
import re
import stat

from .errors import Error

MAX_LINKS = 40   # as the kernel's own limit (path_resolution(7))

_STAFF = re.compile(r"/(?:usr|var)/local(?:/|\Z)")


def open_directory(path: str, owner: int = 0) -> int:
    """Return a descriptor of the directory at the absolute ``path``.

    ``owner`` is a uid that may own components besides root.  Raises Error naming the
    component at fault; the caller closes the descriptor.
    """
    return _walk(path, owner, directory=True)


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
    return _walk(path, owner, directory=False)


def make_directory(path: str, mode: int = 0o755) -> None:
    """Create the directory at ``path`` unless it exists; its parent must be trusted, or sticky."""
    parent, name = os.path.split(path)
    descriptor = _walk(parent, 0, directory=True, sticky=True)
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


def _walk(path: str, owner: int, directory: bool, sticky: bool = False) -> int:
    """Return a descriptor of what is at ``path``.

    ``sticky``: others may write in the directory if it is so, and a new one be made in it.
    """
    if not path.startswith("/"):
        raise Error(f"{path}: not an absolute path")
    walk = _Walk(path, owner)
    try:
        while walk.todo:
            walk.step(directory)
        if not directory and not stat.S_ISREG(os.fstat(walk.current).st_mode):
            raise Error(f"{path}: not a plain file")
        if walk.shared is not None and not sticky:
            raise walk.shared
        return walk.current
    except BaseException:
        os.close(walk.current)
        raise


class _Walk:
    """On the way: the place reached, and the components still to go."""

    def __init__(self, path: str, owner: int) -> None:
        self.path = path
        self.todo = _components(path)
        self.done = ""
        self.shared: Error | None = None   # why only what belongs to root can be used where we are
        self.current = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._ours = {0, os.geteuid()}
        self._trusted = self._ours | {owner}
        self._links = 0
        try:
            self.shared = _check(self.current, "/", self._trusted)
        except BaseException:
            os.close(self.current)
            raise

    def step(self, directory: bool) -> None:
        """Go on by one component; ``directory``: the last one, too, must be one."""
        part = self.todo.pop()
        # the parent of a trusted directory is one that we came through, or is checked as well
        here = self.done.rpartition("/")[0] if part == ".." else f"{self.done}/{part}"
        want_directory = directory or bool(self.todo)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(part, flags | os.O_DIRECTORY * want_directory,
                                 dir_fd=self.current)
        except OSError as exc:
            target = _link(part, self.current)
            if target is None:
                if isinstance(exc, FileNotFoundError):
                    raise FileNotFoundError(exc.errno, exc.strerror, here) from exc
                raise Error(f"{here}: cannot open it: {exc.strerror}") from exc
            self._follow(here, target)
            return
        os.close(self.current)
        self.current, self.done = descriptor, here
        if want_directory:
            self.shared = _check(self.current, here or "/", self._trusted)

    def _follow(self, here: str, target: str) -> None:
        if self.shared is not None:
            raise self.shared
        if os.fstat(self.current).st_uid not in self._ours:
            raise Error(f"{here}: a symbolic link in a directory that is not root's is not "
                        "followed")
        self._links += 1
        if self._links > MAX_LINKS:
            raise Error(f"{self.path}: too many symbolic links")
        self.todo += _components(target)
        if target.startswith("/"):
            os.close(self.current)
            self.current = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.done = ""


def _components(path: str) -> list[str]:
    """The components of a path, the first last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _link(name: str, directory: int) -> "str | None":
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None


def _check(descriptor: int, path: str, trusted: "set[int]") -> Error | None:
    """Raise Error unless the directory can be trusted; return that Error if it is a sticky one."""
    info = os.fstat(descriptor)
    if info.st_uid not in trusted:
        raise Error(f"{path}: belongs to uid {info.st_uid}, who could change what lies below; "
                    "use a directory of root's")
    fault = None
    # With an access control list the bits of the group are the most that others can have
    if info.st_mode & stat.S_IWGRP and (
            info.st_gid != 0 and not _is_staffs(info, path) or _has_list(descriptor)):
        fault = Error(f"{path}: writable by its group, who could change what lies below "
                      "(chmod g-w it, or use another directory)")
    if info.st_mode & stat.S_IWOTH:
        fault = Error(f"{path}: writable by everybody, who could change what lies below; "
                      "use another directory")
    if fault is not None and not info.st_mode & stat.S_ISVTX:
        raise fault
    return fault


def _is_staffs(info: os.stat_result, path: str) -> bool:
    """True for a directory of root's in which the group staff may write by Debian's rules."""
    if info.st_uid != 0 or not _STAFF.match(path):
        return False
    import grp
    try:
        return grp.getgrgid(info.st_gid).gr_name == "staff"
    except KeyError:
        return False


def _has_list(descriptor: int) -> bool:
    """True if there is an access control list (acl(5)) besides the mode."""
    try:
        return bool(os.getxattr(descriptor, "system.posix_acl_access"))
    except OSError:
        return False   # ENODATA; ENOTSUP where there are none
