"""The UNIX socket on which any number of conversations are held, by one loop that never waits for
any of them.

What a client has said waits for its turn (turns.py), one line of each connection at a time; then
it is judged, and signed, here or by processes beside this one (workers.py).  Who says nothing more
costs a few kB, who takes no answer is asked nothing, and who takes too much room makes it.
"""

import select
import socket
import time
from collections.abc import Sequence
from typing import NoReturn

from ..common import log, shortage
from ..common.wire.signer import format_greeting
from . import conversation
from .connection import NOTHING, READING, WRITING, Connection, process_of
from .conversation import Asked, Budget, Signer, Talk
from .room import Room
from .turns import Turns
from .workers import AHEAD, Died, Job, Worker

SEND_TIME = 30.0           # seconds for a client to take an answer
MAX_CONNECTIONS = 4096     # further ones wait until there is room
MAX_HELD = 16 << 20        # bytes of lines that wait
EVENTS = 32                # that are dealt with between two turns
ACCEPTED = 8               # … of which so many are newcomers
TICK = 1.0                 # seconds between two looks at what takes too long
PAUSE = 2.0                # … that a signal is not noticed if it comes right before a wait begins
_GONE = select.EPOLLHUP | select.EPOLLERR


class Server:
    """Serves who connects to sockets that are listened on."""

    def __init__(self, listeners: Sequence[socket.socket], signer: Signer,
                 workers: Sequence[Worker] = (), signs: bool = True,
                 limit: int = MAX_CONNECTIONS) -> None:
        """``signs``: a request that is alone is signed here, even if there are ``workers``;
        ``limit``: of connections."""
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._workers = {worker.descriptor: worker for worker in workers}
        self._signer, self._signs = signer, signs
        self._limit = limit
        self._greeting = format_greeting(signer.greeting)
        self._budget = Budget()
        self._count = self._held = 0
        self._connections: dict[int, Connection] = {}
        self._room = Room()
        self._listens = True
        self._door: Connection | None = None    # who waits for room, and others behind it
        self._turns: Turns[Connection] = Turns()
        self._due: dict[Connection, float] = {}   # whose line or answer must be through by then
        self._looked = 0.0
        self._epoll = select.epoll()
        for descriptor in (*self._listeners, *self._workers):
            self._epoll.register(descriptor, READING)

    def serve(self) -> NoReturn:
        """Serve until a signal handler raises an exception; raises Died, of workers."""
        while True:
            self.step()

    # --- the loop ---

    def step(self) -> None:
        """Wait for something to do, deal with some events, then with the turn of one client."""
        for descriptor, events in self._epoll.poll(self._patience(), EVENTS):
            if descriptor in self._connections:
                self._attempt(self._connections[descriptor], events)
            elif descriptor in self._workers:
                self._answered(self._workers[descriptor])
            elif descriptor in self._listeners:   # else it has been closed meanwhile
                self._accept(self._listeners[descriptor])
        now = time.monotonic()
        if now >= self._looked + TICK:
            self._looked = now
            self._look(now)
        if self._turns and self._free():
            self._attempt(self._turns.take(), NOTHING)

    def _patience(self) -> float:
        """Return how many seconds there is nothing to do unless something happens."""
        if self._turns and self._free():
            return 0
        return TICK if self._due or not self._listens else PAUSE

    def _free(self) -> bool:
        """True if what has its turn could be signed."""
        return not self._workers or any(len(worker.jobs) < AHEAD
                                        for worker in self._workers.values())

    def _attempt(self, conn: Connection, events: int) -> None:
        """Deal with what happened on a connection, or with its turn."""
        try:
            if events:
                self._happened(conn, events)
            elif not conn.closed:
                self._turn(conn)
        except OSError as exc:
            self._lost(conn, exc)
        except Died:
            raise
        except Exception as exc:   # that nobody thought of: the others go on, if there is memory
            if shortage.is_shortage(exc):
                raise
            log.error(f"a conversation failed: {exc!r}")
            if log.level >= log.DEBUG:
                log.trace()
            self._close(conn)

    def _look(self, now: float) -> None:
        """End what takes too long, and let in who waits for others to have been idle for long."""
        for conn in [conn for conn, due in self._due.items() if due <= now]:
            if conn.out:
                self._lost(conn, TimeoutError())
            else:
                self._end(conn, conversation.late())
        if self._door is not None:
            self._let_in(self._door)
        elif not self._listens:
            self._listen(True)

    # --- who there is ---

    def _accept(self, listener: socket.socket) -> None:
        """Accept some connections; when there is no room, one at a time."""
        for _ in range(ACCEPTED if len(self._room) < self._limit else 1):
            if not self._listens:
                break
            try:
                sock = listener.accept()[0]
            except (BlockingIOError, ConnectionError):
                break
            except OSError as exc:
                # out of descriptors or memory: they wait in the queue, and we don't spin
                log.warning(f"cannot accept connections: {exc.strerror}")
                self._listen(False)
                break
            sock.setblocking(False)
            self._count += 1
            self._let_in(Connection(sock, process_of(sock), Talk(
                self._signer, str(self._count), self._budget, not self._budget.allows())))

    def _let_in(self, conn: Connection) -> None:
        """Greet a newcomer if there is room, or can be made; else it waits at the door.

        One whose process has connections already is refused: it would keep others waiting.
        """
        self._door = None
        if len(self._room) >= self._limit:
            leaves = self._room.dispensable(conn)
            if leaves is not None:
                self._close(leaves)
            elif self._room.knows(conn.process):
                if not conn.talk.quiet:
                    log.warning(f"[{conn.talk.name}] refused: {self._limit} connections are busy")
                conn.closed = True
                conn.sock.close()
            else:
                self._door = conn
        self._listen(self._door is None)
        if self._door is None and not conn.closed:
            self._greet(conn)

    def _greet(self, conn: Connection) -> None:
        self._room.add(conn)
        self._connections[conn.sock.fileno()] = conn
        if not conn.talk.quiet:
            log.info(f"[{conn.talk.name}] connection of user {conn.process[0]}, process "
                     f"{conn.process[1]}")
        try:
            self._epoll.register(conn.sock.fileno(), NOTHING)
            conn.send(self._greeting)
            self._proceed(conn)
        except OSError as exc:
            self._lost(conn, exc)

    def _listen(self, listens: bool) -> None:
        if listens != self._listens:
            self._listens = listens
            for descriptor in self._listeners:
                self._epoll.modify(descriptor, READING if listens else NOTHING)

    def _close(self, conn: Connection) -> None:
        """End a connection, and let in who waits for that."""
        if conn.closed:
            return
        conn.closed = True
        self._held -= conn.held
        self._due.pop(conn, None)
        self._room.remove(conn)
        del self._connections[conn.sock.fileno()]
        conn.sock.close()
        if not conn.talk.quiet:
            log.info(f"[{conn.talk.name}] end of connection")
        if self._door is not None:
            self._let_in(self._door)

    def _lost(self, conn: Connection, exc: OSError) -> None:
        conn.talk.lost(exc)
        self._close(conn)

    def _end(self, conn: Connection, why: str) -> None:
        """Break a conversation off, and tell the client why, if it listens."""
        try:
            conn.send(conn.talk.break_off(why))
        except OSError:
            pass
        self._close(conn)

    # --- what they say ---

    def _happened(self, conn: Connection, events: int) -> None:
        """Raises OSError."""
        if conn.out:
            conn.send(b"")
            if not conn.out:
                self._due.pop(conn, None)
                self._proceed(conn)
        elif not conn.busy:
            self._receive(conn)
        elif events & _GONE:
            raise ConnectionResetError(0, "it has hung up")
        else:
            self._watch(conn, NOTHING)   # the next line's turn comes

    def _receive(self, conn: Connection) -> None:
        data = conn.receive()
        if data is not None:
            conn.waiting_since = None
            conn.talk.hear(data)
            if conn.talk.broken:
                self._end(conn, conn.talk.broken)
            else:
                self._proceed(conn)

    def _turn(self, conn: Connection) -> None:
        """Answer a line, or have it signed first."""
        answer = conn.talk.answer()
        conn.spoken = True
        if not isinstance(answer, Asked):
            self._reply(conn, answer)
            return
        worker = min(self._workers.values(), key=lambda worker: len(worker.jobs), default=None)
        if worker is None or self._signs and not (self._turns or worker.jobs):
            self._reply(conn, conn.talk.sign(answer))
        else:
            worker.give(Job(conn, answer))

    def _answered(self, worker: Worker) -> None:
        """A signature has been made; whoever has gone since does not get it."""
        job, signature, why = worker.take()
        talk = job.conn.talk
        answer = talk.refuse(why, job.asked.line) if why else talk.signed(job.asked, signature)
        if not job.conn.closed:
            try:
                self._reply(job.conn, answer)
            except OSError as exc:
                self._lost(job.conn, exc)

    def _reply(self, conn: Connection, answer: bytes) -> None:
        conn.busy = False
        conn.send(answer)
        self._proceed(conn)

    def _proceed(self, conn: Connection) -> None:
        """Do with a connection what comes next."""
        talk, pending = conn.talk, conn.talk.pending
        self._held += pending - conn.held
        conn.held = pending
        if conn.out:
            self._watch(conn, WRITING)
            self._due[conn] = time.monotonic() + SEND_TIME
        elif talk.ended:
            self._close(conn)
        elif talk.speaks:
            self._due.pop(conn, None)
            conn.busy = True
            self._turns.add(conn.process, conn)
        else:
            self._wait(conn, pending)
        if self._held > MAX_HELD:
            self._end(self._room.heaviest(), "too much is waiting of this process")

    def _wait(self, conn: Connection, pending: int) -> None:
        """Wait for a line, or for the rest of one."""
        now = time.monotonic()
        if pending:
            self._due.setdefault(conn, now + conversation.LINE_TIME)
        else:
            self._due.pop(conn, None)
            conn.waiting_since = now
        self._watch(conn, READING)

    def _watch(self, conn: Connection, events: int) -> None:
        if conn.events != events:
            conn.events = events
            self._epoll.modify(conn.sock.fileno(), events)
