"""%-specifiers in settings and options, as systemd.unit(5) and lacme(8) have them.

======  ===========================================================================
``%C``  cache directory: /var/cache for root, else $XDG_CACHE_HOME or ~/.cache
``%E``  configuration: /etc for root, else $XDG_CONFIG_HOME or ~/.config
``%g``  name of the group;  ``%G`` its number
``%h``  home directory
``%t``  runtime directory: /run for root, else $XDG_RUNTIME_DIR (an error if unset)
``%T``  $TMPDIR or /tmp
``%u``  name of the user;  ``%U`` its number
``%%``  a percent sign
======  ===========================================================================
"""

import os
import re

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
                              "(valid: %C %E %g %G %h %t %T %u %U; write %% for a percent sign)")
        if not value:
            raise ConfigError(f"“{text}”: %{match.group(1)} has no value here "
                              "(is XDG_RUNTIME_DIR set?)")
        return value

    return re.sub(r"%(.|$)", replace, text, flags=re.S)


def _value(letter: str) -> str | None:
    """The value of one specifier: None if there is no such, "" if it is not known here."""
    uid = os.getuid()
    if letter == "%":
        return "%"
    if letter == "U":
        return str(uid)
    if letter == "G":
        return str(os.getgid())
    if letter == "T":
        return os.environ.get("TMPDIR") or "/tmp"
    if letter == "C":
        return (f"{paths.LOCALSTATEDIR}/cache" if uid == 0
                else os.environ.get("XDG_CACHE_HOME") or _home(uid, "/.cache"))
    if letter == "E":
        return (paths.SYSCONFDIR if uid == 0
                else os.environ.get("XDG_CONFIG_HOME") or _home(uid, "/.config"))
    if letter == "t":
        return paths.RUNSTATEDIR if uid == 0 else os.environ.get("XDG_RUNTIME_DIR", "")
    if letter == "h":
        return _home(uid, "")
    if letter == "u":
        return _name(uid)
    if letter == "g":
        import grp
        try:
            return grp.getgrgid(os.getgid()).gr_name
        except KeyError:
            return ""
    return None


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
