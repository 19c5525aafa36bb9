"""The output of a program that is to say little: read up to a limit of bytes and of time.

It has a process group of its own, which is killed at either limit.  So nothing that it writes, or
starts, fills the memory or holds anybody up.
"""

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...common.errors import Error

LIMIT = 1 << 20      # bytes of either output


class TooLong(Error):
    """It took more time than it was given."""


class Done(NamedTuple):
    """What a program has done."""

    status: int       # as of subprocess.Popen: negative for a signal
    stdout: bytes
    stderr: bytes

    @property
    def signal(self) -> str:
        """The name of the signal that has ended it, "" if none has."""
        if self.status >= 0:
            return ""
        try:
            return signal.Signals(-self.status).name
        except ValueError:   # a real-time one
            return f"signal {-self.status}"


def run(argv: Sequence[str], what: str, seconds: float, environment: Mapping[str, str],
        descriptors: tuple[int, ...] = ()) -> Done:
    """Run ``argv``, without input, in /; return what it has done.

    ``what`` names it in messages.  Raises TooLong after so many ``seconds``, Error for more than
    LIMIT bytes of output, and OSError if it can't be started.
    """
    import subprocess   # only where there is something to do
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, cwd="/", env=dict(environment),
                          pass_fds=descriptors, start_new_session=True) as process:
        try:
            end = time.monotonic() + seconds
            stdout, stderr = _read([stream.fileno() for stream in (process.stdout, process.stderr)
                                    if stream is not None], what, end)
            return Done(process.wait(max(0.0, end - time.monotonic())), stdout, stderr)
        except (subprocess.TimeoutExpired, TimeoutError) as exc:
            raise TooLong(f"{what} took longer than {seconds:g} seconds") from exc
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)


def _read(descriptors: Sequence[int], what: str, end: float) -> list[bytes]:
    """Read all to their ends; raises Error, and TimeoutError at a moment (time.monotonic)."""
    texts = {descriptor: bytearray() for descriptor in descriptors}
    poll, left = select.poll(), set(descriptors)
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    while left:
        ready = poll.poll(max(0.0, end - time.monotonic()) * 1000)
        if not ready:
            raise TimeoutError
        for descriptor, _ in ready:
            data = os.read(descriptor, 65536)
            texts[descriptor] += data
            if len(texts[descriptor]) > LIMIT:
                raise Error(f"{what} wrote more than {LIMIT} bytes")
            if not data:
                poll.unregister(descriptor)
                left.remove(descriptor)
    return [bytes(text) for text in texts.values()]
