"""The system's log: entries that nobody forges, whatever they hold, and nobody waits for."""

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.common import journal, log
from letsencrypt_tiny.common.journal import About, entry


def parsed(data: bytes) -> list[tuple[str, bytes]]:
    """Take an entry apart, as https://systemd.io/JOURNAL_NATIVE_PROTOCOL has it."""
    found = []
    while data:
        name, end, rest = data.partition(b"\n")
        assert end
        if b"=" in name:
            key, _, value = name.partition(b"=")
            found.append((key.decode(), value))
            data = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            found.append((name.decode(), rest[8:8 + size]))
            assert rest[8 + size:9 + size] == b"\n"
            data = rest[9 + size:]
    return found


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
           ) -> Iterator[socket.socket]:
    """Whoever listens where the journal does, and standard error is the journal's."""
    with tempfile.TemporaryDirectory() as directory, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{directory}/socket")
        sock.settimeout(5)
        monkeypatch.setattr(journal, "SOCKET", f"{directory}/socket")
        monkeypatch.setattr(journal, "SYSLOG", f"{directory}/none")
        monkeypatch.setattr(log, "level", log.QUIET)
        info = os.fstat(2)
        monkeypatch.setenv("JOURNAL_STREAM", f"{info.st_dev}:{info.st_ino}")
        yield sock
    monkeypatch.undo()
    log.use_system("x")


@pytest.mark.parametrize("text", ["", "plain", "a\nPRIORITY=0", "\n", "a\n\x04\0\0\0\0\0\0\0X",
                                  "ü 日本 \ud800", "A=b\0"])
def test_no_value_ends_its_field(text: str) -> None:
    data = entry([("MESSAGE", text), ("ACME_SECTION", text), ("LAST", "1")])
    value = text.encode("utf-8", "backslashreplace")
    assert parsed(data) == [("MESSAGE", value), ("ACME_SECTION", value), ("LAST", b"1")]


def test_priority_and_fields(daemon: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    log.use_system("it")
    log.error("e", About(("a", "b"), "ca", "caa"))
    log.warning("w")
    log.notice("n", About(("a",)))
    log.info("hidden")
    log.debug("hidden")
    log.relay("client", "error: r")
    log.relay("client", "r")
    found = [parsed(daemon.recv(65536)) for _ in range(5)]
    assert found[0] == [("PRIORITY", b"3"), ("SYSLOG_IDENTIFIER", b"it"), ("MESSAGE", b"error: e"),
                        ("ACME_SECTION", b"a"), ("ACME_SECTION", b"b"), ("ACME_CA", b"ca"),
                        ("ACME_PROBLEM", b"caa")]
    assert [dict(fields)["PRIORITY"] for fields in found] == [b"3", b"4", b"5", b"3", b"6"]
    daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        daemon.recv(1)
    assert capfd.readouterr() == ("", "")


def test_too_many_sections(daemon: socket.socket) -> None:
    """What is more than a datagram holds is cut, and the message arrives."""
    log.use_system("it")
    log.error("e", About([f"{number}" for number in range(5000)]))
    assert len(parsed(daemon.recv(1 << 20))) == 3 + journal.MOST_SECTIONS
    log.error("x" * 5000, About(["ü" * 255] * 5000, "c" * 5000, "p" * 5000))
    found = dict(parsed(daemon.recv(1 << 20)))
    assert len(found["MESSAGE"]) < 4200
    daemon.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    system = log._system
    assert system is not None and isinstance(system._found, journal.Journal)
    system._found._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)   # 4608 bytes
    log.error("e", About(["x" * 255] * 100))
    assert len(parsed(daemon.recv(1 << 20))) == 3


def test_nobody_takes_it(daemon: socket.socket, capfd: pytest.CaptureFixture[str],
                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is standard error's after all, in the words of sd-daemon(3)."""
    monkeypatch.setattr(journal, "_PATIENCE", 0.01)
    log.use_system("it")
    for _ in range(1000):
        log.error("e")
        if (shown := capfd.readouterr().err):
            break
    assert shown == "<3>error: e\n"
    monkeypatch.setattr(journal, "SOCKET", "/nonexistent")
    log.use_system("it")
    log.warning("a\n<0>b")
    assert capfd.readouterr().err == "<4>warning: a\\x0a<0>b\n"


def test_another_standard_error(daemon: socket.socket, capfd: pytest.CaptureFixture[str],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has nothing to do with it, whatever was inherited."""
    for value in ("", "1:2", "x"):
        monkeypatch.setenv("JOURNAL_STREAM", value)
        log.use_system("it")
        log.error("e")
        assert capfd.readouterr().err == "error: e\n"
    daemon.setblocking(False)
    with pytest.raises(BlockingIOError):
        daemon.recv(1)


def test_what_is_held(daemon: socket.socket, capfd: pytest.CaptureFixture[str],
                      monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told to the system's log at once, and to standard error by whoever asks for it."""
    monkeypatch.delenv("JOURNAL_STREAM")
    log.use_system("it", hold=True)
    log.error("e", About(("a",)))
    assert dict(parsed(daemon.recv(65536)))["MESSAGE"] == b"error: e"
    assert log.held() == [("error: e", About(("a",)))] and log.held() == []
    log.notice("n")
    assert dict(parsed(daemon.recv(65536)))["PRIORITY"] == b"5" and log.held() == []
    assert capfd.readouterr().err == ""
    log.show("x\ny")
    assert capfd.readouterr().err == "x\\x0ay\n"


def test_several_threads(daemon: socket.socket) -> None:
    log.use_system("it")
    threads = [threading.Thread(target=lambda: [log.error("e") for _ in range(20)])
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(80):
        assert dict(parsed(daemon.recv(65536)))["MESSAGE"] == b"error: e"
    for thread in threads:
        thread.join()


def test_a_stream_is_known_by_its_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryFile() as file:
        info = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{info.st_dev}:{info.st_ino}")
        assert journal.reads(file.fileno()) and not journal.reads(0)
        number = file.fileno()
    assert not journal.reads(number) and Path("/").exists()
