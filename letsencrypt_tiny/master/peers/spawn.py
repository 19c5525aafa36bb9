"""fork, drop privileges, exec: how the master starts its children.

A child begins with nothing of the master's: a clean environment, the descriptors of its
contract as 0, 1, 2, 3 … and no other, a working directory entered after the drop, a
session of its own (no controlling terminal, except for the signer, which may ask for a
passphrase).  ``exec`` leaves no copy of the master's memory.
"""

import fcntl
import os
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from ...common import log, specifiers, trusted
from ...common.environment import search_path
from ...common.errors import Error
from ..settings.program import Program
from .child import Child
from .identity import Identity, drop

LOCKED_MEMORY = 256 << 20   # bytes that the signer may keep from being swapped
_PR_SET_PDEATHSIG = 1       # prctl(2)
_CLONE_NEWNET = 0x40000000  # unshare(2)


def spawn(program: Program, who: Identity, arguments: Sequence[str], descriptors: Sequence[int],
          directory: str = "/", signer: bool = False, network: bool = True,
          extra: dict[str, str] | None = None) -> Child:
    """Start ``program`` with ``arguments`` appended to its command.

    ``descriptors`` become the child's 0, 1, 2, 3 …; ``extra`` is added to its environment.
    The ``signer`` keeps the controlling terminal, may lock its memory, and has the
    %-specifiers of its command replaced for its own user.  Without ``network`` it gets a network
    namespace of its own, in which there is nobody else, if the master has the power to make one;
    sockets among its descriptors remain those of the host.  Raises Error if it can't be started.
    """
    command = program.command[0]
    if command.startswith("/") and "%" not in command:
        try:
            trusted.check_program(command, who.uid)
        except Error as exc:
            raise Error(f"{program.where}: cannot run {exc}") from exc
    import ctypes   # loaded before the fork: a child imports nothing
    libc = ctypes.CDLL(None)
    environment = {**_environment(who), **(extra or {})}
    report, error = os.pipe()
    master = os.getpid()
    try:
        pid = os.fork()
    except OSError as exc:
        os.close(report)
        os.close(error)
        raise Error(f"{program.where}: cannot run {command}: {exc.strerror}") from exc
    if pid == 0:
        _become(_Birth(program, who, list(arguments), list(descriptors), directory, signer,
                       network, environment, error, master, libc.prctl, libc.unshare))
    child = Child(pid, program.command[0])
    try:
        os.close(error)
        complaint = os.read(report, 2000).decode("utf-8", "replace")
    except BaseException:   # a signal: nobody else knows the child yet
        child.stop(0)
        raise
    finally:
        os.close(report)
    if complaint:
        child.wait(None)
        raise Error(f"{program.where}: cannot run {complaint}")
    if log.level >= log.DEBUG:
        log.debug(f"started {' '.join([*program.command, *arguments])} as process {pid}, "
                  f"user {who.name} (uid {who.uid}, gid {who.gid}), in {directory}"
                  f"{', with a network namespace of its own' if _has_namespace(pid) else ''}")
    return child


def _has_namespace(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    except OSError:
        return False   # it has ended


def inherited(names: Sequence[str]) -> dict[str, str]:
    """Return those of the master's environment variables that are among ``names``."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _environment(who: Identity) -> dict[str, str]:
    return {"PATH": search_path(who.uid), "USER": who.name, "LOGNAME": who.name, "HOME": who.home,
            "SHELL": who.shell, "LANG": "C.UTF-8"}


class _Birth(NamedTuple):
    """All that a child needs between fork and exec."""

    program: Program
    who: Identity
    arguments: list[str]
    descriptors: list[int]
    directory: str
    signer: bool
    network: bool
    environment: dict[str, str]
    error: int                      # where to tell what went wrong
    master: int                     # its process id
    prctl: Callable[..., int]
    unshare: Callable[[int], int]


def _become(birth: _Birth) -> NoReturn:
    """In the child: never returns, never lets an exception out into the master's code."""
    error = birth.error
    name = birth.program.command[0][:300]
    try:
        for default in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(default, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        error = _place(birth.descriptors, error)
        os.umask(0o022)
        if birth.signer:
            _allow_locked_memory()
        else:
            os.setsid()
        if not birth.network:
            birth.unshare(_CLONE_NEWNET)   # fails without CAP_SYS_ADMIN: seccomp is left
        drop(birth.who)
        # Who kills the master kills its children (prctl(2)); credentials change no more.
        # Client and web server make SIGKILL of it themselves, a “notify” command may clean up
        birth.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if birth.signer else signal.SIGTERM,
                    0, 0, 0)
        if os.getppid() != birth.master:
            os._exit(127)
        os.environ.clear()
        os.environ.update(birth.environment)
        os.chdir(birth.directory)
        command = list(birth.program.command)
        if birth.signer:
            command = [specifiers.expand(word) for word in command]
            name = command[0][:300]
        os.execvpe(command[0], command + birth.arguments, birth.environment)
    except OSError as exc:
        os.write(error, f"{name}: {exc.strerror or exc}".encode("utf-8", "replace"))
    except (Error, ValueError) as exc:
        os.write(error, f"{name}: {exc}".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _place(descriptors: Sequence[int], error: int) -> int:
    """Make ``descriptors`` 0, 1, 2 … and close all others but ``error``; return its number."""
    # First out of the way of 0 … n, then into place
    count = len(descriptors)
    error = _above(error, count)
    high = [_above(descriptor, count) for descriptor in descriptors]
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number, inheritable=True)
    # by /proc: a descriptor may lie above a limit that was lowered since
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor >= count and descriptor != error:
            os.closerange(descriptor, descriptor + 1)
    return error


def _allow_locked_memory() -> None:
    """The signer locks its memory so that the key is never swapped out; users may lock 8 MiB."""
    import resource
    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    for limit in (LOCKED_MEMORY, most):   # the first needs CAP_SYS_RESOURCE
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            return
        except (ValueError, OSError):
            pass


def _above(descriptor: int, least: int) -> int:
    """Return a close-on-exec duplicate of ``descriptor`` that is not below ``least``."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)


def sealed(data: bytes) -> int:
    """Return a descriptor of an anonymous file with ``data`` that nobody can change any more."""
    descriptor = os.memfd_create("letsencrypt-tiny", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK
                | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor
