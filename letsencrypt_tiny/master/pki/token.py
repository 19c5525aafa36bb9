"""Server keys in tokens, which openssl uses there: nothing here reads, makes or copies one."""

import os

from ...common import pkcs11, trusted
from ...common.errors import Error
from ...common.pkcs11 import Token, Use
from ...common.x509.csr import CSR, parse_csr
from ..settings.certificates import Section
from ..store import secrets
from . import openssl


def request(command: str, section: Section) -> CSR:
    """Make a CSR with the section's key, by the ``command`` openssl.  Raises Error."""
    token = _open(section)
    try:
        return parse_csr(_run(command, openssl.request_arguments(section),
                              pkcs11.use(token, "-keyform", "-key")))
    except Error as exc:
        raise Error(f"{section.where}: certificate-key = {section.key}: no signing request can be "
                    f"made with it: {exc}") from exc


def public_key(command: str, section: Section) -> bytes:
    """Return the SubjectPublicKeyInfo, DER, of the section's key.  Raises Error."""
    return _run(command, ["pkey", "-pubout", "-outform", "DER"],
                pkcs11.use(_open(section), "-inform", "-in"))


def _run(command: str, arguments: list[str], use: Use) -> bytes:
    configuration = os.memfd_create("configuration", os.MFD_CLOEXEC)
    try:
        os.write(configuration, use.configuration)
        os.lseek(configuration, 0, os.SEEK_SET)
        return openssl.run(command, arguments + use.arguments, (configuration,), {
            **use.environment, "OPENSSL_CONF": f"/dev/fd/{configuration}"})
    finally:
        os.close(configuration)


def _open(section: Section) -> Token:
    """Return where the key is; raises Error if others could read its PIN, or choose the module."""
    token = pkcs11.parse(section.key)
    where = f"{section.where}: certificate-key"
    if token.pin:
        os.close(secrets.open_secret(token.pin, f"{where}: pin-source"))
    if token.module:
        try:
            os.close(trusted.open_unchangeable(token.module))
        except FileNotFoundError:
            raise Error(f"{where}: module-path: {token.module}: no such file") from None
    return token
