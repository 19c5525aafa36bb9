"""Does a certificate fit the private key it is used with?"""

import os

from ...common import log
from ...common.errors import Error
from ..settings.certificates import Section
from ..store.installed import Installed
from ..store.keys import fingerprint, open_key, read_key
from ..store.vicinity import Vicinity
from . import check, openssl


class OtherKey(Error):
    """The private key is not the one that it was."""


def public_key(command: str, section: Section) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) of a section's key, by ``command`` (openssl).

    Raises Error and FileNotFoundError.
    """
    if section.in_token:
        from . import token
        return token.public_key(command, section)
    key = open_key(section.key, section.trusted, section.group)
    try:
        return openssl.public_key(command, key)
    finally:
        os.close(key)


def compare(command: str, section: Section, installed: Installed, vicinity: Vicinity
            ) -> Installed:
    """Return ``installed`` with what is wrong with its key, by ``command`` (openssl), in the
    ``vicinity`` of others.

    It is ``uncompared`` still if nobody can tell.  Raises nothing.
    """
    if installed.certificate is None:
        return installed
    spki = installed.certificate.spki
    try:
        fits = _written(section, vicinity) == spki or public_key(command, section) == spki
    except FileNotFoundError:
        return installed._replace(misfit=f"its private key {section.key} is missing")
    except (OSError, Error) as exc:   # status may be asked for by somebody else than root
        log.debug(f"{section.key}: cannot tell whether the certificate fits it: {exc}")
        return installed
    if fits:
        return installed._replace(uncompared=False)
    return installed._replace(misfit=f"it is not for the private key {section.key}")


def _written(section: Section, vicinity: Vicinity) -> bytes | None:
    """Return the public key that stands in a section's key file, as openssl would read it, if it is
    of a usual form.  Raises as ``public_key``."""
    if section.in_token:
        return None
    return check.public_key(read_key(section.key, section.trusted, section.group, vicinity))


def check_unchanged(command: str, section: Section, seen: bytes, spki: bytes) -> None:
    """Raise OtherKey unless the section's private key is the one that a CSR was made with, Error
    if nobody can tell.

    ``seen`` is its fingerprint then, ``spki`` the CSR's SubjectPublicKeyInfo; ``command`` is
    openssl, asked only if the file is another one.
    """
    if section.in_token:
        if public_key(command, section) != spki:
            raise OtherKey(f"{section.key} is another key than it was")
        return
    try:
        key = open_key(section.key, section.trusted, section.group)
    except FileNotFoundError:
        raise OtherKey(f"{section.key} was removed meanwhile") from None
    try:
        if fingerprint(key) != seen and openssl.public_key(command, key) != spki:
            raise OtherKey(f"{section.key} was replaced meanwhile")
    finally:
        os.close(key)
