"""The processes that sign for a signer on a socket: what they have, and what becomes of them."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.accountd import (GOOD, Client, Running, command, conf, request, signing_input,
                              verified, write_key)
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire.signer import Greeting
from letsencrypt_tiny.signer import workers
from letsencrypt_tiny.signer.conversation import Asked, Signer

# Two of them, whatever the machine has, and every signature is theirs
TWO = ("from letsencrypt_tiny.signer import server as s, workers as w\n"
       "w.count = lambda *_: 2\n"
       "init = s.Server.__init__\n"
       "def changed(self, listener, signer, workers, signs, limit):\n"
       "    init(self, listener, signer, workers, False, limit)\n"
       "s.Server.__init__ = changed\n")


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    return write_key(tmp_path, "RSA:2048")


@pytest.fixture(name="running")
def _running(tmp_path: Path, key: Path) -> Iterator[Running]:
    with Running(tmp_path, key, before=TWO) as running:
        yield running


def children(pid: int) -> list[int]:
    """The processes that ``pid`` has started and are there."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def status(pid: int, name: str) -> str:
    """A field of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":\t")[1] for line in lines if line.startswith(name))


def gone(pid: int) -> bool:
    """True if a process has ended, or does within some seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if status(pid, "State").startswith("Z"):
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def ask_all(clients: list[Client], lines: list[bytes]) -> list[list[bytes]]:
    """All clients ask for all lines at once; their answers."""
    answers: list[list[bytes]] = [[] for _ in clients]

    def use(client: Client, into: list[bytes]) -> None:
        into.extend(client.ask(line) for line in lines)

    threads = [threading.Thread(target=use, args=pair) for pair in zip(clients, answers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("kind, alg", [("RSA:2048", "RS256"), ("EC:P-256", "ES256")])
def test_each_answer_is_that_of_its_line(kind: str, alg: str, tmp_path: Path) -> None:
    """However many ask at once, and whoever signs."""
    lines = [signing_input(request(alg=alg, nonce=f"n{number}")) for number in range(10)]
    with Running(tmp_path, write_key(tmp_path, kind), before=TWO) as running:
        clients = [running.connect() for _ in range(6)]
        answers = ask_all(clients, lines)
        assert all(answer == answers[0] for answer in answers)
        assert all(verified(kind, line, answer, tmp_path)
                   for line, answer in zip(lines, answers[0]))
        for client in clients:
            client.__exit__()
        assert running.stop() == 0
        log = running.log.read_text()
    assert log.count("SIGNED") == 60 and "error" not in log


def test_what_a_process_that_signs_has(running: Running) -> None:
    """Its end of a socket pair, and no more than one with --stdio: confined as that is."""
    pytest.importorskip("seccomp")
    found = children(running.process.pid)
    assert len(found) == 2
    with running.connect() as client:
        client.sign(GOOD)
        for pid in found:
            assert (status(pid, "NoNewPrivs"), status(pid, "Seccomp")) == ("1", "2")
            fds = {name: os.readlink(f"/proc/{pid}/fd/{name}")
                   for name in os.listdir(f"/proc/{pid}/fd")}
            # libffi 3.5 maps its trampolines from itself, and keeps that file open, to read
            assert [target.split(":")[0] for name, target in fds.items() if name not in "012"
                    and not re.fullmatch(r"/usr/lib/[^/]+/libffi\.so[.\d]*", target)] == ["socket"]
            assert "Max processes             0" in Path(f"/proc/{pid}/limits").read_text()


def test_they_end_with_the_signer(running: Running) -> None:
    found = children(running.process.pid)
    for pid in found:   # as ^C and systemd do
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    with running.connect() as client:
        client.sign(GOOD)
        assert children(running.process.pid) == found
        running.process.kill()
        assert all(map(gone, found))


def test_the_signer_ends_with_one_of_them(running: Running) -> None:
    """It says so, with a status that has it started anew."""
    with running.connect() as client:
        client.sign(GOOD)
        os.kill(children(running.process.pid)[1], signal.SIGKILL)
        assert running.process.wait(20) == 1
        assert client.rest() == b""
    assert running.log.read_text().count(
        "error: a process that signs has ended: so does this one, to be started anew\n") == 1
    assert not running.path.exists()


def test_the_rate_of_a_policy_is_that_of_all_together(tmp_path: Path, key: Path) -> None:
    """They only sign: who judges counts."""
    file = conf(key, "[policy p]", "identifiers = *", "origins = https://ca.example",
                "requests-per-hour = 25")
    with Running(tmp_path, key, f"--config={file}", "--policy=p", before=TWO) as running:
        clients = [running.connect(hello=True) for _ in range(6)]
        answers = sum(ask_all(clients, [signing_input(request())] * 10), [])
        assert sum(not answer.startswith(b"NOSIGN") for answer in answers) == 25
        assert sum(answer.startswith(b"NOSIGN policy \"p\": more than 25") for answer in answers) \
            == 35
        for client in clients:
            client.__exit__()
        assert running.stop() == 0
        log = running.log.read_text()
    assert log.count("verdict=allowed") == log.count("SIGNED") == 25
    assert log.count("AUDIT") == 60


def test_one_that_cannot_be_confined(tmp_path: Path, key: Path) -> None:
    """One line, and nobody listens."""
    before = (f"{TWO}from letsencrypt_tiny.common.sandbox import seccomp\n"
              "seccomp.DIRECTORY = '/nonexistent'")
    done = subprocess.run(command("--config=/dev/null", f"--privkey=file:{key}",
                                  f"--socket={tmp_path}/S", "--confine=required", before=before),
                          stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "confine = required, but there is no seccomp" in done.stderr
    assert not (tmp_path / "S").exists()


# --- what the signer believes of them ------------------------------------------------------------

def pair() -> tuple[workers.Worker, socket.socket]:
    """One, and its other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return workers.Worker(ours), theirs


def test_answers_that_nobody_asked_for() -> None:
    """Two to one request: the second would be another client's."""
    worker, theirs = pair()
    job = workers.Job(None, Asked(GOOD, False, ""))   # type: ignore[arg-type]
    worker.give(job)
    assert theirs.recv(100000) == b"0" + GOOD
    theirs.send(b"+signature")
    theirs.send(b"+another")
    assert worker.take() == (job, b"signature", "")
    with pytest.raises(workers.Died, match="answers what nobody asked for"):
        worker.take()
    theirs.close()
    with pytest.raises(workers.Died, match="has ended"):
        worker.take()
    with pytest.raises(workers.Died, match="has ended"):
        worker.give(job)


def test_what_cannot_be_signed() -> None:
    worker, theirs = pair()
    job = workers.Job(None, Asked(GOOD, True, ""))   # type: ignore[arg-type]
    worker.give(job)
    assert theirs.recv(100000) == b"1" + GOOD
    theirs.send("-why “not”".encode())
    assert worker.take() == (job, b"", "why “not”")


def test_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each core, where there are several, and a signature takes long."""
    for cores, found in ((1, 0), (2, 2), (4, 4), (64, workers.MOST)):
        monkeypatch.setattr(workers, "cores", lambda cores=cores: cores)
        assert workers.count("RS256", False) == found
        assert workers.count("ES256", False) == 0
        assert workers.count("ES256", True) == workers.count("RS256", True) == 1
    monkeypatch.undo()
    assert workers.cores() == len(os.sched_getaffinity(0))


def test_a_next_key_that_is_not_there() -> None:
    signer = Signer(Greeting("RS256", {}, ""), lambda line: b"own" + line)
    assert signer.make(b"x", False) == b"ownx"
    with pytest.raises(Error, match="no next key"):
        signer.make(b"x", True)
    assert signer._replace(sign_by_next=lambda line: b"next").make(b"x", True) == b"next"
