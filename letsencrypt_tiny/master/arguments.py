"""The command line: options and words.

What is plain is read here.  Whatever else there may be, help and mistakes included, is argparse's
to judge, which takes 10 ms to load.
"""

from collections.abc import Container
from typing import TYPE_CHECKING

from .. import __version__
from ..common import log
from ..common.errors import did_you_mean

if TYPE_CHECKING:
    import argparse
    from typing import Any

VERSION = f"letsencrypt-tiny {__version__}"

# what is typed, in lower case and without hyphens -> command; others' words are understood
COMMANDS = {"account": "account", "neworder": "newOrder", "newcert": "newOrder",
            "renew": "newOrder", "issue": "newOrder", "list": "status",
            "revokecert": "revokeCert", "revoke": "revokeCert",
            "add": "add", "remove": "remove", "delete": "remove", "import": "import",
            "status": "status", "check": "check", "records": "records", "tidy": "tidy",
            "failures": "failures",
            "help": "help", "version": "version"}
# what other clients call what has another name here
ELSEWHERE = {"certonly": "add", "run": "add", "obtain": "add", "order": "newOrder",
             "register": "account --register", "unregister": "account --deactivate",
             "certificates": "status", "show": "status", "test": "check",
             "configtest": "check", "certs": "status", "migrate": "import"}
# command -> the options that it knows besides the general ones
OPTIONS: dict[str, set[str]] = {
    "account": {"register", "tos_agreed", "deactivate", "thumbprint", "ca", "contact", "orders",
                "rollover", "yes"},
    "newOrder": {"config_certs", "min_days", "force", "new_key", "dry_run", "tos_agreed", "ca",
                 "unattended"},
    "revokeCert": {"config_certs", "reason", "certificate_key", "force", "authorize", "ca"},
    "status": {"config_certs", "json", "check", "warning", "critical", "metrics"},
    "records": {"config_certs"}, "check": {"online", "json"},
    "add": {"notify", "challenge", "ca", "contact", "tos_agreed", "web_server"},
    "remove": {"purge"}, "import": {"dry_run"}, "tidy": set(), "failures": {"mail"}}

# What an option takes: nothing, or a value: of several the last counts, or all do
_FLAG, _TEXT, _NUMBER, _LIST = range(4)
# heading of the help -> its options -> what each takes, and the name of that
_GROUPS: dict[str, dict[str, tuple[int, str]]] = {
    "general options": {
        "--config": (_TEXT, "FILE"), "--socket": (_TEXT, "PATH"), "--quiet": (_FLAG, ""),
        "--debug": (_FLAG, "")},
    "add NAME ..., remove SECTION ...": {
        "--notify": (_TEXT, "COMMAND"), "--challenge": (_TEXT, "TYPE"),
        "--web-server": (_FLAG, ""), "--purge": (_FLAG, "")},
    "account [CONTACT ...]": {
        "--register": (_FLAG, ""), "--tos-agreed": (_FLAG, ""), "--contact": (_LIST, "URL"),
        "--orders": (_FLAG, ""), "--rollover": (_FLAG, ""), "--deactivate": (_FLAG, ""),
        "--yes": (_FLAG, ""), "--thumbprint": (_FLAG, ""), "--ca": (_LIST, "NAME")},
    "newOrder [SECTION ...], import CLIENT [DIRECTORY]": {
        "--config-certs": (_LIST, "FILE"), "--min-days": (_NUMBER, "DAYS"), "--force": (_FLAG, ""),
        "--new-key": (_FLAG, ""), "--dry-run": (_FLAG, ""), "--unattended": (_FLAG, "")},
    "failures": {"--mail": (_TEXT, "ADDRESS")},
    "revokeCert SECTION|FILE ...": {
        "--reason": (_TEXT, "REASON"), "--certificate-key": (_TEXT, "FILE"),
        "--authorize": (_FLAG, "")},
    "status [SECTION ...], records [SECTION ...], check [--online [NAME ...]]": {
        "--json": (_FLAG, ""), "--check": (_FLAG, ""), "--warning": (_TEXT, "DAYS"),
        "--critical": (_TEXT, "DAYS"), "--metrics": (_TEXT, "FILE"), "--online": (_FLAG, "")},
}
_KINDS = {name: kind for options in _GROUPS.values() for name, (kind, _) in options.items()}
_SHORT = {"-q": "--quiet"}


class Arguments:
    """What was given."""

    config: str | None = None
    socket: str | None = None
    reason: str | None = None
    certificate_key: str | None = None
    notify: str | None = None
    mail: str | None = None
    challenge: str | None = None
    warning: str | None = None
    critical: str | None = None
    metrics: str | None = None
    contact: list[str] | None = None
    ca: list[str] | None = None
    config_certs: list[str] | None = None
    min_days: int | None = None
    quiet = debug = register = tos_agreed = orders = rollover = deactivate = yes = False
    thumbprint = force = new_key = dry_run = authorize = json = online = help = False
    web_server = purge = check = unattended = False

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
    import shutil

    from .commands import helping
    columns = shutil.get_terminal_size().columns - 2   # as argparse has it
    follows, does = helping.COMMANDS.get(command, (
        "COMMAND [ARGUMENT ...]", "ACME client written with process isolation and minimal "
        f"privileges in mind;\nsee letsencrypt-tiny(8).\n\n{helping.listed(columns)}\n\n"
        "“letsencrypt-tiny COMMAND --help” says which of these options a command has."))
    made = argparse.ArgumentParser(
        prog="letsencrypt-tiny", allow_abbrev=False, add_help=False,
        usage=" ".join(f"letsencrypt-tiny [OPTION ...] {command} {follows}".split()),
        description=does, formatter_class=argparse.HelpFormatter if command else
        argparse.RawDescriptionHelpFormatter)
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
        made.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return made


def meant(word: str) -> str:
    """Return the command that ``word`` is another spelling of, "" if there is none."""
    return COMMANDS.get(word.lower().replace("-", "").replace("_", ""), "")


def unknown_option(text: str) -> str:
    """Say that there is no such option, and which one is spelled alike."""
    option = text.partition("=")[0]
    valid = ["--config", "--socket", "--quiet", "--debug", "--help", "--version",
             *(f"--{name.replace('_', '-')}" for name in set.union(*OPTIONS.values()))]
    return f"there is no option {log.printable(option)}{did_you_mean(option, valid)}"


def unknown_command(word: str) -> str:
    """Suggest what is spelled alike, or what other clients call so."""
    known = ELSEWHERE.get(word.lower())
    hint = f": did you mean “{known}”?" if known else did_you_mean(word, COMMANDS.values())
    return (f"there is no command “{log.printable(word)}”{hint} (valid: add, remove, account, "
            "import, newOrder, revokeCert, status, records, failures, check, tidy, help)")
