"""A stand-in at work: plays a list of words in place of the signer, the client or the web server.

Usage: as ``command`` of [accountd], [client] or [webserver]: a copy of this file, beside it
NAME.json with its part, both written by ``harness.standins``.  Also played in a thread of the
test, at the other end of a socket, where there is no process to be signalled.

Each word is [verb, argument …], as ``harness.words`` makes them; each verb is a method here.
What the stand-in was given and what it was told is reported, as lines [event, value] of a file.
Imports nothing of the tree: it is what the tree has to live with.
"""

import fcntl
import glob
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Word = list[Any]
Tell = Callable[[str, Any], None]
SIGNATURE = b"c3Nz" * 21 + b"cw"   # 64 bytes; nobody verifies them
GIGABYTE = 1 << 30
STEP = 4 << 20       # bytes
FOR_EVER = 600   # seconds; no test takes that long


class Actor:
    """Plays a part.  ``at`` maps what words call a descriptor to its number."""

    def __init__(self, at: dict[str, int], tell: Tell, listeners: Sequence[int] = (),
                 directory: str = ".") -> None:
        self.at = at
        self.tell = tell
        self.listeners = list(listeners)
        self.directory = directory   # of challenge files
        self.requests: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self._read = bytearray()     # of the peer's

    def play(self, words: Sequence[Word]) -> None:
        """Do it all."""
        for verb, *arguments in words:
            getattr(self, f"do_{verb}")(*arguments)

    # --- what each of them may do ---

    def do_say(self, to: str, data: str) -> None:
        """Write bytes (hexadecimal)."""
        write(self.at[to], bytes.fromhex(data))

    def do_flood(self, to: str, data: str, most: int) -> None:
        """Write the same again and again, until the reader has had enough of it."""
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        piece = bytes.fromhex(data)
        piece *= 1 + 65536 // len(piece)
        total = told = 0
        try:
            while total < most:
                total += os.write(self.at[to], piece)
                if total - told >= STEP:   # meanwhile, for who floods does not live long
                    told = total
                    self.tell("flooded", total)
        except OSError:
            pass
        self.tell("flooded", total)

    def do_times(self, count: int, words: list[Word]) -> None:
        """The words ``count`` times; -1: for ever."""
        while count != 0:
            self.play(words)
            count -= 1

    def do_sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(left)

    def do_await(self, path: str) -> None:
        """Wait for a file."""
        while not os.path.exists(path):
            time.sleep(0.005)

    def do_create(self, name: str, count: int) -> None:
        """Make ``count`` files NAME0, NAME1 … in the working directory."""
        for number in range(count):
            os.close(os.open(f"{name}{number}", os.O_WRONLY | os.O_CREAT, 0o644))

    def do_write(self, path: str, text: str) -> None:
        """Write a file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def do_close(self, which: str) -> None:
        """Close a descriptor."""
        os.close(self.at[which])

    def do_tell(self, event: str, value: Any) -> None:
        """Report something."""
        self.tell(event, value)

    def do_attempt(self, words: list[Word]) -> None:
        """Report what becomes of the words: "done", or the OSError's text."""
        try:
            self.play(words)
        except OSError as exc:
            self.tell("attempt", exc.strerror)
        else:
            self.tell("attempt", "done")

    # --- as a process only ---

    def do_exit(self, status: int) -> None:
        """End at once."""
        os._exit(status)

    def do_raise(self, number: int) -> None:
        """Send itself a signal."""
        os.kill(os.getpid(), number)

    def do_ignore(self, numbers: list[int]) -> None:
        """Ignore signals."""
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def do_block(self, numbers: list[int]) -> None:
        """Block signals."""
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def do_on(self, number: int, words: list[Word]) -> None:
        """Play the words when the signal comes."""
        def handler(*_: object) -> None:
            self.tell("signal", number)
            self.play(words)
        signal.signal(number, handler)

    def do_fork(self, words: list[Word], session: bool) -> None:
        """Let a child of its own play the words; the parent goes on."""
        if os.fork() == 0:
            if session:
                os.setsid()
            self.play(words)
            os._exit(0)

    # --- the client ---

    def do_receive(self) -> None:
        """Read the requests to their end and the configuration, a line, as the real one."""
        lines = read_all(self.at["requests"]).splitlines()
        self.requests = [json.loads(line) for line in lines]
        self.tell("requests", self.requests)
        self.config = json.loads(read_line(self.at["config"]) or b"{}")
        self.tell("config", self.config)

    def do_choose(self, by_server: dict[str, list[Word]]) -> None:
        """Play the words for the CA whose client it is."""
        self.play(by_server[self.config["access"]["server"]])

    def do_each(self, words: list[Word]) -> None:
        """Say the words for each request; “%SECTION%” in them is that of the request."""
        for request in self.requests:
            section = json.dumps(request.get("section", ""))[1:-1].encode()
            self.play([[verb, to, bytes.fromhex(data).replace(b"%SECTION%", section).hex()]
                       for verb, to, data in words])

    def do_issue(self, tests: str, authority: str) -> None:
        """Answer each order with a certificate of that CA."""
        sys.path.insert(0, tests)
        from harness import ca
        issuer = ca.CA.existing(authority)
        for order in self.requests:
            chain = issuer.issue(ca.pem(unbase64url(order["csr"]), "CERTIFICATE REQUEST"))
            answer = {"answer": "Issued", "section": order["section"], "alternates": [],
                      "chain": chain + issuer.intermediate.read_text()}
            write(self.at["answers"], json.dumps(answer).encode() + b"\n")

    def do_request(self, line: str) -> None:
        """Have the signer sign something; report what it greets with and answers."""
        sock = socket.socket(fileno=os.dup(self.at["signer"]))
        with sock, sock.makefile("rb") as lines:
            if "greeting" not in self.at:
                self.at["greeting"] = -1
                self.tell("greeting", [lines.readline().decode(), lines.readline().decode()])
            sock.sendall(line.encode() + b"\r\n")
            self.tell("answer", lines.readline().decode())

    # --- the signer ---

    def do_sign(self, count: int) -> None:
        """Sign ``count`` requests; -1: each, until the peer closes the connection."""
        while count != 0 and (line := self._line()) is not None:
            self.tell("request", line.decode("latin-1"))
            write(self.at["peer"], SIGNATURE + b"\r\n")
            count -= 1

    def do_hear(self, count: int) -> None:
        """Read ``count`` requests and answer none; -1: until the peer closes the connection."""
        while count != 0 and (line := self._line()) is not None:
            self.tell("request", line.decode("latin-1"))
            count -= 1

    def do_refuse(self, answer: str) -> None:
        """Read a request, and answer it with a refusal."""
        self.do_hear(1)
        write(self.at["peer"], bytes.fromhex(answer))

    def _line(self) -> bytes | None:
        while (end := self._read.find(b"\r\n")) < 0:
            try:
                data = os.read(self.at["listen to"], 65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._read += data
        line = bytes(self._read[:end])
        del self._read[:end + 2]
        return line

    # --- the web server ---

    def do_serve(self, count: int) -> None:
        """Answer ``count`` requests with the challenge files; -1: without end."""
        listeners = [socket.socket(fileno=os.dup(number)) for number in self.listeners]
        stop = [self.at["stop"]] if "stop" in self.at else []
        try:
            while count != 0:
                ready, _, _ = select.select([*listeners, *stop], [], [])
                for listener in ready:
                    if not isinstance(listener, socket.socket):
                        return
                    self._serve(listener)
                    count -= 1
        finally:
            for listener in listeners:
                listener.close()

    def _serve(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(5)
            try:
                head = sock.recv(8192).decode("latin-1")
                path = head.split(" ")[1] if head.count(" ") > 1 else ""
                self.tell("asked", path)
                token = path.rpartition("/")[2]
                file = os.path.join(self.directory, token)
                body, status = b"", "404 Not Found"
                if os.path.isfile(file):
                    with open(file, "rb") as stream:
                        body, status = stream.read(), "200 OK"
                sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
                             "Connection: close\r\n\r\n".encode() + body)
            except OSError:
                pass


def write(fd: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(fd, data):]


def read_all(fd: int) -> bytes:
    """Read a descriptor to its end, and close it."""
    with open(fd, "rb") as stream:
        return stream.read()


def read_line(fd: int) -> bytes:
    """Read a line of a descriptor, and no further."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(fd, 1)):
        line += byte
    return line


def unbase64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 §2)."""
    import base64
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def descriptors(role: str, argv: Sequence[str]) -> tuple[dict[str, int], list[int]]:
    """Return what words call the descriptors of a role's contract, and its listening sockets."""
    if role == "client":
        names = ("config", "signer")   # the latter only where there is something to sign
        numbers = [int(word) for word in argv if word.isdigit()]
        return {"requests": 0, "answers": 1, "messages": 2, **dict(zip(names, numbers))}, []
    if role == "signer":
        return {"listen to": 0, "peer": 1, "messages": 2}, []
    return {"messages": 2}, [int(word) for word in argv if word.isdigit()]


def given(argv: Sequence[str]) -> dict[str, Any]:
    """Return what a process of ours was given: all that its contract tells of."""
    status = {}
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            status[name] = value.split()
    policy = [word[12:] for word in argv if word.startswith("--policy=fd:")]
    return {"pid": os.getpid(), "argv": list(argv), "environ": dict(os.environ),
            "directory": os.getcwd(), "uids": list(map(int, status["Uid"])),
            "gids": list(map(int, status["Gid"])), "groups": list(map(int, status["Groups"])),
            "descriptors": sorted(int(os.path.basename(path)) for path in
                                  glob.glob("/proc/self/fd/*") if os.path.exists(path)),
            **({"policy": json.loads(read_all(int(policy[0])))} if policy else {})}


def main(path: str) -> int:
    """As a process of its own."""
    with open(f"{path}.json", encoding="utf-8") as file:
        part = json.load(file)
    seen = given(sys.argv[1:])

    def tell(event: str, value: Any) -> None:
        fd = os.open(part["report"], os.O_WRONLY | os.O_APPEND)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)   # its children tell, too
            write(fd, json.dumps([event, value]).encode() + b"\n")
        finally:
            os.close(fd)
    at, listeners = descriptors(part["role"], sys.argv[1:])
    tell("started", seen)
    Actor(at, tell, listeners).play(part["words"])
    return 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(__file__)))
