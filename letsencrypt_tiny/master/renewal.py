"""Is it time?  Reads the installed certificate in process; no subprocess, no network."""

import os
import time
from typing import NamedTuple, Optional

from ..common import x509
from .certs import Certificate
from .state import SectionState

DAY = 86400   # seconds


class Due(NamedTuple):
    """Whether a section wants a new certificate, and why (one phrase for the administrator)."""

    due: bool
    reason: str
    not_after: Optional[int] = None   # of the installed certificate, Unix time


def is_due(certificate: Certificate, state: SectionState, min_days: Optional[int] = None,
           now: Optional[float] = None) -> Due:
    """Decide about one section.  ``min_days`` is the option, which beats the setting."""
    now = time.time() if now is None else now
    days = certificate.min_days if min_days is None else min_days
    try:
        installed = x509.read_certificate(certificate.outputs[0])
    except FileNotFoundError:
        return Due(True, "there is no certificate yet")
    except OSError as exc:
        return Due(True, f"{certificate.outputs[0]} cannot be read ({exc.strerror})")
    except x509.X509Error as exc:
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
    left = end - now
    if days is None:
        lifetime = end - installed.not_before
        days_due = lifetime / 3 if lifetime >= 10 * DAY else lifetime / 2
    else:
        days_due = days * DAY
    if left <= days_due:
        return Due(True, f"it expires {when(end)}" if left > 0 else f"it expired {when(end)}", end)
    return Due(False, f"valid until {when(end)}", end)


def when(moment: int) -> str:
    """Return a Unix time as the administrator reads it: ``2026-11-23 08:00 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
