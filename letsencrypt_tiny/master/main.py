"""letsencrypt-tiny: the master.

Usage:              letsencrypt-tiny [--config=FILE] [--socket=PATH] [OPTION …] COMMAND [ARGUMENT …]
Descriptors:        0, 1, 2 only: the account and the status table on 1, messages on 2
Working directory:  any; each child is given its own
Intended user:      root, who alone reads server keys and installs certificates

The master forks and executes the signer, the ACME client and the challenge web server
after dropping root; it opens no connection to anybody.
"""

import os
import sys
from typing import TYPE_CHECKING

from ..common import encoding, log
from ..common.errors import Error, LockedError, UsageError, did_you_mean
from .arguments import VERSION, Arguments, parse, parser
from .peers import signals

if TYPE_CHECKING:
    from .settings.main import Config

# what is typed, in lower case and without hyphens -> command; others' words are understood
COMMANDS = {"account": "account", "neworder": "newOrder", "newcert": "newOrder",
            "renew": "newOrder", "issue": "newOrder", "list": "status",
            "revokecert": "revokeCert", "revoke": "revokeCert",
            "status": "status", "check": "check", "records": "records", "tidy": "tidy",
            "help": "help", "version": "version"}
# what other clients call what has another name here
ELSEWHERE = {"certonly": "newOrder", "run": "newOrder", "order": "newOrder",
             "register": "account --register", "unregister": "account --deactivate",
             "certificates": "status", "show": "status", "test": "check",
             "configtest": "check", "certs": "status"}
# command -> the options that it knows besides the general ones
OPTIONS: dict[str, set[str]] = {
    "account": {"register", "tos_agreed", "deactivate", "thumbprint", "ca", "contact", "orders",
                "rollover", "yes"},
    "newOrder": {"config_certs", "min_days", "force", "new_key", "dry_run", "tos_agreed", "ca"},
    "revokeCert": {"config_certs", "reason", "certificate_key", "force", "authorize", "ca"},
    "status": {"config_certs", "json"}, "records": {"config_certs"}, "check": {"online", "json"},
    "tidy": set()}


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        if argv is None:
            encoding.use_utf8()
        _prepare_process()
        status = _run(list(map(encoding.argument, sys.argv[1:])) if argv is None else argv)
        print(end="", flush=True)
        return status
    except Error as exc:
        if debug:
            log.trace()
        log.error(f"{exc}{_unprivileged(exc)}")
        return exc.exit_status
    except signals.Interrupted as exc:
        log.error(f"stopped by {exc}; what was not finished is taken up by the next run")
        return 1
    except OSError as exc:   # of the system's, or of whoever reads standard output
        if debug:
            log.trace()
        if not isinstance(exc, BrokenPipeError):
            log.error(f"{exc}{_unprivileged(exc)}")
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)   # what is left in the buffer
        return 1


