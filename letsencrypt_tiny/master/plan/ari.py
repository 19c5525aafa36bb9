"""When the CA suggests to renew (ARI, RFC 9773), and how far that is heeded.

What a CA says can make a certificate be renewed earlier, once for each window and not without end,
or later, as long as there is time to try again: the rest is ours (renewal.py).
"""

from typing import TYPE_CHECKING

from ...common.clock import DAY, when
from ...common.log import printable
from ...common.x509.summary import Known, called
from ..settings.certificates import Section
from ..store.journal import SectionState
from ..store.renewals import NOTHING, Renewal

if TYPE_CHECKING:
    from ...common.wire.renewal import RenewalInfo

RUNS = 6 * 3600 + 60   # seconds between two runs at most, by the timer
USUAL = 6 * 3600       # seconds until it is asked again, where the CA names no time (§4.3.3)
LEAST, MOST = 60, DAY  # between these is what it names (§4.3.2)
PAUSE = 60             # seconds, after a failure that may pass; then twice as many each time
# What keeps a CA that always has another window in the past from having a certificate renewed at
# each run: after one that took the place of another for such a window, the next not before
REST = DAY             # seconds, or a quarter of the lifetime, have gone by


def about(known: Renewal, certificate: Known, installed: int) -> Renewal:
    """Return what is ``known`` if it is about ``certificate``, which was ``installed`` (Unix time,
    0: who knows); else that nothing is, but for the window that made us order it."""
    name = called(certificate)
    if known.certificate == name:
        return known
    used = known if known.start and known.moment <= installed + RUNS else NOTHING
    return Renewal(name, certificate.not_after, used_start=used.start, used_end=used.end)


def asks(known: Renewal, now: float) -> bool:
    """Say whether the CA is to be asked (again).

    Not after the certificate's end (§4.3); a moment in the far future was written while the
    clock was wrong.
    """
    return bool(known.certificate) and now < known.expires \
        and not now < known.again <= now + MOST + RUNS


def learn(known: Renewal, info: "RenewalInfo", now: float, share: float) -> Renewal:
    """Return what is known once the CA has answered.

    A moment is chosen in a new window: after a ``share``, at random, from 0 to 1, of it (§4.2).
    As long as the window stays the same, so does the moment.
    """
    again = int(now) + min(max(info.retry_after or USUAL, LEAST), MOST)
    moment = known.moment
    if (info.start, info.end) != (known.start, known.end):
        moment = info.start + int((info.end - info.start) * share)
    return known._replace(start=info.start, end=info.end, moment=moment, again=again, failures=0,
                          explanation=info.explanation)


def fail(known: Renewal, passing: bool, retry_after: int | None, now: float) -> Renewal:
    """Return what is known if the CA didn't answer: what it said before still holds.

    After a failure that may pass it is asked again soon, but each time later; else as usual
    (§4.3.3).
    """
    pause = USUAL
    if passing:
        pause = min(max(PAUSE << min(known.failures, 10), retry_after or 0), USUAL)
    return known._replace(again=int(now) + pause, failures=known.failures + 1 if passing else 0)


def suggested(known: Renewal) -> bool:
    """Say whether there is a window, and not the one that the certificate was renewed for."""
    return bool(known.start) and (known.start, known.end) != (known.used_start, known.used_end)


def due(known: Renewal, certificate: Known, installed: int, now: float) -> bool:
    """Say whether the CA's window has a certificate renewed in this run.

    If the moment comes before the next run, it is now (§4.2), unless the window has not begun and
    will be open then.
    """
    if not suggested(known):
        return False
    rest = min(REST, (certificate.not_after - certificate.not_before) / 4)
    if known.used_start and installed <= now < installed + rest:
        return False
    return known.moment <= now or (known.moment <= now + RUNS
                                   and (known.start <= now or known.end <= now + RUNS))


def open_now(known: Renewal, now: float) -> bool:
    """Say whether the window is open, and not the one that was used: what is ordered then counts
    for no limit of Let's Encrypt's."""
    return suggested(known) and known.start <= now <= known.end


def reason(known: Renewal) -> str:
    """Return why it is due, for the administrator."""
    return (f"its CA wants it renewed between {when(known.start)} and {when(known.end)}"
            + explained(known))


def explained(known: Renewal) -> str:
    """Return where the CA explains itself, if it does."""
    return f" (see {printable(known.explanation, 300)})" if known.explanation else ""


def replaces(section: Section, certificate: Known | None, state: SectionState,
             directory: str) -> str | None:
    """Return what the new order of a section says that it replaces (§5), None if nothing.

    Only if the same CA issued it, to an account that is known (which is for the client to compare
    with its own), for some of the same names.
    """
    if certificate is None or not section.ari or not state.issuer_account \
            or state.issuer != directory \
            or not set(certificate.names).intersection(section.identifiers):
        return None
    return called(certificate) or None
