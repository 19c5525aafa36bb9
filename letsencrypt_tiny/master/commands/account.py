"""The account and revokeCert commands: one request, one answer."""

import json
import os
from collections.abc import Iterator, Sequence

from ...common import log
from ...common.errors import Error, UsageError
from ...common.wire.order import (AccountObject, AccountUpdate, Answer, Failed, Progress, Request,
                                  Revocation, Revoked)
from ..peers import spawn as children
from ..plan import renewal
from ..store import trusted as directories
from ..settings.main import Config
from ..peers.client import Conversation, Messages
from ..store.installed import read_certificate
from ..store.journal import State

# RFC 5280 §5.3.1; those a subscriber may choose at public CAs are the first four
REASONS = {"unspecified": 0, "keyCompromise": 1, "superseded": 4, "cessationOfOperation": 5,
           "affiliationChanged": 3, "privilegeWithdrawn": 9}


def account(config: Config, update: AccountUpdate) -> int:
    """Look up, register, update or deactivate the account; print it as JSON (RFC 8555 §7.1.2)."""
    for contact in update.contact or ():
        if ":" not in contact or not contact.isprintable() or " " in contact:
            raise UsageError(f"“{contact}” is not a contact URL such as mailto:admin@example.org")
    status = 0
    for answer in _converse(config, [update]):
        if isinstance(answer, AccountObject):
            if answer.terms_of_service:
                log.info(f"Terms of Service: {answer.terms_of_service}")
            log.info(f"Key ID: {answer.url}")
            # json.dumps escapes all that isn't printable ASCII
            print(json.dumps(answer.account, indent=4, sort_keys=True))
        elif isinstance(answer, Failed):
            log.error(answer.message)
            status = 1
    return status


def revoke(config: Config, files: Sequence[str], reason: int | None, key: str | None) -> int:
    """Revoke the certificates in ``files`` (RFC 8555 §7.6), all with one conversation.

    ``key`` is the path of the certificates' private key, to sign with instead of the
    account's.
    """
    requests: list[Request] = []
    for file in files:
        try:
            certificate = read_certificate(file)
        except OSError as exc:
            raise Error(f"{file}: cannot read the certificate: {exc.strerror}") from exc
        log.info(f"revoking {file}: serial {certificate.serial.hex()}, valid until "
                 f"{renewal.when(certificate.not_after)}")
        requests.append(Revocation(file, certificate.der, reason, key is not None))
    descriptor = None
    if key is not None:
        try:
            descriptor = directories.open_file(os.path.abspath(key))
        except FileNotFoundError as exc:
            raise Error(f"{key}: {exc.strerror}") from exc
    status = 0
    try:
        for answer in _converse(config, requests, descriptor):
            if isinstance(answer, Revoked) and answer.section in files:
                log.info(f"{answer.section}: revoked (newOrder --force replaces it)")
            elif isinstance(answer, Failed):
                log.error(f"{answer.section}: {answer.message}")
                status = 1
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return status


def _converse(config: Config, requests: Sequence[Request], key: int | None = None
              ) -> Iterator[Answer]:
    """Put ``requests`` to the client; raises Error unless each got its answer."""
    messages = Messages()
    conversation = Conversation(config, State(config.state_directory), messages)
    left = len(requests)
    try:
        conversation.start_signer(requests, key)
        for answer in conversation.run(requests, children.identity(config.client.program)):
            if isinstance(answer, Progress):
                continue
            left -= 1
            yield answer
        if left:
            raise Error("the client did not answer what it was asked")
    except Error:
        if left:   # else its answers have told what failed
            raise
    finally:
        conversation.close()
        messages.close()


def parse_reason(text: str) -> int:
    """Return the code of a revocation reason given by name or number; raises UsageError."""
    names = {name.lower(): code for name, code in REASONS.items()}
    if text.lower() in names:
        return names[text.lower()]
    if text.isascii() and text.isdigit() and int(text) in REASONS.values():
        return int(text)
    known = ", ".join(f"{name} ({code})" for name, code in REASONS.items())
    raise UsageError(f"--reason={text}: not one of {known}")
