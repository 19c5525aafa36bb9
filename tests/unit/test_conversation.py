"""The master against clients that have gone over to somebody else: small programs in its place."""

import json
import os
import resource
import shutil
import signal
import socket
import tempfile
import threading
import time
from pathlib import Path
from collections.abc import Iterator, Sequence

import pytest

from harness import daemon
from letsencrypt_tiny.common import log
from letsencrypt_tiny.common.wire import order as op
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.peers import (signer as accountd, spawn as children,
                                           client as conversation)
from letsencrypt_tiny.master.settings import main as config
from letsencrypt_tiny.master.peers.client import Conversation, Messages
from letsencrypt_tiny.master.store.journal import State

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

SERVER = "https://ca.example/dir"
ORDER = op.Order("a", (("dns", "a.example"),), b"csr")
# What every stand-in may use; standard output is unbuffered bytes
PRELUDE = """#!/usr/bin/python3 -IS
import json, os, signal, sys, time
def say(data):
    data = memoryview(data)
    while data:
        data = data[os.write(1, data):]
def answer(kind, **members):
    say(json.dumps({"answer": kind, **members}).encode() + b"\\n")
def progress(section="a", wait=0, state="pending"):
    answer("Progress", section=section, state=state, wait=wait)
def err(text):
    os.write(2, text)
"""


class Master:
    """A configuration whose client is a stand-in, and an existing signer's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{path}/S")
        self.listener.listen()
        os.chmod(f"{path}/S", 0o600)
        (path / "state").mkdir()
        self.state = State(f"{path}/state")
        self.answers: list[op.Answer] = []
        self.seconds = 0.0

    def configure(self, script: str, timeout: int = 1) -> config.Config:
        """Write a stand-in and the configuration that names it."""
        client = self.path / "client"
        client.write_text(PRELUDE + script)
        client.chmod(0o755)
        (self.path / "main.conf").write_text(
            f"[client]\nserver = {SERVER}\nsocket = {self.path}/S\ntimeout = {timeout}\n"
            f"command = {client}\nuser =\ngroup =\n")
        return config.load(str(self.path / "main.conf"))

    def run(self, script: str, requests: Sequence[op.Request] = (ORDER,), timeout: int = 1
            ) -> list[op.Answer]:
        """Run a conversation to its end; return its answers, which ``answers`` has in any case."""
        loaded = self.configure(script, timeout)
        messages = Messages()
        talk = Conversation(loaded, self.state, messages)
        self.answers = []
        start = time.monotonic()
        try:
            talk.start_signer()
            for answer in talk.run(requests, children.identity(loaded.client.program)):
                self.answers.append(answer)
        finally:
            talk.close()
            messages.close()
            self.seconds = time.monotonic() - start
        return self.answers

    def fails(self, script: str, match: str, timeout: int = 1) -> None:
        """Run a conversation that must fail with a message that matches."""
        with pytest.raises(Error, match=match) as caught:
            self.run(script, timeout=timeout)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 500
        assert daemon.strays() == []


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[Master]:
    """A master that waits half a second beyond the timeout; it leaks no descriptor."""
    monkeypatch.setattr(conversation, "GRACE", -0.5)
    monkeypatch.setattr(log, "level", log.NORMAL)
    before = set(os.listdir("/proc/self/fd"))
    path = Path(tempfile.mkdtemp(prefix="test-conversation-", dir="/srv"))
    path.chmod(0o755)
    made = Master(path)
    yield made
    made.listener.close()
    shutil.rmtree(path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_good_client(master: Master, capfd: pytest.CaptureFixture[str]) -> None:
    master.state.remember_account(SERVER, "https://ca.example/a/1", "k" * 43)
    answers = master.run("""
requests = [json.loads(line) for line in sys.stdin.buffer]
config = json.load(open(int(sys.argv[1]), "rb"))
assert sys.argv[1:] == ["3", "4"] and requests[0]["identifiers"] == [["dns", "a.example"]]
assert config["access"]["server"] == "https://ca.example/dir" and config["account_key"] == "k" * 43
try:
    os.pwrite(0, b"x", 0)
except OSError:
    err(b"sealed\\n")
