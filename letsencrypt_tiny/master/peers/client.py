"""One run of the client: requests in, answers out, and no trust in between.

The client may be anybody once it has spoken to the network.  What it writes is cut into
lines of bounded size and number, parsed strictly, and handed to the caller to verify; a
client that falls silent for longer than it said it would wait is ended.
"""

import itertools
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from ...common import log
from ...common.wire import order as order_protocol
from ...common.errors import Error, ProtocolError
from ...common.wire.order import (Account, Answer, ClientConfig, Log, Order, Progress, Request,
                                  format_config, format_request, parse_answer)
from . import signer as accountd, spawn as children
from ..settings.main import Config
from ..store.journal import State

TICK = 1.0               # seconds
GRACE = 60               # seconds of silence granted beyond the announced waits
LONGEST = 3600           # seconds for a run, and in addition those for each of its orders
MORE_FILES = 100         # in the challenge directory than there are identifiers
MAX_CHATTER = 256 << 10  # bytes that a child may write to its standard error


class Messages:
    """The pipes that carry the children's standard error to the administrator."""

    def __init__(self) -> None:
        self._pipes: dict[int, tuple[str, bytearray, list[int]]] = {}
        self.poll = select.poll()

    def pipe(self, name: str) -> int:
        """Return the writing end of a new pipe; its lines are relayed under ``name``."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self._pipes[reader] = (name, bytearray(), [0])
        self.poll.register(reader, select.POLLIN)
        return writer

    def handle(self, descriptor: int) -> bool:
        """Relay what can be read from ``descriptor``; False if it is none of the pipes."""
        if descriptor not in self._pipes:
            return False
        name, buffer, total = self._pipes[descriptor]
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return True
        buffer += data
        total[0] += len(data)
        *lines, rest = bytes(buffer).split(b"\n")
        for line in lines if data else [*lines, rest]:
            if line.strip():
                log.relay(name, line.decode("utf-8", "replace").rstrip())   # ssh(1) ends in CR
        buffer[:] = rest
        if not data or total[0] > MAX_CHATTER or len(buffer) > 8192:
            if data:
                log.warning(f"{name} writes too much to standard error; the rest is dropped")
            self._close(descriptor)
        return True

    def drain(self) -> None:
        """Relay whatever is left, without waiting."""
        for descriptor in list(self._pipes):
            while descriptor in self._pipes and _ready(descriptor):
                self.handle(descriptor)

    def close(self) -> None:
        """Relay whatever is left and close the pipes."""
        self.drain()
        for descriptor in list(self._pipes):
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self.poll.unregister(descriptor)
        del self._pipes[descriptor]
        os.close(descriptor)


def _ready(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class _Crowd:
    """Watches the number of files in the challenge directory, which may lie in memory (/run)."""

    def __init__(self, directory: str, requests: Sequence[Request]) -> None:
        self._directory = directory
        self._changed = 0
        self._next = 0.0
        self._most = MORE_FILES + sum(len(request.identifiers) for request in requests
                                      if isinstance(request, Order))
        if directory != "/":
            self._most += sum(1 for _ in os.scandir(directory))   # an administrator's

    def check(self, now: float) -> None:
        """Raise Error if the client makes files without end; looks five times a second."""
        if now < self._next or self._directory == "/":
            return
        self._next = now + TICK / 5
        changed = os.stat(self._directory).st_mtime_ns
        if changed != self._changed:
            self._changed = changed
            with os.scandir(self._directory) as entries:
                if sum(1 for _ in itertools.islice(entries, self._most + 1)) > self._most:
                    raise Error("the client makes files without end")


class Conversation:
    """A client and its signer, from start to end."""

    def __init__(self, config: Config, state: State, messages: Messages) -> None:
        self._config = config
        self._state = state
        self._messages = messages
        self._children: list[children.Child] = []
        self._signer: socket.socket | None = None
        self._client: children.Child | None = None
        self._uid = 0       # the client's
        self._go = -1       # what it reads its configuration from,
        self._reader = -1   # and writes its answers to

    def start_signer(self, requests: Sequence[Request] = (), key: int | None = None) -> None:
        """Connect to the signer, or spawn it; see ``accountd.connect``."""
        self._signer, child = accountd.connect(self._config, self._messages.pipe, requests, key)
        if child is not None:
            self._children.append(child)

    def thumbprint(self) -> str:
        """Wait for the signer to greet; return its key's thumbprint (RFC 7638).  Raises Error.

        The client, whose word for it would be worth nothing, reads the same greeting later.
        """
        if self._signer is None:
            raise Error("the signer was not started")
        signer, poll = self._signer.fileno(), self._messages.poll
        deadline = time.monotonic() + accountd.GREETING_SECONDS
        poll.register(signer, select.POLLIN)
        try:
            while (patient := deadline - time.monotonic()) > 0:
                for descriptor, _ in poll.poll(patient * 1000):
                    if self._messages.handle(descriptor):
                        continue
                    greeting = accountd.peek_greeting(self._signer)
                    if greeting is not None:
                        return greeting.thumbprint
                    time.sleep(0.02)   # half of it is there
        finally:
            poll.unregister(signer)
        raise Error("the signer (letsencrypt-tiny-accountd) does not answer")

    def start_client(self, requests: Sequence[Request], who: children.Identity,
                     directory: str = "/") -> children.Child:
        """Start the client in ``directory`` with ``requests``.  Raises Error.

        It waits for its configuration, which ``run`` gives it: so it can start beside the
        signer, but reads nothing of what that says before the master has.
        """
        settings = self._config.client
        if self._signer is None:
            raise Error("the signer was not started")
        arguments = ["--debug"] if log.level >= log.DEBUG else []
        stdin = children.sealed(b"".join(format_request(request) for request in requests))
        config, self._go = os.pipe()
        self._reader, writer = os.pipe()
        stderr = self._messages.pipe("client")
        children.adopt_orphans()
        try:
            child = children.spawn(
                settings.program, who, [*arguments, "3", "4"],
                [stdin, writer, stderr, config, self._signer.fileno()], directory=directory,
                extra=children.inherited(children.PROXIES))
        finally:
            for descriptor in (stdin, writer, stderr, config):
                os.close(descriptor)
        self._children.append(child)
        self._client, self._uid = child, who.uid
        return child

    def run(self, requests: Sequence[Request], who: children.Identity,
            directory: str = "/", tick: Callable[[], None] | None = None) -> Iterator[Answer]:
        """Let the client work on ``requests``; yield its answers as they come.

        It is started if it was not yet.  Messages and the account's URL are dealt with here;
        ``tick`` is called some times a second.  Ends when the client does; raises Error if it
        breaks the protocol, fails or falls silent.
        """
        client = self._client or self.start_client(requests, who, directory)
        self._configure()
        yield from self._answers(self._reader, self._config.client.access.timeout, len(requests),
                                 tick, _Crowd(directory, requests))
        status = client.wait(5)
        self._messages.drain()
        if status is None:
            raise Error("the client closed its output but does not end")
        if status != 0:
            raise Error(f"the client ended with status {status}")

    def _configure(self) -> None:
        """Give the client its configuration, and with it the signer."""
        settings = self._config.client
        url, key = self._state.account(settings.access.server)
        text = format_config(ClientConfig(settings.access, settings.program.confine, url, key))
        try:
            os.set_blocking(self._go, False)
            if os.write(self._go, text) < len(text):    # a pipe takes 64 kB at once
                raise Error("the configuration of the client is too long")
        except BrokenPipeError:
            pass   # it has ended, as its status will tell
        os.close(self._go)
        self._go = -1
        if self._signer is not None:
            self._signer.close()

    def _answers(self, reader: int, timeout: int, requests: int,
                 tick: Callable[[], None] | None, crowd: _Crowd) -> Iterator[Answer]:
        poll = self._messages.poll
        poll.register(reader, select.POLLIN)
        buffer = bytearray()
        patience = timeout + GRACE
        left = 1000 + 1000 * requests    # lines: progress and messages included
        room = (16 << 20) * (1 + requests)   # bytes
        deadline = time.monotonic() + patience
        # a timeout of 0 is none
        end = time.monotonic() + LONGEST + patience * requests if timeout else float("inf")
        try:
            while True:
                now = time.monotonic()
                if now >= end:
                    raise Error("the client does not come to an end")
                if now >= deadline:
                    raise Error(f"the client has been silent for {patience} seconds")
                crowd.check(now)
                patient = min(deadline, end) - now
                if tick is not None:
                    tick()
                    patient = min(patient, TICK / 5)
                for descriptor, _ in poll.poll(patient * 1000):
                    if self._messages.handle(descriptor):
                        continue
                    data = os.read(reader, 65536)
                    if not data:
                        if buffer:
                            raise Error("the client ended in the middle of an answer")
                        return
                    room -= len(data)
                    if room < 0:
                        raise Error("the client answers without end")
                    wait = 0
                    for answer in _parse(buffer, data):
                        left -= 1
                        if left < 0:
                            raise Error("the client answers without end")
                        if isinstance(answer, Progress):
                            wait = max(wait, min(answer.wait, timeout or answer.wait))
                        if not self._own(answer):
                            yield answer
                    deadline = max(deadline, time.monotonic() + patience + wait)
        except ProtocolError as exc:
            raise Error(f"the client broke the protocol: {exc}") from exc
        finally:
            poll.unregister(reader)

    def _own(self, answer: Answer) -> bool:
        if isinstance(answer, Log):
            show = {"error": log.error, "warning": log.warning, "info": log.info}
            show.get(answer.level, log.debug)(answer.text)
            return True
        if isinstance(answer, Account):
            try:
                self._state.remember_account(self._config.client.access.server, answer.url,
                                             answer.key)
            except Error as exc:   # it costs the next run a request, no more
                log.warning(exc)
            return True
        return False

    def interrupt(self) -> None:
        """Ask the client to finish what can be finished without waiting (signal-safe)."""
        if self._client is not None and self._client.status is None:
            os.kill(self._client.pid, signal.SIGINT)

    def close(self) -> None:
        """End whatever still runs."""
        if self._signer is not None:
            self._signer.close()
        for child in reversed(self._children):
            # closing its connection ends a signer; give it the moment to say so
            if child.wait(0 if child is self._client else 1) is None:
                child.stop()
        self._children.clear()
        children.end_orphans(self._uid)
        for descriptor in (self._go, self._reader):
            if descriptor >= 0:
                os.close(descriptor)
        self._go = self._reader = -1


def _parse(buffer: bytearray, data: bytes) -> Iterator[Answer]:
    buffer += data
    while (end := buffer.find(b"\n")) >= 0:
        line = bytes(buffer[:end])
        del buffer[:end + 1]
        yield parse_answer(line)
    if len(buffer) > order_protocol.MAX_ANSWER:
        raise ProtocolError(f"a line longer than {order_protocol.MAX_ANSWER} bytes")
