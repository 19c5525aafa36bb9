"""Stand-ins for three of the four processes: the signer, the client, the web server.

Each is an executable, to be configured as a ``command``, that does what ``plays`` told it, word
by word (``harness.words``), and reports what it was given and told:

>>> client = Client(directory)
>>> client.plays(words.receive(), Progress("a", "pending"), Failed("a", "no", "refused"))
>>> machine.main["client"]["command"] = str(client.command)
>>> machine.run("newOrder")
>>> client.wait_for("requests")[0]["section"]
'a'

Signer and web server also come without a process, in threads of the test:

>>> signer = Signer(directory)
>>> signer.plays(words.greet(), words.sign(1), words.refuse("enough"))
>>> ours = signer.connected()             # a socket, a signer at its other end; or
>>> signer.listens(directory / "S")       # at a path, to any number of peers
>>> signer.told("request")
"""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import actor, words
from .words import Spoken

PATIENCE = 20   # seconds that a test waits for what must come


class Standin:
    """An executable in ``directory``, which others must be able to enter, and its report.

    ``plays`` may be called again before each start.  Of what several processes tell, the report
    has the lines one after the other.
    """

    role = ""
    default: Sequence[Spoken] = ()

    def __init__(self, directory: Path, name: str = "") -> None:
        self.command = directory / (name or self.role)
        self._report = directory / f"{self.command.name}.report"
        self._report.touch()
        self._report.chmod(0o666)
        source = Path(actor.__file__).read_text()
        self.command.write_text(f"#!/usr/bin/python3 -IS\n{source}")
        self.command.chmod(0o755)
        self._here: list[tuple[str, Any]] = []   # what threads of ours tell
        self._words: list[actor.Word] = []
        self.plays(*self.default)

    def plays(self, *spoken: Spoken) -> None:
        """From its next start on it does this, and ends."""
        self._words = words.spell(spoken)
        part = Path(f"{self.command}.json")
        new = part.with_suffix(".new")
        new.write_text(json.dumps({"role": self.role, "report": str(self._report),
                                   "words": self._words}))
        new.chmod(0o644)
        new.rename(part)

    def misbehaves(self, how: str, *before: Spoken) -> None:
        """From its next start on it does one of ``words.MISBEHAVIOUR``, after ``before``."""
        self.plays(*before, *words.MISBEHAVIOUR[how])

    def told(self, event: str) -> list[Any]:
        """Return what was reported of this kind, oldest first: "started", "requests" …

        "started", by each process first of all, is an object: pid, argv, environ, directory,
        uids, gids, groups, descriptors; policy, if it was given one.
        """
        lines = self._report.read_text().splitlines()
        return [value for kind, value in [*map(json.loads, lines), *self._here] if kind == event]

    def wait_for(self, event: str, count: int = 1) -> Any:
        """Return the ``count``-th report of this kind when it has come.

        Raises TimeoutError after twenty seconds.
        """
        deadline = time.monotonic() + PATIENCE
        while len(found := self.told(event)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.command.name} has not told of “{event}”: "
                                   f"{self._report.read_text()}")
            time.sleep(0.005)
        return found[count - 1]

    def forget(self) -> None:
        """Begin a new report."""
        self._report.write_text("")
        self._here.clear()

    @property
    def pids(self) -> list[int]:
        """The process ids of all that were started."""
        return [seen["pid"] for seen in self.told("started")]

    def end(self) -> None:
        """Kill every process of it that is a child of this one, orphans that came to it, too."""
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass

    def _tell(self, event: str, value: Any) -> None:
        self._here.append((event, value))


class Client(Standin):
    """Stands in for the ACME client: reads what it is asked for, and answers what it likes.

    >>> client.plays(words.receive(), words.each(Failed("", "later", "busy", retry_after=60)))
    >>> client.plays(words.receive(), words.issue(authority_directory))
    >>> client.misbehaves("endless line", words.receive(), Progress("a", "new"))
    >>> client.told("config")[0]["access"]["server"]
    """

    role = "client"
    default = (words.receive(),)


class Signer(Standin):
    """Stands in for the account key manager: greets, then signs all that it is asked to sign.

    As an executable it is the ``command`` of [accountd]; one called “letsencrypt-tiny-accountd”
    is given a policy as our own is.

    >>> signer.plays()                                                # closes at once
    >>> signer.plays(words.greet(), words.refuse("not me"))
    >>> signer.plays(words.greet(b"1 OK"), words.sleep(1), words.greet(b"\\r\\n{}\\r\\n"))
    >>> signer.plays(words.hear())                                    # silent
    """

    role = "signer"
    default = (words.greet(), words.sign())

    def __init__(self, directory: Path, name: str = "") -> None:
        super().__init__(directory, name)
        self._listener: socket.socket | None = None
        self._path: Path | None = None
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def connected(self) -> socket.socket:
        """Return a socket at whose other end a thread does what ``plays`` said, then closes."""
        ours, theirs = socket.socketpair()
        self._serve(theirs)
        return ours

    def listens(self, path: Path, mode: int = 0o600) -> None:
        """Serve whoever connects to a new socket at ``path``, each in a thread of his own."""
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(mode)
        self._listener.listen()
        self._start(self._accept, self._listener)

    def stops_listening(self) -> None:
        """Be gone; the socket's name stays.  No effect if it doesn't listen."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._threads[0].join()
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            self._tell("connected", len(self._sockets))
            self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        self._sockets.append(peer)
        self._start(self._play, peer)

    def _start(self, target: Any, argument: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(argument,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _play(self, peer: socket.socket) -> None:
        number = peer.fileno()
        try:
            actor.Actor({"peer": number, "listen to": number}, self._tell).play(self._words)
        except OSError as exc:
            self._tell("failed", exc.strerror)   # the peer is gone
        finally:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def end(self) -> None:
        """End it all: processes, threads, connections."""
        super().end()
        self.stops_listening()
        for peer in list(self._sockets):
            try:
                peer.shutdown(socket.SHUT_RDWR)   # who reads from it reads no more
            except OSError:
                pass
        for thread in list(self._threads):
            thread.join(PATIENCE)
        for peer in self._sockets:
            peer.close()
        self._threads.clear()
        self._sockets.clear()


class Serving:
    """A web server in a thread, until the end of the ``with``, which gives the paths asked."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._listener = socket.create_server(("127.0.0.1", port))
        self._stop = os.pipe()
        self._asked: list[str] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        actor.Actor({"stop": self._stop[0]}, lambda _, path: self._asked.append(path),
                    [self._listener.fileno()], str(self._directory)).do_serve(-1)

    def __enter__(self) -> list[str]:
        self._thread.start()
        return self._asked

    def __exit__(self, *_: object) -> None:
        os.close(self._stop[1])
        self._thread.join(PATIENCE)
        os.close(self._stop[0])
        self._listener.close()


class WebServer(Standin):
    """Stands in for the challenge web server: gives out the files of its working directory.

    >>> webserver.plays(words.silence())                  # is there, answers nobody
    >>> webserver.plays(words.leave(3))
    >>> with WebServer.at(challenges, 8080) as asked:     # in a thread, for a client's sake
    ...     client.communicate()
    >>> asked
    ['/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA']
    """

    role = "webserver"
    default = (words.serve(),)

    @staticmethod
    def at(directory: Path, port: int) -> Serving:
        """Return one that serves a directory at a port of 127.0.0.1, in a thread."""
        return Serving(directory, port)
