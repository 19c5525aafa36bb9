"""The program dns, without a master: a task, a journal and doors at which a test speaks.

>>> with Updater(directory, identifiers=["a.example"], server="127.0.0.2", key=text) as updater:
...     door = updater.door()
...     updater.start()
...     door.present("a.example")
...     assert door.hear() == Ready(...)
"""

import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from signal import Signals

from letsencrypt_tiny.common.wire import dns as wire, responder
from letsencrypt_tiny.common.wire.responder import (Answered, Asked, Challenge, Clean, Duty,
                                                    Present, Waits)

from .bind import with_resolver
from .run import CONFINE, ROOT

THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
PATIENCE = 20.0    # seconds
_WITHOUT_SECCOMP = """
from letsencrypt_tiny.common.sandbox import seccomp
def prepare(**_):
    raise ImportError("not installed")
seccomp.prepare = prepare
sys.exit(main())
"""


def challenge(name: str, token: str = "token", thumbprint: str = THUMBPRINT) -> Challenge:
    """Return a challenge for a name."""
    return Challenge("dns-01", ("dns", name), token, thumbprint)


class AtDoor:
    """The client's end of a door."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self._lines = responder.Lines()
        self._heard: list[Answered] = []

    def say(self, message: Asked) -> None:
        """Ask."""
        self.socket.sendall(responder.format_line(message))

    def present(self, name: str, token: str = "token") -> Challenge:
        """Ask for a challenge, which is returned."""
        about = challenge(name, token)
        self.say(Present(about))
        return about

    def clean(self, about: Challenge) -> None:
        """Take it back."""
        self.say(Clean(about))

    def hear(self, waits: bool = False) -> Answered | None:
        """Return what is said next, ``Waits`` only if wanted; None if the door is closed."""
        while True:
            while self._heard:
                said = self._heard.pop(0)
                if waits or not isinstance(said, Waits):
                    return said
            data = self.socket.recv(65536)
            if not data:
                return None
            self._heard += map(responder.parse_answered, self._lines.feed(data))

    def close(self) -> None:
        """Leave."""
        self.socket.close()


class Updater:
    """One process; ``update`` and others are those of the task.  With a ``resolv_conf`` it runs on
    a host that has it, without ``seccomp`` on one that has no python3-seccomp."""

    def __init__(self, directory: Path, *, identifiers: Sequence[str] = (),
                 update: Sequence[str] = ("rfc2136",), server: str = "", secret: str = "",
                 nameservers: Sequence[str] = (), propagation: int = 10, timeout: int = 5,
                 zone: str = "", confine: str = CONFINE, resolv_conf: Path | None = None,
                 seccomp: bool = True) -> None:
        self._task = wire.Task(zone, tuple(update), server, tuple(nameservers), propagation,
                               timeout, 60, Duty(frozenset(("dns", name) for name in identifiers),
                                                 frozenset([THUMBPRINT])))
        self._secret = secret
        self._confine = confine
        self._resolv_conf = resolv_conf
        self._seccomp = seccomp
        self._ends: list[socket.socket] = []
        self._doors: list[AtDoor] = []
        self.journal = directory / "journal"
        self.process: subprocess.Popen[str] | None = None
        self.said = ""

    def __enter__(self) -> "Updater":
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._ends:
            sock.close()
        for door in self._doors:
            door.close()
        if self.process is not None and self.process.poll() is None:
            try:
                self.end()
            finally:
                self.process.kill()

    def door(self) -> AtDoor:
        """Return one more, before it starts."""
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)
        self._doors.append(AtDoor(ours))
        return self._doors[-1]

    def argv(self, task: int, journal: int, secret: int, doors: Sequence[int]) -> list[str]:
        """Return how it is started with these descriptors."""
        source = (ROOT / "programs/dns").read_text().replace(
            '"/usr/share/letsencrypt-tiny"', repr(str(ROOT)))
        if not self._seccomp:
            source = source.replace("sys.exit(main())", _WITHOUT_SECCOMP)
        argv = ["/usr/bin/python3", "-IS", "-B", "-c", source, "--debug",
                f"--confine={self._confine}", f"--task={task}", f"--journal={journal}",
                f"--secret={secret}", *(f"--door={fd}" for fd in doors)]
        return with_resolver(self._resolv_conf, argv) if self._resolv_conf else argv

    def start(self) -> None:
        """Start it."""
        journal = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with tempfile.TemporaryFile() as task, tempfile.TemporaryFile() as secret:
            task.write(wire.format_task(self._task))
            secret.write(self._secret.encode())
            for file in task, secret:
                file.flush()
            fds = [task.fileno(), journal, secret.fileno(), *(s.fileno() for s in self._ends)]
            self.process = subprocess.Popen(
                self.argv(fds[0], fds[1], fds[2], fds[3:]), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={}, cwd="/",
                pass_fds=fds)
        os.close(journal)
        while self._ends:
            self._ends.pop().close()

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, timeout: float = PATIENCE) -> int:
        """Wait for it to end; return its status.  ``said`` is what it wrote."""
        assert self.process is not None
        _, self.said = self.process.communicate(timeout=timeout)
        return self.process.returncode
