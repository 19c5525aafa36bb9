"""Names of files are UTF-8, as the configuration is, whatever the locale of who starts a program.

Python takes the locale's encoding for them: under ISO-8859-1 a path with an umlaut would be another
one than under UTF-8, and a second key would be made there.
"""

import os
import sys


def use_utf8() -> None:
    """Start this program anew in Python's UTF-8 mode, unless names are UTF-8 already.

    Arguments in the locale's encoding arrive in UTF-8; those that are UTF-8 already as they are.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    argv = [sys.orig_argv[0], "-Xutf8", *sys.orig_argv[1:]]
    try:
        os.execv("/proc/self/exe", [_utf8(word) for word in argv])
    except OSError:
        pass   # without /proc; ASCII is the same in all of them


def _utf8(word: str) -> bytes:
    raw = os.fsencode(word)
    try:
        raw.decode("utf-8")
        return raw
    except UnicodeDecodeError:
        return word.encode("utf-8", "surrogateescape")


def argument(text: str) -> str:
    """Return an argument of the command line that is in the locale's encoding and not in UTF-8."""
    if text.isascii() or text.isprintable():
        return text
    import locale
    try:
        return os.fsencode(text).decode(locale.getencoding())
    except (UnicodeError, LookupError):
        return text
