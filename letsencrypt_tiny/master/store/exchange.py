"""Two names change places, at once: renameat2(2), which Python has no function for."""

import os

_RENAME_EXCHANGE = 2


def exchange(one: int, first: str, other: int, second: str) -> None:
    """Let ``first`` in the directory ``one`` and ``second`` in ``other`` change places.

    Both are descriptors.  Raises OSError, EINVAL or ENOSYS where the file system can't.
    """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(one, os.fsencode(first), other, os.fsencode(second), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
