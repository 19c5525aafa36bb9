"""Messages: one line, no control character, whatever the descriptors are."""

import os
import re
import stat
import sys
import tempfile
import unicodedata
from pathlib import Path
from collections.abc import Iterator

import pytest

from letsencrypt_tiny.common import log


@pytest.fixture(autouse=True)
def restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a test sets, and close its log file."""
    monkeypatch.setattr(log, "level", log.NORMAL)
    monkeypatch.setattr(log, "_logfile", None)
    yield
    if log._logfile is not None:
        os.close(log._logfile)


@pytest.mark.parametrize("text, shown", [
    ("plain “text” ü 日本 😀", "plain “text” ü 日本 😀"), ("a\nb\r\n", "a\\x0ab\\x0d\\x0a"),
    ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"), ("\x9b31m", "\\x9b31m"), ("a\tb", "a\\x09b"),
    ("\0\x7f\x85", "\\x00\\x7f\\x85"), ("\u2028\u2029", "\\u2028\\u2029"),
    ("gpj.\u202eexe", "gpj.\\u202eexe"), ("\ud800", "\\ud800"), ("", ""), (42, "42")])
def test_printable(text: object, shown: str) -> None:
    assert log.printable(text) == shown


def test_no_control_character_passes() -> None:
    for number in range(0x110000):
        category = unicodedata.category(chr(number))
        if category in ("Cc", "Zl", "Zp", "Cs") or \
                unicodedata.bidirectional(chr(number)) in ("LRE", "RLE", "PDF", "LRO", "RLO",
                                                           "LRI", "RLI", "FSI", "PDI"):
            assert re.fullmatch(r"\\[xu][0-9a-f]{2,4}", log.printable(chr(number))), hex(number)


def test_length_is_limited() -> None:
    assert log.printable("x" * 5000) == "x" * 4096 + "…"
    assert log.printable("x" * 11, 10) == "x" * 10 + "…" and log.printable("x" * 10, 10) == "x" * 10


def written(capfd: pytest.CaptureFixture[str]) -> str:
    """Return what went to standard error since the last call; nothing goes to standard output."""
    out, err = capfd.readouterr()
    assert out == ""
    return err


def say() -> None:
    """One message of each kind."""
    log.error("e")
    log.warning("w")
    log.info("i")
    log.debug("d")
    log.relay("child", "r")


def test_levels(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for level, expected in ((log.QUIET, "error: e\nwarning: w\nchild: r\n"),
                            (log.NORMAL, "error: e\nwarning: w\ni\nchild: r\n"),
                            (log.DEBUG, "error: e\nwarning: w\ni\nd\nchild: r\n")):
        monkeypatch.setattr(log, "level", level)
        say()
        assert written(capfd) == expected


def test_one_line_each(capfd: pytest.CaptureFixture[str]) -> None:
    log.info("a\nerror: forged")
    log.relay("client", "\x1b]0;title\x07")
    assert written(capfd) == "a\\x0aerror: forged\nclient: \\x1b]0;title\\x07\n"


def test_log_file(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        umask = os.umask(0)
        try:
            log.open_logfile(str(path))
        finally:
            os.umask(umask)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        monkeypatch.setattr(log, "level", log.QUIET)
        say()
        assert written(capfd) == "error: e\nwarning: w\nchild: r\n"
        log.info("a\nb \ud800")
        stamp = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[{os.getpid()}\] "
        assert re.fullmatch("".join(f"{stamp}{text}\n" for text in (
            "error: e", "warning: w", "i", "child: r", r"a\\x0ab \\ud800")), path.read_text())
        os.close(log._logfile or -1)
        log.open_logfile(str(path))
        log.info("more")
        assert path.read_text().count("\n") == 6, "it is appended to"


def test_log_file_behind_a_link_is_refused() -> None:
    with tempfile.TemporaryDirectory() as directory:
        victim = Path(directory) / "victim"
        victim.write_text("")
        (Path(directory) / "log").symlink_to(victim)
        with pytest.raises(OSError):
            log.open_logfile(f"{directory}/log")


def test_full_log_file_is_told_and_ends_nothing(capfd: pytest.CaptureFixture[str],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    log.open_logfile("/dev/full")
    log.info("a")
    assert written(capfd) == "a\ncannot write to the log file: No space left on device\n"
    monkeypatch.setattr(sys, "stderr", None)   # descriptor 2 was closed when Python started
    log.info("b")
    assert "No space left" in written(capfd)


def test_nobody_reads_standard_error() -> None:
    saved = os.dup(2)
    try:
        for path in ("/dev/full", None):
            if path is None:
                os.close(2)
            else:
                full = os.open(path, os.O_WRONLY)
                os.dup2(full, 2)
                os.close(full)
            say()
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 2)
        if writer != 2:
            os.close(writer)
        say()
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def test_status_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_status", "")
    log.status("1/2 \x1b[31m")
    log.status("1/2 \x1b[31m")
    log.info("said")
    log.status("")
    log.info("after")
    shown = written(capfd)
    line = "1/2 \\x1b[31m"
    assert shown == f"\r\x1b[K{line}\r\x1b[Ksaid\n{line}\r\x1b[Kafter\n"
