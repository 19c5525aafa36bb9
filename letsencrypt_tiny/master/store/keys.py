"""Private keys of servers, in files."""

import os
import stat

from ...common.errors import Error
from . import files, trusted

MAX_KEY = 64 << 10   # bytes


def create(path: str, pem: bytes) -> None:
    """Write a new private key to ``path``, mode 0600, never replacing an existing file."""
    files.create(files.File(path, pem, None, 0o600))


def tidy(path: str) -> None:
    """Remove what a run left beside the key at ``path`` when it was killed."""
    files.tidy(path)
    files.tidy(path + ".old")


def replacement(path: str, pem: bytes) -> files.File:
    """Return the file that takes the place of the key at ``path``, with owner and mode of that.

    The old key is kept as PATH.old, for whoever needs it once more: to revoke certificates with,
    or in the records of a name.  Raises Error.
    """
    try:
        descriptor = trusted.open_file(path)
    except FileNotFoundError:
        return files.File(path, pem, None, 0o600)
    try:
        info = os.fstat(descriptor)
        old = os.read(descriptor, MAX_KEY)
    finally:
        os.close(descriptor)
    new = files.File(path, pem, (info.st_uid, info.st_gid), stat.S_IMODE(info.st_mode) & 0o770)
    if old != pem:   # else it is in place already
        files.install([new._replace(path=path + ".old", data=old)])
    return new


def open_key(path: str) -> int:
    """Return a descriptor of the private key at ``path``; FileNotFoundError if there is none.

    Raises Error if others than root (or its group) can read it, or it is no plain file.
    """
    descriptor = trusted.open_file(path)
    info = os.fstat(descriptor)
    if info.st_mode & 0o007:
        os.close(descriptor)
        raise Error(f"{path}: the private key is open to everybody (chmod 0600 it)")
    if info.st_size > MAX_KEY or info.st_size == 0:
        os.close(descriptor)
        raise Error(f"{path}: not a private key ({info.st_size} bytes)")
    return descriptor
