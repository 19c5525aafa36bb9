"""What is installed: reads a section's certificate where it lies, in process."""

import os
import stat

from ...common.x509.certificate import Certificate, parse_certificate
from ...common.x509.der import MAX_PEM, X509Error, read_block

_FIRST_READ = 8192   # bytes; most certificates are shorter
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


def read_certificate(path: str) -> Certificate:
    """Read the first certificate of a PEM file, which may begin with other things.

    Raises X509Error (naming ``path``) and OSError.
    """
    # A section's owner may have put a link there: to open some devices does something already
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if stat.S_IFMT(os.fstat(place).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise X509Error(f"{path}: not a plain file")
        descriptor = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        text = os.read(descriptor, _FIRST_READ)
        while _END not in text and len(text) <= MAX_PEM \
                and (more := os.read(descriptor, MAX_PEM)):
            text += more
    finally:
        os.close(descriptor)
    start = 0 if text.startswith(_BEGIN) else text.find(b"\n" + _BEGIN) + 1
    try:
        if not text.startswith(_BEGIN, start):
            raise X509Error("it holds no PEM certificate")
        return parse_certificate(read_block(text, start)[1])
    except X509Error as exc:
        raise X509Error(f"{path}: {exc}") from exc
