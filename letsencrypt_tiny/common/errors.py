"""The few exception classes: each message is one line for the administrator.

A message names the file, section, setting or URL at fault and says what to do.
Programs catch ``Error`` once, in their ``main()``, print it and leave with its
``exit_status``.
"""

import errno
import os
from collections.abc import Iterable

# A connection is to an address family that this host has not, or has no way to the world for
NO_ROUTE = (errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Error(Exception):
    """Something failed; what could be done without it was done."""

    exit_status = 1


class UsageError(Error):
    """The command line makes no sense."""

    exit_status = 2


class ConfigError(Error):
    """A configuration file, setting or what it refers to is wrong."""

    exit_status = 2


class LockedError(Error):
    """Another run holds the lock (EX_TEMPFAIL of sysexits.h)."""

    exit_status = 75


class ProtocolError(Error):
    """The peer at the other end of a socket or pipe sent what it must not."""


class LocalProtocolError(Error):
    """We were about to send what the protocol has no room for: a limit, or a mistake of ours."""


def reason(exc: OSError) -> str:
    """Return what the system has said, with the file if it told of one; not the number."""
    why = exc.strerror or str(exc)
    return f"{os.fsdecode(exc.filename)}: {why}" if isinstance(exc.filename, (str, bytes)) else why


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return “: did you mean “X”?” for what is most like ``word``, or nothing if nothing is."""
    import difflib   # only for those who err
    spelled = {name.lower().replace("_", "-"): name for name in valid}
    found = difflib.get_close_matches(word.lower().replace("_", "-"), spelled, 1, 0.7)
    return f": did you mean “{spelled[found[0]]}”?" if found else ""
