"""A terminal that a command writes to."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def shown(argv: Sequence[str], environment: Mapping[str, str], columns: int = 0
          ) -> tuple[int, str]:
    """Run a command on a terminal of so many columns (0: it doesn't say); return its status, and
    what it has written, all of it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs,
                          env=environment) as process:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:    # EIO: everybody has closed the other end
            pass
        finally:
            os.close(ours)
    return process.returncode, text.decode()
