"""The revokeCert command (RFC 8555 §7.6)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ...common import log, trusted
from ...common.errors import ConfigError, Error, UsageError
from ...common.names import Identifier
from ...common.wire.order import Failed, Revocation, Revoked
from ..plan import issuers
from ..plan.issuers import Issuer
from ..plan.orders import OrderPlan
from ..settings import choice
from ..settings.main import Config
from ..store.journal import Journal
from .asking import ask
from .proving import proof
from .revocable import Target, choose

# RFC 5280 §5.3.1; those a subscriber may choose at public CAs are the first four
REASONS = {"unspecified": 0, "keyCompromise": 1, "superseded": 4, "cessationOfOperation": 5,
           "affiliationChanged": 3, "privilegeWithdrawn": 9}
_COMPROMISE = REASONS["keyCompromise"]
# problem (§6.7) -> what would help
_REMEDIES = {
    "badRevocationReason": "choose another --reason",
    "unauthorized": "another account has it: sign with its own key (--certificate-key=FILE), or "
    "prove that its names are ours (--authorize)"}


class Options(NamedTuple):
    """The options of the revokeCert command."""

    arguments: Sequence[str]                     # sections and files
    config_certs: Sequence[str] | None = None
    reason: int | None = None
    key: str | None = None     # path of the certificates' private key, to sign with
    force: bool = False        # whosever it is
    authorize: bool = False    # by an account that proves that the names are ours
    ca: str | None = None      # that has issued them

    @property
    def anything(self) -> bool:
        """Whether it doesn't matter whose a certificate is: who has its key may revoke it."""
        return self.force or self.key is not None


def targets(config: Config, options: Options) -> list[Target]:
    """Return what is to be revoked; see ``choose``."""
    return choose(config, options.arguments, options.config_certs, options.anything)


def revoke(config: Config, options: Options, chosen: Sequence[Target]) -> int:
    """Revoke what was ``chosen``, with one conversation for each CA; returns the exit status.

    It is written down before the CA is asked: whatever is killed, the sections that it is
    installed for are due, and no key that was compromised is used again.
    """
    by_issuer: dict[Issuer, list[Target]] = {}
    for target in chosen:
        by_issuer.setdefault(_issuer(config, options, target), []).append(target)
    wanted = {target.name: proof(config, issuer, *target) for issuer, mine in by_issuer.items()
              for target in mine} if options.authorize else {}
    status = 0
    for issuer, mine in by_issuer.items():
        try:
            status |= _revoke(config, options, issuer, mine, wanted)
        except ConfigError:
            raise
        except Error as exc:
            if len(by_issuer) == 1:
                raise
            log.error(f"{', '.join(target.name for target in mine)}: {exc}")
            status = 1
    return status


def _revoke(config: Config, options: Options, issuer: Issuer, chosen: Sequence[Target],
            wanted: Mapping[str, OrderPlan]) -> int:
    requests = [Revocation(target.name, target.certificate.der, options.reason,
                           options.key is not None, *_asked(wanted.get(target.name)))
                for target in chosen]
    mine = {target.name: wanted[target.name] for target in chosen if target.name in wanted}
    left = {target.name: target for target in chosen}
    descriptor = None if options.key is None else _open(options.key)
    note = _Note(config, options.reason == _COMPROMISE)
    note.take(chosen)
    status = 0
    try:
        for answer in ask(config, requests, descriptor, issuer, mine):
            if isinstance(answer, Revoked):
                _tell(left.pop(answer.section), note.compromised)
            elif isinstance(answer, Failed):
                remedy = _REMEDIES.get(answer.type or "") if not (
                    options.key or options.authorize) else None
                log.error(f"{answer.section}: {answer.message}{f'; {remedy}' if remedy else ''}")
                status = 1
    finally:
        note.take_back(left.values())
        if descriptor is not None:
            os.close(descriptor)
    return status


def _issuer(config: Config, options: Options, target: Target) -> Issuer:
    """Return the CA that has issued a certificate, as far as it is known.  Raises UsageError."""
    known = issuers.configured(config)
    if options.ca is not None:
        try:
            return known[choice.resolve(config, options.ca)]
        except ValueError as exc:
            raise UsageError(f"--ca: {exc}") from exc
    if target.section is None:
        return known[""]
    issued_by = Journal(config.state_directory).section(target.section.name).issuer
    return issuers.of_directory(config, issued_by) if issued_by else known[target.section.issuer]


def _asked(proof: OrderPlan | None) -> tuple[tuple[Identifier, ...], tuple[str, ...]]:
    return ((), ()) if proof is None else (proof.section.identifiers, proof.challenges)


def _open(key: str) -> int:
    try:
        return trusted.open_file(trusted.absolute(key))
    except OSError as exc:
        raise Error(f"{key}: cannot read the key: {exc.strerror}") from exc


def _tell(target: Target, compromised: bool) -> None:
    installed = target.section is not None
    log.info(f"{target.name}: revoked" + (
        " (the next newOrder replaces it, with a new key)" if installed and compromised else
        " (the next newOrder replaces it)" if installed else ""))


class _Note:
    """What the journal has of a revocation."""

    def __init__(self, config: Config, compromised: bool) -> None:
        self.compromised = compromised
        self._journal = Journal(config.state_directory)
        self._before = self._journal.revoked().certificates

    def take(self, chosen: Iterable[Target]) -> None:
        """The sections that have them are due; so are all with a key that was compromised."""
        try:
            for target in chosen:
                self._journal.remember_revoked(
                    target.certificate.der,
                    target.certificate.spki if self.compromised else None)
        except Error as exc:
            log.warning(f"{exc}: newOrder will not know what is revoked")

    def take_back(self, chosen: Iterable[Target]) -> None:
        """They are not revoked; a key that was compromised stays so."""
        from hashlib import sha256
        for target in chosen:
            if self.compromised:
                log.warning(f"{target.name}: it is not revoked; its key is not used again all the "
                            "same: the next newOrder makes another")
            if sha256(target.certificate.der).hexdigest() in self._before:
                continue
            try:
                self._journal.forget_revoked(target.certificate.der)
            except Error as exc:
                log.warning(f"{exc}: the next newOrder takes {target.name} for revoked")


def parse_reason(text: str) -> int:
    """Return the code of a revocation reason given by name or number; raises UsageError."""
    names = {name.lower(): code for name, code in REASONS.items()}
    if text.lower() in names:
        return names[text.lower()]
    if text.isascii() and text.isdigit() and int(text) in REASONS.values():
        return int(text)
    known = ", ".join(f"{name} ({code})" for name, code in REASONS.items())
    raise UsageError(f"--reason={text}: not one of {known}")
