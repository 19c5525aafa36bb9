"""Private keys of servers, in files."""

import os
import stat

from ...common import trusted
from ...common.errors import Error
from . import files

MAX_KEY = 64 << 10   # bytes


def create(path: str, pem: bytes, owner: int = 0) -> None:
    """Write a new private key to ``path``, mode 0600, never replacing an existing file.

    It is ours; ``owner`` is a uid that may, besides root, own directories on the way.
    """
    files.create(files.File(path, pem, None, 0o600), owner)


def tidy(path: str, owner: int = 0) -> None:
    """Remove what a run left beside the key at ``path`` when it was killed."""
    files.tidy(path, owner)
    files.tidy(path + ".old", owner)


def replacement(path: str, pem: bytes, owner: int = 0) -> files.File:
    """Return the file that takes the place of the key at ``path``, with owner and mode of that.

    ``owner`` is a uid that may, besides root, own directories on the way, and the key in them.
    The old key is kept as PATH.old, for whoever needs it once more: to revoke certificates with,
    or in the records of a name.  Raises Error.
    """
    try:
        descriptor = trusted.open_file(path, owner)
    except FileNotFoundError:
        return files.File(path, pem, None, 0o600)
    try:
        info = os.fstat(descriptor)
        old = os.read(descriptor, MAX_KEY)
    finally:
        os.close(descriptor)
    new = files.File(path, pem, (info.st_uid, info.st_gid), stat.S_IMODE(info.st_mode) & 0o770)
    if old != pem:   # else it is in place already
        files.install([new._replace(path=path + ".old", data=old)], owner=owner)
    return new


def open_key(path: str, owner: int = 0) -> int:
    """Return a descriptor of the private key at ``path``; FileNotFoundError if there is none.

    ``owner`` is a uid that may, besides root, own directories on the way, and the key in them.
    Raises Error if others than root (or its group) can read it, or it is no plain file.
    """
    descriptor = trusted.open_file(path, owner)
    info = os.fstat(descriptor)
    if info.st_mode & 0o007:
        os.close(descriptor)
        raise Error(f"{path}: the private key is open to everybody (chmod 0600 it)")
    if info.st_size > MAX_KEY or info.st_size == 0:
        os.close(descriptor)
        raise Error(f"{path}: not a private key ({info.st_size} bytes)")
    return descriptor
