"""--explain: what would be signed, in words; instead of signing it.

``configured`` tells what the configuration allows, and needs no account key; ``requests`` judges
requests with the key at hand, so that each verdict is the one that its owner would get.
"""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..common import log, paths
from ..common.errors import Error
from ..common.wire.policy import OPERATIONS, ORDERING, URLS, Policy, origin_of

if TYPE_CHECKING:
    from .config import Config
    from .conversation import Signer

_WIDTH = 80
_COLUMN = 14
# What a request of each kind of OPERATIONS does
_DOES = {
    "read": "fetch orders, authorizations, certificates, the account",
    "respond": "have a challenge validated",
    "new-order": "order a certificate",
    "finalize": "have it issued",
    "lookup": "look up the account's URL",
    "register": "make an account",
    "external-account-binding": "make an account bound to an external one",
    "account-update": "change its contacts, agree to terms",
    "deactivate": "deactivate the account or an authorization",
    "revoke": "revoke a certificate",
    "key-change": "move the account to the next key"}


def configured(config: "Config") -> int:
    """Write what the policies of ``--policy``, or else all of the file's, allow.

    Returns the exit status: 1 if the account key is not there to be used, which is told.
    """
    chosen = config.policies or config.known
    lines = [config.file or "no configuration file"]
    lines += _row("account key", str(config.privkey))
    lines += _row("account", f"{config.keyid} (keyid); no client learns the public key"
                  if config.keyid else "whichever the client names (no keyid)")
    for binding in config.bindings:
        users = [f"policy {policy.name}" for policy in chosen
                 if "external-account-binding" in policy.operations]
        lines += _row("[eab]", f"{binding.kid}: a MAC by {binding.algorithm} for "
                      f"{', '.join(users) or 'no policy'}")
    if not config.policies:
        lines += _row("no --policy", "whoever reaches the account key manager may have any "
                                     "request of the "
                                     "account signed, for any name, at any CA")
    for policy in chosen:
        lines += ["", f"[policy {policy.name}]", *_policy(policy)]
    if not chosen:
        lines += ["", "There is no [policy NAME]."]
    sys.stdout.write("\n".join(lines) + "\n")
    return _check_key(config)


def _check_key(config: "Config") -> int:
    source = config.privkey
    if source.method in ("file", "gpg"):
        try:
            os.close(os.open(source.where, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
        except OSError as exc:
            log.error(f"{source}: cannot read the account key: {exc.strerror}")
            return 1
    return 0


def _policy(policy: Policy) -> Iterator[str]:
    def default(same: bool) -> str:
        return ", by default" if same else ""

    yield from _row("names", f"{'; '.join(map(_name, sorted(policy.identifiers, key=_order)))}"
                    if policy.identifiers else "none", "identifiers")
    yield from _row("CAs", ", ".join(sorted(policy.origins)), "origins" + default(
        policy.origins == {origin_of(paths.DIRECTORY_URL)}))
    yield from _row("profiles", "any" if "*" in policy.profiles else
                    ", ".join(sorted(policy.profiles)) or "none is named",
                    "profiles" + default(not policy.profiles))
    for title, allowed in ("signs", True), ("refuses", False):
        found = [f"{name} ({_DOES.get(name, name)})" for name in OPERATIONS
                 if (name in policy.operations) == allowed]
        yield from _row(title, "; ".join(found) or "nothing", "operations" + default(
            policy.operations == set(ORDERING)))
    yield from _row("requests", f"{policy.per_hour} an hour at most" if policy.per_hour else
                    "any number", "requests-per-hour")
    yield from _row("URLs", "in their one canonical form" if policy.urls == URLS[0] else
                    "in any form", "urls" + default(policy.urls == URLS[0]))


def _order(name: str) -> tuple[str, int]:
    """Each name, then those below it."""
    return name.lstrip("*."), len(name)


def _name(name: str) -> str:
    if name == "*":
        return "any name and address"
    if name.startswith("*."):
        return f"the wildcard {name}"
    if name.startswith("."):
        return f"all below {name[1:]} but wildcards"
    return name


def _row(title: str, text: str, setting: str = "") -> Iterator[str]:
    """Yield the lines of one."""
    import textwrap
    text = log.printable(f"{text} ({setting})" if setting else text, 1 << 20)
    yield from textwrap.wrap(text, _WIDTH, initial_indent=f"  {title:{_COLUMN - 2}}",
                             subsequent_indent=" " * _COLUMN, break_long_words=False,
                             break_on_hyphens=False)


def requests(path: str, config: "Config", signer: "Signer") -> int:
    """Judge the signing inputs in the file at ``path``, or of the standard input if it is “-”.

    Returns the exit status: 1 if one would be refused.  Raises Error.
    """
    from ..common.wire.signer import MAX_REQUEST
    from .policy import judge
    status = 0
    try:
        with open(0 if path == "-" else path, "rb") as file:
            for number, line in enumerate(file, 1):
                verdict = judge(line.rstrip(b"\r\n"), signer.greeting, config.policies)
                sys.stdout.write(f"{number}: {log.printable(verdict, MAX_REQUEST)}\n")
                status = 1 if verdict.why else status
    except OSError as exc:
        raise Error(f"--explain={path}: {exc.strerror}") from exc
    return status
