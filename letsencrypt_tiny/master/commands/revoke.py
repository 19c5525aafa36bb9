"""The revokeCert command (RFC 8555 §7.6)."""

import os
from collections.abc import Sequence

from ...common import log, trusted
from ...common.clock import when
from ...common.errors import Error, UsageError
from ...common.wire.order import Failed, Revocation, Revoked
from ...common.x509.certificate import Certificate
from ..settings.main import Config
from ..store.installed import read_certificate
from ..store.journal import Journal
from .asking import ask

# RFC 5280 §5.3.1; those a subscriber may choose at public CAs are the first four
REASONS = {"unspecified": 0, "keyCompromise": 1, "superseded": 4, "cessationOfOperation": 5,
           "affiliationChanged": 3, "privilegeWithdrawn": 9}
_COMPROMISE = REASONS["keyCompromise"]


def revoke(config: Config, files: Sequence[str], reason: int | None, key: str | None) -> int:
    """Revoke the certificates in ``files``, all with one conversation; returns the exit status.

    ``key`` is the path of the certificates' private key, to sign with instead of the
    account's.
    """
    certificates = {file: _read(file) for file in dict.fromkeys(files)}
    requests = [Revocation(file, certificate.der, reason, key is not None)
                for file, certificate in certificates.items()]
    descriptor = None
    if key is not None:
        try:
            descriptor = trusted.open_file(trusted.absolute(key))
        except OSError as exc:
            raise Error(f"{key}: cannot read the key: {exc.strerror}") from exc
    status = 0
    try:
        for answer in ask(config, requests, descriptor):
            if isinstance(answer, Revoked):
                log.info(f"{answer.section}: revoked (the next newOrder replaces it" + (
                    ", with a new key)" if reason == _COMPROMISE else ")"))
                _remember(config, certificates[answer.section], reason == _COMPROMISE)
            elif isinstance(answer, Failed):
                log.error(f"{answer.section}: {answer.message}")
                status = 1
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return status


def _read(file: str) -> Certificate:
    try:
        # whose directory it is in is for the administrator to judge, who is shown what it is
        certificate = read_certificate(trusted.absolute(file), anybody=True)
    except OSError as exc:
        raise Error(f"{file}: cannot read the certificate: {exc.strerror}") from exc
    log.info(f"revoking {file}: serial {certificate.serial.hex()}, valid until "
             f"{when(certificate.not_after)}")
    return certificate


def _remember(config: Config, certificate: Certificate, compromised: bool) -> None:
    """The sections that it is installed for are due; so are all with a compromised key."""
    try:
        Journal(config.state_directory).remember_revoked(
            certificate.der, certificate.spki if compromised else None)
    except Error as exc:
        log.warning(f"{exc}: newOrder will not know that it is revoked")


def parse_reason(text: str) -> int:
    """Return the code of a revocation reason given by name or number; raises UsageError."""
    names = {name.lower(): code for name, code in REASONS.items()}
    if text.lower() in names:
        return names[text.lower()]
    if text.isascii() and text.isdigit() and int(text) in REASONS.values():
        return int(text)
    known = ", ".join(f"{name} ({code})" for name, code in REASONS.items())
    raise UsageError(f"--reason={text}: not one of {known}")
