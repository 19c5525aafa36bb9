"""The command line: options and words.

What is plain is read here.  Whatever else there may be, help and mistakes included, is argparse's
to judge, which takes 10 ms to load.
"""

from collections.abc import Container
from typing import TYPE_CHECKING

from .. import __version__

if TYPE_CHECKING:
    import argparse
    from typing import Any

VERSION = f"letsencrypt-tiny {__version__}"
# What an option takes: nothing, or a value: of several the last counts, or all do
_FLAG, _TEXT, _NUMBER, _LIST = range(4)
# heading of the help -> its options -> what each takes, and the name of that
_GROUPS: dict[str, dict[str, tuple[int, str]]] = {
    "general options": {
        "--config": (_TEXT, "FILE"), "--socket": (_TEXT, "PATH"), "--quiet": (_FLAG, ""),
        "--debug": (_FLAG, "")},
    "account [CONTACT ...]": {
        "--register": (_FLAG, ""), "--tos-agreed": (_FLAG, ""), "--contact": (_LIST, "URL"),
        "--orders": (_FLAG, ""), "--rollover": (_FLAG, ""), "--deactivate": (_FLAG, ""),
        "--yes": (_FLAG, ""), "--thumbprint": (_FLAG, ""), "--ca": (_LIST, "NAME")},
    "newOrder [SECTION ...]": {
        "--config-certs": (_LIST, "FILE"), "--min-days": (_NUMBER, "DAYS"), "--force": (_FLAG, ""),
        "--new-key": (_FLAG, ""), "--dry-run": (_FLAG, "")},
    "revokeCert SECTION|FILE ...": {
        "--reason": (_TEXT, "REASON"), "--certificate-key": (_TEXT, "FILE"),
        "--authorize": (_FLAG, "")},
    "status [SECTION ...], records [SECTION ...], check [--online [NAME ...]]": {
        "--json": (_FLAG, ""), "--online": (_FLAG, "")},
}
_KINDS = {name: kind for options in _GROUPS.values() for name, (kind, _) in options.items()}
_SHORT = {"-q": "--quiet"}


class Arguments:
    """What was given."""

    config: str | None = None
    socket: str | None = None
    reason: str | None = None
    certificate_key: str | None = None
    contact: list[str] | None = None
    ca: list[str] | None = None
    config_certs: list[str] | None = None
    min_days: int | None = None
    quiet = debug = register = tos_agreed = orders = rollover = deactivate = yes = False
    thumbprint = force = new_key = dry_run = authorize = json = online = help = False

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.arguments: list[str] = []    # of the command


def plain(argv: list[str]) -> Arguments | None:
    """Read a command line of words, flags and --OPTION=VALUE; None if there is anything else."""
    found = Arguments([])
    for text in argv:
        name, equals, value = _SHORT.get(text, text).partition("=")
        kind = _KINDS.get(name)
        field = name[2:].replace("-", "_")
        if not text.startswith("-"):
            found.words.append(text)
        elif kind is None or (kind == _FLAG) == bool(equals):
            return None
        elif kind == _FLAG:
            setattr(found, field, True)
        elif kind == _TEXT:
            setattr(found, field, value)
        elif kind == _LIST:
            setattr(found, field, [*(getattr(found, field) or []), value])
        elif value.isascii() and value.isdigit() and len(value) < 10:
            setattr(found, field, int(value))
        else:
            return None
    return found


def parse(argv: list[str]) -> tuple[Arguments, list[str]]:
    """Read any command line; return with it the options that there are not.

    Raises SystemExit for --version and mistakes, which are told of.
    """
    found = plain(argv)
    if found is not None:
        return found, []
    options, unknown = parser().parse_known_intermixed_args(argv)
    found = Arguments(options.words)
    for name, value in vars(options).items():
        setattr(found, name, value)
    return found, unknown


def _spellings(name: str) -> list[str]:
    return [*(letter for letter, meant in _SHORT.items() if meant == name), name]


def _keywords(kind: int, value: str) -> "dict[str, Any]":
    """What argparse has to know of an option."""
    if kind == _FLAG:
        return {"action": "store_true"}
    return {"metavar": value, "type": int if kind == _NUMBER else str,
            "action": "append" if kind == _LIST else "store"}


def parser(command: str = "", known: Container[str] | None = None) -> "argparse.ArgumentParser":
    """Return what knows the usage: of all, or of ``command``, which has the options ``known``."""
    import argparse

    from .commands import helping
    follows, does = helping.COMMANDS.get(command, ("COMMAND [ARGUMENT ...]", ""))
    made = argparse.ArgumentParser(
        prog="letsencrypt-tiny", allow_abbrev=False, add_help=False,
        usage=f"letsencrypt-tiny [OPTION ...] {command} {follows}".replace("  ", " "),
        description=does or "ACME client written with process isolation and minimal privileges in "
                            "mind; see letsencrypt-tiny(8).")
    special = made.add_argument_group("its options") if command else made
    for heading, options in _GROUPS.items():
        general = "--debug" in options
        group = made.add_argument_group(heading) if general or not command else special
        for name, (kind, value) in options.items():
            if known is not None and not general and name not in known:
                continue
            group.add_argument(*_spellings(name), help=helping.option(command, name),
                               **_keywords(kind, value))
        if general:
            group.add_argument("-h", "--help", action="store_true",
                               help=helping.option(command, "--help"))
            group.add_argument("-V", "--version", action="version", version=VERSION,
                               help=helping.option(command, "--version"))
    if not command:
        made.add_argument("words", metavar="COMMAND", nargs="*",
                          help="one of account, newOrder, revokeCert, status, records, check, tidy "
                               "and what it is about; --help after it says more")
    return made
