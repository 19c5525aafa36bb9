"""Who has the HTTP port, and what has to be told to it so that challenges reach us."""

import os
from collections.abc import Iterator

from ...common import paths

_LISTEN = "0A"   # the state of a socket (proc(5))
_SNIPPETS = {"nginx": "nginx.conf", "apache2": "apache2.conf", "haproxy": "haproxy.cfg"}


def advice(port: int, path: str) -> str:
    """Return a sentence: who listens on ``port``, and how it passes challenges on to ``path``."""
    name, pid = holder(port)
    snippets = _SNIPPETS.get(name) or ", ".join(_SNIPPETS.values())
    who = f"{name} (process {pid})" if pid else "another program"
    return (f"{who} listens on port {port}: challenges are answered on {path}, to which it must "
            f"pass them on (include {paths.CONFIG_DIR}/{snippets})")


def holder(port: int) -> tuple[str, int]:
    """Return name and number of a process that listens on ``port``; "" and 0 if none is seen.

    Of several it is the one that started the others.
    """
    wanted = set(_sockets(port))
    found: dict[int, tuple[str, int]] = {}   # number -> name, number of the parent
    for pid in sorted(int(name) for name in os.listdir("/proc") if wanted and name.isdigit()):
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{number}") in wanted
                   for number in os.listdir(f"/proc/{pid}/fd")):
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                    name, _, rest = file.read().partition("(")[2].rpartition(")")
                found[pid] = name, int(rest.split()[1])
        except OSError:
            continue   # it has ended, or is not for us to see
    return next(((name, pid) for pid, (name, parent) in found.items() if parent not in found),
                ("", 0))


def _sockets(port: int) -> Iterator[str]:
    """Yield what descriptors of sockets that listen on ``port`` are links to."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{fields[9]}]"
