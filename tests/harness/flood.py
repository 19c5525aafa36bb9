"""One peer that opens connections to the challenge web server as fast as it is told to.

A process of its own: Python's threads would wait for each other.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .webserver import Address, become_nobody

HELD = 500   # connections that are kept open, whatever the server does with them


@contextmanager
def flood(address: Address, sources: Sequence[str], rate: int = 1000) -> Iterator[list[int]]:
    """Open ``rate`` connections a second from each of ``sources`` in turn, every other with half
    a request.

    At a UNIX socket they are those of the user nobody.  What is yielded holds at the end how many
    were opened in a second.
    """
    path, port = (address, 0) if isinstance(address, str) else address[:2]
    argv = [sys.executable, "-B", "-c", "from harness.flood import main; main()", path, str(port),
            str(rate), *sources]
    reached: list[int] = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          cwd=os.path.dirname(os.path.dirname(__file__)),
                          preexec_fn=None if port else become_nobody) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()   # it has begun
        yield reached
        process.stdin.close()
        reached.append(int(process.stdout.read()))


def main() -> None:
    """The process: floods until its standard input ends, then prints what it has reached."""
    import select
    path, port, rate, *sources = sys.argv[1:]
    family = (socket.AF_UNIX if port == "0" else
              socket.AF_INET6 if ":" in path else socket.AF_INET)
    held: list[socket.socket] = []
    count, start, begun = 0, time.monotonic(), False
    while not select.select([0], [], [], 0.001)[0]:
        while count < (time.monotonic() - start) * int(rate):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.bind((sources[count % len(sources)], 0))
            sock.connect_ex(path if family == socket.AF_UNIX else (path, int(port)))
            held.append(sock)
            count += 1
            try:
                if count % 2:
                    sock.send(b"GET /.well-known/")
            except OSError:
                pass   # the handshake takes its time
            if len(held) > HELD:
                held.pop(0).close()
        if not begun and count > HELD:
            print(flush=True)
            begun = True
    print(int(count / (time.monotonic() - start)))
