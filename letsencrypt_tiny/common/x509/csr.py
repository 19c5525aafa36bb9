"""Reads CSRs, certification requests (RFC 2986), in process.

They come from whoever talks to the signer: as strict as certificate.py.
"""

from typing import NamedTuple

from . import extensions as ext, fields
from .der import INTEGER, OID, SEQUENCE, SET, X509Error, elements
from .extensions import Names

_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"   # RFC 2985 §5.4.2


class CSR(NamedTuple):
    """What we need of a certificate signing request (RFC 2986 §4.1); fields as in Certificate."""

    der: bytes
    subject: bytes
    common_names: tuple[str, ...]
    subject_types: tuple[str, ...]  # OIDs of the subject's attributes
    spki: bytes
    names: Names
    extensions: tuple[str, ...]     # OIDs of those requested
    attributes: tuple[str, ...]     # OIDs
    is_ca: bool                     # by basicConstraints or keyUsage
    purposes: tuple[str, ...]       # OIDs of extendedKeyUsage


def parse_csr(der: bytes) -> CSR:
    """Read a CSR in DER; raises X509Error unless it is one, whole and strict."""
    body, _ = fields.signed(der, "CSR")
    tags, contents, bounds = elements(body, "CSR")
    # version v1, subject, subjectPKInfo, attributes [0] (RFC 2986 §4.1)
    if tags != INTEGER + SEQUENCE + SEQUENCE + b"\xa0" or contents[0] != b"\0":
        raise X509Error("malformed CSR: not its fields")
    attributes = fields.by_oid(contents[3], "attribute", (OID + SET,)) if contents[3] else {}
    extensions = fields.extensions(attributes[_EXTENSION_REQUEST]) \
        if _EXTENSION_REQUEST in attributes else {}
    spki = body[bounds[2]:bounds[3]]
    fields.check_public_key(spki)
    common_names, subject_types = fields.subject(contents[1])
    return CSR(der, body[bounds[1]:bounds[2]], common_names, subject_types, spki,
               ext.names(extensions), tuple(extensions), tuple(attributes),
               ext.is_ca(extensions) or ext.signs(extensions), ext.purposes(extensions))
