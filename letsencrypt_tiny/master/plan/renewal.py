"""Is it time?  Reads the installed certificate in process; no network.

No subprocess either, unless the private key was changed after the certificate was installed.
"""

import os
import time
from typing import NamedTuple

from ...common import log
from ...common.x509.certificate import Certificate as Installed
from ...common.x509.der import X509Error
from ...common.errors import Error
from ..pki import openssl
from ..store import files as store
from ..settings.certificates import Certificate
from ..settings.main import Config
from ..store.installed import read_certificate
from ..store.journal import SectionState

DAY = 86400   # seconds


class Due(NamedTuple):
    """Whether a section wants a new certificate, and why (one phrase for the administrator)."""

    due: bool
    reason: str
    not_after: int | None = None      # of the installed certificate, Unix time


def is_due(config: Config, certificate: Certificate, state: SectionState,
           min_days: int | None = None, now: float | None = None) -> Due:
    """Decide about one section.  ``min_days`` is the option, which beats the setting."""
    now = time.time() if now is None else now
    days = certificate.min_days if min_days is None else min_days
    try:
        installed = read_certificate(certificate.outputs[0])
    except FileNotFoundError:
        return Due(True, "there is no certificate yet")
    except OSError as exc:
        return Due(True, f"{certificate.outputs[0]} cannot be read ({exc.strerror})")
    except X509Error as exc:
        return Due(True, f"the installed certificate is not valid ({exc})")
    end = installed.not_after
    if days is not None and days < 0:
        return Due(True, "forced", end)
    for path in certificate.outputs[1:]:
        if not os.path.exists(path):
            return Due(True, f"{path} is missing", end)
    if state.installing:
        return Due(True, "its installation was interrupted", end)
    if set(installed.names) != set(certificate.identifiers):
        return Due(True, "its names have changed", end)
    misfit = _misfit(config, certificate, installed)
    if misfit:
        return Due(True, misfit, end)
    left = end - now
    if days is None:
        lifetime = end - installed.not_before
        days_due = lifetime / 3 if lifetime >= 10 * DAY else lifetime / 2
    else:
        days_due = days * DAY
    if left <= days_due:
        return Due(True, f"it expires {when(end)}" if left > 0 else f"it expired {when(end)}", end)
    return Due(False, f"valid until {when(end)}", end)


def _misfit(config: Config, certificate: Certificate, installed: Installed) -> str:
    """Say why the installed certificate is of no use with its private key; "" if it is."""
    try:
        changed = os.stat(certificate.key).st_ctime
        if changed <= os.stat(certificate.outputs[0]).st_ctime:
            return ""   # it was for this key when it was installed
        key = store.open_key(certificate.key)
        try:
            fits = openssl.public_key(config.openssl, key) == installed.spki
        finally:
            os.close(key)
    except FileNotFoundError:
        return f"its private key {certificate.key} is missing"
    except (OSError, Error) as exc:   # status may be asked for by somebody else than root
        log.debug(f"{certificate.key}: cannot tell whether the certificate fits it: {exc}")
        return ""
    return "" if fits else f"it is not for the private key {certificate.key}"


def when(moment: int) -> str:
    """Return a Unix time as the administrator reads it: ``2026-11-23 08:00 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
