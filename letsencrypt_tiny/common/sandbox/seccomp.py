"""A list of the system calls a process may still make, by Debian's python3-seccomp.

Whatever is not listed fails with EPERM, or with ENOSYS where the C library then falls back
to an older call whose arguments can be judged; what only an attacker would try ends the
process.  Opening files and talking to others are added as a process needs them.

Not covered: *which* file or port (Landlock does that), and for the one that removes its own
socket, whether a file elsewhere exists and how large it is (stat).
"""

import errno
import os
from collections.abc import Iterator

TYPE_CHECKING = False   # see common/record.py
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "/usr/lib/python3/dist-packages"  # the programs run with -S; tests change it

# What the interpreter, its threads and its memory need, on descriptors it already has
_ALWAYS = """
    read pread64 write writev lseek _llseek close fstat fstat64
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64
    brk munmap mremap madvise
    futex futex_time64 set_robust_list rseq sched_yield sched_getaffinity set_tid_address
    exit exit_group restart_syscall
    rt_sigaction rt_sigprocmask rt_sigreturn sigreturn sigaltstack
    clock_gettime clock_gettime64 clock_getres clock_getres_time64 gettimeofday time
    clock_nanosleep clock_nanosleep_time64 nanosleep
    getpid getppid gettid getuid getgid geteuid getegid getuid32 getgid32 geteuid32 getegid32
    getrandom getcwd uname sysinfo getrlimit ugetrlimit
"""
# On sockets it has, accepts or may make.  Not recvmsg and sendmsg: they pass descriptors on.
_SOCKETS = "recvfrom recv getsockname getpeername shutdown"
_ACCEPT = "accept accept4 epoll_ctl epoll_wait epoll_pwait"
_REWRITE = "ftruncate ftruncate64 fdatasync fsync"
_LIST = "getdents getdents64"
_LOOK = "newfstatat fstatat64 stat stat64 lstat lstat64 statx"

# glibc tries these first and falls back when they don't exist
_MISSING = "clone3 openat2 faccessat2 close_range epoll_pwait2 fchmodat2"

# None of our programs calls one of these after it has confined itself
_FATAL = """
    execve execveat ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    mount umount2 pivot_root chroot move_mount open_tree fsopen fsmount fsconfig fspick
    mount_setattr open_by_handle_at setns unshare
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
    setuid32 setgid32 setreuid32 setregid32 setresuid32 setresgid32 setfsuid32 setfsgid32
    setgroups32 keyctl add_key request_key init_module finit_module delete_module
    kexec_load kexec_file_load reboot swapon swapoff acct syslog quotactl iopl ioperm modify_ldt
"""

_PROT_EXEC = 4
# CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID: what
# glibc makes threads with
_A_THREAD = 0x3D0F00
_MSG_FASTOPEN = 0x20000000   # connects without asking Landlock
_SPECIAL_MODES = 0o7000
_CHANGING = (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_PATH
             | os.O_TMPFILE & ~os.O_DIRECTORY)
_A_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_FCNTL = (1, 2, 3, 4, 1030)     # F_[GS]ETFD, F_[GS]ETFL, F_DUPFD_CLOEXEC; not F_SETOWN
_INT = 0xFFFFFFFF               # the kernel looks at 32 bits of most arguments
_LONG = 0xFFFFFFFFFFFFFFFF

_Test = tuple[int, int, int]    # argument number, mask, and what must remain under the mask
_Rule = tuple[str, tuple[_Test, ...]]


def prepare(*, read: bool, create: bool, remove: bool, connect: bool, listen: bool,
            rewrite: bool = False, modules: bool = False) -> "Any":
    """Return a filter whose method ``load()`` confines this process for good.

    read: open files for reading; create: make new ones, and unlink them; remove: look at
    files by their names, and unlink them; connect: make TCP sockets and connect them; listen:
    accept on listening sockets; rewrite: cut off, and sync, files that are open already; modules:
    open files for reading, look at them by their names, and list directories.  The process must
    have one thread only.  Raises ImportError or OSError if python3-seccomp can't be used,
    ``load()`` OSError or RuntimeError if the kernel won't.
    """
    rules = [*_always(), *_files(read or modules, create, remove)]
    if rewrite:
        rules += _plain(_REWRITE)
    if modules:
        rules += _plain(f"{_LOOK} {_LIST}")
    if connect or listen:
        rules += _sockets()
    if connect:
        rules += _connections()
    if listen:
        rules += _plain(_ACCEPT)

    try:
        return _filter(_load_module(), rules)
    except (RuntimeError, ValueError) as exc:
        # libseccomp asks the kernel by seccomp(2) what it knows, and gets no answer where another
        # filter, a container's for instance, has taken that call away
        raise OSError("the kernel, or what this runs in, refuses seccomp(2)") from exc


