"""A terminal that a command writes to."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence


def shown(argv: Sequence[str], environment: Mapping[str, str], columns: int = 0,
          answers: str = "", timeout: float = 300) -> tuple[int, str]:
    """Run a command on a terminal of so many columns (0: it doesn't say), and type ``answers``;
    return its status, and what it has written, all of it.

    After ``timeout`` seconds it is killed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
                          start_new_session=True) as process:
        os.close(theirs)
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        text = b""
        try:
            os.write(ours, answers.encode())
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:    # EIO: everybody has closed the other end
            process.wait()
        finally:
            timer.cancel()
            os.close(ours)
    return process.returncode, text.decode()
