"""What a stand-in may do, word by word; ``harness.actor`` plays them.

>>> client.plays(words.receive(), Progress("a", "pending"), words.silence())
>>> signer.plays(words.greet(), words.sign(3), words.refuse("no more"))
>>> client.plays(Progress("a", "new"), *words.MISBEHAVIOUR["endless line"])

Messages are the records of common/wire, and written as that writes them; bytes that are none of
those have ``say`` and ``line``.
"""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

from letsencrypt_tiny.common.wire import jose, order, signer as wire
from letsencrypt_tiny.common.wire.order import Answer, Failed, Progress
from letsencrypt_tiny.common.wire.signer import Greeting

from .actor import FOR_EVER, GIGABYTE, Word

Spoken = Union[Word, Answer]   # an answer is a word of the client's

JWK = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
GREETING = Greeting("ES256", JWK, jose.thumbprint(JWK))
KEYLESS = Greeting("ES256", {}, "x" * 42 + "w", "https://ca.example/acct/1")   # by a kid


def spell(spoken: Sequence[Spoken]) -> list[Word]:
    """Return the words, answers being turned into what writes them."""
    return [word if isinstance(word, list) else line(order.format_answer(word)[:-1])
            for word in spoken]


# --- any of them ---

def say(data: bytes, to: str = "answers") -> Word:
    """Write bytes to "answers", "messages" (standard error) or "peer" (whom a signer serves)."""
    return ["say", to, data.hex()]


def line(data: bytes) -> Word:
    """Write an answer of the client's that may be none."""
    return say(data + b"\n")


def message(text: str | bytes) -> Word:
    """Write to standard error."""
    return say(text.encode() if isinstance(text, str) else text, "messages")


def flood(piece: bytes, to: str = "answers", most: int = GIGABYTE) -> Word:
    """Write it for ever, a gigabyte; the last of ``told("flooded")``: how many bytes were taken."""
    return ["flood", to, piece.hex(), most]


def times(count: int, *spoken: Spoken) -> Word:
    """Do it ``count`` times."""
    return ["times", count, spell(spoken)]


def forever(*spoken: Spoken) -> Word:
    """Do it again and again."""
    return times(-1, *spoken)


def sleep(seconds: float) -> Word:
    """Do nothing for a while."""
    return ["sleep", seconds]


def silence() -> Word:
    """Do nothing, for longer than any test waits."""
    return sleep(FOR_EVER)


def wait_for(path: Path) -> Word:
    """Wait for a file that the test makes."""
    return ["await", str(path)]


def create(name: str, count: int = 1) -> Word:
    """Make files NAME0, NAME1 … in the working directory."""
    return ["create", name, count]


def write(path: Path | str, text: str) -> Word:
    """Write a file; a path that isn't absolute is one in the working directory."""
    return ["write", str(path), text]


def close(which: str) -> Word:
    """Close "answers", "messages", "signer", "peer" …"""
    return ["close", which]


def tell(event: str, value: object = None) -> Word:
    """Report something to the test."""
    return ["tell", event, value]


def attempt(*spoken: Spoken) -> Word:
    """Report whether it could be done: ``told("attempt")`` has "done", or what the kernel said."""
    return ["attempt", spell(spoken)]


# --- as a process of its own ---

def leave(status: int) -> Word:
    """End at once, with this exit status."""
    return ["exit", status]


def die(number: int = signal.SIGKILL) -> Word:
    """Send itself a signal; SIGSTOP lets it freeze."""
    return ["raise", int(number)]


def ignore(*numbers: int) -> Word:
    """Ignore signals."""
    return ["ignore", list(map(int, numbers))]


def block(*numbers: int) -> Word:
    """Block signals."""
    return ["block", list(map(int, numbers))]


def on(number: int, *spoken: Spoken) -> Word:
    """From now on, do that when the signal comes; ``told("signal")`` has its number, too."""
    return ["on", int(number), spell(spoken)]


def fork(*spoken: Spoken, session: bool = False) -> Word:
    """Let a child of its own do that, in a session of its own; the stand-in goes on."""
    return ["fork", spell(spoken), session]


# --- the client ---

def receive() -> Word:
    """Read the requests and the configuration: ``told("requests")``, ``told("config")``."""
    return ["receive"]


def choose(by_server: dict[str, Sequence[Spoken]]) -> Word:
    """After ``receive``: what to do as the client of each CA, by the directory's URL."""
    return ["choose", {url: spell(spoken) for url, spoken in by_server.items()}]


def each(*answers: Answer) -> Word:
    """After ``receive``: answer each request so, its section being filled in."""
    return ["each", [line(order.format_answer(_for_any(answer))[:-1]) for answer in answers]]


def _for_any(answer: Answer) -> Answer:
    fields: Any = answer
    changed: Answer = fields._replace(section="%SECTION%")
    return changed


def issue(authority: Path) -> Word:
    """After ``receive``: answer each order with a good certificate of that ``ca.CA``'s."""
    return ["issue", str(Path(__file__).parents[1]), str(authority)]


def request(text: str) -> Word:
    """Have the signer sign; ``told("greeting")`` has its two lines, ``told("answer")`` one."""
    return ["request", text]


# --- the signer ---

def greet(greeting: Greeting | bytes = GREETING) -> Word:
    """Greet the peer, or say something instead."""
    return say(greeting if isinstance(greeting, bytes) else wire.format_greeting(greeting), "peer")


def sign(count: int = -1) -> Word:
    """Sign so many requests (-1: until the peer closes); ``told("request")`` has each of them."""
    return ["sign", count]


def hear(count: int = -1) -> Word:
    """Read so many requests (-1: until the peer closes), and answer none."""
    return ["hear", count]


def refuse(reason: str) -> Word:
    """Read a request and refuse it; hanging up, as the protocol wants it, is the part's end."""
    return ["refuse", wire.format_refusal(reason).hex()]


# --- the web server ---

def serve(count: int = -1) -> Word:
    """Answer so many requests (-1: without end); ``told("asked")`` has their paths."""
    return ["serve", count]


# What a client that has gone over to somebody else does, ready-made.
MISBEHAVIOUR: dict[str, list[Word]] = {
    "silent": [silence()],
    "frozen": [die(signal.SIGSTOP)],
    "deaf": [ignore(signal.SIGTERM, signal.SIGINT, signal.SIGHUP), silence()],
    "frozen and deaf": [block(signal.SIGTERM), die(signal.SIGSTOP)],
    "chatters, but says nothing": [forever(message(b"x\n"), sleep(0.1))],
    "half a line": [say(b"{"), silence()],
    "ends in the middle": [say(b'{"answer":"Revoked"')],
    "junk": [line(b"junk \x1b[2J\xff\0")],
    "empty line": [line(b"")],
    "nested": [line(b"[" * 100_000)],
    "unknown answer": [line(b'{"answer":"Own3d"}')],
    "endless line": [flood(b"x")],
    "endless progress": [flood(order.format_answer(Progress("a", "pending", wait=86400)))],
    "endless failure": [flood(order.format_answer(Failed("a", "x" * 16000, "unfinished")))],
    "endless messages": [flood(b"error: forged\x1b[2J\n", "messages")],
    "endless message": [flood(b"\0", "messages")],
    "closes and stays": [close("answers"), silence()],
    "fails": [leave(3)],
    "is killed": [die()],
    "dumps core": [die(signal.SIGSEGV)],
}
