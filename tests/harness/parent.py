"""Who starts children: descriptors to give to them, and an end for each."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from letsencrypt_tiny.master.peers.child import Child
from letsencrypt_tiny.master.peers.identity import Identity, identity
from letsencrypt_tiny.master.peers.spawn import spawn
from letsencrypt_tiny.master.settings.main import Program

SLEEP = ("/bin/sleep", "60")


def program(*command: str, user: str = "nobody", group: str = "daemon") -> Program:
    """Return what is to be run."""
    return Program("F, [x]", user, group, command, "no")


class Parent:
    """Descriptors to give to a child, and the children to end."""

    def __init__(self) -> None:
        self.null = os.open("/dev/null", os.O_RDWR)
        self.files = [os.memfd_create(f"file{n}") for n in range(4)]
        self.children: list[Child] = []

    def spawn(self, command: Sequence[str] = SLEEP, arguments: Sequence[str] = (),
              descriptors: Sequence[int] | None = None, who: Identity | None = None,
              **more: Any) -> Child:
        """Start a child as nobody."""
        what = program(*command)
        child = spawn(what, who or identity(what), arguments,
                      [self.null] * 3 if descriptors is None else descriptors, **more)
        self.children.append(child)
        return child

    def output(self, command: Sequence[str], arguments: Sequence[str] = (), **more: Any) -> str:
        """Return the standard output of a child."""
        reader, writer = os.pipe()
        child = self.spawn(command, arguments, [self.null, writer, 2], **more)
        os.close(writer)
        with open(reader, encoding="utf-8") as file:
            text = file.read()
        assert child.wait(5) == 0
        return text

    def close(self) -> None:
        """End all."""
        for child in self.children:
            child.stop(0)
        for descriptor in [self.null, *self.files]:
            os.close(descriptor)


@contextlib.contextmanager
def parent() -> Iterator[Parent]:
    """One that leaks nothing and leaves no zombie."""
    before = set(os.listdir("/proc/self/fd"))
    made = Parent()
    yield made
    made.close()
    assert set(os.listdir("/proc/self/fd")) == before
    for child in made.children:
        assert not os.path.exists(f"/proc/{child.pid}")
