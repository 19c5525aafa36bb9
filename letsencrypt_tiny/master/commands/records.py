"""The records command: what may be published for a section, in zone-file form (RFC 1035 §5).

Nothing is published, and no network is used: the signer says which key the account has, the
journal what earlier runs learnt of the account and of the CA.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ...common import log
from ...common.errors import Error
from ...common.names import shown
from ...common.wire.policy import origin_of
from ..pki import openssl
from ..pki.keys import public_key
from ..plan import challenges, issuers
from ..plan.issuers import Issuer
from ..settings import certificates, proofs
from ..settings.certificates import Section
from ..settings.keys import written
from ..settings.main import Config
from ..store import keys
from ..store.journal import Journal
from . import due
from .asking import greeted

# What an account's URL may have in a parameter (RFC 8659 §4.2: no space, no semicolon), and in a
# quoted string without escapes
_URI = re.compile(r"https://[!#-:<-\[\]-~]{1,400}\Z")
MAX_STRING = 255    # bytes of a string in a TXT record (RFC 1035 §3.3)


class Authority(NamedTuple):
    """Who may issue: a CA, by the names it has in records, and the account there."""

    names: tuple[str, ...]   # none: not known
    account: str             # URL; "": not known


def records(config: Config, sections: Sequence[str], config_certs: Sequence[str] | None) -> int:
    """Print them on standard output; returns the exit status, 1 if something is missing.

    Raises Error if the signer can't be asked.
    """
    found = certificates.load(config, config_certs)
    if found.empty and not sections:
        log.info(found.hint)
    chosen = due.select(found, sections)
    faults = [str(fault) for fault in chosen.faults.values()]
    journal = Journal(config.state_directory)
    known = issuers.configured(config)
    authorities = {name: _authority(config, journal, known[name], faults)
                   for name in dict.fromkeys(name for section in chosen.sections
                                             for name in section.issuers)}
    groups: dict[str, list[Section]] = {}   # the other type of key adds but a digest
    for section in chosen.sections:
        groups.setdefault(written(section), []).append(section)
    for group in groups.values():
        for line in _of(config, journal, group,
                        [authorities[name] for name in group[0].issuers], faults):
            print(line)
    for fault in faults:
        log.error(fault)
    return 1 if faults else 0


def _authority(config: Config, journal: Journal, issuer: Issuer, faults: list[str]) -> Authority:
    """Find out what is known of a CA and of the account there; what isn't is a fault."""
    names = issuers.names(issuer, journal.issuers(issuer.directory))
    if not names:
        faults.append(f"{issuer.directory}: what this CA is called in records is not known (it is "
                      "after “letsencrypt-tiny account”, if its directory has caaIdentities): no "
                      "_validation-persist and no CAA")
    greeting = greeted(config, issuer)
    account = greeting.kid or journal.account(issuer.directory, greeting.thumbprint)
    if not account:
        faults.append(f"{issuer.directory}: the account's URL is not known: run “letsencrypt-tiny "
                      "account” first: no _validation-persist and no accounturi")
    elif not _is_good(account, issuer):
        faults.append(f"{issuer.directory}: the account's URL “{log.printable(account, 200)}” "
                      "is another server's, or can't be in a record: no _validation-persist and "
                      "no accounturi")
        account = ""
    return Authority(names, account)


def _is_good(account: str, issuer: Issuer) -> bool:
    """True for a URL that the CA may have, and a record: a client gone wrong may have told it."""
    try:
        return _URI.match(account) is not None and \
            origin_of(account) in (origin_of(issuer.directory), *issuer.access.origins)
    except Error:
        return False


def _of(config: Config, journal: Journal, group: Sequence[Section],
        authorities: Sequence[Authority], faults: list[str]) -> Iterator[str]:
    """Yield the lines for one section, of a key or two: of each of its CAs what is of the CA."""
    section = group[0]
    yield f"; [{log.printable(written(section))}]"
    names = [value for kind, value in section.identifiers if kind == "dns"]
    for name in dict.fromkeys(name.removeprefix("*.") for name in names):
        if name != shown(name):
            yield f"; {shown(name)}"
        for authority in authorities:
            yield from _persist(name, f"*.{name}" in names, authority)
        for wildcard in (False, True):
            if (f"*.{name}" if wildcard else name) in names:
                for authority in authorities:
                    yield from _caa(config, section, name, wildcard, authority)
    digests = [digest for member in group for digest in _digests(config, journal, member, faults)]
    yield from _tlsa(names, digests)
    yield ""


def _tlsa(names: Iterable[str], digests: Sequence[str]) -> Iterator[str]:
    """Yield the records of a section's keys (RFC 6698 §2)."""
    for name in names:
        if digests and name.startswith("*."):   # an asterisk that isn't first is none (RFC 4592)
            yield f"; the same at _443._tcp below each name that {name} is used for:"
        for digest in digests:
            record = f"_443._tcp.{name}.\tIN TLSA\t3 1 1 {digest}"
            yield record.replace("_443._tcp.*.", "; _443._tcp.NAME.")


def _persist(name: str, wildcard: bool, authority: Authority) -> Iterator[str]:
    """Yield what dns-persist-01 wants (draft-ietf-acme-dns-persist §3)."""
    policy = "; policy=wildcard" if wildcard else ""
    for issuer in authority.names if authority.account else ():
        value = f"{issuer}; accounturi={authority.account}{policy}"
        yield f"_validation-persist.{name}.\tIN TXT\t{_strings(value)}"


def _caa(config: Config, section: Section, name: str, wildcard: bool,
         authority: Authority) -> Iterator[str]:
    """Yield who may issue (RFC 8659), by which account and challenges (RFC 8657)."""
    what = ("dns", f"*.{name}" if wildcard else name)
    types = [{"stateless": "http-01"}.get(kind, kind)
             for kind in challenges.types(section, config) if proofs.proves(kind, what, config)]
    account = f"; accounturi={authority.account}" if authority.account else ""
    for issuer in authority.names:
        value = f"{issuer}{account}; validationmethods={','.join(dict.fromkeys(types))}"
        yield f"{name}.\tIN CAA\t0 {'issuewild' if wildcard else 'issue'} \"{value}\""


def _digests(config: Config, journal: Journal, section: Section,
             faults: list[str]) -> Iterable[str]:
    """Return what TLSA says of the key that there is, and of the next one if it waits already:
    DANE-EE, SubjectPublicKeyInfo, SHA-256 (RFC 6698 §2.1, RFC 7671 §5.1)."""
    from hashlib import sha256
    found: dict[str, None] = {}
    if section.in_token:
        try:
            found[sha256(public_key(config.openssl, section)).hexdigest()] = None
        except Error as exc:
            faults.append(f"{section.where}: no TLSA: {exc}")
        return found
    for path, owner in ((section.key, section.trusted), (journal.pending_key(section.key), 0)):
        try:
            descriptor = keys.open_key(path, owner)
        except FileNotFoundError:
            continue
        except Error as exc:
            faults.append(f"{section.where}: no TLSA: {exc}")
            continue
        try:
            found[sha256(openssl.public_key(config.openssl, descriptor)).hexdigest()] = None
        except Error as exc:
            faults.append(f"{section.where}: no TLSA for {path}: {exc}")
        finally:
            os.close(descriptor)
    if not found:
        faults.append(f"{section.where}: no TLSA, as there is no private key yet: run "
                      "“letsencrypt-tiny newOrder” first")
    return found


def _strings(value: str) -> str:
    """Return a value as the strings of a TXT record."""
    return " ".join(f'"{value[start:start + MAX_STRING]}"'
                    for start in range(0, len(value), MAX_STRING))
