"""Messages for the administrator: standard error, the system's log and, for the signer, a file.

No control character of a server or another process ever reaches a terminal or a
log: ``printable`` is applied to every line that leaves here.
"""

import functools
import os
import time

from . import journal
from .journal import NOTHING as NOTHING, About as About

QUIET, NORMAL, DEBUG = 0, 1, 2

level = NORMAL
_status = ""             # the line that is rewritten in place, on a terminal
_logfile: int | None = None
_system: journal.System | None = None    # the system's log, if it is told
_instead = False         # of standard error, which the journal reads anyway
_held: list[tuple[str, About]] | None = None   # what standard error is to show later, if so
_PIECE = 4096            # bytes that a pipe takes at once if it takes any (PIPE_BUF)
_PATIENCE = 5000         # milliseconds to wait for whoever reads standard error
_patience = _PATIENCE


@functools.lru_cache(1)   # it takes a millisecond, and most processes say nothing that needs it
def _escapes() -> dict[int, str]:
    # C0 and C1 controls, DEL, the line and paragraph separators, the bidirectional
    # overrides (they reorder what is shown) and lone surrogates.
    table = {c: f"\\x{c:02x}" for c in [*range(0x20), *range(0x7F, 0xA0)]}
    table.update({c: f"\\u{c:04x}" for c in [
        0x2028, 0x2029, 0x200E, 0x200F, 0xFEFF, 0x061C, *range(0x202A, 0x202F),
        *range(0x2066, 0x206A), *range(0xD800, 0xE000)]})
    return table


def printable(text: object, limit: int = 4096) -> str:
    """Return ``text`` on one line, control characters escaped, at most ``limit`` characters."""
    string = str(text)
    if len(string) > limit:
        string = string[:limit] + "…"
    return string if string.isascii() and string.isprintable() else string.translate(_escapes())


def open_logfile(path: str) -> None:
    """Append every message to the file at ``path`` too (mode 0600 if new).

    Raises OSError if the file can't be opened; a symbolic link at ``path`` is refused.
    """
    global _logfile
    _logfile = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                       0o600)


def use_system(identifier: str, hold: bool = False) -> None:
    """Where the journal reads standard error, make entries with priority and fields instead.

    ``hold``: elsewhere, too, tell the system's log, which knows us as ``identifier``, and keep what
    standard error would show for ``held``.
    """
    global _system, _instead, _held
    _instead = journal.reads(2)
    _system = journal.System(identifier) if _instead or hold else None
    _held = [] if hold else None


def held() -> list[tuple[str, About]]:
    """Return what standard error would have shown, and what it was about; it is forgotten here."""
    found = list(_held or ())
    if _held is not None:
        _held.clear()
    return found


def show(line: str) -> None:
    """Show a line on standard error, and nowhere else; not where the journal reads that."""
    if shows():
        _write(f"{printable(line)}\n")


def shows() -> bool:
    """Say whether ``show`` does: whether anybody is told by what standard error has."""
    return not _instead


def prepare_system() -> None:
    """Connect to the system's log now, as a process that confines itself can't later."""
    if _system is not None:
        _system.connect()


def _emit(text: str, to_stderr: bool, to_file: bool, priority: int = journal.INFO,
          about: About = NOTHING) -> None:
    line = printable(text)
    delivered = _system is not None and (to_stderr or priority == journal.NOTICE) \
        and _system.send(priority, line, about)
    if to_stderr:
        _show(priority, line, about, delivered)
    if to_file and _logfile is not None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = f"{stamp} [{os.getpid()}] {line}\n"
        try:
            os.write(_logfile, entry.encode("utf-8", "backslashreplace"))
        except OSError as exc:
            _emit(f"cannot write to the log file: {exc.strerror}", True, False, journal.ERROR)


def _show(priority: int, line: str, about: About, delivered: bool) -> None:
    if _instead:
        if not delivered:
            _write(f"<{priority}>{line}\n")   # see sd-daemon(3)
    elif _held is not None:
        _held.append((line, about))
    else:
        before, after = ("\r\x1b[K", _status) if _status else ("", "")
        _write(f"{before}{line}\n{after}")


def _write(text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data and _is_read():
            data = data[os.write(2, data[:_PIECE]):]
    except OSError:
        pass  # nobody reads: the work goes on


def _is_read() -> bool:
    """Say whether standard error takes a piece.  A pipe that nobody reads, or a terminal that was
    stopped, is waited for, but only once until it takes something again."""
    global _patience
    import select
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    if poll.poll(0) or _patience and poll.poll(_patience):
        _patience = _PATIENCE
        return True
    _patience = 0
    return False


def status(text: str) -> None:
    """Show ``text`` as the last line on the terminal, in place of what it showed before.

    Messages appear above it; "" removes it.  Only for a terminal, and not with --quiet:
    the caller sees to that.
    """
    global _status
    line = printable(text)
    if line != _status:
        _write(f"\r\x1b[K{line}")
        _status = line


def error(text: object, about: About = NOTHING) -> None:
    """Something failed: always shown."""
    _emit(f"error: {text}", True, True, journal.ERROR, about)


def warning(text: object, about: About = NOTHING) -> None:
    """Something wants the administrator's attention: always shown."""
    _emit(f"warning: {text}", True, True, journal.WARNING, about)


def notice(text: object, about: About = NOTHING) -> None:
    """Something was changed: hidden by --quiet, kept in the log file and in the system's log."""
    _emit(str(text), level >= NORMAL, True, journal.NOTICE, about)


def info(text: object) -> None:
    """What is being done: hidden by --quiet, kept in the log file."""
    if shows_info():
        _emit(str(text), level >= NORMAL, True)


def shows_info() -> bool:
    """True if ``info`` has anybody to tell: what takes time to put together may be left out."""
    return level >= NORMAL or _logfile is not None


def debug(text: object) -> None:
    """Details: shown with --debug only."""
    if level >= DEBUG:
        _emit(str(text), True, True, journal.DEBUG)


def trace() -> None:
    """Where the exception that is being handled comes from, a line for each of its lines."""
    import traceback
    for line in traceback.format_exc().splitlines():
        _emit(line, True, True, journal.DEBUG)


def prepare_trace() -> None:
    """With --debug: load all that ``trace`` needs, some of it at first use; once confined it is
    too late."""
    if level >= DEBUG:
        import traceback
        try:
            raise LookupError
        except LookupError:
            traceback.format_exc()


def relay(name: str, text: str) -> None:
    """Pass on a line that a child wrote to its standard error: it decided that it matters."""
    priority = journal.ERROR if text.startswith("error:") else \
        journal.WARNING if text.startswith("warning:") else journal.INFO
    _emit(f"{name}: {text}", True, True, priority)
