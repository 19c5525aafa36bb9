"""What another user of the host has at hand: leases, lists, sockets, and files that never end."""

import contextlib
import fcntl
import os
import pwd
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

NOBODY = pwd.getpwnam("nobody")

# Of an access control list's entry (acl(5), linux/posix_acl.h): what for, and whom
_OWNER, _USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_NO_ONE = 0xFFFFFFFF


def acl_entries(owner: int, group: int, other: int, users: dict[int, int] | None = None,
                groups: dict[int, int] | None = None, mask: int = 7) -> bytes:
    """Return an access control list as the kernel has it; the permissions are those of chmod."""
    entries = [(_OWNER, owner, _NO_ONE),
               *((_USER, bits, uid) for uid, bits in sorted((users or {}).items())),
               (_GROUP, group, _NO_ONE),
               *((_NAMED_GROUP, bits, gid) for gid, bits in sorted((groups or {}).items())),
               (_MASK, mask, _NO_ONE), (_OTHER, other, _NO_ONE)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def set_acl(path: Path, data: bytes, kind: str = "access") -> bool:
    """Give ``path`` a list, as setfacl(1) does; False where the file system has none."""
    try:
        os.setxattr(path, f"system.posix_acl_{kind}", data)
        return True
    except OSError:
        return False


@contextlib.contextmanager
def lease(path: Path, user: pwd.struct_passwd = NOBODY) -> Iterator[None]:
    """The user, who owns it, has a write lease on a file (F_SETLEASE) and gives it back to nobody.
    """
    def hold() -> None:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl.fcntl(os.open(path, os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
    with _running(hold, user):
        yield


@contextlib.contextmanager
def listening(path: Path, greeting: bytes, user: pwd.struct_passwd = NOBODY,
              owner: int | None = None) -> Iterator[list[bytes]]:
    """The user listens at ``path`` and greets as a signer; the socket is ``owner``'s, if given.

    Yields a list that has what happened, once it is over.
    """
    told, tell = os.pipe()

    def serve() -> None:
        sock = socket.socket(socket.AF_UNIX)
        os.umask(0o177)
        sock.bind(str(path))
        sock.listen()
        if os.fork() == 0:
            with contextlib.suppress(OSError):
                while True:
                    peer = sock.accept()[0]
                    os.write(tell, b"connected ")
                    peer.sendall(greeting)
                    os.write(tell, peer.recv(4096))
            os._exit(0)
    heard: list[bytes] = []
    try:
        with _running(serve, user):
            if owner is not None:
                os.chown(path, owner, -1)
            yield heard
    finally:
        os.close(tell)
        heard.append(os.read(told, 65536))
        os.close(told)


@contextlib.contextmanager
def _running(start: Callable[[], None], user: pwd.struct_passwd) -> Iterator[None]:
    """A process of the user's has done ``start``, and stays until the end."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            os.setgroups([])
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
            start()
            os.write(tell, b"1")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        assert os.read(ready, 1) == b"1", "the neighbour failed"
        yield
    finally:
        os.close(ready)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
