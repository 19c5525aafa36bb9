"""The environment of a program, made anew from a list before anything can read another.

The first module that each program imports (programs/): libcrypto reads OPENSSL_CONF and loads the
shared objects that it names as soon as ``hashlib`` or ``ssl`` is imported, whoever wrote it.  What
the loader and the C library obey before a program's first instruction (LD_*, GLIBC_TUNABLES,
MALLOC_*, and for a locale LOCPATH and GCONV_PATH) no program can undo; it goes no further.
"""

import os

PROXIES = ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
TERMINAL = ("TERM", "GPG_TTY")
# Whether the journal reads our standard error, and how the run ended that there is something to
# tell of (systemd.exec(5))
_SYSTEMD = ("JOURNAL_STREAM",)
_MONITOR = ("MONITOR_SERVICE_RESULT",)
# Where systemd put what LoadCredential= names, for %d
_CREDENTIALS = ("CREDENTIALS_DIRECTORY",)
# Sockets that it listens on for us (sd_listen_fds(3)), if they are for this very process
_SOCKETS = ("LISTEN_PID", "LISTEN_FDS")
_USER = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES")
# Of %-specifiers (common/specifiers.py), and not for root
_DIRECTORIES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "TMPDIR")
# What gpg, its agent and the dialogue for the passphrase need
_GPG = ("GNUPGHOME", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS",
        "PINENTRY_USER_DATA")

# What each program keeps.  The master hands on PROXIES to the client, TERMINAL to the signer
_KEPT = {"master": (*_USER, *_DIRECTORIES, *PROXIES, *TERMINAL, "NO_COLOR", *_SYSTEMD, *_MONITOR),
         "signer": (*_USER, *_DIRECTORIES, *TERMINAL, *_SYSTEMD, *_CREDENTIALS,
                    *_SOCKETS, *_GPG),
         "client": (*_USER, *PROXIES), "webserver": _USER, "dns": _USER, "tlsserver": _USER}
# They become part of the names of files that libraries read: a word, never a path
_WORDS = ("TERM", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES")


def kept(program: str) -> dict[str, str]:
    """Return an environment with what ``program``, a key of _KEPT, needs of this process's."""
    uid = os.getuid()
    variables = {"PATH": search_path(uid)}
    for name in _KEPT[program]:
        value = os.environ.get(name)
        if value is None or name in _WORDS and "/" in value or name in _DIRECTORIES and uid == 0:
            continue
        if name in _SOCKETS and os.environ.get("LISTEN_PID") != str(os.getpid()):
            continue
        variables[name] = value
    return variables


def rebuild(program: str) -> None:
    """Leave this process no other environment than that.

    Raises SystemExit if it holds a variable without a name, which cannot be removed.
    """
    variables = kept(program)
    try:
        os.environ.clear()
    except OSError:
        raise SystemExit("error: the environment holds a variable without a name") from None
    os.environ.update(variables)


def search_path(uid: int) -> str:
    """Return the PATH of a user's processes."""
    return "/usr/sbin:/usr/bin:/sbin:/bin" if uid == 0 else "/usr/bin:/bin"
