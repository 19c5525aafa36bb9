"""Is it time?  Decides from what is installed, what is remembered, and the moment it is.

Pure, so that years can be tried in milliseconds.
"""

from collections.abc import Collection
from typing import NamedTuple

from ...common.clock import DAY, when
from ...common.x509.certificate import Certificate
from ...common.x509.summary import Known
from ..settings.certificates import Section
from ..store.installed import Access, Installed
from ..store.journal import Revoked, SectionState
from ..store.renewals import NOTHING, Renewal
from . import ari
from .keytype import key_type

LONG = 10 * DAY   # a lifetime from which on a third of it is enough to renew in
SHORT = 2 * DAY   # and one below which half is not: runs are hours apart, and one may fail
FORCED = -1       # as ``min_days``
PATIENCE = DAY    # how far ahead a moment to wait for can be: beyond it, a clock was wrong
# Where the margin has room for it, a CA may be down for two days, else for six hours.  The first
# run that sees that it is time may come late, and so may the first one after an outage
OUTAGE, SHORT_OUTAGE = 2 * DAY + 2 * ari.RUNS, DAY / 4 + 2 * ari.RUNS
KEEPING = 7 * DAY   # how long what was issued is tried again instead of ordering another


class Due(NamedTuple):
    """Whether a section wants a new certificate, and why (one phrase for the administrator)."""

    due: bool
    reason: str
    certificate: Known | None = None   # that is installed
    timely: bool = False     # nothing but the time decides: so the CA may be asked (plan/ari.py)
    welcome: bool = False    # the CA wishes it to be renewed right now
    access: Access = ()      # of the files that are installed
    enough: float | None = None    # ``timely``: seconds before its end that it is renewed


def decide(section: Section, installed: Installed, state: SectionState, now: float,
           min_days: int | None = None, directories: Collection[str] = (),
           revoked: Revoked = Revoked(), known: Renewal = NOTHING) -> Due:
    """Decide about one section.  ``min_days`` is the option, which beats the setting; a negative
    one forces.  ``directories`` are those of its CAs, none: whichever they are; ``known`` is what
    the one that issued has said of this certificate."""
    days = section.min_days if min_days is None else min_days
    certificate = installed.certificate or installed.summary
    if certificate is None:
        return Due(True, installed.fault)
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
    change = _unfit(installed.certificate, revoked) \
        or _change(section, installed.certificate, state, directories)
    if change:
        return Due(True, change, certificate)
    if state.kept:
        return Due(True, f"what was issued {when(state.kept)} is not installed yet", certificate)
    enough = _enough(certificate, days,
                     state.installed if min_days is None and state.installed <= now else 0)
    return _by_time(certificate, enough, state.installed, now, known, days is None,
                    installed.access)


def _by_time(certificate: Known, enough: float, installed: int, now: float, known: Renewal,
             may_wait: bool, access: Access) -> Due:
    """Decide about what is as it is wanted; ``enough`` seconds before its end it is renewed,
    earlier if the CA says so, and later if it ``may_wait``."""
    end = certificate.not_after
    left = end - now
    if ari.due(known, certificate, installed, now):
        return Due(True, ari.reason(known), certificate, True, ari.open_now(known, now),
                   enough=enough)
    waits = may_wait and ari.suggested(known) and now < known.moment \
        and left > latest(end - certificate.not_before)
    if left <= enough and not waits:
        verb = "expires" if left > 0 else "expired"
        return Due(True, f"it {verb} {when(end)}", certificate, True, enough=enough)
    moment = f", to be renewed {when(known.moment)}" if ari.suggested(known) \
        and now < known.moment < end else ""
    return Due(False, f"valid until {when(end)}{moment}", certificate, True, access=access,
               enough=enough)


def _unfit(certificate: Certificate | None, revoked: Revoked) -> str:
    """Return why a certificate is none to keep, whatever is wanted, or ""; what is remembered
    (None) is one to keep."""
    if certificate is None:
        return ""
    if certificate.issuer == certificate.subject:
        return "it is self-signed"
    if revoked.certificates or revoked.keys:
        from hashlib import sha256
        if sha256(certificate.spki).hexdigest() in revoked.keys:
            return "its private key was compromised"
        if sha256(certificate.der).hexdigest() in revoked.certificates:
            return "it was revoked"
    return ""


def _change(section: Section, certificate: Certificate | None, state: SectionState,
            directories: Collection[str]) -> str:
    """Return why a certificate that is valid is not the one that is wanted, or ""."""
    # 1.0 remembered the CA of the last order alone
    issuer = state.issuer or (None if state.order else state.directory)
    if issuer and directories and issuer not in directories:
        return f"its CA has changed, from {issuer}"
    if _other_profile(section, state):
        return f"its profile has changed, to {section.profile}"
    if other_key_type(section, certificate, state):
        return f"its key-type has changed, to {section.key_type}"
    return ""


def _other_profile(section: Section, state: SectionState) -> bool:
    """Say whether another profile is wanted than the one that it was issued under.

    One that was preferred, and that the CA had not, is not asked for again and again.
    """
    if not section.profile or section.profile == state.profile:
        return False
    told = bool(section.required_profile and state.profile)
    return told or section.profile != state.profile_wish


def other_key_type(section: Section, certificate: Certificate | None, state: SectionState) -> bool:
    """Say whether the setting key-type was changed, and wants a new key; where the certificate
    was not read (None), whether it may.

    Where it wasn't, a key of another type is one that the administrator made.  One that is made
    ahead has the new type, and its time will come.
    """
    return not (section.next_key or section.in_token) and bool(state.key_type) \
        and section.key_type != state.key_type \
        and (certificate is None or section.key_type != key_type(certificate.spki))


def _enough(certificate: Known, days: int | None, installed: int) -> float:
    """Return how long before its end a certificate ``installed`` some time ago (0: who knows) is
    renewed."""
    end = certificate.not_after
    usual = margin(end - certificate.not_before, days)
    if end - installed > usual:
        return usual
    # Due as soon as it was installed, as the next one would be: a clock is ahead, or the CA writes
    # a moment of long ago
    return margin(end - installed, None)


def waits(state: SectionState, now: float) -> bool:
    """Say whether the server asked not to order again before a moment that is still to come.

    A moment in the far future was computed while the clock was wrong.
    """
    return now < state.not_before <= now + PATIENCE


def worth_keeping(certificate: Certificate, issued: int, now: float) -> bool:
    """Say whether a certificate ``issued`` some time ago, and not installed for a reason on our
    side, is to be tried once more: another one would be no better, unless this one grows old.

    One that looked old from the first was issued while our clock was ahead, most likely: how
    long we have had it counts, then.
    """
    lifetime = certificate.not_after - certificate.not_before
    begin_of_age = certificate.not_after - margin(lifetime, None)
    return (0 <= now - issued < min(KEEPING, lifetime - margin(lifetime, None))
            and not issued < begin_of_age <= now)


def margin(lifetime: int, days: int | None) -> float:
    """Return how long before its end a certificate of ``lifetime`` is renewed; all in seconds,
    but ``days``, which were configured."""
    if days is not None:
        return days * DAY
    if lifetime < SHORT:
        return lifetime * 2 / 3
    return lifetime / 3 if lifetime >= LONG else lifetime / 2


def latest(lifetime: int) -> float:
    """Return how long before its end a certificate of ``lifetime`` is renewed though its CA would
    have it later; all in seconds.  Half of the usual time is left, and all that an outage takes."""
    usual = margin(lifetime, None)
    return min(usual, max(usual / 2, OUTAGE if usual >= OUTAGE else SHORT_OUTAGE))