def _unprivileged(exc: BaseException) -> str:
    """Return the advice for who lacks the right that ``exc`` is due to; "" for others."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, PermissionError):
            return "" if os.geteuid() == 0 else " (you are not root: run it as root)"
        cause = cause.__cause__ or cause.__context__
    return ""


def _prepare_process() -> None:
    """Depend on nothing of the environment that whoever started us could choose."""
    os.umask(0o022)
    for name in (0, 1, 2):
        try:
            os.fstat(name)
        except OSError:   # a closed descriptor would be taken by the first file opened
            os.open("/dev/null", os.O_RDWR)

    signals.install()


def _run(argv: list[str]) -> int:
    options, unknown = parse(argv)
    if options.help:
        return _help(options.words)
    if unknown:
        parser().error(_unknown_option(unknown[0]))
    if not options.words:
        parser().error("no command: say account, newOrder, revokeCert, status, records or check")
    word, *options.arguments = options.words
    command = _meant(word)
    if command == "help":
        return _help(options.arguments)
    if command == "version":
        print(VERSION)
        return 0
    if not command:
        parser().error(_unknown_command(word))
    for name in sorted(set.union(*OPTIONS.values()) - OPTIONS[command]):
        if getattr(options, name) not in (None, False):
            raise UsageError(f"{command} has no option --{name.replace('_', '-')}")
    log.level = log.DEBUG if options.debug else log.QUIET if options.quiet else log.NORMAL
    return _command(command, options)


def _meant(word: str) -> str:
    """Return the command that ``word`` is another spelling of, "" if there is none."""
    return COMMANDS.get(word.lower().replace("-", "").replace("_", ""), "")


def _help(words: list[str]) -> int:
    """Print what the program knows, or the command that comes first in ``words``."""
    command = _meant(words[0]) if words else ""
    if words and not command:
        parser().error(_unknown_command(words[0]))
    if command in OPTIONS:
        known = {f"--{name.replace('_', '-')}" for name in OPTIONS[command]}
        parser(command, known).print_help()
    else:
        parser().print_help()
    return 0


def _unknown_option(text: str) -> str:
    option = text.partition("=")[0]
    valid = ["--config", "--socket", "--quiet", "--debug", "--help", "--version",
             *(f"--{name.replace('_', '-')}" for name in set.union(*OPTIONS.values()))]
    return f"there is no option {log.printable(option)}{did_you_mean(option, valid)}"


def _unknown_command(word: str) -> str:
    """Suggest what is spelled alike, or what other clients call so."""
    known = ELSEWHERE.get(word.lower())
    hint = f": did you mean “{known}”?" if known else did_you_mean(word, COMMANDS.values())
    return (f"there is no command “{log.printable(word)}”{hint} "
            "(valid: account, newOrder, revokeCert, status, records, check, tidy, help)")


def _command(command: str, options: Arguments) -> int:
    from .settings import main as settings
    config = settings.load(options.config, options.socket)
    log.debug(f"read {config.file}")
    arguments: list[str] = options.arguments
    if command == "check":
        return _check(config, options)
    if command == "tidy":
        return _tidy(config, options)
    if command == "status":
        from .commands.status import status
        return status(config, arguments, options.config_certs, options.json)
    if command == "records":
        from .commands.records import records
        return records(config, arguments, options.config_certs)
    if command == "revokeCert":
        return _revoke(config, options)
    if command == "account":
        return _account(config, options)
    if options.dry_run:
        return _dry_run(config, options)
    for name in ("tos_agreed", "ca"):
        if getattr(options, name):
            raise UsageError(f"newOrder: --{name.replace('_', '-')} is for --dry-run")
    from .commands.new_order import Options, new_order
    from .settings import certificates
    if options.force and options.min_days is not None:
        raise UsageError("newOrder: --force and --min-days exclude each other")
    wanted = certificates.load(config, options.config_certs)
    with _locked(config, idle=wanted.empty and not arguments):
        return new_order(config, wanted, Options(
            arguments, -1 if options.force else options.min_days, options.new_key))


def _dry_run(config: "Config", options: Arguments) -> int:
    from .commands.dry_run import Options, dry_run
    from .settings import certificates
    if options.force or options.new_key or options.min_days is not None:
        raise UsageError("newOrder: --dry-run tries what is configured, be it due or not: leave "
                         "out --force, --min-days and --new-key")
    wanted = certificates.load(config, options.config_certs)
    with _locked(config):
        return dry_run(config, wanted, Options(
            options.arguments, options.ca[-1] if options.ca else None, options.tos_agreed))


def _tidy(config: "Config", options: Arguments) -> int:
    """Remove what a run that was killed has left: the next one would, but that may be hours away.
    """
    if options.arguments:
        raise UsageError("tidy takes no argument")
    try:
        with _locked(config):
            pass
    except LockedError as exc:
        log.info(f"{exc}: nothing of it is touched")
    return 0


def _check(config: "Config", options: Arguments) -> int:
    if options.online:
        from .commands.online import online
        with _locked(config):
            return online(config, options.arguments, options.json)
    if options.arguments or options.json:
        raise UsageError(f"check takes no {'argument' if options.arguments else 'option --json'} "
                         "without --online")
    from .commands.check import check
    return check(config)


def _revoke(config: "Config", options: Arguments) -> int:
    from .commands import revocable, revoke
    if not options.arguments:
        raise UsageError("revokeCert: name the section, or the file, of a certificate to revoke")
    wanted = revoke.Options(
        options.arguments, options.config_certs,
        None if options.reason is None else revoke.parse_reason(options.reason),
        options.certificate_key, options.force, options.authorize,
        options.ca[-1] if options.ca else None)
    if options.authorize and options.certificate_key:
        raise UsageError("revokeCert: --authorize and --certificate-key exclude each other")
    chosen = None
    if not options.force and sys.stdin.isatty() and sys.stderr.isatty():
        chosen = revoke.targets(config, wanted)   # others may run while somebody thinks
        revocable.confirm(chosen)
    with _locked(config):
        return revoke.revoke(config, wanted, chosen or revoke.targets(config, wanted))


def _account(config: "Config", options: Arguments) -> int:
    from .commands import account
    contact = [*options.arguments, *(options.contact or [])]
    given = account.Options(
        options.register, options.tos_agreed, options.deactivate,
        tuple(filter(None, contact)) if contact else None, options.orders, options.rollover,
        options.yes)
    if options.thumbprint:
        if given != account.Options():
            raise UsageError("account: --thumbprint stands alone")
        return account.thumbprint(config, options.ca)
    if options.rollover and given != account.Options(rollover=True):
        raise UsageError("account: --rollover stands alone")
    if options.yes and not options.deactivate:
        raise UsageError("account: --yes is for --deactivate")
    if options.deactivate and not options.yes:
        account.confirm(config, options.ca)
    with _locked(config):
        if options.rollover:
            from .commands.rollover import rollover
            return rollover(config, options.ca)
        return account.account(config, given, options.ca)


class _locked:
    """The lock, for the time of a with statement; what a killed run left is gone then.

    ``idle``: there is nothing to do, which a run directory that can't be used is no hindrance for.
    """

    def __init__(self, config: "Config", idle: bool = False) -> None:
        self._config = config
        self._idle = idle
        self._descriptor = -1

    def __enter__(self) -> None:
        from .responders.table import remove_stale
        from .store.lock import acquire
        try:
            self._descriptor = acquire(self._config)
        except LockedError:
            raise
        except Error as exc:
            if not self._idle:
                raise
            log.info(f"{exc} (no hindrance: there is nothing to do)")
            return
        remove_stale(self._config)
        from .store.entry import is_there
        if is_there(self._config.state_directory):
            from .store.placing import repair
            repair(self._config.state_directory)

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
