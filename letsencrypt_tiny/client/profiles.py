"""Certificate profiles (draft-ietf-acme-profiles): which one an order names, and which it got.

One that the directory doesn't list is never asked for.  Where it was a preference, the order goes
without, and that is said once in a run; where it is required there is no order.
"""

from collections.abc import Mapping

from ..common import log
from ..common.errors import Error
from ..common.wire.order import MAX_PROFILE, Order

PREFERRED, REQUIRED = "preferred-profile", "required-profile"
MAX_SHOWN = 300    # characters of the list of those there are


class NotOffered(Error):
    """The CA has not what is asked for, and says so."""


class OtherProfile(Error):
    """An earlier order is of no use, as it is not of the profile that is wanted now."""


class Profiles:
    """What is asked for in one run; used by several threads."""

    def __init__(self) -> None:
        self._said: dict[str, object] = {}

    def choose(self, request: Order, offered: Mapping[str, str] | None) -> str | None:
        """Return the profile that an order names; ``offered`` are those of the directory.

        Raises NotOffered.
        """
        wanted = request.profile
        if wanted is None or wanted in (offered or {}):
            return wanted
        listed = ", ".join(sorted(offered or {})) or "none"
        self._without(request, f"the CA has no profile “{wanted}” (it offers "
                               f"{log.printable(listed, MAX_SHOWN)})")
        return None

    def refused(self, request: Order, error: Error) -> None:
        """The CA doesn't certify this under the profile that it offers.  Raises NotOffered where
        it is required."""
        self._without(request, f"{error}; it is about the profile “{request.profile}”")

    def differs(self, request: Order, asked: str | None, got: object) -> None:
        """Look at the profile that an order has, None if the server doesn't tell it.

        Raises NotOffered where another one is required.
        """
        if asked is not None and got not in (None, "", asked):
            self._without(request, f"the CA made an order of the profile "
                                   f"“{log.printable(got, MAX_PROFILE)}” of one that asked for "
                                   f"“{asked}”")

    @staticmethod
    def check_earlier(request: Order, got: object) -> None:
        """Raise OtherProfile if an earlier order is for another profile than the one wanted."""
        if request.profile is not None and got != request.profile and (
                got or request.profile_required):
            raise OtherProfile(f"it is of the profile “{log.printable(got, MAX_PROFILE)}”")

    def _without(self, request: Order, why: str) -> None:
        """Say once what is the matter; raises NotOffered where the profile is required."""
        if request.profile_required:
            raise NotOffered(f"{why}: change {REQUIRED}")
        token = object()
        if self._said.setdefault(why, token) is token:
            log.warning(f"{why}: ordering without it (setting {PREFERRED})")


def is_refused(error: Exception) -> bool:
    """True if the server says that a profile can't be had, at whatever step."""
    problem = getattr(error, "problem", None)
    return problem is not None and problem.type == "invalidProfile"


def said(value: object) -> str | None:
    """Return the profile that an order names, as the master may be told."""
    if isinstance(value, str) and 0 < len(value) <= MAX_PROFILE and value.isascii() \
            and value.isprintable():
        return value
    return None
