"""Walks to what we read, connect to or run, trusting nothing that others may change.

Root reads its configuration, keys and state, and installs certificates, below paths that the
administrator chose.  A directory on the way that somebody else could write would let them swap
what lies below, so each component must belong to root (or to us, or to those who are named, such
as the section's owner) and be writable by nobody else, access control lists (acl(5)) included;
symbolic links are followed only where they stand in a directory of root's (or ours): the
section's owner must not lead us out of his own.  Descriptors, not names, are kept: no race can
win.  And nothing but a plain file is ever opened, without waiting: not a FIFO, not a device, no
file that somebody has a lease on (fcntl(2)).

Two kinds of directory are written by others and yet harmless.  In a sticky one (such as /tmp)
nobody can rename or remove what belongs to root: it may be on the way to such a directory, but
holds neither a file nor a link that we would use.  And below /usr/local and /var/local the
distribution itself lets the group staff write (Debian Policy §9.1.2): as what lies there is
executed by root, its members are root's equals.
"""

import os
import re
import stat

from . import acl, steps, ways
from .errors import Error

MAX_LINKS = 40   # as the kernel's own limit (path_resolution(7))

_STAFF = re.compile(r"/(?:usr|var)/local(?:/|\Z)")


class Untrusted(Error):
    """Somebody else could change what is at a path, or choose it."""


def open_directory(path: str, *owners: int) -> int:
    """Return a descriptor of the directory at the absolute ``path``.

    ``owners`` are uids that may own components besides root.  Raises Error naming the component at
    fault, Untrusted if it is whose it is; the caller closes the descriptor.
    """
    place = _walk(path, owners, directory=True)
    try:
        return os.open(".", steps.DIRECTORY, dir_fd=place)
    except OSError as exc:
        raise Error(f"{path}: cannot open it: {exc.strerror}") from exc
    finally:
        os.close(place)


def open_parent(path: str, *owners: int) -> tuple[int, str]:
    """Return a descriptor of the directory of ``path`` and the name of the file in it.

    The last component is neither followed nor required to exist.  Raises Error.
    """
    parent, name = os.path.split(path)
    if not name:
        raise Error(f"{path}: not the path of a file")
    return open_directory(parent, *owners), name


def open_file(path: str, *owners: int, anybody: bool = False) -> int:
    """Return a descriptor for reading the plain file at ``path``, whoever may write to it.

    A symbolic link is followed if it stands in a trusted directory.  With ``anybody``, for what
    only the administrator can judge, others may own or write to the directories on the way.
    Raises Error; FileNotFoundError if there is none, BlockingIOError if somebody has a lease on it.
    """
    place = open_place(path, *owners, anybody=anybody)
    try:
        return _open_plain(place, path)
    finally:
        os.close(place)


def open_unchangeable(path: str, *owners: int) -> int:
    """As ``open_file``, for what is to be believed: nobody else may write to the file, either."""
    place = open_place(path, *owners)
    try:
        _check_file(place, path, {0, os.geteuid(), *owners})
        return _open_plain(place, path)
    except BlockingIOError as exc:
        raise Error(f"{path}: cannot open it: somebody has a lease on it (fcntl(2))") from exc
    finally:
        os.close(place)


def check_program(path: str, *owners: int) -> None:
    """Raise Untrusted if somebody else could change the program at an absolute ``path``.

    Whether it is one, whoever runs it will see.
    """
    try:
        place = open_place(path, *owners)
        try:
            _check_file(place, path, {0, os.geteuid(), *owners})
        finally:
            os.close(place)
    except Untrusted:
        raise
    except (OSError, ValueError, Error):
        pass


def open_place(path: str, *owners: int, anybody: bool = False) -> int:
    """Return a descriptor (O_PATH) of whatever is at ``path``; raises as ``open_file`` does."""
    return _walk(path, owners, directory=False, anybody=anybody)


def look(path: str, *owners: int) -> os.stat_result:
    """Return the status of what is at ``path``.  Raises Error and FileNotFoundError."""
    place = open_place(path, *owners)
    try:
        return os.fstat(place)
    finally:
        os.close(place)


def absolute(path: str) -> str:
    """Return a path of ours from the root on: unlike os.path.abspath the same file."""
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)


def make_directory(path: str, mode: int = 0o755) -> None:
    """Create the directory at ``path`` unless it exists; its parent must be trusted, or sticky."""
    parent, name = os.path.split(path)
    descriptor = _walk(parent, (), directory=True, sticky=True)
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


def _walk(path: str, owners: tuple[int, ...], directory: bool, sticky: bool = False,
          anybody: bool = False) -> int:
    """Return a descriptor (O_PATH) of what is at ``path``; where that is ``sticky`` others may
    write in the directory, and a new one be made in it."""
    if directory and (known := ways.there(path, {0, os.geteuid(), *owners})) is not None:
        return known
    if not path.startswith("/"):
        raise Error(f"{path}: not an absolute path")
    walk = _Walk(path, owners, directory, anybody)
    try:
        while walk.todo:
            if not directory and len(walk.todo) == 1:
                walk.remember(path.rpartition("/")[0])
            walk.step()
        if directory:
            walk.remember(path)
        if walk.shared is not None and not sticky and not anybody:
            raise walk.shared
        return walk.current
    except BaseException:
        os.close(walk.current)
        raise