os.write(4, b"hello signer")
answer("Log", level="info", text="told")
answer("Log", level="debug", text="not told")
answer("Account", url="https://ca.example/a/2", key="n" * 43)
progress(state="new")
say(b'{"answer":"Issued","section":"a",')
time.sleep(0.05)
say(b'"chain":"PEM","alternates":[]}\\n')
""")
    assert answers == [op.Progress("a", "new"), op.Issued("a", "PEM")]
    assert sorted(capfd.readouterr().err.splitlines()) == ["client: sealed", "told"]
    assert master.state.account(SERVER) == ("https://ca.example/a/2", "n" * 43)
    peer, _ = master.listener.accept()
    assert peer.recv(100) == b"hello signer"
    peer.close()


def test_many_answers_at_once(master: Master) -> None:
    assert len(master.run("say(b'{\"answer\":\"Revoked\",\"section\":\"a\"}\\n' * 500)")) == 500


@pytest.mark.parametrize("line", [
    b"junk", b"", b"{}", b"[]", b"\x1b[2J", b"\xff\xfe", b'{"answer":"Own3d"}', b"{" * 10000,
    b'{"answer":"Progress","section":"a","state":"x","wait":1e9}', b"\0" * 100,
    b'{"answer":"Log","level":"info","text":"' + b"x" * 70000 + b'"}'], ids=range(11))
def test_junk(master: Master, line: bytes) -> None:
    master.fails(f"progress()\nsay({line!r} + b'\\n')\ntime.sleep(60)",
                 "^the client broke the protocol: ")
    assert master.answers == [op.Progress("a", "pending")] and master.seconds < 5


def memory() -> int:
    """Return the greatest size of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("script", [
    "while True: say(b'x' * 65536)", "while True: say(b'{\"answer\":' + b' ' * 65536)",
    "while True: say(b'\\0' * 65536)"])
def test_an_endless_line(master: Master, script: str) -> None:
    before = memory()
    master.fails(script, "the client broke the protocol: a line longer than 1048576 bytes")
    assert memory() - before < 16 << 10 and master.seconds < 5


@pytest.mark.parametrize("script, match", [
    ("while True: answer('Issued', section='a', chain='x' * 200000, alternates=['y' * 200000] * 4)",
     "answers without end"),
    ("while True: progress()", "answers without end"),
    ("while True: answer('Log', level='debug', text='x' * 60000)", "answers without end"),
    ("while True: answer('Account', url='', key='')", "answers without end")])
def test_a_gigabyte_of_answers(master: Master, script: str, match: str) -> None:
    before = memory()
    master.fails(script, match)
    master.answers.clear()
    assert memory() - before < 64 << 10 and master.seconds < 15
    # what was kept is what this test kept


def test_a_gigabyte_on_standard_error(master: Master, capfd: pytest.CaptureFixture[str]) -> None:
    before = memory()
    script = """
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
line = b"%s" * 700 + b"%s"
try:
    while True: err(line)
except BrokenPipeError:
    progress()
"""
    for text, end in (("x" * 100, "\n"), ("x" * 100, ""), ("\x1b[31m", "\n")):
        assert len(master.run(script % (text, end.replace("\n", "\\n")))) == 1
        shown = capfd.readouterr().err
        assert "client writes too much to standard error; the rest is dropped" in shown
        assert len(shown) < 2 * conversation.MAX_CHATTER and "\x1b" not in shown
    assert memory() - before < 16 << 10


def test_chatter(master: Master, capfd: pytest.CaptureFixture[str]) -> None:
    master.run(r"""
err(b"one\ntwo \x1b[31mred\x1b[0m\x07\r\n\n   \n")
err("ü \u202e\n".encode() + b"\xff\xc3\nthree")
time.sleep(0.1)
err(b" four\nlast")
""")
    assert capfd.readouterr().err == (
        "client: one\nclient: two \\x1b[31mred\\x1b[0m\\x07\nclient: ü \\u202e\n"
        "client: \ufffd\ufffd\nclient: three four\nclient: last\n")


@pytest.mark.parametrize("script", [
    "time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    "os.kill(os.getpid(), signal.SIGSTOP)",
    "while True: err(b'x\\n'); time.sleep(0.1)", "say(b'{')\ntime.sleep(60)"],
    ids=range(6))
