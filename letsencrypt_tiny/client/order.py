"""The order object (RFC 8555 §7.1.3) and its states (§7.1.6).

Servers leave members out once they have said them, or send null.  So what was said before holds,
and a member is asked for at the step that needs it, which the message then names.
"""

from ..common import log
from ..common.urls import MAX_URL
from ..common.wire import jsonfields, problems
from ..common.errors import ProtocolError
from ..common.names import Identifier
from ..common.wire.jsonfields import JsonObject
from ..common.wire.order import Order
from ..common.wire.problems import Problem
from .connection import Response
from .session import Session

MAX_AUTHORIZATIONS = 1000

# The states of an order and what may follow each, seen from here: a poll may miss a state in
# between, and "new" is an order not seen yet, which may be an earlier one (§7.1.6).
NEXT: dict[str, frozenset[str]] = {
    "new": frozenset({"pending", "ready", "processing", "valid", "invalid"}),
    "pending": frozenset({"pending", "ready", "invalid"}),
    "ready": frozenset({"ready", "processing", "valid", "invalid"}),
    "processing": frozenset({"processing", "valid", "invalid"}),
    "valid": frozenset(),
    "invalid": frozenset(),
}


# What an order must have said for the step that follows a state, to be one that can be gone on with
_NEEDED = {"pending": "authorizations", "ready": "finalize", "processing": "status",
           "valid": "certificate"}


class NoOrder(ProtocolError):
    """What the ACME server has at the URL is no order, or none that can be gone on with."""


class OtherOrder(NoOrder):
    """The order is for other identifiers than those asked for."""


def advance(state: str, status: str) -> str:
    """Return ``status`` if an order may come to it from ``state``; raises ProtocolError."""
    if status not in NEXT:
        raise ProtocolError(f"an order of the unknown status “{log.printable(status, 60)}”")
    if status not in NEXT[state]:
        raise ProtocolError(f"the order went from {state} to {status}, which RFC 8555 §7.1.6 "
                            "does not allow")
    return status


def wanted(request: Order) -> frozenset[Identifier]:
    """Return the identifiers of a request as they are compared."""
    return frozenset((kind, value.lower()) for kind, value in request.identifiers)


class OrderObject:
    """What the server has said of one order so far."""

    def __init__(self, session: Session, request: Order, finalize: str | None = None) -> None:
        """``finalize`` is where it is finalized, as far as that is known already."""
        self._session = session
        self._request = request
        self._members: JsonObject = {"finalize": self._believed(finalize)}
        self.status = ""
        self.retry_after: int | None = None    # seconds
        self.asked: str | None = None          # the profile that it was asked for with

    def _believed(self, finalize: str | None) -> str | None:
        """Return a URL that was remembered, None if a client gone wrong made it be."""
        try:
            return finalize and self._session.check_url(finalize, "“finalize”")
        except ProtocolError as exc:
            log.debug(exc)
            return None

    def update(self, response: Response) -> None:
        """Learn from a response.

        Raises ProtocolError if it isn't an order (NoOrder if the ACME server itself says so, and
        nobody before it), OtherOrder if it isn't the one asked for; then nothing is learnt.
        """
        try:
            obj = self._session.json(response, "the order")
            self._check(obj)
        except OtherOrder:
            raise
        except ProtocolError as exc:
            # The server answers each POST with a nonce (§6.5)
            kind = NoOrder if response.get("replay-nonce") else ProtocolError
            raise kind(str(exc)) from exc
        self.status = obj["status"]
        self.retry_after = self._session.retry_after(response)
        self._members.update((key, value) for key, value in obj.items()
                             if value is not None and value != "" and value != [])

    def _check(self, obj: JsonObject) -> None:
        """Raise ProtocolError if it isn't an order, OtherOrder if it says that it is another."""
        try:
            jsonfields.get_str(obj, "status", 32)
            found = [(jsonfields.get_str(item, "type", 32),
                      jsonfields.get_str(item, "value", 300).lower())
                     for item in jsonfields.get_optional_objects(obj, "identifiers",
                                                                 MAX_AUTHORIZATIONS)]
        except ProtocolError as exc:
            raise ProtocolError(f"the order is none as of RFC 8555 §7.1.3: {exc}") from exc
        if obj.get("identifiers") is not None and set(found) != wanted(self._request):
            raise OtherOrder("the order is for other identifiers than those asked for: " + (
                ", ".join(log.printable(name, 100) for _, name in found[:10]) or "none"))

    def check_usable(self) -> None:
        """Raise NoOrder if an earlier order can't be gone on with.

        Other objects have a status, too: accounts, authorizations, challenges.  An order of a
        status that nobody knows is gone on with, for somebody to complain about it.
        """
        needed = _NEEDED.get(self.status, "identifiers")
        if self.status == "invalid" or not self._members.get(needed):
            raise NoOrder(f"it is {log.printable(self.status, 60)}"
                          + ("" if self.status == "invalid" else f", without “{needed}”"))

    def authorizations(self) -> list[str]:
        """Return the URLs of the authorizations, each once; raises ProtocolError."""
        try:
            urls = list(dict.fromkeys(jsonfields.get_strs(self._members, "authorizations",
                                                          MAX_AUTHORIZATIONS)))
        except ProtocolError as exc:
            raise ProtocolError("the order is pending, but its authorizations can't be done: "
                                f"{exc} (RFC 8555 §7.1.3)") from exc
        if len(urls) > len(self._request.identifiers):
            raise ProtocolError(f"the order has {len(urls)} authorizations for "
                                f"{len(self._request.identifiers)} identifiers")
        return [self._session.check_url(url, "an authorization") for url in urls]

    @property
    def finalize(self) -> str | None:
        """Where the order is finalized, if the server has said it; unchecked."""
        value = self._members["finalize"]
        return value if isinstance(value, str) and len(value) <= MAX_URL else None

    def finalize_url(self) -> str:
        """Return where the order is finalized; raises ProtocolError."""
        return self._url("finalize", "the order is ready, but can't be finalized")

    @property
    def can_be_finalized(self) -> bool:
        """True if a CSR can be sent, now or later, and the order says what it is for."""
        return (self.status in ("pending", "ready") and self.finalize is not None
                and "identifiers" in self._members)

    @property
    def profile(self) -> object:
        """The profile that the server names (draft-ietf-acme-profiles), None if it doesn't."""
        return self._members.get("profile")

    def certificate_url(self) -> str:
        """Return where the certificate is; raises ProtocolError."""
        if not self._members.get("certificate"):
            raise ProtocolError("the order is valid, but the CA names no certificate")
        return self._url("certificate", "the order is valid, but its certificate can't be fetched")

    def _url(self, member: str, step: str) -> str:
        try:
            return self._session.url(self._members, member)
        except ProtocolError as exc:
            raise ProtocolError(f"{step}: {exc} (RFC 8555 §7.1.3)") from exc

    @property
    def error(self) -> Problem | None:
        """Why the order is invalid, if the server says it."""
        value = self._members.get("error")
        return problems.parse(value) if value else None
