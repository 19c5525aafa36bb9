"""What lies at the places of a section's files.

Read in process: a night with nothing due starts no other.
"""

import errno
import os
import stat
from typing import NamedTuple

from ...common import trusted
from ...common.errors import Error
from ...common.x509.certificate import Certificate, parse_certificate, parse_chain
from ...common.x509.der import MAX_PEM, X509Error, read_block
from ...common.x509.summary import Summary
from ..settings.certificates import Section, SectionError
from . import pairs
from .pairs import Pairs
from .vicinity import Directory, Vicinity

_FIRST_READ = 8192   # bytes; most certificates are shorter
# It is we who can't read it: that is no reason to order another one
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"
_MODE = 0o7777   # stat.S_IMODE


class Busy(Error):
    """Somebody keeps the certificate from being read for the moment: nothing is known of it."""


Access = tuple[tuple[int, int, int], ...]   # mode, uid and gid of each file


class Installed(NamedTuple):
    """What there is of a section, and what is wrong with it (phrases for the administrator)."""

    certificate: Certificate | None = None
    fault: str = ""              # why there is no certificate
    missing: str = ""            # the path of another of its files, which isn't there
    uncompared: bool = False     # whether the certificate is for its private key is to be seen
    pair: str = ""               # what tells these files from others (pairs.identity) …
    changed: float = 0           # … and when one of both was changed last (Unix time)
    misfit: str = ""             # why the certificate is of no use with its private key
    access: Access = ()          # of the outputs that are there
    summary: Summary | None = None   # instead of the certificate where that was not read


def read(section: Section, vicinity: Vicinity | None = None) -> Installed:
    """Look at the files of ``section``, in the ``vicinity`` of others if several are looked at.

    Whether the key fits is for pki/keys.py to see: that may take openssl.  Raises Busy.
    """
    if vicinity is None:
        with Vicinity() as alone:
            return read(section, alone)
    place = section.outputs[0]
    try:
        near = vicinity.directory(os.path.dirname(place), section.trusted)
        return _beside(section, _certificate(near.open(place), place), near)
    except FileNotFoundError:
        return Installed(fault="there is no certificate yet")
    except BlockingIOError as exc:
        raise Busy(f"{place}: cannot be read: {exc.strerror}") from exc
    except X509Error as exc:
        return Installed(fault=f"the installed certificate is not valid ({exc})")
    except (OSError, Error) as exc:
        cause = exc if isinstance(exc, OSError) else exc.__cause__
        if isinstance(cause, OSError) and cause.errno in _OURS:
            raise Busy(f"{place}: cannot be read: {cause.strerror}") from exc
        why = f"{place}: {exc.strerror}" if isinstance(exc, OSError) else exc
        return Installed(fault=f"the installed certificate cannot be read ({why})")


def unchanged(section: Section, vicinity: Vicinity, known: Pairs) -> Installed | None:
    """Look at the files of ``section`` without reading any; None unless all is ``known`` of what
    is in them."""
    outputs = section.outputs
    place = outputs[0]
    if known.exhausted:
        return None
    try:
        near = vicinity.directory(os.path.dirname(place), section.trusted)
        pair = pairs.identity(near.look(section.key), near.look(place))
    except (OSError, Error):   # what is wrong, whoever reads them finds
        return None
    summary = known.summary(pair)
    if summary is None:
        return None
    missing, access = _outputs(outputs, near)
    return Installed(None, "", missing, False, pair, 0, "", access, summary)


def _outputs(outputs: list[str], near: Directory) -> tuple[str, Access]:
    """Return which of the files is missing, "" for none, and how those are that are there."""
    missing = ""
    access: list[tuple[int, int, int]] = []
    for path in outputs:
        try:
            info = near.look(path)
            access.append((info.st_mode & _MODE, info.st_uid, info.st_gid))
        except FileNotFoundError:
            missing = missing or path
        except Error:   # of whoever may not look: it is there
            pass
    return missing, tuple(access)


def _beside(section: Section, certificate: Certificate, near: Directory) -> Installed:
    """Look at the other files."""
    outputs = section.outputs
    missing, access = _outputs(outputs, near)
    if section.in_token:   # whether it is the one that it was the journal says
        return Installed(certificate, missing=missing, access=access)
    misfit = ""
    try:
        key, own = near.look(section.key), near.look(outputs[0])
        # in order, for that is faster, and the way of nearly all
        return Installed(certificate, "", missing, True, pairs.identity(key, own),
                         max(key.st_ctime, own.st_ctime), "", access)
    except FileNotFoundError:
        misfit = f"its private key {section.key} is missing"
    except trusted.Untrusted as exc:
        misfit = f"its private key can't be relied on ({exc})"
    except Error:   # status may be asked for by somebody else than root
        pass
    return Installed(certificate, missing=missing, uncompared=not misfit, misfit=misfit,
                     access=access)


def read_certificate(path: str, owner: int = 0, anybody: bool = False) -> Certificate:
    """Read the first certificate of a PEM file, which may begin with other things.

    ``owner`` is a uid that may, besides root, own directories on the way; with ``anybody`` each
    user may.  Raises Error (X509Error if there is none in it) and OSError, as trusted.open_file.
    """
    return _certificate(trusted.open_file(path, owner, anybody=anybody), path)


def _certificate(descriptor: int, path: str) -> Certificate:
    """Read the first certificate on a descriptor, which is closed; ``path`` is for the message."""
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


def read_chain(path: str, owner: int = 0) -> list[Certificate]:
    """Read a PEM file of certificates and nothing else; it may be empty.

    ``owner`` is a uid that may, besides root, own directories on the way.  Raises Error and
    OSError, as trusted.open_file.
    """
    descriptor = trusted.open_file(path, owner)
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


def access(section: Section) -> Access:
    """Return owner and mode of the files as they are now, as far as they are there."""
    found: list[tuple[int, int, int]] = []
    for path in section.outputs:
        try:
            info = trusted.look(path, section.trusted)
        except (OSError, Error):
            continue
        found.append((stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid))
    return tuple(found)


def is_wanted(section: Section, found: Access) -> bool:
    """Say whether all files have the owner and mode that are wanted."""
    uid, gid = section.owner or (-1, -1)
    return all(mode == section.mode and uid in (-1, owner) and gid in (-1, group)
               for mode, owner, group in found)


def check_authorities(section: Section) -> None:
    """Raise SectionError unless CAfile is one to believe: nobody but root and the section's owner
    may change it."""
    path = section.ca_file
    if not path:
        return
    try:
        os.close(trusted.open_unchangeable(path, section.trusted))
    except (FileNotFoundError, Error) as exc:
        why = "" if isinstance(exc, FileNotFoundError) else f" ({exc})"
        raise SectionError(f"{section.where}: CAfile = {path}: cannot be read{why}") from exc


def authorities(path: str) -> str:
    """Return what stands in the journal for CAfile as it is now; "" if it can't be read."""
    if not path:
        return "-"
    try:
        info = os.stat(path)
    except OSError:
        return ""
    return f"{info.st_mtime_ns} {info.st_size} {path}"[:2000]
