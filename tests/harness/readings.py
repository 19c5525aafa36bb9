"""Readers of a key and its certificates, in processes of their own, while these are renewed.

Contents are made up so that each tells its generation, and whether all of it was read.
"""

import collections
import os
import signal
from collections.abc import Callable
from typing import NamedTuple

NAMES = ("privkey.pem", "fullchain.pem", "cert.pem")
LENGTH = 6000   # bytes of a file: several pages
GOOD, MISMATCH, ABSENT, HALF = "good", "mismatch", "absent", "half"
_KINDS = {b"g": GOOD, b"m": MISMATCH, b"a": ABSENT, b"h": HALF}

Opener = Callable[[str], list[int]]


def text(generation: int) -> bytes:
    """Return what a file of a generation holds."""
    return (b"%08d\n" % generation) * (LENGTH // 9) + b"end\n"


def whole_paths(place: str) -> list[int]:
    """Open each file by its whole path, as most servers do."""
    return [os.open(f"{place}/{name}", os.O_RDONLY) for name in NAMES]


def directory_once(place: str) -> list[int]:
    """Open the directory, and the files in it."""
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return [os.open(name, os.O_RDONLY, dir_fd=directory) for name in NAMES]
    finally:
        os.close(directory)


def real_path(place: str) -> list[int]:
    """Ask what the directory is, and open the files there."""
    return whole_paths(os.path.realpath(place))


class Reader(NamedTuple):
    """A process that reads without end, and tells of each reading in a byte."""

    pid: int
    told: int        # descriptor of the file that it tells in

    def seen(self) -> "collections.Counter[str]":
        """End it; return how many readings of each kind there were."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        told = os.pread(self.told, os.fstat(self.told).st_size, 0)
        os.close(self.told)
        return collections.Counter(_KINDS[bytes([byte])] for byte in told)


def start(place: str, opener: Opener) -> Reader:
    """Start one."""
    told = os.memfd_create("told")
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                os.write(told, _read(place, opener))
        finally:
            os._exit(1)
    return Reader(pid, told)


def _read(place: str, opener: Opener) -> bytes:
    try:
        descriptors = opener(place)
    except OSError:
        return b"a"
    found = []
    for descriptor in descriptors:
        found.append(os.read(descriptor, LENGTH + 100))
        os.close(descriptor)
    if any(len(one) != len(text(0)) or not one.endswith(b"end\n") or
           one[:9] * (LENGTH // 9) != one[:-4] for one in found):
        return b"h"
    return b"g" if len(set(found)) == 1 else b"m"
