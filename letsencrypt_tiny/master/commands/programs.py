"""Whether what a process needs is within its user's reach: found out as that user."""

import os
from collections.abc import Callable

from ...common import specifiers, trusted
from ...common.errors import ConfigError, Error
from ..peers.identity import Identity, drop, identity
from ..settings.main import Config
from ..settings.program import Program

_PATH_OF_ROOT = "/usr/sbin:/usr/bin:/sbin:/bin"
_PATH = "/usr/bin:/bin"
_HEADER = 256   # bytes that the kernel reads of a script (execve(2))


class _NoProcess(Error):
    """Nothing can be tried: there is room for no process more."""


def check_all(config: Config) -> None:
    """What is configured must be there before anything is touched: raises ConfigError."""
    for program in config.programs:
        identity(program)
    try:
        trusted.check_program(config.openssl)
    except Error as exc:
        raise ConfigError(f"{config.file}: openssl = {exc}") from exc


def check(program: Program, who: Identity, expanded: bool) -> None:
    """Raise ConfigError unless ``who`` can execute the program, and its interpreter if it has one.

    Error if that can't be tried.  ``expanded``: %-specifiers in its command are replaced for that
    user.
    """
    command = program.command[0]
    path = _PATH_OF_ROOT if who.uid == 0 else _PATH
    try:
        found = _as_user(who, lambda: _find(
            specifiers.expand(command) if expanded else command, path))
        trusted.check_program(found, who.uid)
        header = _header(found)
        if header is not None:
            _check_header(found, header, who, path)
    except Error as exc:
        kind = Error if isinstance(exc, _NoProcess) else ConfigError
        raise kind(f"{program.where}: command = {command}: {exc}") from exc


def check_executable(path: str, where: str) -> None:
    """Raise ConfigError unless ``path``, of the setting ``where``, is a program's."""
    try:
        trusted.check_program(_find(path, _PATH_OF_ROOT))
    except Error as exc:
        raise ConfigError(f"{where} = {path}: {exc}") from exc


def readable_by(path: str, who: Identity) -> bool:
    """True if ``who`` can read ``path``.  Raises Error if that can't be tried."""
    def read() -> str:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        return path
    try:
        _as_user(who, read)
        return True
    except _NoProcess as exc:
        raise Error(f"{path}: {exc}") from exc
    except Error:
        return False


def _find(command: str, path: str) -> str:
    """Return where the program is, for whom this process is.  Raises Error."""
    places = [command] if "/" in command else [f"{place}/{command}" for place in path.split(":")]
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place
    raise Error("not an executable file")


def _as_user(who: Identity, action: Callable[[], str]) -> str:
    """Return what ``action`` does, done in a process of that user's.

    Raises Error if it raised that or OSError; its message says for whom.
    """
    result, told = os.pipe()
    try:
        pid = os.fork()
    except OSError as exc:
        os.close(result)
        os.close(told)
        raise _NoProcess(f"cannot be tried: {exc.strerror} (for {who.name})") from exc
    if pid == 0:
        try:
            drop(who)
            os.write(told, b"+" + os.fsencode(action()))
        except (Error, OSError, ValueError) as exc:
            os.write(told, f"-{exc}".encode("utf-8", "replace"))
        finally:
            os._exit(0)
    os.close(told)
    with open(result, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    if answer.startswith(b"+"):
        return os.fsdecode(answer[1:])
    raise Error(f"{answer[1:].decode('utf-8', 'replace')} (for {who.name})")


def _header(path: str) -> bytes | None:
    """Return the first bytes of a program, None where we may not read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(descriptor, _HEADER)
    finally:
        os.close(descriptor)


def _check_header(program: str, header: bytes, who: Identity, path: str) -> None:
    """Raise Error for what the kernel, or the interpreter of a script, would refuse."""
    if not header.startswith(b"#!"):
        if not header.startswith(b"\x7fELF"):
            raise Error("neither a program of this system nor a script that begins with #!")
        return
    words = os.fsdecode(header[2:].partition(b"\n")[0]).split()
    by_name = words and os.path.basename(words[0]) == "env"
    for word in words[:2] if by_name and not "".join(words[1:2]).startswith("-") else words[:1]:
        try:
            _as_user(who, lambda name=word: _find(name, path))   # type: ignore[misc]
        except _NoProcess:
            raise
        except Error as exc:
            raise Error(f"its interpreter {word}: {exc}") from exc
    if not readable_by(program, who):
        raise Error(f"{who.name} cannot read this script")