class _Walk:
    """On the way: the place reached, and the components still to go."""

    def __init__(self, path: str, owners: tuple[int, ...], directory: bool, anybody: bool) -> None:
        self.path = path
        self.shared: Error | None = None   # why only what belongs to root can be used where we are
        self._directory = directory        # whether the last component, too, must be one
        self._anybody = anybody
        self._ours = {0, os.geteuid()}
        self._trusted = self._ours.union(owners)
        self._links = 0
        self.todo = steps.components(path)
        self._clean = ways.remembers and not anybody and path.count("/") == len(self.todo)
        if self._clean and (way := ways.known(path, self._trusted)) is not None:
            self.current, self.done, self.todo = way
            return
        self.done = ""
        self.current = steps.root(path)
        try:
            self._look_around()
        except BaseException:
            os.close(self.current)
            raise

    def step(self) -> None:
        """Go on by one component."""
        part = self.todo.pop()
        # the parent of a trusted directory is one that we came through, or is checked as well
        here = self.done.rpartition("/")[0] if part == ".." else f"{self.done}/{part}"
        want_directory, target = self._directory or bool(self.todo), None
        try:
            descriptor = os.open(part, steps.PLACE | os.O_DIRECTORY * want_directory,
                                 dir_fd=self.current)
        except OSError as exc:
            target = steps.link(part, self.current)
            if target is None:
                if isinstance(exc, FileNotFoundError):
                    raise FileNotFoundError(exc.errno, exc.strerror, here) from exc
                raise Error(f"{here}: cannot open it: {exc.strerror}") from exc
        else:
            if not want_directory and stat.S_ISLNK(os.fstat(descriptor).st_mode):
                try:
                    target = os.readlink("", dir_fd=descriptor)
                finally:
                    os.close(descriptor)
        if target is not None:
            self._follow(here, target)
            return
        os.close(self.current)
        self.current, self.done = descriptor, here
        if want_directory:
            self._look_around()

    def remember(self, place: str) -> None:
        """The next walk may go on from ``place``, where this one is, the first of its kind."""
        if self._clean and place:
            ways.remember(place, self.current, self.done, self._trusted)
            self._clean = False

    def _look_around(self) -> None:
        """Raise Untrusted unless the directory reached can be trusted as far as needed."""
        self.shared = _check(self.current, self.done or "/", self._trusted, self._anybody)

    def _follow(self, here: str, target: str) -> None:
        theirs = os.fstat(self.current).st_uid not in self._ours
        if self.shared is not None and not (theirs and self._anybody):
            raise self.shared
        if theirs:
            raise Untrusted(f"{here}: a symbolic link in a directory that is not root's is not "
                            "followed")
        self._links += 1
        if self._links > MAX_LINKS:
            raise Error(f"{self.path}: too many symbolic links")
        self.todo += steps.components(target)
        if target.startswith("/"):
            os.close(self.current)
            self.current = steps.root(self.path)
            self.done = ""
            self._look_around()


def _open_plain(place: int, path: str) -> int:
    """Return a descriptor for reading what is at ``place`` if that is a plain file."""
    if not stat.S_ISREG(os.fstat(place).st_mode):
        raise Error(f"{path}: not a plain file")
    try:
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except BlockingIOError as exc:
        raise BlockingIOError(exc.errno, "somebody has a lease on it (fcntl(2))", path) from exc
    except OSError as exc:
        raise Error(f"{path}: cannot open it: {exc.strerror}") from exc


def _check(descriptor: int, path: str, trusted: set[int], anybody: bool = False) -> Error | None:
    """Raise Untrusted unless the directory can be trusted; return that if sticky or ``anybody``."""
    info = os.fstat(descriptor)
    if not info.st_mode & 0o022 and info.st_uid in trusted:
        return None   # the most
    fault = None
    if info.st_uid not in trusted:
        fault = Untrusted(f"{path}: belongs to uid {info.st_uid}, who could change what lies "
                          "below; use a directory of root's")
        if not anybody:
            raise fault
    group, cure = _writers(descriptor, info, path, trusted)
    if group:
        fault = Untrusted(f"{path}: writable by {group}, who could change what lies below "
                          f"({cure} it, or use another directory)")
    if info.st_mode & stat.S_IWOTH:
        fault = Untrusted(f"{path}: writable by everybody, who could change what lies below; "
                          "use another directory")
    if fault is not None and not info.st_mode & stat.S_ISVTX and not anybody:
        raise fault
    return fault


def _check_file(descriptor: int, path: str, trusted: set[int]) -> None:
    """Raise Untrusted if somebody else can write to what we would believe."""
    info = os.fstat(descriptor)
    if info.st_uid not in trusted:
        raise Untrusted(f"{path}: belongs to uid {info.st_uid}, who could change it (chown root "
                        "it, if it says what you want)")
    if info.st_mode & stat.S_IWOTH:
        raise Untrusted(f"{path}: writable by everybody (chmod o-w it)")
    group, cure = _writers(descriptor, info, path, trusted)
    if group:
        raise Untrusted(f"{path}: writable by {group} ({cure} it)")


def _writers(descriptor: int, info: os.stat_result, path: str, trusted: set[int]
             ) -> tuple[str, str]:
    """Say who else may write, by the group's bits, and the cure; "" if nobody."""
    staff = info.st_uid == 0 and _STAFF.match(path) is not None
    found = [party for party in acl.others(descriptor, info, acl.WRITE)
             if not (party[1] in trusted if party[0] == "user" else
                     party[1] == 0 or staff and acl.name(party) == "group staff")]
    return acl.describe(descriptor, found) if found else ("", "")
