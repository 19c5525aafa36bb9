"""Certification Authority Authorization (RFC 8659), as far as a CA, an account and a challenge
go (RFC 8657).  Pure functions; what the records hold is whoever's that has the zone.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...common.log import printable

_CRITICAL = 0x80      # the Issuer Critical Flag (RFC 8659 §4.1)
# Properties that a CA need not obey, but knows: they may be critical
_KNOWN = ("issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone")

# §4.2: issue-value
_NAME = r"[A-Za-z0-9](?:-*[A-Za-z0-9])*"
_ISSUER = re.compile(rf"[ \t]*((?:{_NAME}(?:\.{_NAME})*)?)[ \t]*\Z")
_PARAMETER = re.compile(rf"[ \t]*({_NAME})[ \t]*=[ \t]*([\x21-\x3A\x3C-\x7E]*)[ \t]*\Z")

_MOMENT = re.compile(r"[0-9]{1,15}\Z")


class Property(NamedTuple):
    """One CAA record."""

    flags: int
    tag: str       # in lower case (§4.1)
    value: str


class Permission(NamedTuple):
    """What an issue-value says: who may, and with which parameters."""

    issuer: str                        # "": nobody
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """Return the value of a parameter; None if there is none."""
        return next((value for key, value in self.parameters if key == name), None)


class Wanted(NamedTuple):
    """Who is to be let in."""

    identities: tuple[str, ...]        # of the CA (meta.caaIdentities, RFC 8555 §7.1.1)
    wildcard: bool
    method: str                        # the challenge
    account: str                       # its URL, "" if it isn't known


class Judgement(NamedTuple):
    """What the records mean for who wants in."""

    verdict: str                       # ok, warning, error
    text: str
    remedy: str = ""


def climb(name: str, ask: Callable[[str], Sequence[Property]]) -> tuple[str, Sequence[Property]]:
    """Return the name whose records are the relevant ones, and them (§3); "" and none if none.

    ``ask`` returns the records of one name; what it raises comes out of here.
    """
    labels = name.removeprefix("*.").split(".")
    for count in range(len(labels)):
        here = ".".join(labels[count:])
        found = ask(here)
        if found:
            return here, found
    return "", ()


def parse(value: str) -> Permission | None:
    """Take an issue-value (§4.2) apart; None if it is malformed, and so lets nobody in."""
    first, *rest = value.split(";")
    match = _ISSUER.match(first)
    if match is None:
        return None
    parameters: list[tuple[str, str]] = []
    if rest and not rest[-1].strip(" \t"):
        rest.pop()
    for part in rest:
        found = _PARAMETER.match(part)
        if found is None:
            return None
        parameters.append((found.group(1), found.group(2)))
    return Permission(match.group(1).lower(), tuple(parameters))


def judge(wanted: Wanted, owner: str, records: Sequence[Property]) -> Judgement:
    """Say whether the relevant records, those of ``owner``, let issue what is wanted."""
    if not records:
        return Judgement("ok", "no CAA record: every CA may issue")
    unknown = [record.tag for record in records
               if record.flags & _CRITICAL and record.tag not in _KNOWN]
    if unknown:
        return Judgement("error", f"the CAA record “{printable(unknown[0], 50)}” of {owner} is "
                         "critical, and no CA knows it", "remove it, or its flag 128")
    tag = "issuewild" if wanted.wildcard and any(
        record.tag == "issuewild" for record in records) else "issue"
    values = [record.value for record in records if record.tag == tag]
    if not values:
        return Judgement("ok", f"the CAA records of {owner} restrict nobody")
    if not wanted.identities:
        return Judgement("warning", f"the CAA records of {owner} let in {_list(values)}; the CA "
                         "does not tell its names (caaIdentities), so see whether it is that")
    best = min((_judge_one(wanted, owner, parse(value)) for value in values),
               key=lambda item: ("ok", "warning", "error").index(item.verdict))
    return best if best.verdict != "error" else _why(wanted, owner, tag, values)


def _judge_one(wanted: Wanted, owner: str, permission: Permission | None) -> Judgement:
    if permission is None or permission.issuer not in wanted.identities:
        return Judgement("error", "")
    names = [name for name, _ in permission.parameters]
    account, methods = permission.get("accounturi"), permission.get("validationmethods")
    if len(names) != len(set(names)):   # RFC 8657 §3: twice is never
        return Judgement("error", "")
    if methods is not None and wanted.method not in methods.split(","):
        return Judgement("error", "")
    if account is not None and not wanted.account:
        return Judgement("warning", f"the CAA record of {owner} lets in {permission.issuer} with "
                         f"the account {printable(account, 200)}, and it is not known here which "
                         "is ours", "compare it with what “letsencrypt-tiny account” prints")
    if account is not None and account != wanted.account:
        return Judgement("error", "")
    return Judgement("ok", f"the CAA record of {owner} lets in {permission.issuer}" + (
        ", this account" if account is not None else "") + (
        f", {wanted.method}" if methods is not None else ""))


def _why(wanted: Wanted, owner: str, tag: str, values: Sequence[str]) -> Judgement:
    """Say what keeps us out, and which record would let us in."""
    here, ours = f"the CAA record of {owner}", wanted.identities[0]
    text, more = f"the CAA records of {owner} let in {_list(values)}, not this CA", ""
    for found in filter(None, map(parse, values)):
        if found.issuer not in wanted.identities:
            continue
        ours, methods = found.issuer, found.get("validationmethods")
        account = found.get("accounturi")
        if methods is not None and wanted.method not in methods.split(","):
            text = f"{here} lets in {ours} by {printable(methods, 100)}, not by {wanted.method}"
            more = ", or set another “challenge”"
        elif account is not None and account != wanted.account:
            text = f"{here} lets in another account of {ours}: {printable(account, 200)}"
        else:
            text = f"{here} has a parameter twice, and so lets in nobody (RFC 8657 §3)"
    return Judgement("error", text, f'add {owner}. CAA 0 {tag} "{ours}"{more}')


def persists(wanted: Wanted, owner: str, texts: Sequence[str], now: int) -> Judgement:
    """Say whether a TXT record of dns-persist-01 lets the CA's account issue at ``now``."""
    account = wanted.account or "URL OF THE ACCOUNT"
    record = f"{(wanted.identities or ('NAME OF THE CA',))[0]}; accounturi={account}" + (
        "; policy=wildcard" if wanted.wildcard else "")
    if any(_lasts(wanted, found, now) for found in filter(None, map(parse, texts))):
        if not wanted.account or not wanted.identities:
            return Judgement("warning", f"{owner} has a record, and it is not known here whether "
                             "that is for our account", "see “letsencrypt-tiny account”")
        return Judgement("ok", f"{owner} has the record for this account")
    return Judgement("error", f"{owner} has no TXT record that lets this account issue",
                     f'add {owner}. TXT "{record}"')


def _lasts(wanted: Wanted, found: Permission, now: int) -> bool:
    """Say whether a record of dns-persist-01 is for us, as far as is known here."""
    account, until = found.get("accounturi"), found.get("persistUntil")
    if account is None or wanted.account not in ("", account) \
            or wanted.identities and found.issuer not in wanted.identities:
        return False
    if wanted.wildcard and (found.get("policy") or "").lower() != "wildcard":
        return False
    return until is None or bool(_MOMENT.match(until)) and int(until) > now


def _list(values: Sequence[str]) -> str:
    issuers = {found.issuer or "nobody" if found is not None else "nobody (malformed)"
               for found in map(parse, values)}
    if len(issuers) > 1:
        issuers.discard("nobody")
    return printable(", ".join(sorted(issuers)), 200)
