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

from ..common import encoding, log, output, paths, shortage
from ..common.errors import Error, LockedError, UsageError, reason
from .arguments import (OPTIONS, VERSION, Arguments, meant, parse, parser, unknown_command,
                        unknown_option)
from .peers import signals

if TYPE_CHECKING:
    from .settings.main import Config

UNKNOWN = 3   # of a monitoring system's plugin: for it 1 and 2 are of certificates


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    given = sys.argv if argv is None else argv
    debug, monitored = "--debug" in given, "--check" in given
    try:
        if argv is None:
            encoding.use_utf8()
            output.name()
        _prepare_process()
        log.use_system(paths.PROGRAM)
        status = _run(list(map(encoding.argument, sys.argv[1:])) if argv is None else argv)
        print(end="", flush=True)
        return status
    except Error as exc:
        if debug:
            log.trace()
        return _failed(_words(exc), exc.exit_status, monitored)
    except SystemExit as exc:   # argparse's, who has told
        if not monitored or exc.code != 2:
            raise
        return _failed("there are no such options (standard error has more)", 2, monitored)
    except signals.Interrupted as exc:
        log.error(f"stopped by {exc}; what was not finished is taken up by the next run")
        signals.die(exc.number)
    except OSError as exc:   # of the system's, or of whoever reads standard output
        if debug:
            log.trace()
        if shortage.is_shortage(exc):
            log.error(shortage.MESSAGE)
        elif not output.is_unread(exc):
            log.error(f"cannot go on: {reason(exc)}{_unprivileged(exc)}")
        output.forget()
        return UNKNOWN if monitored else 1


def _failed(text: str, exit_status: int, monitored: bool) -> int:
    """Tell of an error; returns the exit status: to a monitoring system nothing can be said."""
    if not monitored:
        log.error(text)
        return exit_status
    from .report.monitoring import unknown
    print(unknown(text), flush=True)
    return UNKNOWN


def _words(exc: Error) -> str:
    """Return what is to be said of what has failed all."""
    from .commands import surroundings
    return surroundings.missing() or f"{exc}{_unprivileged(exc)}"


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
    if unknown and options.words and not meant(options.words[0]):
        parser().error(unknown_command(options.words[0]))   # whose options they are
    if unknown:
        parser().error(unknown_option(unknown[0]))
    if not options.words:
        parser().error("no command: say add, remove, import, account, newOrder, revokeCert, "
                       "status, records, failures or check")
    word, *options.arguments = options.words
    command = meant(word)
    if command == "help":
        return _help(options.arguments)
    if command == "version":
        print(VERSION)
        return 0
    if not command:
        parser().error(unknown_command(word))
    for name in sorted(set.union(*OPTIONS.values()) - OPTIONS[command]):
        if getattr(options, name) not in (None, False):
            raise UsageError(f"{command} has no option --{name.replace('_', '-')}")
    log.level = log.DEBUG if options.debug else \
        log.QUIET if options.quiet or options.unattended else log.NORMAL
    return _command(command, options)


def _help(words: list[str]) -> int:
    """Print what the program knows, or the command that comes first in ``words``."""
    command = meant(words[0]) if words else ""
    if words and not command:
        parser().error(unknown_command(words[0]))
    if command in OPTIONS:
        known = {f"--{name.replace('_', '-')}" for name in OPTIONS[command]}
        parser(command, known).print_help()
    else:
        parser().print_help()
    return 0


def _command(command: str, options: Arguments) -> int:
    if command == "failures":   # a configuration that can't be read is one
        return _failures(options)
    if options.unattended:
        from .commands.unattended import unattended
        return unattended(lambda: _load(options), lambda config: _RUN[command](config, options))
    return _RUN[command](_load(options), options)


def _load(options: Arguments) -> "Config":
    from .settings import main as settings
    config = settings.load(options.config, options.socket)
    log.debug(f"read {config.file}")
    return config