def test_silence(master: Master, script: str) -> None:
    master.fails(script, "^the client has been silent for 0.5 seconds$")
    assert 0.5 <= master.seconds < 5


def test_silence_of_a_child_of_its_own(master: Master) -> None:
    """It holds on to the pipe; only the client itself can be ended."""
    with pytest.raises(Error, match="silent for 0.5 seconds"):
        master.run("if os.fork() == 0: os.setsid()\ntime.sleep(2)")
    for orphan in daemon.strays():   # which its confinement wouldn't let it have
        os.kill(orphan, signal.SIGKILL)
        os.waitpid(orphan, 0)


def test_announced_waits_are_granted(master: Master) -> None:
    assert len(master.run("progress(wait=1)\ntime.sleep(1)\nprogress()")) == 2
    assert master.seconds >= 1


def test_a_wait_beyond_the_timeout_is_not(master: Master) -> None:
    master.fails("progress(wait=86400)\ntime.sleep(60)", "has been silent")
    assert master.seconds < 4


def test_a_run_has_an_end(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "LONGEST", 0.3)
    master.fails("while True: progress(); time.sleep(0.1)", "does not come to an end")
    assert master.seconds < 4
    master.fails("while True: say(b' '); time.sleep(0.1)", "does not come to an end")


@pytest.mark.parametrize("script, match", [
    ("say(b'{\"answer\":\"Revoked\"')", "the client ended in the middle of an answer"),
    ("sys.exit(3)", "the client ended with status 3"),
    ("os.kill(os.getpid(), 9)", "the client ended with status 137"),
    ("progress()\nos.kill(os.getpid(), 9)", "status 137"),
    ("os.close(1)\ntime.sleep(60)", "the client closed its output but does not end")])
def test_ends(master: Master, monkeypatch: pytest.MonkeyPatch, script: str, match: str) -> None:
    wait = children.Child.wait
    monkeypatch.setattr(children.Child, "wait", lambda child, seconds: wait(
        child, None if seconds is None else min(seconds, 0.3)))
    master.fails(script, match)


def test_answers_after_its_death(master: Master) -> None:
    """Its own child goes on writing; it is as good as the client."""
    master.run("""
if os.fork():
    os._exit(0)
time.sleep(0.1)
progress()
""")
    assert master.answers == [op.Progress("a", "pending")]