def _filter(module: "Any", rules: list[_Rule]) -> "Any":
    syscalls = module.SyscallFilter(defaction=module.ERRNO(errno.EPERM))
    # i386 and x32 calls have other numbers: no list of ours judges them
    syscalls.set_attr(module.Attr.ACT_BADARCH, module.KILL_PROCESS)
    for name, tests in rules:
        _add(syscalls, module.ALLOW, name, [
            module.Arg(number, module.MASKED_EQ, mask, value) for number, mask, value in tests])
    for name in _MISSING.split():
        _add(syscalls, module.ERRNO(errno.ENOSYS), name, [])
    for name in _FATAL.split():
        _add(syscalls, module.KILL_PROCESS, name, [])
    return syscalls


def _load_module() -> "Any":
    """Return Debian's module ``seccomp``, from its file: its directory never is on sys.path."""
    from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
    for suffix in EXTENSION_SUFFIXES:
        path = f"{DIRECTORY}/seccomp{suffix}"
        if not os.path.exists(path):
            continue
        for place in (DIRECTORY, path):
            status = os.stat(place)
            if status.st_uid != 0 or status.st_mode & 0o022:
                raise PermissionError(errno.EPERM, "others than root can write it", place)
        loader = ExtensionFileLoader("seccomp", path)
        module = loader.create_module(ModuleSpec("seccomp", loader, origin=path))
        loader.exec_module(module)
        return module
    raise ModuleNotFoundError("python3-seccomp is not installed")


def _add(syscalls: "Any", action: "Any", name: str, tests: "list[Any]") -> None:
    try:
        syscalls.add_rule(action, name, *tests)
    except RuntimeError:
        pass  # this libseccomp doesn't know the call: it gets the default, EPERM


def _plain(names: str) -> list[_Rule]:
    return [(name, ()) for name in names.split()]


def _always() -> Iterator[_Rule]:
    machine = os.uname().machine
    yield from _plain(_ALWAYS)
    for name in ("mmap", "mmap2", "mprotect"):
        # s390x hands over mmap's arguments in memory, where no filter looks
        yield name, () if machine == "s390x" and name == "mmap" else ((2, _PROT_EXEC, 0),)
    # Threads, no processes; s390x has the first two arguments the other way round
    yield "clone", ((1 if machine == "s390x" else 0, _LONG, _A_THREAD),)
    yield "tgkill", ((0, _INT, os.getpid()),)
    yield "ioctl", ((1, _INT, 0x8004667E if machine.startswith("ppc") else 0x5421),)  # FIONBIO
    for command in _FCNTL:
        yield "fcntl", ((1, _INT, command),)
        yield "fcntl64", ((1, _INT, command),)
    yield "prlimit64", ((0, _INT, 0), (2, _LONG, 0))  # asks, doesn't set


def _files(read: bool, create: bool, remove: bool) -> Iterator[_Rule]:
    # Not fstat() by newfstatat or statx, as in some versions of glibc: with AT_EMPTY_PATH,
    # too, they would look at any path
    if read:
        yield "openat", ((2, _CHANGING, 0),)
    if create:
        yield "openat", ((2, _CHANGING, _A_NEW_FILE), (3, _SPECIAL_MODES, 0))
    if remove:
        yield from _plain(_LOOK)
    if create or remove:
        yield "unlink", ()
        yield "unlinkat", ((2, _INT, 0),)  # not AT_REMOVEDIR


def _sockets() -> Iterator[_Rule]:
    import socket as s
    yield from _plain(_SOCKETS)
    for name in ("sendto", "send"):
        yield name, ((3, _MSG_FASTOPEN, 0),)
    for option in "ERROR", "TYPE", "DOMAIN", "PROTOCOL", "ACCEPTCONN", "PEERCRED":
        yield "getsockopt", ((1, _INT, s.SOL_SOCKET), (2, _INT, getattr(s, f"SO_{option}")))


def _connections() -> Iterator[_Rule]:
    from socket import AF_INET, AF_INET6, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY
    for family in (AF_INET, AF_INET6):
        # The protocol too: Landlock knows TCP, not SCTP, MPTCP or SMC
        for protocol in (0, IPPROTO_TCP):
            yield "socket", ((0, _INT, family), (1, 0xF, SOCK_STREAM), (2, _INT, protocol))
    yield "connect", ()
    yield "setsockopt", ((1, _INT, IPPROTO_TCP), (2, _INT, TCP_NODELAY))
