"""What lies at the places of a section's files.

Read in process: a night with nothing due starts no other.
"""

import os
import stat
from typing import NamedTuple

from ...common.x509.certificate import Certificate, parse_certificate, parse_chain
from ...common.x509.der import MAX_PEM, X509Error, read_block
from ..settings.certificates import Section

_FIRST_READ = 8192   # bytes; most certificates are shorter
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


class Installed(NamedTuple):
    """What there is of a section, and what is wrong with it (phrases for the administrator)."""

    certificate: Certificate | None = None
    fault: str = ""              # why there is no certificate
    missing: str = ""            # the path of another of its files, which isn't there
    key_changed: bool = False    # the private key is younger than the certificate
    misfit: str = ""             # why the certificate is of no use with its private key


def read(section: Section) -> Installed:
    """Look at the files of ``section``.  Raises nothing.

    Whether a key that changed fits is for pki/keys.py to see: that takes openssl.
    """
    try:
        certificate = read_certificate(section.outputs[0])
    except FileNotFoundError:
        return Installed(fault="there is no certificate yet")
    except OSError as exc:
        return Installed(fault=f"{section.outputs[0]} cannot be read ({exc.strerror})")
    except X509Error as exc:
        return Installed(fault=f"the installed certificate is not valid ({exc})")
    missing = next((path for path in section.outputs[1:] if not os.path.exists(path)), "")
    try:
        changed = os.stat(section.key).st_ctime > os.stat(section.outputs[0]).st_ctime
    except FileNotFoundError:
        return Installed(certificate, missing=missing,
                         misfit=f"its private key {section.key} is missing")
    except OSError:   # status may be asked for by somebody else than root
        changed = True
    return Installed(certificate, missing=missing, key_changed=changed)


def read_certificate(path: str) -> Certificate:
    """Read the first certificate of a PEM file, which may begin with other things.

    Raises X509Error (naming ``path``) and OSError.
    """
    descriptor = _open(path)
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


def read_chain(path: str) -> list[Certificate]:
    """Read a PEM file of certificates and nothing else; it may be empty.

    Raises X509Error (naming ``path``) and OSError.
    """
    descriptor = _open(path)
    try:
        text = b""
        while len(text) <= MAX_PEM and (more := os.read(descriptor, MAX_PEM)):
            text += more
    finally:
        os.close(descriptor)
    try:
        return parse_chain(text) if text.strip() else []
    except X509Error as exc:
        raise X509Error(f"{path}: {exc}") from exc


def has_access(section: Section) -> bool:
    """Say whether the files have the owner and mode that are wanted, as far as they are there."""
    uid, gid = section.owner or (-1, -1)
    for path in section.outputs:
        try:
            info = os.stat(path)
        except OSError:
            continue
        if stat.S_IMODE(info.st_mode) != section.mode or uid not in (-1, info.st_uid) \
                or gid not in (-1, info.st_gid):
            return False
    return True


def authorities(path: str) -> str:
    """Return what stands in the journal for CAfile as it is now; "" if it can't be read."""
    if not path:
        return "-"
    try:
        info = os.stat(path)
    except OSError:
        return ""
    return f"{info.st_mtime_ns} {info.st_size} {path}"[:2000]


def _open(path: str) -> int:
    # A section's owner may have put a link there: to open some devices does something already
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if stat.S_IFMT(os.fstat(place).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise X509Error(f"{path}: not a plain file")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
