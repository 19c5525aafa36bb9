"""What the processes are, have and hold at one moment, from /proc: nothing is taken on trust."""

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import memory, proc

MASTER, SIGNER, CLIENT, WEBSERVER = ("letsencrypt-tiny", "letsencrypt-tiny-accountd", "client",
                                     "webserver")
ACCOUNT_KEY, SERVER_KEY = "account key", "server key"
NAMES = {MASTER: "master", SIGNER: "account key manager", CLIENT: "ACME client",
         WEBSERVER: "challenge web server"}


class Look(NamedTuple):
    """One process."""

    user: str
    groups: tuple[str, ...]       # but for its own
    capabilities: int             # effective, a bit mask
    no_new_privs: bool
    filtered: bool                # by seccomp
    own_network: bool             # a namespace where there is nobody else
    holds: Mapping[str, bool] | None    # key -> is it in its memory?  None: that can't be looked at
    listens: tuple[int, ...]      # TCP ports
    connected: tuple[int, ...]    # TCP ports of the other side


def processes(pid: int) -> dict[str, int]:
    """Return the process ids of the four, of which the first is ``pid``."""
    found = {}
    for each in [pid, *proc.descendants(pid)]:
        try:
            program = proc.read(each).program
        except ProcessLookupError:
            continue
        if program in NAMES:
            found[program] = each
    return found


def look(pid: int, secrets: Mapping[str, Sequence[bytes]]) -> Look:
    """Look at one; ``secrets`` are the keys, in all forms that they may have in its memory.

    Raises ProcessLookupError.
    """
    process = proc.read(pid)
    uid, gid = process.uids[1], process.gids[1]
    sockets = _sockets()
    ports = [sockets[target] for target in process.fds.values() if target in sockets]
    return Look(
        pwd.getpwuid(uid).pw_name,
        tuple(str(group) for group in process.groups if group != gid),
        process.capabilities, process.no_new_privs, process.seccomp == 2,
        os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"),
        _held(pid, secrets),
        tuple(sorted({port for listens, port in ports if listens})),
        tuple(sorted({port for listens, port in ports if not listens})))


def _held(pid: int, secrets: Mapping[str, Sequence[bytes]]) -> dict[str, bool] | None:
    found = {name: False for name in secrets}
    try:
        for part in memory.read(pid):
            for name, those in secrets.items():
                found[name] = found[name] or any(form in part for form in those)
    except PermissionError:
        return None
    return found


def _sockets() -> dict[str, tuple[bool, int]]:
    """Return the TCP sockets of the master's namespace: whether it listens, and its port or the
    other side's.  Inherited sockets stay in it, wherever the process is."""
    found = {}
    for table in "tcp", "tcp6":
        path = Path("/proc/self/net", table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            words = line.split()
            listens = words[3] == "0A"
            found[f"socket:[{words[9]}]"] = (listens, int(words[1 if listens else 2]
                                                          .rpartition(":")[2], 16))
    return found
