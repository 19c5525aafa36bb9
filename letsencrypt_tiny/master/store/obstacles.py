"""What keeps a file from being replaced, though one can be written beside it.

Nobody would know before rename(2) fails, and then a certificate has been issued: an attribute of
the file or of its directory (chattr(1)), a file that is a mount point, as containers have them.
"""

import os

from ...common import trusted
from ...common.errors import Error

# statx(2), <linux/stat.h>
_EMPTY_PATH, _NOFOLLOW = 0x1000, 0x100
_SIZE, _ATTRIBUTES = 256, slice(8, 16)
_IMMUTABLE, _APPEND, _MOUNT_ROOT = 0x10, 0x20, 0x2000


def check_path(path: str, owner: int = 0) -> None:
    """Raise Error, with the cure, if what is at ``path`` can't be replaced; ``owner`` is a uid that
    may own directories on the way."""
    try:
        directory, name = trusted.open_parent(path, owner)
    except FileNotFoundError as exc:
        raise Error(f"{exc.filename}: no such directory, needed for {path}") from exc
    try:
        _check(path, directory, name)
    finally:
        os.close(directory)


def _check(path: str, directory: int, name: str) -> None:
    """``name`` is in a ``directory`` (a descriptor); ``path`` is for the message."""
    if _attributes(directory, "") & (_IMMUTABLE | _APPEND):
        place = os.path.dirname(path)
        raise Error(f"{path}: cannot be replaced: its directory has the attribute immutable or "
                    f"append-only (chattr -i -a {place})")
    found = _attributes(directory, name)
    if found & (_IMMUTABLE | _APPEND):
        raise Error(f"{path}: cannot be replaced: it has the attribute immutable or append-only "
                    f"(chattr -i -a {path})")
    if found & _MOUNT_ROOT:
        raise Error(f"{path}: cannot be replaced: it is a mount point (mount its directory "
                    "instead)")


def _attributes(directory: int, name: str) -> int:
    """Return STATX_ATTR_… of a file, or of the directory for ""; 0 for none, and for whatever a
    kernel or a file system doesn't tell."""
    import ctypes
    statx = getattr(ctypes.CDLL(None), "statx", None)
    if statx is None:
        return 0
    buffer = ctypes.create_string_buffer(_SIZE)
    if statx(directory, os.fsencode(name), _NOFOLLOW if name else _EMPTY_PATH, 0, buffer):
        return 0   # none is there; or why not, whoever writes is told
    return int.from_bytes(buffer.raw[_ATTRIBUTES], "little")