def _failures(options: Arguments) -> int:
    if options.arguments:
        raise UsageError("failures takes no argument")
    from .commands.failures import failures
    return failures(options.config, options.mail)


def _status(config: "Config", options: Arguments) -> int:
    from .commands.status import Options, status
    return status(config, Options(options.arguments, options.config_certs, options.json,
                                  options.check, options.warning, options.critical,
                                  options.metrics))


def _records(config: "Config", options: Arguments) -> int:
    from .commands.records import records
    return records(config, options.arguments, options.config_certs)


def _remove(config: "Config", options: Arguments) -> int:
    from .commands.remove import remove
    return remove(config, options.arguments, options.purge)


def _new_order(config: "Config", options: Arguments) -> int:
    if options.unattended and (options.dry_run or options.arguments):
        raise UsageError("newOrder: --unattended is for all sections, and no trial")
    if options.dry_run:
        return _dry_run(config, options)
    for name in ("tos_agreed", "ca"):
        if getattr(options, name):
            raise UsageError(f"newOrder: --{name.replace('_', '-')} is for --dry-run")
    from .commands.locked import Locked
    from .commands.new_order import Options, new_order
    from .settings import certificates
    if options.force and options.min_days is not None:
        raise UsageError("newOrder: --force and --min-days exclude each other")
    wanted = certificates.load(config, options.config_certs)
    with Locked(config, idle=wanted.empty and not options.arguments):
        return new_order(config, wanted, Options(
            options.arguments, -1 if options.force else options.min_days, options.new_key))


def _dry_run(config: "Config", options: Arguments) -> int:
    from .commands.dry_run import Options, dry_run
    from .commands.locked import Locked
    from .settings import certificates
    if options.force or options.new_key or options.min_days is not None:
        raise UsageError("newOrder: --dry-run tries what is configured, be it due or not: leave "
                         "out --force, --min-days and --new-key")
    wanted = certificates.load(config, options.config_certs)
    with Locked(config):
        return dry_run(config, wanted, Options(
            options.arguments, options.ca[-1] if options.ca else None, options.tos_agreed))


def _tidy(config: "Config", options: Arguments) -> int:
    """Remove what a run that was killed has left: the next one would, but that may be hours away.
    """
    if options.arguments:
        raise UsageError("tidy takes no argument")
    from .commands.locked import Locked
    try:
        with Locked(config):
            pass
    except LockedError as exc:
        log.info(f"{exc}: nothing of it is touched")
    return 0


def _check(config: "Config", options: Arguments) -> int:
    if options.online:
        from .commands.locked import Locked
        from .commands.online import online
        with Locked(config):
            return online(config, options.arguments, options.json)
    if options.arguments or options.json:
        raise UsageError(f"check takes no {'argument' if options.arguments else 'option --json'} "
                         "without --online")
    from .commands.check import check
    return check(config)


def _revoke(config: "Config", options: Arguments) -> int:
    from .commands import revocable, revoke
    from .commands.locked import Locked
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
    with Locked(config):
        return revoke.revoke(config, wanted, chosen or revoke.targets(config, wanted))


def _account(config: "Config", options: Arguments) -> int:
    from .commands import account
    from .commands.locked import Locked
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
    with Locked(config):
        if options.rollover:
            from .commands.rollover import rollover
            return rollover(config, options.ca)
        return account.account(config, given, options.ca)


def _add(config: "Config", options: Arguments) -> int:
    from .commands import add
    return add.add(config, add.Options(
        options.arguments, options.notify, options.challenge, options.ca, options.contact,
        options.tos_agreed, options.web_server))


def _import(config: "Config", options: Arguments) -> int:
    from .commands.importing.command import import_
    return import_(config, options.arguments, options.dry_run)


_RUN = {"add": _add, "remove": _remove, "import": _import, "account": _account,
        "newOrder": _new_order, "revokeCert": _revoke, "status": _status, "records": _records,
        "check": _check, "tidy": _tidy}
