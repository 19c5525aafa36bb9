"""The account key manager ("signer"): signs ACME requests, shows nobody the key.

    letsencrypt-tiny-accountd [--config=FILE] [--privkey=KEY] [--socket=PATH | --stdio] …
    letsencrypt-tiny-accountd --genkey=KIND [--next | --if-none]
    letsencrypt-tiny-accountd --adopt-next
    letsencrypt-tiny-accountd --import=KEY [--dry-run]
    letsencrypt-tiny-accountd --explain[=FILE] [--policy=NAME] …

Runs as any user that may read the account key, on any host; the master starts it as
_letsencrypt-accountd.  Its working directory is where relative paths begin.

* With --stdio it holds one conversation (common/wire/signer.py) on descriptors 0 and 1:
  the same socket, two pipes, an ssh channel.  Nothing else is ever written to 1.  The end of
  its input, or SIGTERM, ends it with status 0, a refused request or a lost client with 1.
  SIGINT is the master's business.
* Else it listens on a UNIX socket, until SIGINT or SIGTERM end it with status 0: one that it makes
  and removes, or those of LISTEN_FDS and LISTEN_PID (sd_listen_fds(3)), from descriptor 3 on.
* $CREDENTIALS_DIRECTORY is %d in settings and options.
* --privkey=fd:N reads the key, --policy=fd:N a policy (common/wire/policy.py) from the
  inherited descriptor N, and closes it.
* --explain writes to 1 what the policies allow; with a file it reads signing inputs, a line each,
  and writes what it would do with them.
* Standard error: messages.
* Status 1: it can't do its work (the key, the socket); 2: usage or configuration.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..common import encoding, log
from ..common.errors import ConfigError, Error
from ..common.wire.signer import Greeting, NextKey
from .arguments import Arguments, parse

if TYPE_CHECKING:
    import socket

    from ..common.sandbox import confine
    from .config import Config
    from .conversation import Signer

MEMORY = 256 << 20   # bytes; a policy for a million names takes 130 MB
FILES = 32           # descriptors, connections not counted


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status.  Raises SystemExit(0) on a signal."""
    try:
        if argv is None:
            encoding.use_utf8()
            argv = list(map(encoding.argument, sys.argv[1:]))
        _occupy_standard_descriptors()
        log.use_system("letsencrypt-tiny-accountd")
        arguments = parse(argv)
        if arguments is None:
            return 0
        config = _configure(arguments)
        if arguments.genkey is not None:
            from . import genkey
            if arguments.if_none and genkey.exists(config.privkey):
                return 0
            return genkey.generate(arguments.genkey, config.privkey, arguments.next)
        if arguments.adopt:
            from . import genkey
            return genkey.adopt(config.privkey)
        if arguments.taken is not None:
            from . import taking
            return taking.take(arguments.taken, config.privkey, arguments.dry_run)
        if arguments.explain is not None:
            from . import explaining
            if not arguments.explain:
                return explaining.configured(config)
            return explaining.requests(arguments.explain, config, _load_key(config, True))
        if arguments.stdio:
            return _serve_stdio(config, _load_key(config, True))
        listeners = _inherited(arguments)
        return _serve_socket(config, _load_key(config, False), listeners)
    except Error as exc:
        log.error(exc)
        if log.level >= log.DEBUG:
            log.trace()
        return exc.exit_status
    except KeyboardInterrupt:
        log.error("interrupted")
        return 1


def _occupy_standard_descriptors() -> None:
    """Have descriptors 0 to 2 taken: a log file must never become the client's."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _configure(arguments: Arguments) -> "Config":
    """Read the configuration, open the log file, set what is shown."""
    from .config import read
    if arguments.debug:
        log.level = log.DEBUG
    config = read(arguments.options)
    if config.quiet and not arguments.debug:
        log.level = log.QUIET
    log.debug(f"configuration: {config.file or 'none'}")
    if config.logfile:
        try:
            log.open_logfile(config.logfile)
        except OSError as exc:
            raise ConfigError(f"{config.file}: logfile = {config.logfile}: cannot open it: "
                              f"{exc.strerror}") from exc
    return config


def _load_key(config: "Config", stdio: bool) -> "Signer":
    """The passphrase is asked for, and gpg runs, in here; ``stdio``: 0 is not gpg's."""
    from . import account_key, keyfile, nextkey
    from .conversation import Signer
    if config.privkey.method == "pkcs11":
        from . import token
        key = token.load(str(config.privkey))
    else:
        text = keyfile.read(config.privkey, config.gpg, inherit_stdin=not stdio)
        key = account_key.load(text, str(config.privkey), keyfile.ask_passphrase)
    log.debug(f"account key: {key.kind}, thumbprint {key.thumbprint}")
    guard = None
    if config.policies:
        from .policy import Guard
        guard = Guard(config.policies)
    following = None if config.keyid else nextkey.load(   # which keeps the key as it is
        config.privkey, config.gpg, inherit_stdin=not stdio)
    greeting = Greeting(
        key.alg, key.jwk, key.thumbprint, config.keyid, refusals=True,
        bindings=tuple((binding.kid, binding.algorithm) for binding in config.bindings),
        next=NextKey(following.alg, following.jwk, following.thumbprint) if following else None)
    return Signer(greeting, key.sign, guard, following.sign if following else None,
                  {binding.kid: binding.mac for binding in config.bindings})


