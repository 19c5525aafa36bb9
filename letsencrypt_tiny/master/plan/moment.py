"""When a certificate that is as it is wanted will be renewed, and why then.

What ``renewal.decide`` will say, said beforehand.  Pure.
"""

from math import ceil
from typing import NamedTuple

from ...common.clock import DAY
from ...common.x509.certificate import Certificate
from ..settings.certificates import Section
from ..store.renewals import Renewal
from . import ari, renewal

# What is left of the lifetime then, by its share
_SHARES = {1 / 3: "a third", 1 / 2: "half", 2 / 3: "two thirds"}


class Moment(NamedTuple):
    """The first run from then on renews it; where it's the CA that says so, the last one before."""

    at: int       # Unix time
    why: str      # a phrase for the administrator …
    brief: str    # … and in a few words


def moment(section: Section, certificate: Certificate, enough: float, known: Renewal,
           installed: int) -> Moment:
    """Return when a certificate ``installed`` at some moment is renewed; ``enough`` is what
    ``decide`` found, ``known`` what the CA has said of it."""
    end, lifetime = certificate.not_after, certificate.not_after - certificate.not_before
    own = Moment(ceil(end - enough), *_reasons(section, enough, lifetime))
    if not ari.suggested(known):
        return own
    at = known.moment
    if known.used_start:
        at = max(at, ceil(installed + min(ari.REST, lifetime / 4)))
    suggested = Moment(at, "its CA suggests it", "as its CA suggests")
    if at <= own.at:
        return suggested
    if section.min_days is not None and enough == section.min_days * DAY:
        return own
    last = ceil(end - renewal.latest(lifetime))
    if last <= own.at:
        return own
    return min(suggested, Moment(last, "its CA suggests a later moment than is safe",
                                 "as late as is safe"))


def _reasons(section: Section, enough: float, lifetime: int) -> tuple[str, str]:
    if section.min_days is not None and enough == section.min_days * DAY:
        return f"min-days = {section.min_days}", f"min-days = {section.min_days}"
    share = enough / lifetime if lifetime else 0
    near = min(_SHARES, key=lambda known: abs(known - share))
    left = _SHARES[near] if abs(near - share) < 0.01 else "little"
    return f"{left} of its lifetime is left then", f"{left} left"
