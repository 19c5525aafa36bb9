"""Landlock by its three system calls (landlock(7)): files, TCP ports, signals.

Only the calling thread and those it starts later are confined.  Not covered: stat, chmod,
UDP, sockets with a path, ``listen`` without ``bind``, descriptors already open; links and
renames inside a directory where files may be created; a connection made by
``sendto(MSG_FASTOPEN)``.  seccomp.py sees to these.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Sequence

MAX_ABI = 7     # the newest ABI made use of; tests lower it, 0 hides Landlock altogether
TCP_ABI = 4     # from this one on, ports can be named
SCOPE_ABI = 6   # from this one on, signals and abstract UNIX sockets stay inside

# Rights below a directory or on a file (struct landlock_path_beneath_attr)
WRITE, READ, LIST, REMOVE_FILE, MAKE_REG, TRUNCATE = 2, 4, 8, 1 << 5, 1 << 8, 1 << 14
_ON_A_FILE = 1 | WRITE | READ | TRUNCATE  # others are refused with EINVAL
_RIGHTS = (0, 13, 14, 15, 15, 16)         # bits of rights known to each ABI
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

# The same numbers on every architecture
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2
_VERSION = 1

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Call the kernel; raises OSError."""
    result = int(_syscall(ctypes.c_long(number), *[
        ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def abi() -> int:
    """Return the ABI in use, at most MAX_ABI.

    Raises OSError: ENOSYS if the kernel has no Landlock, EOPNOTSUPP if it is switched off.
    """
    if MAX_ABI < 1:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))  # as a kernel without it
    return min(_call(_CREATE_RULESET, None, 0, _VERSION), MAX_ABI)


def restrict(paths: Sequence[tuple[str, int]], ports: Sequence[int]) -> int:
    """Let this thread do to files only what ``paths`` grants, and return the ABI in use.

    ``paths`` are files or directories and the rights on (or below) them; those that can't
    be reached are skipped.  ``ports`` are the TCP ports it may connect to; none may be bound.
    Needs no_new_privs.  Raises OSError if the kernel won't.
    """
    version = abi()
    handled = (1 << _RIGHTS[min(version, len(_RIGHTS) - 1)]) - 1
    attributes = struct.pack("=QQQ", handled, _BIND_TCP | _CONNECT_TCP,
                             _ABSTRACT_SOCKETS | _SIGNALS)
    size = 24 if version >= SCOPE_ABI else 16 if version >= TCP_ABI else 8
    ruleset = _call(_CREATE_RULESET, attributes, size, 0)
    try:
        for path, rights in paths:
            _allow_path(ruleset, path, rights & handled)
        if version >= TCP_ABI:
            for port in ports:
                _call(_ADD_RULE, ruleset, _NET_PORT, struct.pack("=QQ", _CONNECT_TCP, port), 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # nothing is there for us, so nothing needs to be granted
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_A_FILE
        if rights:
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
