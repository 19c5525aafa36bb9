"""Rate limits that are known beforehand, and when one more request fits in.

Let's Encrypt counts as a bucket fills: so many at once, and each one comes back after its share of
the period.  What is remembered of a bucket is one moment: when it would be whole again.
"""

from collections.abc import Iterable
from typing import NamedTuple

from ...common.clock import DAY, when
from ...common.names import Identifier
from .issuers import host_name

HOUR = 3600   # seconds

ISSUED, FAILED = "issued", "failed"   # what is counted, for each set of names


class Limit(NamedTuple):
    """So many in a period."""

    most: int
    period: int      # seconds
    what: str        # was done too often: a phrase, to follow the number


# By host of the directory, then by what is counted.  What is left out (new orders of an account,
# certificates of a domain) takes hundreds of certificates, or counts others' too.
_KNOWN = {
    "acme-v02.api.letsencrypt.org": {
        ISSUED: Limit(5, 7 * DAY, "certificates for just these names in a week"),
        FAILED: Limit(5, HOUR, "failed validations of these names in an hour")},
    "acme-staging-v02.api.letsencrypt.org": {
        ISSUED: Limit(30000, 7 * DAY, "certificates for just these names in a week"),
        FAILED: Limit(200, HOUR, "failed validations of these names in an hour")},
}


def known(directory: str) -> dict[str, Limit]:
    """Return the limits of the CA with this directory, by what is counted; {} if none is known."""
    return _KNOWN.get(host_name(directory), {})


def key(identifiers: Iterable[Identifier]) -> str:
    """Return what a set of names is counted under."""
    from hashlib import sha256
    text = ",".join(sorted(f"{kind}:{value}" for kind, value in identifiers))
    return sha256(text.encode("utf-8")).hexdigest()[:32]


def count(limit: Limit, whole: float, now: float) -> float:
    """Return when the bucket is whole again after one more, which was at ``whole`` before."""
    if whole > now + limit.period:   # as it can't be: a clock was wrong
        whole = now
    return max(whole, now) + limit.period / limit.most


def free(limit: Limit, whole: float, now: float) -> float:
    """Return from when on one more fits in: ``now`` if it does."""
    share = limit.period / limit.most
    if whole > now + limit.period + share:
        return now
    return max(now, whole - limit.period + share)


def reached(limit: Limit) -> str:
    """Return what to say of a limit: a phrase."""
    return f"the CA allows {limit.most} {limit.what}, which is reached"


def sentence(limit: Limit, moment: float) -> str:
    """Return what to say of a section that waits until a moment."""
    return (f"{reached(limit)}: it is not ordered before {when(moment)} (--force tries all the "
            "same)")
