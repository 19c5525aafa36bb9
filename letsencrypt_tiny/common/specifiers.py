"""%-specifiers in settings and options, as systemd.unit(5) and lacme(8) have them.

======  ===========================================================================
``%C``  cache directory: /var/cache for root, else $XDG_CACHE_HOME or ~/.cache
``%d``  the directory of systemd's credentials, $CREDENTIALS_DIRECTORY: the signer's only
``%E``  configuration: /etc for root, else $XDG_CONFIG_HOME or ~/.config
``%g``  name of the group;  ``%G`` its number
``%h``  home directory
``%t``  runtime directory: /run for root, else $XDG_RUNTIME_DIR (an error if unset)
``%T``  /tmp; not for root $TMPDIR, if it is set
``%u``  name of the user;  ``%U`` its number
``%%``  a percent sign
======  ===========================================================================
"""

import os
import re
from collections.abc import Callable

from . import paths
from .errors import ConfigError


def expand(text: str) -> str:
    """Return ``text`` with every specifier replaced, for the user of this process.

    Raises ConfigError for an unknown specifier or one that has no value here.
    """
    if "%" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        value = _value(match.group(1))
        if value is None:
            raise ConfigError(f"“{text}”: %{match.group(1)} is not a specifier "
                              "(valid: %C %d %E %g %G %h %t %T %u %U; write %% for a percent sign)")
        if not value:
            raise ConfigError(f"“{text}”: %{match.group(1)} has no value here "
                              "(" + _UNSET.get(match.group(1), "is XDG_RUNTIME_DIR set?") + ")")
        return value

    return re.sub(r"%(.|$)", replace, text, flags=re.S)


_UNSET = {"d": "does LoadCredential= of its unit say what is in there?"}


def credentials() -> str:
    """Return the directory with the credentials that systemd has for this process, "" if none."""
    return os.environ.get("CREDENTIALS_DIRECTORY", "")


def _value(letter: str) -> str | None:
    """The value of one specifier: None if there is no such, "" if it is not known here."""
    find = _VALUES.get(letter)
    return None if find is None else find(os.getuid())


def _directory(system: str, variable: str, below: str) -> Callable[[int], str]:
    """Root's directory, or where the user's environment or home has it."""
    def find(uid: int) -> str:
        if uid == 0:
            return system
        return os.environ.get(variable) or (_home(uid, below) if below else "")
    return find


def _home(uid: int, below: str) -> str:
    import pwd
    try:
        return pwd.getpwuid(uid).pw_dir + below
    except KeyError:
        return ""


def _name(uid: int) -> str:
    import pwd
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group(gid: int) -> str:
    import grp
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


_VALUES: dict[str, Callable[[int], str]] = {
    "%": lambda _: "%",
    "C": _directory(f"{paths.LOCALSTATEDIR}/cache", "XDG_CACHE_HOME", "/.cache"),
    "d": lambda _: credentials(),
    "E": _directory(paths.SYSCONFDIR, "XDG_CONFIG_HOME", "/.config"),
    "g": lambda _: _group(os.getgid()),
    "G": lambda _: str(os.getgid()),
    "h": lambda uid: _home(uid, ""),
    "t": _directory(paths.RUNSTATEDIR, "XDG_RUNTIME_DIR", ""),
    "T": lambda _: os.environ.get("TMPDIR") or "/tmp",
    "u": _name,
    "U": str,
}
