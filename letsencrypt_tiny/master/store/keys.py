"""Private keys of servers, in files."""

import os
import stat

from ...common import acl, trusted
from ...common.errors import Error
from . import files
from .vicinity import Vicinity

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


def replacement(path: str, pem: bytes, owner: int = 0) -> list[files.File]:
    """Return what is to be installed for a key to take the place of the one at ``path``: with
    owner and mode of that; nothing if it has.

    ``owner`` is a uid that may, besides root, own directories on the way, and the key in them.
    The old key is kept as PATH.old, for whoever needs it once more: to revoke certificates with,
    or in the records of a name.  Raises Error.
    """
    try:
        descriptor = _open(path, owner)
    except FileNotFoundError:
        return [files.File(path, pem, None, 0o600)]
    try:
        info = os.fstat(descriptor)
        old = os.read(descriptor, MAX_KEY)
    finally:
        os.close(descriptor)
    if old == pem:
        return []
    new = files.File(path, pem, (info.st_uid, info.st_gid), stat.S_IMODE(info.st_mode) & 0o770)
    return [new._replace(path=path + ".old", data=old), new]


def open_key(path: str, owner: int = 0, group: int = -1) -> int:
    """Return a descriptor with the private key at ``path``, an anonymous file's, which nobody can
    change; else as ``read_key``."""
    key = read_key(path, owner, group)
    try:
        return in_memory(key)
    except OSError as exc:   # no descriptor left
        raise Error(f"{path}: cannot be read: {exc.strerror}") from exc


def read_key(path: str, owner: int = 0, group: int = -1, vicinity: Vicinity | None = None
             ) -> bytes:
    """Return the file of the private key at ``path``; FileNotFoundError if there is none.

    ``owner`` is a uid that may, besides root, own directories on the way, and the key in them;
    ``group`` a gid that may, besides root and ssl-cert, read it.  Raises Error if others can, by
    owner, mode or access control list, or it is no plain file.  ``vicinity`` is that of
    others, if several are looked at.
    """
    descriptor = _open(path, owner, vicinity)
    try:
        _check(descriptor, path, {0, os.geteuid(), owner}, {0, group})
        key = os.read(descriptor, MAX_KEY + 1)
        if not 0 < len(key) <= MAX_KEY:
            raise Error(f"{path}: not a private key ({os.fstat(descriptor).st_size} bytes)")
        return key
    except OSError as exc:
        raise Error(f"{path}: cannot be read: {exc.strerror}") from exc
    finally:
        os.close(descriptor)


def in_memory(key: bytes) -> int:
    """Return a descriptor of an anonymous file with a private key.

    openssl opens by name what it is given: it shall neither wait nor read without end.
    """
    copy = os.memfd_create("key", os.MFD_CLOEXEC)
    os.write(copy, key)
    os.lseek(copy, 0, os.SEEK_SET)
    return copy


def fingerprint(key: int) -> bytes:
    """Return what tells whether a key file is another one than before: SHA-256 of its content.

    ``key`` is what ``open_key`` returned; it is where it was afterwards.
    """
    return fingerprint_of(os.pread(key, MAX_KEY, 0))


def fingerprint_of(content: bytes) -> bytes:
    """Return the same of a key file's content."""
    from hashlib import sha256
    return sha256(content).digest()


def _open(path: str, owner: int, vicinity: Vicinity | None = None) -> int:
    try:
        if vicinity is not None:
            return vicinity.directory(os.path.dirname(path), owner).open(path)
        return trusted.open_file(path, owner)
    except BlockingIOError as exc:
        raise Error(f"{path}: cannot be read: {exc.strerror}") from exc


def _check(descriptor: int, path: str, users: set[int], groups: set[int]) -> None:
    """Raise Error, with the cure, if others than ``users`` and ``groups`` can use the key."""
    info = os.fstat(descriptor)
    if info.st_uid not in users:
        raise Error(f"{path}: the private key belongs to {acl.name(('user', info.st_uid))}, who "
                    "is neither root nor the section's owner (chown root it, or set owner)")
    if info.st_mode & 0o007:
        raise Error(f"{path}: the private key is open to everybody (chmod 0600 it)")
    for party in acl.others(descriptor, info, acl.READ | acl.WRITE):
        who = acl.name(party)
        if party[1] in (users if party[0] == "user" else groups) or who == "group ssl-cert":
            continue
        cure = f"setfacl -b {path}" if acl.listed(descriptor) else \
            f"chmod 0600 it, chgrp it to ssl-cert, or set owner = USER:{who.partition(' ')[2]}"
        raise Error(f"{path}: the private key is open to {who} ({cure})")
