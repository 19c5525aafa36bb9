"""A line of a round trip's length: an address of this machine that answers as if it were far."""

import subprocess
import tempfile
import time
from pathlib import Path

from . import mirror
from .daemon import Daemon

# TEST-NET-1 (RFC 5737): ours on the line, and what it looks like from the other end
HERE, THERE = "192.0.2.1", "192.0.2.2"
DEVICE = "far0"


class Line:
    """Whoever connects to ``THERE`` reaches what listens on ``HERE``, ``round_trip`` seconds away.

    To be used in a network namespace of one's own (see ``netns``): it makes a device.
    """

    def __init__(self, round_trip: float) -> None:
        self._round_trip = round_trip   # seconds

    def __enter__(self) -> "Line":
        self._temporary = tempfile.TemporaryDirectory(prefix="far-")
        program = Path(mirror.__file__)
        self._daemon = Daemon(["/usr/bin/python3", "-I", str(program), DEVICE,
                               str(self._round_trip / 2)],
                              Path(self._temporary.name, "mirror.log"), [])
        deadline = time.monotonic() + 10
        try:
            while self._daemon.text() != mirror.READY:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no line: {self._daemon.text()}")
                time.sleep(0.01)
            for words in (f"address add {HERE} peer {THERE} dev {DEVICE}",
                          f"link set {DEVICE} up"):
                subprocess.run(["ip", *words.split()], check=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self._temporary.cleanup()
