"""A private network namespace: every port is free, and no firewall rule survives the run."""

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNET = 0x40000000
PR_SET_CHILD_SUBREAPER = 36
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)
_before: int | None = None   # a descriptor of the namespace that was left


def enter() -> None:
    """Move this thread, and whatever it starts from now on, to a new network namespace.

    Its only interface is ``lo``, which is brought up.  To be called before any other thread
    runs.  Raises OSError where the process may not do so (CAP_SYS_ADMIN, seccomp filter).
    """
    global _before
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if _libc.unshare(CLONE_NEWNET) != 0:  # os.unshare is Python 3.12's
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    _before = before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ifreq = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        flags, = struct.unpack_from("H", ifreq, 16)
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))


def outside() -> list[str]:
    """Return the words to put before a command that is to run in the network that was left."""
    if _before is None:
        return []
    return ["/usr/bin/nsenter", f"--net=/proc/{os.getpid()}/fd/{_before}", "--"]


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent ends, so that leftovers are seen."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
