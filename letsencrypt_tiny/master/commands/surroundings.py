"""What every system has, and this one may lack: it is called by its name then, which what fails
for want of it isn't."""

import os
import stat

from ...common.errors import Error


def missing() -> str:
    """Return what is to be said where /proc is missing, for whom that may be why; "" otherwise."""
    if os.path.isdir("/proc/self/fd"):
        return ""
    return "/proc is not mounted (mount -t proc proc /proc): without it no file is opened safely"


def check_null() -> None:
    """Raise Error unless /dev/null is what programs take it for."""
    try:
        good = stat.S_ISCHR(os.stat("/dev/null").st_mode)
    except FileNotFoundError:
        good = False
    if not good:
        raise Error("/dev/null is not there, or no device (mknod -m 666 /dev/null c 1 3): no "
                    "program can be run without it, or what it should swallow is kept")
