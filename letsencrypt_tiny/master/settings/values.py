"""Text -> value: the parsers that several settings share.

Each raises ValueError, with a message that goes on after “setting = value: ”.
"""

import errno
import os
import re
from collections.abc import Callable, Sequence

from ...common import accounts, inifile, specifiers, trusted
from ...common.errors import ConfigError

MAX_CONTACTS = 10

_owners: dict[str, tuple[int, int]] = {}


def open_own(path: str) -> int:
    """Return a descriptor for reading a file of ours that nobody else can change.

    Raises Error and FileNotFoundError.
    """
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return trusted.open_unchangeable(trusted.absolute(path))


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return the parser of a whole number of ``least`` … ``most``."""
    def parse(text: str) -> int:
        return inifile.integer(text, least, most)
    return parse


def optional_integer(least: int, most: int) -> Callable[[str], int | None]:
    """Return the parser of a whole number of ``least`` … ``most``, or None where there is none."""
    def parse(text: str) -> int | None:
        return inifile.integer(text, least, most) if text else None
    return parse


def optional_boolean(text: str) -> bool | None:
    """Parse yes or no, or None where there is neither."""
    return inifile.boolean(text) if text else None


def common_name(text: str) -> str:
    """Parse the common name of a CA."""
    if len(text) > 200:
        raise ValueError("it is longer than 200 characters")
    if not text.isprintable():
        raise ValueError("it holds control characters")
    return text


def choice(*valid: str) -> Callable[[str], str]:
    """Return the parser of one of the ``valid`` words."""
    def parse(text: str) -> str:
        return inifile.choice(text, valid)
    return parse


def words_of(valid: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return the parser of any number of the ``valid`` words, as in openssl's configuration.

    “critical” at the beginning is let pass, and means nothing.
    """
    def parse(text: str) -> tuple[str, ...]:
        words = split(text)
        if words and words[0] == "critical":
            del words[0]
        for word in words:
            if word not in valid:
                raise ValueError(f"“{word}” is not one of {', '.join(valid)}")
        return tuple(words)
    return parse


def split(text: str) -> list[str]:
    """Return the words between commas and white space."""
    return text.replace(",", " ").split()


def words(text: str) -> tuple[str, ...]:
    """Parse words between commas and white space, each once."""
    return tuple(dict.fromkeys(split(text)))


def profile(text: str) -> str:
    """Parse the name of a certificate profile, or nothing."""
    if text and not re.match(r"[!-~]{1,100}\Z", text):
        raise ValueError("not the name of a profile: one word")
    return text


def command(text: str) -> tuple[str, ...]:
    """Parse a command: a program, by its absolute path or its name alone, and arguments."""
    words = text.split()
    if not words or "/" in words[0] and words[0][0] not in "/%":
        raise ValueError("neither an absolute path nor the name of a program")
    return tuple(words)


def absolute(text: str) -> str:
    """Parse an absolute path, or nothing."""
    if text and not text.startswith("/"):
        raise ValueError("not an absolute path")
    return text


def file(text: str) -> str:
    """Parse the absolute path of a file that is replaced, or nothing; return it normalized."""
    if text and (not text.startswith("/") or text.endswith(("/", "/."))
                 or ".." in text.split("/")):
        raise ValueError("not the absolute path of a file")
    return text and os.path.normpath("/" + text.lstrip("/"))


def own_directory(text: str) -> str:
    """Parse the absolute path of a directory that belongs to us; return it normalized."""
    path = os.path.normpath("/" + absolute(text).lstrip("/"))
    if path == "/" or ".." in text.split("/"):
        raise ValueError("not the absolute path of a directory of its own")
    return path


def expanded(text: str) -> str:
    """Return ``text`` with its %-specifiers replaced."""
    try:
        return specifiers.expand(text)
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc


def expanded_absolute(text: str) -> str:
    """Parse an absolute path with %-specifiers, or nothing."""
    return absolute(expanded(text))


def file_names(text: str) -> tuple[str, ...]:
    """Parse names of files with %-specifiers, which are only tried here."""
    expanded(text)
    return tuple(text.split())


def contacts(text: str) -> tuple[str, ...]:
    """Parse contact URLs (RFC 8555 §7.3) between commas or spaces; an address of mail is one."""
    found = [word if ":" in word or "@" not in word else f"mailto:{word}"
             for word in split(text)]
    for word in found:
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", word) or not word.isprintable():
            raise ValueError(f"“{word}” is not a contact URL such as mailto:admin@example.org")
    if len(found) > MAX_CONTACTS:
        raise ValueError(f"more than {MAX_CONTACTS} contacts")
    return tuple(dict.fromkeys(found))


def key_identifier(text: str) -> str:
    """Return what a CA calls the key of an external account (RFC 8555 §7.3.4): a word, or nothing.
    """
    if text:
        from ...common.wire.inner import is_kid
        if not is_kid(text):
            raise ValueError("not a key identifier: letters, digits and . _ ~ + / = : @ -")
    return text


def mode(text: str) -> int:
    """Parse an octal mode without set-id or write bits for others."""
    if not re.match(r"[0-7]{1,5}\Z", text) or int(text, 8) & ~0o777:
        raise ValueError("not an octal mode such as 0644")
    if int(text, 8) & 0o002:
        raise ValueError("would let everybody write the certificate")
    return int(text, 8)


def owner(text: str) -> tuple[int, int] | None:
    """Parse ``user[:group]`` to a uid and a gid (-1 where none is given), None where it's empty."""
    if not text:
        return None
    if text not in _owners:
        import grp
        import pwd
        user, colon, group = text.partition(":")
        try:
            uid = accounts.user(lambda: pwd.getpwnam(user)).pw_uid
        except KeyError:
            raise ValueError(f"there is no user “{user}”") from None
        try:
            gid = accounts.group(lambda: grp.getgrnam(group)).gr_gid if colon else -1
        except KeyError:
            raise ValueError(f"there is no group “{group}”") from None
        _owners[text] = uid, gid
    return _owners[text]
