"""What a running process really is, from /proc; and what it executed, from strace."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import (Any, NamedTuple)


class Process(NamedTuple):
    """One look at a process."""

    pid: int
    ppid: int
    argv: tuple[str, ...]
    exe: str
    cwd: str
    uids: tuple[int, ...]     # real, effective, saved, file system
    gids: tuple[int, ...]
    groups: tuple[int, ...]   # supplementary
    no_new_privs: bool
    seccomp: int              # 0 none, 1 strict, 2 filter
    capabilities: int         # effective, a bit mask
    umask: int
    threads: int
    owner: int                # of files in /proc/PID: root's 0 if the process is not dumpable
    environ: Mapping[str, str]
    fds: Mapping[int, str]    # descriptor -> target: "/dev/null", "socket:[123]", "pipe:[45]"
    limits: Mapping[str, str]  # "Max core file size" -> soft limit

    @property
    def program(self) -> str:
        """The base name of the program, of the script if an interpreter runs one."""
        for word in self.argv[1:] if _is_interpreter(self.exe) else ():
            if not word.startswith("-"):
                return os.path.basename(word)
        return os.path.basename(self.argv[0]) if self.argv else ""


def _is_interpreter(exe: str) -> bool:
    return re.match(r"(python|perl)[0-9.]*$", os.path.basename(exe)) is not None


def read(pid: int) -> Process:
    """Read all of /proc/PID that we judge by.

    Raises ProcessLookupError if there's no such process, or it ended or is a zombie.
    """
    base = f"/proc/{pid}"
    try:
        status = dict(line.split(":\t", 1) for line in _bytes(f"{base}/status").decode()
                      .splitlines() if ":\t" in line)
        if status["State"][0] in "ZX":
            raise ProcessLookupError(f"{pid} has ended")
        numbers = {key: tuple(map(int, status[key].split())) for key in ("Uid", "Gid", "Groups")}
        variables = _bytes(f"{base}/environ").decode(errors="surrogateescape").split("\0")
        return Process(
            pid, int(status["PPid"]), _argv(pid), os.readlink(f"{base}/exe"),
            os.readlink(f"{base}/cwd"), numbers["Uid"], numbers["Gid"], numbers["Groups"],
            status["NoNewPrivs"] == "1", int(status["Seccomp"]), int(status["CapEff"], 16),
            int(status["Umask"], 8), int(status["Threads"]), os.stat(f"{base}/environ").st_uid,
            dict(word.partition("=")[::2] for word in variables if word), _fds(pid), _limits(pid))
    except (FileNotFoundError, KeyError) as exc:  # ended while we read
        raise ProcessLookupError(f"{pid} has ended") from exc


def _bytes(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall() or b""


def _argv(pid: int) -> tuple[str, ...]:
    text = _bytes(f"/proc/{pid}/cmdline").decode(errors="surrogateescape")
    return tuple(text.split("\0")[:-1])


def _fds(pid: int) -> dict[int, str]:
    targets = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            targets[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass  # closed meanwhile
    return targets


def _limits(pid: int) -> dict[str, str]:
    limits = {}
    for line in _bytes(f"/proc/{pid}/limits").decode().splitlines()[1:]:
        limits[line[:26].rstrip()] = line[26:47].rstrip()
    return limits


def _parents() -> dict[int, int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                # The command name, in parentheses, may contain anything.
                fields = _bytes(f"/proc/{name}/stat").rpartition(b")")[2].split()
                parents[int(name)] = int(fields[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return parents


def children(pid: int) -> list[int]:
    """Return the process ids of the children of ``pid``, zombies included."""
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants of ``pid``, zombies included."""
    parents = _parents()
    found = [pid]
    for ancestor in found:  # grows while we go
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def kill_tree(pid: int) -> None:
    """Kill ``pid`` and all its descendants."""
    for victim in [pid, *descendants(pid)]:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Life:
    """What was seen of one program in one process, from its exec to its end.

    ``samples`` are the looks at it, oldest first, without repetitions.  A child between fork
    and exec still is its parent's program: it is a Life of its own then.
    """

    def __init__(self, first: Process) -> None:
        self.pid = first.pid
        self.argv = first.argv
        self.program = first.program
        self.samples = [first]

    def __repr__(self) -> str:
        return f"<{self.program} {self.pid}: {len(self.samples)} samples>"

    @property
    def last(self) -> Process:
        """The last look."""
        return self.samples[-1]

    def seen(self, field: str) -> frozenset[Any]:
        """Return all values of a field of Process, such as ``"uids"``."""
        values = (getattr(sample, field) for sample in self.samples)
        return frozenset(frozenset(value.items()) if isinstance(value, dict) else value
                         for value in values)

    @property
    def environ(self) -> dict[str, frozenset[str]]:
        """Every variable seen, and the values it had."""
        return _union(sample.environ for sample in self.samples)

    @property
    def fds(self) -> dict[int, frozenset[str]]:
        """Every descriptor seen, and the targets it had."""
        return _union(sample.fds for sample in self.samples)


