"""As whom a child runs, and how to become that user for good."""

import os
from typing import NamedTuple

from ...common import accounts
from ...common.errors import ConfigError, Error
from ..settings.program import Program


class Identity(NamedTuple):
    """As whom a child runs."""

    uid: int
    gid: int
    name: str
    home: str
    shell: str


def identity(program: Program) -> Identity:
    """Look up the user and group of ``program``; raises ConfigError if there is no such,
    and Error if nobody can tell.

    An empty user or group keeps the master's, as in lacme.
    """
    import grp
    import pwd
    try:
        entry = accounts.user(lambda: pwd.getpwnam(program.user) if program.user
                              else pwd.getpwuid(os.getuid()))
    except KeyError:
        raise ConfigError(f"{program.where}: user = {program.user}: "
                          "there is no such user") from None
    except accounts.Unknown as exc:
        raise Error(f"{program.where}: user = {program.user}: {exc}") from exc
    try:
        gid = accounts.group(lambda: grp.getgrnam(program.group).gr_gid) if program.group \
            else os.getgid()
    except KeyError:
        raise ConfigError(f"{program.where}: group = {program.group}: "
                          "there is no such group") from None
    except accounts.Unknown as exc:
        raise Error(f"{program.where}: group = {program.group}: {exc}") from exc
    if os.geteuid() != 0 and (entry.pw_uid, gid) != (os.getuid(), os.getgid()):
        raise ConfigError(f"{program.where}: only root can run it as {program.user}:"
                          f"{program.group} (run as root, or leave user and group empty)")
    return Identity(entry.pw_uid, gid, entry.pw_name, entry.pw_dir or "/",
                    entry.pw_shell or "/bin/sh")


def drop(who: Identity) -> None:
    """Become ``who`` for good: real, effective and saved ids, and one supplementary group."""
    if os.geteuid() == 0:
        os.setgroups([who.gid])
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    if os.getresuid() != (who.uid,) * 3 or os.getresgid() != (who.gid,) * 3:
        raise OSError(0, "could not drop privileges")
