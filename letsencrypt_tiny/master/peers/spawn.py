"""fork, drop privileges, exec: how the master starts its children.

A child begins with nothing of the master's: a clean environment, the descriptors of its
contract as 0, 1, 2, 3 … and no other, a working directory entered after the drop, a
session of its own (no controlling terminal, except for the signer, which may ask for a
passphrase).  ``exec`` leaves no copy of the master's memory.
"""

import fcntl
import os
import select
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from ...common import log, specifiers
from ...common.errors import ConfigError, Error
from ..settings.main import Program

# What a child may inherit of the master's environment, besides what is rebuilt for it
PROXIES = ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")   # the client
TERMINAL = ("TERM", "GPG_TTY")                                     # the signer
LOCKED_MEMORY = 256 << 20   # bytes that the signer may keep from being swapped
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36   # prctl(2)
_CLONE_NEWNET = 0x40000000  # unshare(2)


class Identity(NamedTuple):
    """As whom a child runs."""

    uid: int
    gid: int
    name: str
    home: str
    shell: str


def identity(program: Program) -> Identity:
    """Look up the user and group of ``program``; raises ConfigError if there is no such.

    An empty user or group keeps the master's, as in lacme.
    """
    import grp
    import pwd
    try:
        entry = pwd.getpwnam(program.user) if program.user else pwd.getpwuid(os.getuid())
    except KeyError:
        raise ConfigError(f"{program.where}: user = {program.user}: "
                          "there is no such user") from None
    try:
        gid = grp.getgrnam(program.group).gr_gid if program.group else os.getgid()
    except KeyError:
        raise ConfigError(f"{program.where}: group = {program.group}: "
                          "there is no such group") from None
    if os.geteuid() != 0 and (entry.pw_uid, gid) != (os.getuid(), os.getgid()):
        raise ConfigError(f"{program.where}: only root can run it as {program.user}:"
                          f"{program.group} (run as root, or leave user and group empty)")
    return Identity(entry.pw_uid, gid, entry.pw_name, entry.pw_dir or "/",
                    entry.pw_shell or "/bin/sh")


class Child:
    """A running child; ``stop`` ends it and collects its status."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = pid
        self.name = name
        self.status: int | None = None      # exit status; 128 + N after signal N

    def wait(self, seconds: float | None) -> int | None:
        """Wait for the child to end; None if it still runs after ``seconds``."""
        if self.status is None:
            try:
                descriptor = os.pidfd_open(self.pid)
            except ProcessLookupError:
                descriptor = -1
            if descriptor >= 0:
                try:
                    if seconds is not None and not _readable(descriptor, seconds):
                        return None
                finally:
                    os.close(descriptor)
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else 128 - code
        return self.status

    def stop(self, grace: float = 2.0) -> int | None:
        """Ask the child to end; after ``grace`` seconds make it.  Returns its status."""
        if self.status is None:
            for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, None)):
                try:
                    os.kill(self.pid, number)
                    os.kill(self.pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
                if self.wait(seconds) is not None:
                    break
        return self.status


def adopt_orphans() -> None:
    """From now on processes that children leave become children of ours."""
    import ctypes
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(uid: int) -> None:
    """Kill every child that runs as ``uid``, and what it leaves, unless that is root.

    A client that isn't confined can fork; what it leaves could lie in wait for the next one,
    into which, being of the same user, it can look until that has confined itself.
    """
    for _ in range(1000):   # each may have had children, which are ours then
        left = [pid for pid in _own_children() if uid != 0 and _uid(pid) == uid]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if not left:
            return
    log.warning(f"processes of uid {uid} are left")


def _own_children() -> list[int]:
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
        except OSError:
            pass   # the thread has ended, or the kernel doesn't tell
    return found


def _uid(pid: int) -> int:
    """The real user id of a process; -1 if it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return int(next(line for line in file if line.startswith("Uid:")).split()[1])
    except (OSError, StopIteration):
        return -1


def _readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0, seconds) * 1000))


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
    import ctypes   # loaded before the fork: a child imports nothing
    libc = ctypes.CDLL(None)
    environment = {**_environment(who), **(extra or {})}
    report, error = os.pipe()
    master = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(_Birth(program, who, list(arguments), list(descriptors), directory, signer,
                       network, environment, error, master, libc.prctl, libc.unshare))
    child = Child(pid, program.command[0])
    try:
        os.close(error)
        complaint = os.read(report, 1000).decode("utf-8", "replace")
    except BaseException:   # a signal: nobody else knows the child yet
        child.stop(0)
        raise
    finally:
        os.close(report)
    if complaint:
        child.wait(None)
        raise Error(f"{program.where}: cannot run {program.command[0]}: {complaint}")
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
    path = "/usr/sbin:/usr/bin:/sbin:/bin" if who.uid == 0 else "/usr/bin:/bin"
    return {"PATH": path, "USER": who.name, "LOGNAME": who.name, "HOME": who.home,
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
    try:
        for default in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(default, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        # First out of the way of 0 … n, then into place
        count = len(birth.descriptors)
        error = _above(error, count)
        high = [_above(descriptor, count) for descriptor in birth.descriptors]
        for number, descriptor in enumerate(high):
            os.dup2(descriptor, number, inheritable=True)
        # by /proc: a descriptor may lie above a limit that was lowered since
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor >= count and descriptor != error:
                os.closerange(descriptor, descriptor + 1)
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
        os.execvpe(command[0], command + birth.arguments, birth.environment)
    except OSError as exc:
        os.write(error, (exc.strerror or str(exc)).encode("utf-8", "replace"))
    except (Error, ValueError) as exc:
        os.write(error, str(exc).encode("utf-8", "replace"))
    finally:
        os._exit(127)


def drop(who: Identity) -> None:
    """Become ``who`` for good: real, effective and saved ids, and one supplementary group."""
    if os.geteuid() == 0:
        os.setgroups([who.gid])
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    if os.getresuid() != (who.uid,) * 3 or os.getresgid() != (who.gid,) * 3:
        raise OSError(0, "could not drop privileges")


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


def run_shell(command: str, environment: dict[str, str], seconds: float) -> int:
    """Run a command of the administrator's with /bin/sh -c; return its exit status.

    Its standard output joins the standard error.  After ``seconds`` it is ended.
    """
    shell = Program("notify", "", "", ("/bin/sh",), "no")
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        child = spawn(shell, identity(shell), ["-c", command], [null, 2, 2], extra=environment)
    finally:
        os.close(null)
    if child.wait(seconds) is None:
        log.warning(f"“{command}” did not end within {seconds:.0f} seconds")
    return child.stop() or 0