def _union(mappings: Any) -> dict[Any, frozenset[str]]:
    union: dict[Any, frozenset[str]] = {}
    for mapping in mappings:
        for key, value in mapping.items():
            union[key] = union.get(key, frozenset()) | {value}
    return union


class Watched(NamedTuple):
    """A command that ended, and what its processes were meanwhile."""

    returncode: int
    stdout: str
    stderr: str
    lives: list[Life]  # the command first, then in order of appearance

    def of(self, program: str) -> list[Life]:
        """Return the lives of the program with this base name."""
        return [life for life in self.lives if life.program == program]


def watch(argv: Sequence[str], timeout: float = 60, during: Callable[[], object] | None = None,
          **popen: Any) -> Watched:
    """Run a command and look at it and its descendants, as often as possible, until it ends.

    A process that lives for less than a millisecond or two can escape.  ``during`` is called
    after each round.  ``popen`` goes to subprocess.Popen.  Raises subprocess.TimeoutExpired
    (everything killed) after ``timeout`` seconds.
    """
    lives: dict[tuple[int, tuple[str, ...]], Life] = {}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **popen)
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            if time.monotonic() > deadline:
                kill_tree(process.pid)
                process.wait()
                raise subprocess.TimeoutExpired(argv, timeout, _text(out), _text(err))
            for pid in [process.pid, *descendants(process.pid)]:
                try:
                    sample = read(pid)
                except ProcessLookupError:
                    continue
                life = lives.setdefault((pid, sample.argv), Life(sample))
                if life.last != sample:
                    life.samples.append(sample)
            if during is not None:
                during()
        return Watched(process.returncode, _text(out).decode(errors="backslashreplace"),
                       _text(err).decode(errors="backslashreplace"), list(lives.values()))


def _text(file: Any) -> bytes:
    file.seek(0)
    content: bytes = file.read()
    return content


_STRING = r'"((?:[^"\\]|\\.)*)"'
_EXECVE = re.compile(rf"execve(?:at)?\((?:\w+, )?{_STRING}, \[((?:{_STRING}(?:, )?)*)\].* = 0$")


def executed(argv: Sequence[str], timeout: float = 60, **run: Any
             ) -> tuple["subprocess.CompletedProcess[str]", list[list[str]]]:
    """Run a command under strace; return how it ended and every argv executed successfully.

    The first member of each argv is the path that was executed.  ``run`` goes to
    subprocess.run.  Raises subprocess.TimeoutExpired.
    """
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as trace:
        done = subprocess.run(
            ["/usr/bin/strace", "-f", "-qq", "-s", "65536", "-v", "-e", "trace=execve,execveat",
             "-e", "signal=none", "-o", trace.name, "--", *argv], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="backslashreplace", timeout=timeout, check=False,
            **run)
        return done, _executed(trace.read())


def _executed(trace: str) -> list[list[str]]:
    unfinished: dict[str, str] = {}
    calls = []
    for line in trace.splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.lstrip()
        if rest.endswith("<unfinished ...>"):
            unfinished[pid] = rest[:-len("<unfinished ...>")].rstrip()
            continue
        if rest.startswith("<... exec"):
            rest = unfinished.pop(pid, "") + rest.partition("resumed>")[2]
        match = _EXECVE.match(rest)
        if match:
            words = re.findall(_STRING, match.group(2))
            calls.append([_unescape(word) for word in [match.group(1), *words[1:]]])
    return calls


def _unescape(word: str) -> str:
    return word.encode().decode("unicode_escape").encode("latin-1").decode(
        errors="surrogateescape")
