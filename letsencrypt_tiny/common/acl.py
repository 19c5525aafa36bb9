"""Whom a file's mode and its access control list (acl(5)) let in, besides its owner and everybody.

Where there is a list the bits of the group are a mask: the most that anybody in it can have; so
they tell that there may be somebody, and not who.
"""

import errno
import os
from collections.abc import Sequence

from .errors import Error

READ, WRITE = 4, 2

_VERSION = 2                                             # of the attribute, linux/posix_acl_xattr.h
_USER, _OWNING_GROUP, _GROUP, _MASK = 2, 4, 8, 16       # what an entry is for
_ABSENT = (errno.ENODATA, errno.EOPNOTSUPP)

Party = tuple[str, int]   # “user” or “group”, and its number


def others(descriptor: int, info: os.stat_result, wanted: int) -> list[Party]:
    """Return who has one of the ``wanted`` permissions (READ, WRITE) by the group or the list.

    ``descriptor`` may be one of O_PATH; ``info`` is its status.  Raises Error if the list can't
    be read.
    """
    if not info.st_mode >> 3 & wanted:
        return []
    try:
        data = os.getxattr(f"/proc/self/fd/{descriptor}", "system.posix_acl_access")
    except OSError as exc:
        if exc.errno in _ABSENT:
            return [("group", info.st_gid)]
        raise Error(f"cannot read an access control list: {exc.strerror}") from exc
    return parse(data, info.st_gid, wanted)


def parse(data: bytes, gid: int, wanted: int) -> list[Party]:
    """Return who has one of the ``wanted`` permissions by a list, as the kernel hands it out.

    ``gid`` is the file's group.  Raises Error for a list of another kind.
    """
    import struct   # only where there is a list
    if len(data) % 8 != 4 or struct.unpack_from("<I", data)[0] != _VERSION:
        raise Error("an access control list of an unknown kind")
    entries = list(struct.iter_unpack("<HHI", data[4:]))
    most = next((permissions for tag, permissions, _ in entries if tag == _MASK), 7)
    found: list[Party] = []
    for tag, permissions, number in entries:
        if permissions & most & wanted:
            if tag == _USER:
                found.append(("user", number))
            elif tag in (_GROUP, _OWNING_GROUP):
                found.append(("group", gid if tag == _OWNING_GROUP else number))
    return found


def listed(descriptor: int) -> bool:
    """True if there is a list: for messages."""
    try:
        return bool(os.getxattr(f"/proc/self/fd/{descriptor}", "system.posix_acl_access"))
    except OSError:
        return False


def describe(descriptor: int, parties: Sequence[Party]) -> tuple[str, str]:
    """Return who ``parties`` are, which may write to a file, and the command that is the cure."""
    if not listed(descriptor):
        return "its group", "chmod g-w"
    return f"its group or access control list ({', '.join(map(name, parties))})", "setfacl -b"


def name(party: Party) -> str:
    """Return “user NAME” or “group NAME”, with the number where there is no name."""
    kind, number = party
    try:
        if kind == "user":
            import pwd
            return f"user {pwd.getpwuid(number).pw_name}"
        import grp
        return f"group {grp.getgrgid(number).gr_name}"
    except KeyError:
        return f"{kind} {number}"