def test_what_is_told_of_an_account_that_cannot_be_remembered(
        master: Master, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(master.path / "state")
    (master.path / "state").touch()
    assert master.run("answer('Account', url='u', key='k')\nprogress()")
    assert "warning: " in capfd.readouterr().err


def test_a_client_that_cannot_be_started(master: Master) -> None:
    loaded = master.configure("")
    (master.path / "client").unlink()
    messages = Messages()
    talk = Conversation(loaded, master.state, messages)
    try:
        talk.start_signer()
        with pytest.raises(Error, match=r"main.conf, \[client\]: cannot run .*client: No such"):
            list(talk.run([ORDER], children.identity(loaded.client.program)))
    finally:
        talk.close()
        messages.close()


def test_who_stops_listening_ends_the_client(master: Master) -> None:
    loaded = master.configure("progress()\ntime.sleep(60)")
    messages = Messages()
    talk = Conversation(loaded, master.state, messages)
    try:
        talk.start_signer()
        for _ in talk.run([ORDER], children.identity(loaded.client.program)):
            break
    finally:
        talk.close()
        messages.close()
    assert daemon.strays() == []


def test_interrupt_and_tick(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "TICK", 0.05)
    loaded = master.configure("""
signal.signal(signal.SIGINT, lambda *_: (progress(state="valid"), sys.exit(0)))
progress()
while True: time.sleep(10)
""", 20)
    messages = Messages()
    talk = Conversation(loaded, master.state, messages)
    ticks = []

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 10:
            talk.interrupt()

    try:
        talk.interrupt()   # there is none yet
        talk.start_signer()
        answers = list(talk.run([ORDER], children.identity(loaded.client.program), tick=tick))
    finally:
        talk.close()
        messages.close()
    talk.interrupt()
    assert [json.loads(op.format_answer(item))["state"] for item in answers] == ["pending", "valid"]


def test_files_without_end(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory may lie in memory; what was there before is no fault of the client's."""
    monkeypatch.setattr(conversation, "GRACE", 20)
    directory = master.path / "challenges"
    directory.mkdir()
    for number in range(300):
        (directory / f"old{number}").touch()

    def run(count: int) -> None:
        loaded = master.configure(
            f"for n in range({count}): os.close(os.open(f'n{{n}}', os.O_CREAT))\n"
            "progress()\ntime.sleep(0.3)\nprogress()\n")
        messages = Messages()
        talk = Conversation(loaded, master.state, messages)
        try:
            talk.start_signer()
            list(talk.run([ORDER], children.identity(loaded.client.program), str(directory),
                          lambda: None))
        finally:
            talk.close()
            messages.close()
    run(100)
    with pytest.raises(Error, match="^the client makes files without end$"):
        run(1000)


# --- the signer's greeting ---------------------------------------------------------------

def greeted(master: Master, *pieces: bytes) -> str:
    """Return the thumbprint that a signer told, or ``leaves all`` of it to the client."""
    messages = Messages()
    talk = Conversation(master.configure(""), master.state, messages)

    def greet() -> None:
        with master.listener.accept()[0] as signer:
            for piece in pieces:
                signer.sendall(piece)
                time.sleep(0.05)
    thread = threading.Thread(target=greet)
    thread.start()
    try:
        talk.start_signer()
        thumbprint = talk.thumbprint()
        assert talk._signer is not None
        thread.join()
        assert talk._signer.recv(10000) == b"".join(pieces), "the client reads it, too"
        return thumbprint
    finally:
        thread.join()
        talk.close()
        messages.close()


def test_the_greeting_is_read_before_the_client_gets_it(master: Master) -> None:
    first = b'1 OK {"alg":"ES256","jwk-thumbprint":"%s"}\r\n' % (b"x" * 42 + b"w")
    for pieces in ([first + b"{}\r\n"], [first[:5], first[5:], b"{}\r", b"\n"]):
        with pytest.raises(Error, match="neither a public key nor"):
            greeted(master, *pieces)
    first = first.replace(b"}", b',"kid":"https://ca.example/1"}')
    for pieces in ([first + b"{}\r\n"], [first[:5], first[5:], b"{}\r", b"\n"]):
        assert greeted(master, *pieces) == "x" * 42 + "w"


@pytest.mark.parametrize("pieces, match", [
    ([], "it closed the connection$"), ([b"1 OK {}\r\n"], "does not answer|closed"),
    ([b"SSH-2.0-x\r\n\r\n"], "not that of protocol"), ([b"x" * 9000], "longer than 8192"),
    ([b"1 OK\r\n" + b"[" * 99 + b"\r\n"], "nested|JSON")])
def test_greetings_that_are_none(master: Master, monkeypatch: pytest.MonkeyPatch,
                                 pieces: list[bytes], match: str) -> None:
    monkeypatch.setattr(accountd, "GREETING_SECONDS", 0.5)
    with pytest.raises(Error, match=match) as caught:
        greeted(master, *pieces)
    assert str(caught.value).isprintable()


# --- the signer's socket ------------------------------------------------------------------

def connect(master: Master) -> None:
    """Try to connect, as a conversation does."""
    talk = Conversation(master.configure(""), master.state, Messages())
    try:
        talk.start_signer()
    finally:
        talk.close()


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o620, 0o602, 0o777])
def test_socket_that_others_may_use(master: Master, mode: int) -> None:
    os.chmod(master.path / "S", mode)
    with pytest.raises(Error, match=f"^{master.path}/S: others may use this socket"):
        connect(master)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_socket_in_a_directory_of_others(master: Master, mode: int) -> None:
    master.path.chmod(mode)
    with pytest.raises(Error, match=f"^{master.path}: writable by others"):
        connect(master)


def test_no_socket(master: Master) -> None:
    master.listener.close()
    with pytest.raises(Error, match=f"^{master.path}/S: cannot connect .*Connection refused"):
        connect(master)
    (master.path / "S").unlink()
    with pytest.raises(Error, match=f"^{master.path}/S: No such file .*accountd"):
        connect(master)
    (master.path / "S").write_text("")
    (master.path / "S").chmod(0o600)
    with pytest.raises(Error, match=f"^{master.path}/S: not a socket"):
        connect(master)
