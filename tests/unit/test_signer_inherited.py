"""Sockets that systemd listens on for the signer, and keys that it hands it as credentials.

The real program, as it is shipped: its environment is part of the matter.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.accountd import GOOD, PYTHON, Client, pem, verified
from test_environment import source
from test_signer_workers import children

ACTIVATE = "/usr/bin/systemd-socket-activate"
# LISTEN_PID is known only to who becomes that process
LAUNCH = """
import os, sys
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
for number, descriptor in enumerate(map(int, sys.argv[2].split(",")), 3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program(*arguments: str, before: str = "") -> list[str]:
    """The program with the modules of this tree."""
    begin, line, rest = source("letsencrypt-tiny-accountd").partition("process.begin()")
    return [PYTHON, "-ISB", "-c", f"{begin}{line}\n{before}\n{rest}", "--config=/dev/null",
            *arguments]


@pytest.fixture(name="credentials")
def _credentials(tmp_path: Path) -> Path:
    """A directory as systemd's: others than the owner can read the file, by its mode."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "account.key").write_bytes(pem("RSA:2048"))
    (directory / "account.key").chmod(0o440)
    return directory


@contextmanager
def launched(descriptors: list[int], *argv: str, pid: str = "", status: int = 0,
             **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A program that finds these descriptors from 3 on."""
    spare = [os.dup(descriptor) for descriptor in descriptors]
    high = [os.dup2(descriptor, 50 + number) for number, descriptor in enumerate(spare)]
    with subprocess.Popen(
            [PYTHON, "-ISB", "-c", LAUNCH, pid, ",".join(map(str, high)), *argv], text=True,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, pass_fds=high,
            env={"LISTEN_FDS": str(len(high)), **environment}) as process:
        for descriptor in (*spare, *high):
            os.close(descriptor)
        try:
            yield process
            if not status:
                process.send_signal(signal.SIGTERM)
            assert process.wait(20) == status
        finally:
            process.kill()


def listener(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket that is bound, and no more."""
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    return sock


def signs(path: Path, tmp_path: Path) -> None:
    """Whoever connects there gets a signature."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    with Client(sock) as client:
        assert verified("RSA:2048", GOOD, client.sign(GOOD), tmp_path)


@pytest.mark.skipif(not os.path.exists(ACTIVATE), reason="no systemd-socket-activate")
def test_activated_by_systemd(tmp_path: Path, credentials: Path) -> None:
    """By its own tool: the first client comes before the program has started, on either socket."""
    paths = [tmp_path / "one", tmp_path / "two"]
    log = tmp_path / "log"
    with open(log, "wb") as file, subprocess.Popen(
            [ACTIVATE, *(f"--listen={path}" for path in paths), "-E",
             f"CREDENTIALS_DIRECTORY={credentials}",
             *program("--privkey=file:%d/account.key", "--debug")],
            stderr=file, stdin=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 20
            while not all(map(Path.exists, paths)) or log.read_text().count("istening on") < 2:
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.02)
            for path in (*reversed(paths), *paths):
                signs(path, tmp_path)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    text = log.read_text()
    assert f"listening on {paths[0]}, {paths[1]} (inherited)" in text and "warning" not in text
    assert all(map(Path.exists, paths)), "they are systemd's to remove"


def test_processes_that_sign_have_none_of_them(tmp_path: Path, credentials: Path) -> None:
    """As with a socket of its own."""
    pytest.importorskip("seccomp")
    before = "from letsencrypt_tiny.signer import workers\nworkers.count = lambda *_: 2"
    with listener(tmp_path / "S") as sock:
        sock.listen()
        with launched([sock.fileno()], *program("--privkey=file:%d/account.key", before=before,
                                                ),
                      CREDENTIALS_DIRECTORY=str(credentials)) as process:
            signs(tmp_path / "S", tmp_path)
            found = children(process.pid)
            assert len(found) == 2
            for pid in found:
                held = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()
                        if int(path.name) > 2}
                # libffi 3.5 keeps its own file open, for the trampolines in it
                others = [name for name in held if not re.search(r"/libffi\.so[0-9.]*$", name)]
                assert len(others) == 1 and others[0].startswith("socket:"), held
            listening = os.readlink(f"/proc/self/fd/{sock.fileno()}")
            assert listening == os.readlink(f"/proc/{process.pid}/fd/3")
            limits = Path(f"/proc/{process.pid}/status").read_text()
            assert "Seccomp:\t2\n" in limits and "NoNewPrivs:\t1\n" in limits


def test_sockets_for_another_process(tmp_path: Path, credentials: Path) -> None:
    """Nobody's: it makes its own."""
    own = tmp_path / "own"
    with listener(tmp_path / "S") as sock:
        sock.listen()
        with launched([sock.fileno()], *program("--privkey=file:%d/account.key",
                                                f"--socket={own}"), pid="1",
                      CREDENTIALS_DIRECTORY=str(credentials)) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == f"listening on {own}\n"
            signs(own, tmp_path)


def test_an_option_counts_for_more(tmp_path: Path, credentials: Path) -> None:
    """A drop-in of before, with --socket, goes on to work."""
    own = tmp_path / "own"
    with listener(tmp_path / "S") as sock:
        sock.listen()
        with launched([sock.fileno()], *program("--privkey=file:%d/account.key",
                                                f"--socket={own}"),
                      CREDENTIALS_DIRECTORY=str(credentials)) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == (
                f"warning: not served, because of --socket: {tmp_path}/S\n")
            assert process.stderr.readline() == f"listening on {own}\n"
            signs(own, tmp_path)
    assert not own.exists()


@pytest.mark.parametrize("what", ["not listening", "datagrams", "inet", "a file", "connected"])
def test_what_is_no_such_socket(what: str, tmp_path: Path, credentials: Path) -> None:
    """One line; nothing is served."""
    with ExitStack() as stack:
        made: Any
        if what == "inet":
            made = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        elif what == "a file":
            made = stack.enter_context(open(tmp_path / "file", "wb"))
        elif what == "connected":
            made, other = socket.socketpair()
            stack.enter_context(made)
            stack.enter_context(other)
        else:
            made = stack.enter_context(listener(
                tmp_path / "S", socket.SOCK_DGRAM if what == "datagrams" else socket.SOCK_STREAM))
        with launched([made.fileno()], *program("--privkey=file:%d/account.key"), status=2,
                      CREDENTIALS_DIRECTORY=str(credentials)) as process:
            assert process.stderr is not None
            assert process.stderr.read() == (
                "error: LISTEN_FDS: descriptor 3 is not a UNIX stream socket that listens (the "
                ".socket unit needs ListenStream=/PATH and Accept=no)\n")


@pytest.mark.parametrize("number", ["", "0", "65", "1 "])
def test_no_such_number(number: str, tmp_path: Path, credentials: Path) -> None:
    with listener(tmp_path / "S") as sock:
        sock.listen()
        arguments = program("--privkey=file:%d/account.key", *(
            [f"--socket={tmp_path}/own"] if not number else []))
        with launched([sock.fileno()], *arguments, status=2 if number else 0, LISTEN_FDS=number,
                      CREDENTIALS_DIRECTORY=str(credentials)) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line == (f"error: LISTEN_FDS = {number}: not a number from 1 to 64\n" if number
                            else f"listening on {tmp_path}/own\n")


def explained(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What --explain says."""
    return subprocess.run(program(*arguments, "--explain"), env=environment, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)


def test_no_credentials() -> None:
    done = explained("--privkey=file:%d/account.key")
    assert done.returncode == 2 and done.stderr == (
        "error: --privkey: “%d/account.key”: %d has no value here (does LoadCredential= of its "
        "unit say what is in there?)\n")


def test_the_next_key_is_a_credential_too(tmp_path: Path, credentials: Path) -> None:
    """And a key that is none is still told to be open to others."""
    shutil.copy(credentials / "account.key", credentials / "account.key.next")
    done = subprocess.run(
        program("--privkey=file:%d/account.key", "--stdio"), stdin=subprocess.DEVNULL, timeout=60,
        env={"CREDENTIALS_DIRECTORY": str(credentials)}, capture_output=True, check=False)
    assert done.returncode == 0 and b'"next":{' in done.stdout and done.stderr == b""
    done = subprocess.run(
        program(f"--privkey=file:{credentials}/account.key", "--stdio"), stdin=subprocess.DEVNULL,
        env={"CREDENTIALS_DIRECTORY": str(tmp_path)}, timeout=60, capture_output=True, check=False)
    assert b"open to others than its owner" in done.stderr
