"""How a section stands: what status shows of it, in whatever form.

Moments are Unix time.  Pure.
"""

from typing import NamedTuple

from ...common.clock import DAY
from ...common.x509.certificate import Certificate
from ..plan import ari
from ..plan.moment import Moment
from ..settings.certificates import Section
from ..store.renewals import Renewal
from ..store.troubles import Trouble

OK, WARNING, CRITICAL, UNKNOWN = range(4)     # as monitoring-plugins count
LEVELS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


class Waiting(NamedTuple):
    """It is due, and not ordered before a moment."""

    until: int
    why: str


class Standing(NamedTuple):
    """One section."""

    name: str
    section: Section | None = None        # None: it cannot be
    fault: str = ""                       # why
    due: bool = False
    reason: str = ""                      # for that it is, or isn't
    certificate: Certificate | None = None    # that is installed
    chain: tuple[Certificate, ...] = ()   # that is installed, without it; read for some forms only
    key_type: str = ""                    # of its key, "" if there is no word for that
    ca: str = ""                          # that issued it; before that, the one to ask
    profile: str = ""                     # that the CA issued it under
    renewal: Renewal | None = None        # the CA's window, and the moment chosen in it
    moment: Moment | None = None          # when it is renewed, and why then
    margin: float = 0                     # seconds before its end that it is renewed, usually
    next_key: str = ""                    # TLSA 3 1 1 of the key that was made ahead
    waiting: Waiting | None = None
    failures: int = 0                     # of its orders, in a row
    failed: int = 0                       # when that was last
    trouble: Trouble | None = None        # what has failed, and is not mended
    pending: bool = False                 # a notification is not delivered
    installed: int = 0                    # when

    def left(self, now: float) -> float | None:
        """Return the seconds that its certificate has left, negative behind its end."""
        # the last second counts (RFC 5280 §4.1.2.5)
        return None if self.certificate is None else self.certificate.not_after + 1 - now

    @property
    def lifetime(self) -> int:
        """Seconds that its certificate is valid altogether."""
        known = self.certificate
        return 0 if known is None else known.not_after + 1 - known.not_before

    @property
    def names(self) -> list[str]:
        """The names that it asks for."""
        return [] if self.section is None else [value for _, value in self.section.identifiers]


class Leftover(NamedTuple):
    """What is there of a section that is no more."""

    name: str                   # as far as its files tell
    paths: tuple[str, ...]
    expires: int | None = None  # of the certificate among it


class Overview(NamedTuple):
    """All that there is to show."""

    standings: list[Standing]
    leftovers: list[Leftover]
    now: float
    complete: bool = True       # False: whoever asks may not read what is remembered


class Limits(NamedTuple):
    """How much a certificate must have left; None: a third and a sixth of the time for which
    renewals are tried before it ends, whatever its lifetime."""

    warning: float | None = None      # seconds
    critical: float | None = None


def judge(standing: Standing, now: float, limits: Limits = Limits()) -> tuple[int, str]:
    """Return how bad it is, and why (a phrase)."""
    left = standing.left(now)
    if standing.fault:
        return WARNING, standing.fault
    if left is None:
        return CRITICAL, _because("there is no certificate", standing)
    if left <= 0:
        return CRITICAL, _because(f"expired {span(-left)} ago", standing)
    for level, limit, part in ((CRITICAL, limits.critical, 6), (WARNING, limits.warning, 3)):
        if left <= (standing.margin / part if limit is None else limit):
            return level, _because(f"expires in {span(left)}", standing)
    return _judge_work(standing, now)


def _judge_work(standing: Standing, now: float) -> tuple[int, str]:
    """The certificate will do for a while: what keeps it from being renewed, or used?"""
    trouble = standing.trouble
    if standing.pending and trouble is not None:
        return WARNING, trouble.why
    if standing.pending and not 0 <= now - standing.installed <= ari.RUNS:
        return WARNING, "it is installed, and its notification was not delivered"
    if trouble is not None and now - trouble.since >= DAY:
        return WARNING, f"has failed for {span(now - trouble.since)}: {trouble.why}"
    return OK, ""


def _because(what: str, standing: Standing) -> str:
    why = standing.trouble.why if standing.trouble is not None else \
        standing.waiting.why if standing.waiting is not None else ""
    return f"{what}: {why}" if why else what


def span(seconds: float) -> str:
    """Say how long that is, rounded down, in one unit: days from ten on, below them hours."""
    for unit, size, least in (("d", DAY, 3 * DAY), ("h", 3600, 3 * 3600), ("min", 60, 60)):
        if seconds >= least:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"
