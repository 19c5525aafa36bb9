"""What the signer agrees to sign under a policy.

A request is judged by the exact set of its payload's keys, by their values and by where it goes,
never by its url alone: servers written in Go read keys in any case, fold some letters that are
no ASCII to some that are, and take the last of duplicates, so a request that they might read
differently from us must be none that we sign.  What holds without a policy stands in request.py.

The rows of ROWS are the operations.  Whatever is no row, and whatever raises an exception of
any kind, is refused.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import AbstractSet, NamedTuple

from ..common import log, names, urls
from ..common.errors import Error, ProtocolError
from ..common.wire.jsonfields import JsonObject
from ..common.wire.policy import BY_CERTIFICATE_KEY, Policy, digest
from ..common.wire.signer import Greeting
from . import inner, payloads, request
from .payloads import Asked, Names

HOUR = 3600.0       # seconds
ANY = "*"

# What has one form only: no userinfo, query, fragment, “%”, empty or dot segment (RFC 3986 §6),
# nor one that servlets take for such, which drop what follows a “;”
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:[/;]|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?\Z")


class Row(NamedTuple):
    """A kind of request: how it is known, and what has to be read in it."""

    member: str                          # of the protected header: kid or jwk (RFC 8555 §6.2)
    required: frozenset[str] | None      # keys of the payload; None: it is empty (§6.3)
    optional: frozenset[str]
    operation: str
    read: Callable[[JsonObject, Greeting], Asked]


def _row(member: str, required: str | None, optional: str, operation: str,
         read: Callable[[JsonObject, Greeting], Asked]) -> Row:
    return Row(member, None if required is None else frozenset(required.split()),
               frozenset(optional.split()), operation, read)


# The first row that fits is the request's.
ROWS = (
    _row("kid", None, "", "read", payloads.nothing),
    _row("kid", "", "", "respond", payloads.nothing),
    _row("kid", "identifiers", "replaces profile", "new-order", payloads.new_order),
    _row("kid", "csr", "", "finalize", payloads.finalize),
    _row("kid", "status", "", "deactivate", payloads.deactivate),
    _row("kid", "", "contact termsOfServiceAgreed", "account-update", payloads.account),
    _row("kid", "certificate", "reason", "revoke", payloads.revoke),
    _row("jwk", "certificate", "reason", "revoke", payloads.revoke),   # see _judge
    _row("kid", "protected payload signature", "", "key-change", payloads.jws),
    _row("jwk", "onlyReturnExisting", "contact termsOfServiceAgreed", "lookup", payloads.lookup),
    _row("jwk", "externalAccountBinding", "contact termsOfServiceAgreed",
         "external-account-binding", payloads.account),
    _row("jwk", "", "contact termsOfServiceAgreed", "register", payloads.account),
)


def find_row(header: JsonObject, payload: JsonObject | None) -> Row | None:
    """Return the row of ROWS that a request belongs to, None if it is none of them."""
    keys: AbstractSet[str] | None = None if payload is None else payload.keys()
    for row in ROWS:
        if row.member not in header or (keys is None) != (row.required is None):
            continue
        if keys is None or row.required is None \
                or row.required <= keys <= row.required | row.optional:
            return row
    return None


# --- what a policy allows ------------------------------------------------------------------

def covers(patterns: frozenset[str], kind: str, value: str) -> bool:
    """True if a canonical name is one of ``patterns``, or below one that begins with a dot."""
    if value in patterns or ANY in patterns:
        return True
    if kind == "dns" and not value.startswith("*"):
        at = value.find(".")
        while at >= 0:
            if value[at:] in patterns:
                return True
            at = value.find(".", at + 1)
    return False


def origin_within(policy: Policy, url: str) -> str:
    """Return the origin of ``url`` if it is one of the policy's, else "".

    It is compared after normalization (RFC 3986 §6.2); whether a URL may have another form than
    the canonical one is for the policy to say.
    """
    try:
        found = urls.parse(url)
    except ValueError:
        return ""
    good = policy.urls == "any" or (
        url == found.origin + found.target and _PATH.match(found.target))
    return found.origin if good and found.origin in policy.origins else ""


def _refusal(policy: Policy, why: str, setting: str) -> ProtocolError:
    """``setting`` is the one that would allow it, of the policy's section if it has one."""
    if policy.only is None:
        hint = f"setting “{setting}” of [policy {policy.name}]"
    elif setting == "origins":
        hint = "setting “origins” of [client]"
    else:
        hint = "“policy = no” in [accountd] would allow it"
    return ProtocolError(f"policy “{policy.name}”: {why} ({hint})")


def _check_url(policy: Policy, member: str, url: str) -> None:
    if origin_within(policy, url):
        return
    if origin_within(policy._replace(urls="any"), url):
        raise _refusal(policy, f"{member} is not canonical", "urls")
    raise _refusal(policy, f"{member} is of another origin than "
                           f"{', '.join(sorted(policy.origins)) or 'any'}", "origins")


