"""Does a certificate fit the private key it is used with?"""

import os

from ...common import log
from ...common.errors import Error
from ..settings.certificates import Section
from ..store.installed import Installed
from ..store.keys import MAX_KEY, open_key
from . import openssl


def compare(command: str, section: Section, installed: Installed) -> Installed:
    """Return ``installed`` with what is wrong with its key, by ``command`` (openssl).

    Does nothing unless the key was changed after the certificate was installed.  Raises nothing.
    """
    if not installed.key_changed or installed.certificate is None:
        return installed
    try:
        key = open_key(section.key, section.trusted, section.group)
        try:
            fits = openssl.public_key(command, key) == installed.certificate.spki
        finally:
            os.close(key)
    except FileNotFoundError:
        return installed._replace(misfit=f"its private key {section.key} is missing")
    except (OSError, Error) as exc:   # status may be asked for by somebody else than root
        log.debug(f"{section.key}: cannot tell whether the certificate fits it: {exc}")
        return installed
    if fits:
        return installed
    return installed._replace(misfit=f"it is not for the private key {section.key}")


def unchanged(command: str, section: Section, text: str, spki: bytes) -> bool:
    """Say whether the private key of a section is the one of ``spki`` still.

    ``text`` is the SHA-256 of what its file held: openssl is asked only if that has changed.
    Raises Error; FileNotFoundError if there is no key.
    """
    from hashlib import sha256
    key = open_key(section.key, section.trusted, section.group)
    try:
        return (sha256(os.pread(key, MAX_KEY, 0)).hexdigest() == text
                or openssl.public_key(command, key) == spki)
    finally:
        os.close(key)
