"""What a process gives up once it is started.

A program opens what it needs, drops its privileges, calls ``warm_up``, then ``enter``,
and only then looks at what others send.  In this order: no_new_privs, not dumpable,
resource limits, Landlock (landlock.py), seccomp (seccomp.py).

Before ``enter`` the caller must have

- dropped its privileges: afterwards set*id ends the process,
- imported every module and C library it will use: nothing can be loaded afterwards,
- made its TLS context and loaded the CA bundle; opened log files; asked for passphrases,
- resolved host names: no datagram can be sent afterwards,
- made one signature, if it makes any (Cryptodome loads parts of itself on first use),
- started no thread: Landlock and seccomp confine the calling thread and its descendants.
"""

import ctypes
import errno
import os

from . import landlock, seccomp
from ..errors import Error
from ..record import NamedTuple

TYPE_CHECKING = False   # see record.py
if TYPE_CHECKING:
    from typing import Any

MODES = ("auto", "required", "no")

# prctl(2), mlock(2), unshare(2)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_MCL_CURRENT, _MCL_ONFAULT = 1, 4
_CLONE_NEWNET = 0x40000000
_SIGKILL = 9

_libc = ctypes.CDLL(None, use_errno=True)


class ConfinementError(Error):
    """The process can't be confined as its configuration wants it."""


class Plan(NamedTuple):
    """What a process still needs once it is started; everything else is taken from it."""

    name: str                             # of the process, for messages
    mode: str = "auto"                    # its ``confine`` setting: auto, required or no
    read: tuple[str, ...] = ()            # files, or directories below which it reads them
    create: tuple[str, ...] = ()          # directories where it makes new files, and removes them
    remove: tuple[str, ...] = ()          # directories where it removes files (its own socket)
    reopen: bool = False                  # reads anonymous files that it has, by /proc/self/fd
    connect: tuple[int, ...] = ()         # TCP ports
    memory: int = 0                       # bytes of its own, stacks included; 0 as it is
    files: int = 64                       # descriptors
    file_size: int | None = None          # bytes of a file it writes; None any
    processes: int | None = None          # processes *and threads* of this user; None as it is
    network: bool = True                  # False: none, by a namespace of its own if it may
    lock_memory: bool = False             # what is in memory now is never swapped out
    listen: bool = False                  # accepts on listening sockets it has inherited
    rewrite: bool = False                 # files that it has open are cut off, and synced to disk
    modules: tuple[str, ...] = ()         # files, or directories below which it reads and lists


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    To be called after the drop of privileges, which clears it.  Raises ConfinementError if
    the parent, ``parent_pid``, has ended already.
    """
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent_pid:
        raise ConfinementError("the process that started this one has ended")


def warm_up() -> None:
    """Load what the C library would otherwise load at a later moment."""
    ctypes.CDLL("libgcc_s.so.1")  # pthread_exit() loads it, and aborts where it can't


def enter(plan: Plan) -> list[str]:
    """Confine this process for good; return what is now enforced, and what isn't ("no …").

    Raises ConfinementError if something can't be had and the mode is ``required``.
    """
    import _thread
    if _thread._count():
        raise ConfinementError(f"{plan.name}: threads run before the process is confined")
    done = ["no_new_privs", "not dumpable", "rlimits"]
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    try:
        _limit_resources(plan)
    except OSError as exc:   # by another filter
        raise ConfinementError(f"{plan.name}: limits can't be set ({_name(exc)})") from exc
    if plan.lock_memory:
        done.append(_lock_memory())
    if plan.mode == "no":
        return done
    if not plan.network and _libc.unshare(_CLONE_NEWNET) == 0:
        done.append("network namespace")  # only where the caller is still privileged

    syscalls, missing = None, []
    try:
        syscalls = _prepare_seccomp(plan)  # loads modules, which Landlock will forbid
    except (ImportError, OSError) as exc:
        missing.append(f"seccomp ({exc})")
    try:
        done += _enter_landlock(plan)
    except OSError as exc:
        missing.append(f"landlock ({_name(exc)})")
    try:
        if syscalls is not None:
            syscalls.load()
            done.append("seccomp")
    except (OSError, RuntimeError) as exc:
        missing.append(f"seccomp ({_name(exc)})")
    if plan.mode == "required" and missing:
        raise ConfinementError(f"{plan.name}: confine = required, but there is no "
                               f"{' and no '.join(missing)}: install or enable it, or set "
                               f"confine = auto")
    return done + [f"no {what}" for what in missing]


def _name(exc: Exception) -> str:
    if isinstance(exc, OSError) and exc.errno:
        return errno.errorcode.get(exc.errno, str(exc.errno))
    return str(exc)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) != 0:
        raise ConfinementError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def _limit_resources(plan: Plan) -> None:
    import resource
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, plan.files)]
    if plan.processes is not None:
        limits.append((resource.RLIMIT_NPROC, plan.processes))
    if plan.file_size is not None:
        limits.append((resource.RLIMIT_FSIZE, plan.file_size))
    if plan.memory:
        limits.append((resource.RLIMIT_DATA, plan.memory))
    for which, limit in limits:
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(which, (limit, limit))


def _lock_memory() -> str:
    import resource
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    if _libc.mlockall(_MCL_CURRENT | _MCL_ONFAULT) == 0:
        return "locked memory"
    # All mapped memory counts, touched or not: ENOMEM where RLIMIT_MEMLOCK is 8 MB
    return f"no locked memory ({errno.errorcode[ctypes.get_errno()]})"


def _enter_landlock(plan: Plan) -> list[str]:
    paths = [(path, landlock.READ) for path in plan.read]
    paths += [(path, landlock.READ | landlock.LIST) for path in plan.modules]
    paths += [(path, landlock.WRITE | landlock.MAKE_REG | landlock.REMOVE_FILE)
              for path in plan.create]
    paths += [(path, landlock.REMOVE_FILE) for path in plan.remove]
    version = landlock.restrict(paths, plan.connect)
    done = [f"landlock {version}"]
    if version < landlock.TCP_ABI:
        done.append("no TCP ports in landlock")
    if version < landlock.SCOPE_ABI:
        done.append("no signals in landlock")
    return done


def _prepare_seccomp(plan: Plan) -> "Any":
    return seccomp.prepare(
        read=bool(plan.read) or plan.reopen, create=bool(plan.create), remove=bool(plan.remove),
        connect=bool(plan.connect), listen=plan.listen, rewrite=plan.rewrite,
        modules=bool(plan.modules))