def _serve_stdio(config: "Config", signer: "Signer") -> int:
    from .conversation import ENDING, converse
    # There is nothing to clean up; an exception would be lost in whatever finalizer it came into
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # ^C reaches every process on the terminal; the master goes on until its work is in order
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout = sys.stderr  # nothing but the protocol on descriptor 1
    try:
        # Passphrases were asked for.  Who has root's terminal can type on it (TIOCSTI).
        os.setsid()
    except PermissionError:
        pass  # not the master's child, but started by whoever has the terminal
    _warm_up()
    _confine(confinement(config.confine))
    done = converse(signer)
    # Neither a traceback of the interpreter's end nor another status than the conversation's
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    return 0 if done else 1


def _inherited(arguments: Arguments) -> "list[socket.socket]":
    """Return the sockets that systemd listens on for us; an option --socket counts for more."""
    if "LISTEN_FDS" not in os.environ:
        return []
    from . import inherited
    listeners = inherited.take()
    if not listeners or arguments.options.socket is None:
        return listeners
    log.warning(f"not served, because of --socket: {inherited.names(listeners)}")
    for listener in listeners:
        listener.close()
    return []


def _serve_socket(config: "Config", signer: "Signer", listeners: "list[socket.socket]"
                  ) -> NoReturn:
    from . import room, server, workers
    from .config import expand
    from .place import Place
    path = "" if listeners else expand("socket", config.socket)
    token = config.privkey.method == "pkcs11"
    _warm_up()

    def confine_mate() -> None:
        for listener in listeners:
            listener.close()
        _confine(confinement(config.confine))

    mates = workers.start(signer, workers.count(signer.greeting.alg, token), confine_mate)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    limit = room.limit(server.MAX_CONNECTIONS, FILES + len(listeners))
    if listeners:
        from . import inherited
        serving = server.Server(listeners, signer, mates, not token, limit)
        _confine(confinement(config.confine, None, limit + len(listeners)))
        log.info(f"listening on {inherited.names(listeners)} (inherited)")
        serving.serve()
    with Place(path) as place:
        serving = server.Server([place.listener], signer, mates, not token, limit)
        _confine(confinement(config.confine, place.path, limit))
        log.info(f"listening on {place.path}")
        place.unblock()
        serving.serve()


def confinement(mode: str, socket: str | None = None, connections: int = 0) -> "confine.Plan":
    """What is left to the signer: the key in its memory, who it talks to on as many
    ``connections``, and the removal of its ``socket``, if it has made one.

    No thread and no process: those that sign for it are there already, confined as with --stdio.
    """
    from ..common.sandbox import confine
    return confine.Plan(
        name="accountd", mode=mode, network=False, lock_memory=True, listen=connections > 0,
        files=FILES + connections, processes=0, memory=MEMORY,
        remove=(os.path.dirname(socket),) if socket is not None else ())


def _warm_up() -> None:
    """Load what is too late to load once the process is confined."""
    from ..common import urls
    from ..common.sandbox import confine
    confine.warm_up()
    urls.parse("https://[::1]")   # what reads an address
    log.prepare_system()
    log.prepare_trace()           # for a conversation that fails


def _confine(plan: "confine.Plan") -> None:
    from ..common.sandbox import confine
    log.debug("confined: " + ", ".join(confine.enter(plan)))


def _end(signum: int, frame: Any) -> NoReturn:
    from .conversation import ENDING
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)   # once is enough
    raise SystemExit(0)
