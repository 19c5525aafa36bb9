"""What is published and not taken back yet, in a file that outlives this process.

A line is on the disk before its record is in the zone, and another when it is gone; when nothing
is left the file is empty.  So whatever is killed, the next run knows what to take back.
"""

import errno
import fcntl
import os
import threading
import time

from ..common.errors import Error, ProtocolError
from ..common.names import is_dns
from ..common.wire.jsonfields import dump, get_str, parse_object
from .records import Record, checked

MAX_FILE = 4 << 20     # bytes
_MAX_LINE = 4096
_PAUSE = 0.1           # seconds between tries to lock it


class Journal:
    """The file, which the master has opened.  Any thread may write."""

    def __init__(self, descriptor: int, seconds: float) -> None:
        """Lock it, if need be until another one, which still takes back, is done with it.

        Raises Error if that takes more than ``seconds``.
        """
        self._descriptor = descriptor
        self._lock = threading.Lock()
        deadline = time.monotonic() + seconds
        while not self._locked():
            if time.monotonic() > deadline:
                raise Error("the process of an earlier run still takes back its records")
            time.sleep(_PAUSE)
        self.left: dict[Record, str] = {}   # … and in which zone, "" if that isn't known
        text = self._read()
        whole, newline, _ = text.rpartition(b"\n")   # what was cut off was not published
        for line in whole.split(b"\n"):
            self._replay(line)
        self._size = len(whole) + len(newline)      # of the lines that are whole
        self._cut()

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> bytes:
        parts, offset = [], 0
        while data := os.pread(self._descriptor, min(65536, MAX_FILE - offset), offset):
            parts.append(data)
            offset += len(data)
        return b"".join(parts)

    def _replay(self, line: bytes) -> None:
        try:
            obj = parse_object(line, "a line of the journal", _MAX_LINE)
            record = checked(get_str(obj, "name", 255), get_str(obj, "value", 64))
            zone = get_str(obj, "zone", 255)
            if get_str(obj, "is", 16) == "published" and (not zone or is_dns(zone)):
                self.left[record] = zone
            else:
                self.left.pop(record, None)
        except ProtocolError:
            pass   # of a machine that lost its power

    def publishing(self, record: Record, zone: str, how: str) -> None:
        """It is about to be published; raises Error if that can't be remembered.

        ``how``: for whoever reads the file.
        """
        with self._lock:
            self.left[record] = zone
            self._write(record, "published", zone, how)

    def removed(self, record: Record) -> None:
        """It is gone; raises Error."""
        with self._lock:
            self.left.pop(record, None)
            if self.left:
                self._write(record, "gone", "", "")
                return
            self._size = 0
            self._cut()
            try:
                os.fdatasync(self._descriptor)
            except OSError as exc:
                raise _unwritable(exc) from exc

    def _write(self, record: Record, what: str, zone: str, how: str) -> None:
        line = dump({"is": what, **record._asdict(), "zone": zone, "how": how[:300]}) + b"\n"
        try:
            if os.write(self._descriptor, line) != len(line):   # O_APPEND
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size += len(line)
            os.fdatasync(self._descriptor)
        except OSError as exc:
            self._cut()
            raise _unwritable(exc) from exc

    def _cut(self) -> None:
        """Leave whole lines alone: what is written next must not be taken for the end of one."""
        try:
            if os.lseek(self._descriptor, 0, os.SEEK_END) != self._size:   # fstat is forbidden
                os.ftruncate(self._descriptor, self._size)
        except OSError as exc:
            raise _unwritable(exc) from exc


def _unwritable(exc: OSError) -> Error:
    return Error(f"cannot remember which records are published: {exc.strerror}")
