"""The command line: options and words.

What is plain is read here.  Whatever else there may be, help and mistakes included, is argparse's
to judge, which takes 10 ms to load.
"""

from typing import TYPE_CHECKING

from .. import __version__

if TYPE_CHECKING:
    import argparse

VERSION = f"letsencrypt-tiny {__version__}"
_FLAGS = {"-q": "quiet", **{f"--{name.replace('_', '-')}": name for name in (
    "quiet", "debug", "register", "tos_agreed", "orders", "rollover", "deactivate", "yes",
    "thumbprint", "force", "new_key", "dry_run", "authorize", "json", "online")}}
_TEXTS = {f"--{name.replace('_', '-')}": name for name in (
    "config", "socket", "reason", "certificate_key")}
_LISTS = {f"--{name.replace('_', '-')}": name for name in ("contact", "ca", "config_certs")}


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
    thumbprint = force = new_key = dry_run = authorize = json = online = False

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.arguments: list[str] = []    # of the command


def plain(argv: list[str]) -> Arguments | None:
    """Read a command line of words, flags and --OPTION=VALUE; None if there is anything else."""
    found = Arguments([])
    for text in argv:
        name, equals, value = text.partition("=")
        if not text.startswith("-"):
            found.words.append(text)
        elif text in _FLAGS:
            setattr(found, _FLAGS[text], True)
        elif equals and name in _TEXTS:
            setattr(found, _TEXTS[name], value)
        elif equals and name in _LISTS:
            setattr(found, _LISTS[name], [*(getattr(found, _LISTS[name]) or []), value])
        elif name == "--min-days" and value.isascii() and value.isdigit() and len(value) < 10:
            found.min_days = int(value)
        else:
            return None
    return found


def parse(argv: list[str]) -> tuple[Arguments, list[str]]:
    """Read any command line; return with it the options that there are not.

    Raises SystemExit for --help, --version and mistakes, which are told of.
    """
    found = plain(argv)
    if found is not None:
        return found, []
    options, unknown = parser().parse_known_intermixed_args(argv)
    found = Arguments(options.words)
    for name, value in vars(options).items():
        setattr(found, name, value)
    return found, unknown


def parser() -> "argparse.ArgumentParser":
    """Return what knows the usage."""
    import argparse
    made = argparse.ArgumentParser(
        prog="letsencrypt-tiny", allow_abbrev=False, add_help=False,
        usage="letsencrypt-tiny [--config=FILE] [--socket=PATH] [OPTION ...] COMMAND "
              "[ARGUMENT ...]",
        description="ACME client written with process isolation and minimal privileges in mind; "
                    "see letsencrypt-tiny(8).")
    general = made.add_argument_group("general options")
    general.add_argument("--config", metavar="FILE")
    general.add_argument("--socket", metavar="PATH")
    general.add_argument("-q", "--quiet", action="store_true")
    general.add_argument("--debug", action="store_true")
    general.add_argument("-h", "--help", action="help")
    general.add_argument("-V", "--version", action="version", version=VERSION)
    account = made.add_argument_group("account [CONTACT ...]")
    account.add_argument("--register", action="store_true")
    account.add_argument("--tos-agreed", action="store_true")
    account.add_argument("--contact", metavar="URL", action="append")
    account.add_argument("--orders", action="store_true")
    account.add_argument("--rollover", action="store_true")
    account.add_argument("--deactivate", action="store_true")
    account.add_argument("--yes", action="store_true")
    account.add_argument("--thumbprint", action="store_true")
    account.add_argument("--ca", metavar="NAME", action="append")
    order = made.add_argument_group("newOrder [SECTION ...]")
    order.add_argument("--config-certs", metavar="FILE", action="append")
    order.add_argument("--min-days", metavar="DAYS", type=int)
    order.add_argument("--force", action="store_true")
    order.add_argument("--new-key", action="store_true")
    order.add_argument("--dry-run", action="store_true")
    revoke = made.add_argument_group("revokeCert SECTION|FILE ...")
    revoke.add_argument("--reason")
    revoke.add_argument("--certificate-key", metavar="FILE")
    revoke.add_argument("--authorize", action="store_true")
    status = made.add_argument_group("status [SECTION ...], records [SECTION ...], "
                                     "check [--online [NAME ...]]")
    status.add_argument("--json", action="store_true")
    status.add_argument("--online", action="store_true")
    made.add_argument("words", metavar="COMMAND", nargs="*",
                      help="one of account, newOrder, revokeCert, status, records, check; then "
                           "what it is about")
    return made
