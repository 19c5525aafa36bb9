"""Who executes the command of ``update = command``: a process that does nothing else.

It hears ``add`` or ``remove``, a name and a value, checks them, and executes the command: with
the credentials as its standard input, an environment of four variables, in a session of its own,
in which all are killed that are left when it takes too long.  It has no network code, gains no
privileges any more (``no_new_privs``), and ends with the process that it was forked from.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, NoReturn

from ...common import log
from ...common.environment import search_path
from ...common.errors import Error, ProtocolError
from ...common.sandbox import confine
from ...common.wire.jsonfields import dump, get_str, parse_object
from ..records import checked

MAX_MESSAGE = 4096       # bytes
MAX_WHY = 500            # characters
NOT_STARTED = 1000       # no status of a program's
MAX_MESSAGES = 64 << 10  # bytes of what a command writes that are looked at
_PR_SET_PDEATHSIG = 1    # prctl(2)


def run(sock: socket.socket, parent: int, command: Sequence[str], seconds: int, secret: bytes
        ) -> NoReturn:
    """Serve until the other end closes; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)   # what is published is taken back first
        confine.die_with_parent(parent)
        _close_others(sock.fileno())
        confine.enter(confine.Plan(name="executor", mode="no", files=256))
        while message := sock.recv(MAX_MESSAGE):
            sock.send(_answer(message, command, seconds, secret))
        status = 0
    except (OSError, Error) as exc:
        log.error(f"who executes {command[0]}: {exc}")
    finally:
        sys.stderr.flush()
        os._exit(status)


def _close_others(kept: int) -> None:
    """Doors, journal and task are nothing to commands."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor != kept:
            os.closerange(descriptor, descriptor + 1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)


def _answer(message: bytes, command: Sequence[str], seconds: int, secret: bytes) -> bytes:
    try:
        obj = parse_object(message, "a request", MAX_MESSAGE)
        what = get_str(obj, "do", 16)
        record = checked(get_str(obj, "name", 255), get_str(obj, "value", 64))
        if what not in ("add", "remove"):
            raise ProtocolError("neither add nor remove")
        status, why = execute([*command, what, *record], seconds, secret)
    except (ProtocolError, OSError) as exc:
        status, why = NOT_STARTED, getattr(exc, "strerror", None) or str(exc)
    return dump({"status": status, "why": log.printable(why, MAX_WHY)})


def execute(argv: Sequence[str], seconds: int, secret: bytes) -> tuple[int, str]:
    """Execute a command; return its status, and what it says if that isn't 0.

    Raises OSError if it can't be started.
    """
    with _in_memory() as given, _in_memory() as said:
        given.write(secret)
        given.seek(0)
        with subprocess.Popen(argv, stdin=given, stdout=subprocess.DEVNULL, stderr=said, cwd="/",
                              env=_environment(), start_new_session=True,
                              preexec_fn=_before) as process:
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                _kill(process.pid)
                process.wait()
                return 1, f"not done after {seconds} seconds: killed"
            _kill(process.pid)   # what it left behind
        return status, _first_line(said) or f"status {status}"


def _in_memory() -> IO[bytes]:
    return open(os.memfd_create("command"), "w+b", 0)


def _before() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    confine._prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "USER") if name in os.environ}
    return {"PATH": search_path(os.getuid()), "LANG": "C.UTF-8", **kept}


def _first_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read(MAX_MESSAGES).decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), "")
