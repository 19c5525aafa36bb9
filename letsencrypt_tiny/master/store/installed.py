"""What lies at the places of a section's files.

Read in process: a night with nothing due starts no other.
"""

import os
from typing import NamedTuple

from ...common.x509.certificate import Certificate, read_certificate
from ...common.x509.der import X509Error
from ..settings.certificates import Section


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
