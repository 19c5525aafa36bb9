"""The signer's command line: options, and which of them exclude each other."""

import sys
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .. import __version__
from ..common.errors import UsageError

if TYPE_CHECKING:
    from .config import Options

NAME = "letsencrypt-tiny-accountd"
USAGE = f"""\
Usage: {NAME} [OPTION]…
       {NAME} --genkey=KIND [--next | --if-none] [OPTION]…
       {NAME} --adopt-next [OPTION]…
       {NAME} --import=KEY [--dry-run] [OPTION]…
       {NAME} --explain[=FILE] [OPTION]…
Hold the account key of an ACME client, and sign what it asks for.

  --config=FILE     read FILE instead of %E/letsencrypt-tiny/accountd.conf
  --privkey=KEY     the account key: file:PATH (PEM), gpg:PATH (encrypted by gpg) or
                    pkcs11:URI (in a token)
  --socket=PATH     listen on this UNIX socket (default %t/S.letsencrypt-tiny)
  --stdio           talk to one client on the standard input and output instead
  --policy=NAME     sign only what the section [policy NAME] allows; may be repeated
  --explain         say in words what the policies allow, and end
  --explain=FILE    say which of the requests in FILE (“-”: standard input) would be
                    signed, and end
  --genkey=KIND     make a new account key where --privkey=file:PATH says, and end:
                    rsa:2048, rsa:3072, rsa:4096, ec:P-256 or ec:P-384
  --next            with --genkey: make the key that is to take its place, FILE.next
  --if-none         with --genkey: make none where there is an account key
  --adopt-next      have FILE.next take the place of FILE, which becomes FILE.old, and end
  --import=KEY      take over the account key of another client, and end: file:PATH or fd:N,
                    in PEM format or as a JSON Web Key, goes where --privkey=file:PATH says
  --dry-run         with --import: change nothing, say what would be
  --confine=MODE    auto, required or no: give up what the kernel can take
  -q, --quiet       show problems only
      --debug       show details
  -h, --help        show this
      --version     show the version

%E is /etc and %t /run for root, else ~/.config and $XDG_RUNTIME_DIR.  See {NAME}(1).
"""

_LONG = ["config=", "privkey=", "socket=", "stdio", "policy=", "explain=", "genkey=",
         "next", "if-none", "adopt-next", "import=", "dry-run", "confine=", "quiet", "debug",
         "help", "version"]


class Arguments(NamedTuple):
    """The command line."""

    options: "Options"
    stdio: bool
    genkey: str | None
    explain: str | None         # a file of requests; "" for what is configured
    debug: bool
    next: bool = False
    adopt: bool = False
    if_none: bool = False
    taken: str | None = None    # where another client's account key is
    dry_run: bool = False


def parse(argv: Sequence[str]) -> Arguments | None:
    """Parse the command line; None if it only asked for --help or --version (printed).

    Raises UsageError.
    """
    import getopt
    try:
        given, rest = getopt.gnu_getopt(list(_whole(argv)), "qh", _LONG)
    except getopt.GetoptError as exc:
        raise UsageError(f"{exc.msg} (try --help)") from exc
    if rest:
        raise UsageError(f"“{rest[0]}” is not an option (try --help)")
    values = {name.lstrip("-"): value for name, value in given}
    if "help" in values or "h" in values:
        sys.stdout.write(USAGE)
        return None
    if "version" in values:
        sys.stdout.write(f"{NAME} {__version__}\n")
        return None
    _check(values)
    from .config import Options
    return Arguments(
        Options(config=values.get("config"), privkey=values.get("privkey"),
                socket=values.get("socket"), quiet="quiet" in values or "q" in values,
                confine=values.get("confine"),
                policies=tuple(value for name, value in given if name == "--policy")),
        stdio="stdio" in values, genkey=values.get("genkey"), explain=values.get("explain"),
        debug="debug" in values, next="next" in values, adopt="adopt-next" in values,
        if_none="if-none" in values, taken=values.get("import"), dry_run="dry-run" in values)


def _whole(argv: Sequence[str]) -> Iterator[str]:
    """Give --explain its empty value where no file follows, which getopt would miss."""
    for word, following in zip(argv, [*argv[1:], "--"]):
        bare = word == "--explain" and following != "-" and following.startswith("-")
        yield "--explain=" if bare else word


def _check(values: Collection[str]) -> None:
    """Raise UsageError for options of which one makes no sense beside another, or without it."""
    for names in ("stdio", "genkey", "explain", "adopt-next", "import"), ("next", "if-none"):
        given = [f"--{name}" for name in names if name in values]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other (try --help)")
    for name, other in ("next", "genkey"), ("if-none", "genkey"), ("dry-run", "import"):
        if name in values and other not in values:
            raise UsageError(f"--{name} needs --{other} (try --help)")
