"""A signer that has no room just now is tried again, and for how long."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from letsencrypt_tiny.common import log
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.peers import connecting


@pytest.fixture(name="listener")
def _listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "S"))
        yield sock


def connected(tmp_path: Path) -> socket.socket:
    """As the master does."""
    place = os.open(tmp_path / "S", os.O_PATH)
    try:
        return connecting.connected(place, "/the/socket")
    finally:
        os.close(place)


def test_one_that_hangs_up_is_tried_again(tmp_path: Path, listener: socket.socket,
                                          monkeypatch: pytest.MonkeyPatch,
                                          capfd: pytest.CaptureFixture[str]) -> None:
    """As one with all places taken does, or a forwarded one whose other end has no room."""
    monkeypatch.setattr(log, "level", log.NORMAL)
    listener.listen()
    kept = []

    def serve() -> None:
        for _ in range(3):
            listener.accept()[0].close()
        kept.append(listener.accept()[0])
        kept[0].sendall(b"1 OK")

    thread = threading.Thread(target=serve)
    thread.start()
    with connected(tmp_path) as sock:
        assert sock.recv(100) == b"1 OK" and sock.gettimeout() is None
    thread.join()
    kept[0].close()
    assert capfd.readouterr().err.count(
        "/the/socket: the account key manager is busy; trying again for 60 seconds\n") == 1


def test_one_that_has_no_room_to_wait_is_tried_again(tmp_path: Path,
                                                     listener: socket.socket) -> None:
    listener.listen(0)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as full:
        first.connect(str(tmp_path / "S"))
        full.setblocking(False)
        with pytest.raises(BlockingIOError):   # EAGAIN, connect(2)
            full.connect(str(tmp_path / "S"))
        timer = threading.Timer(0.5, lambda: listener.accept()[0].close())
        began = time.monotonic()
        timer.start()
        with connected(tmp_path):
            assert time.monotonic() - began > 0.4
        timer.join()


def test_it_is_not_tried_for_ever(tmp_path: Path, listener: socket.socket,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the greeting then hears that there is none."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0.5)
    listener.listen(0)
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(tmp_path / "S"))
        with pytest.raises(Error, match="^/the/socket: the account key manager is busy$"):
            connected(tmp_path)
        over = threading.Event()

        def serve() -> None:
            listener.settimeout(0.1)
            while not over.is_set():
                try:
                    listener.accept()[0].close()
                except TimeoutError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with connected(tmp_path) as sock:
            assert sock.recv(1) == b""
        over.set()
        thread.join()


def test_one_that_is_not_there_is_not_tried_again(tmp_path: Path,
                                                  listener: socket.socket) -> None:
    began = time.monotonic()
    with pytest.raises(Error, match="^/the/socket: cannot connect .*: Connection refused$"):
        connected(tmp_path)
    assert time.monotonic() - began < 10


def test_one_that_says_nothing_yet_is_not_busy(tmp_path: Path, listener: socket.socket) -> None:
    """It may be asking for a passphrase: the loop waits for it."""
    listener.listen()
    with connected(tmp_path):
        with listener.accept()[0] as theirs:
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
            assert theirs.fileno() > 0
