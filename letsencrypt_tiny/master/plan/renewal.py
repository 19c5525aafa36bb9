"""Is it time?  Decides from what is installed, what is remembered, and the moment it is.

Pure, so that years can be tried in milliseconds.
"""

from typing import NamedTuple

from ...common.clock import DAY, when
from ...common.x509.certificate import Certificate
from ..settings.certificates import Section
from ..store.installed import Installed
from ..store.journal import SectionState

LONG = 10 * DAY   # a lifetime from which on a third of it is enough to renew in
SHORT = 2 * DAY   # and one below which half is not: runs are hours apart, and one may fail
FORCED = -1       # as ``min_days``


class Due(NamedTuple):
    """Whether a section wants a new certificate, and why (one phrase for the administrator)."""

    due: bool
    reason: str
    certificate: Certificate | None = None   # that is installed


def decide(section: Section, installed: Installed, state: SectionState, now: float,
           min_days: int | None = None) -> Due:
    """Decide about one section.  ``min_days`` is the option, which beats the setting; a negative
    one forces."""
    days = section.min_days if min_days is None else min_days
    certificate = installed.certificate
    if certificate is None:
        return Due(True, installed.fault)
    end = certificate.not_after
    if days is not None and days < 0:
        return Due(True, "forced", certificate)
    if installed.missing:
        return Due(True, f"{installed.missing} is missing", certificate)
    if state.installing:
        return Due(True, "its installation was interrupted", certificate)
    if set(certificate.names) != set(section.identifiers):
        return Due(True, "its names have changed", certificate)
    if installed.misfit:
        return Due(True, installed.misfit, certificate)
    left = end - now
    if left <= margin(end - certificate.not_before, days):
        verb = "expires" if left > 0 else "expired"
        return Due(True, f"it {verb} {when(end)}", certificate)
    return Due(False, f"valid until {when(end)}", certificate)


def margin(lifetime: int, days: int | None) -> float:
    """Return how long before its end a certificate of ``lifetime`` is renewed; all in seconds,
    but ``days``, which were configured."""
    if days is not None:
        return days * DAY
    if lifetime < SHORT:
        return lifetime * 2 / 3
    return lifetime / 3 if lifetime >= LONG else lifetime / 2