def _check(policy: Policy, header: JsonObject, operation: str, asked: Asked) -> None:
    """Raise ProtocolError unless ``policy`` allows it."""
    for member in ("url", "kid"):
        if member in header:
            _check_url(policy, member, header[member])
    if operation not in policy.operations:
        raise _refusal(policy, f"{operation} is not allowed", "operations")
    for kind, value in asked.names:
        if not covers(policy.identifiers, kind, value):
            raise _refusal(policy, f"{log.printable(value, names.MAX_NAME)} is not one of its "
                                   "identifiers", "identifiers")
    if asked.profile is not None and not policy.profiles & {asked.profile, ANY}:
        raise _refusal(policy, "this profile is not one of its profiles", "profiles")
    if policy.only is None and asked.more:
        raise ProtocolError(f"policy “{policy.name}”: {asked.more}")
    if policy.only is not None and asked.document is not None \
            and digest(asked.document) not in policy.only:
        raise _refusal(policy, f"{operation} with another CSR or certificate than expected",
                       "only")


class Verdict:
    """What became of a request, for the audit log.  ``why`` is empty where it may be signed."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policy = "+".join(policy.name for policy in policies) or "none"
        self.operation = self.origin = "-"
        self.names: Names = ()
        self.why = "not judged"

    def __str__(self) -> str:
        """One line; nothing in it can look like another field, for all of it is canonical."""
        identifiers = ",".join(value for _, value in self.names) or "-"
        why = "" if not self.why else ' why="' + self.why.replace('"', "'") + '"'
        return (f"policy={self.policy} verdict={'refused' if self.why else 'allowed'} "
                f"operation={self.operation} origin={self.origin}{why} identifiers={identifiers}")


def judge(line: bytes, own: Greeting, policies: Sequence[Policy]) -> Verdict:
    """Say whether the signing input ``line`` may be signed: every policy must allow it.

    Without policies only request.py's rules hold.  Raises nothing; rates are not its business.
    """
    verdict = Verdict(policies)
    try:
        _judge(verdict, line, own, policies)
        verdict.why = ""
    except Error as exc:
        verdict.why = str(exc)
    except Exception as exc:   # whatever it is, the request gets no signature
        verdict.why = f"cannot be understood ({type(exc).__name__})"
    return verdict


def _judge(verdict: Verdict, line: bytes, own: Greeting, policies: Sequence[Policy]) -> None:
    checked = request.check(line, own)
    for policy in policies:
        verdict.origin = origin_within(policy, checked.header["url"]) or verdict.origin
    if checked.inner:
        verdict.operation = checked.inner
        for policy in policies:
            _check(policy, checked.header, checked.inner, Asked())
        return
    row = find_row(checked.header, checked.payload)
    if row is not None:
        verdict.operation = row.operation
    if policies:
        _judge_row(verdict, checked, row, own, policies)


def _judge_row(verdict: Verdict, checked: request.Request, row: Row | None, own: Greeting,
               policies: Sequence[Policy]) -> None:
    if row is None:
        raise ProtocolError("not a request that a policy knows")
    if row.operation == "revoke" and "jwk" in checked.header and not any(
            BY_CERTIFICATE_KEY in policy.operations for policy in policies):
        raise ProtocolError("this key revokes certificates as an account (kid), not as their own "
                            "key (jwk)")
    asked = row.read(checked.payload or {}, own)
    if row.operation in inner.OUTER:
        inner.OUTER[row.operation](checked.header, checked.payload or {}, own)
    verdict.names = asked.names
    for policy in policies:
        _check(policy, checked.header, row.operation, asked)


class Guard:
    """The policies of a signer, and how many requests each has allowed of late."""

    def __init__(self, policies: Sequence[Policy], now: Callable[[], float] = time.monotonic
                 ) -> None:
        # For addresses in a request, be they allowed or not; once confined it is too late
        __import__("ipaddress")
        self._policies = tuple(policies)
        self._now = now
        self._allowed: tuple[deque[float], ...] = tuple(
            deque(maxlen=policy.per_hour) for policy in policies)

    def explain(self, line: bytes, own: Greeting) -> Verdict:
        """Like the function ``judge``."""
        return judge(line, own, self._policies)

    def judge(self, line: bytes, own: Greeting) -> Verdict:
        """Like ``explain``; a request that is allowed is counted."""
        verdict = judge(line, own, self._policies)
        if not verdict.why:
            verdict.why = self._count()
        return verdict

    def _count(self) -> str:
        """Count one request, or return why there may be none."""
        now = self._now()
        for policy, allowed in zip(self._policies, self._allowed):
            if policy.per_hour and len(allowed) == policy.per_hour and now - allowed[0] < HOUR:
                return str(_refusal(policy, f"more than {policy.per_hour} requests within an "
                                            "hour", "requests-per-hour"))
        for allowed in self._allowed:
            allowed.append(now)   # the oldest falls out
        return ""


def pattern(text: str) -> str:
    """Return a setting's identifier as ``covers`` wants it; raises ValueError.

    NAME, *.NAME (that wildcard), .NAME (all names below it), an address, or * (anything).
    """
    value = text.lower()
    if text == ANY:
        return value
    if names.looks_like_address(value):
        return names.address(value)
    if not text.isascii() or not names.is_dns(value.removeprefix(".")) or value.startswith(".*"):
        raise ValueError(f"“{log.printable(text)}” is not NAME, .NAME, *.NAME or an address")
    return value
