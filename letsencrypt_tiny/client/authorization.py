"""Authorizations and challenges (RFC 8555 §7.5, §8): proving control of each identifier.

How a challenge is made ready is its solver's matter (``challenges/``), whatever its type.
"""

import time
from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeVar

from ..common.errors import Error, ProtocolError
from ..common.log import debug, printable
from ..common.names import Identifier
from ..common.wire import challenge as challenges, jsonfields, problems
from ..common.wire.jsonfields import JsonObject
from ..common.wire.problems import Problem
from .challenges.solver import Solver
from .connection import Response
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session

MAX_CHALLENGES = 50
SIGN_OF_LIFE = 20    # seconds between those given while a challenge is being made ready

# What would let a type of challenges be done
NEEDS = {
    "http-01": "add http-01 to the section's “challenge”, and have “listen” of [webserver] set",
    "dns-01": "add dns-01 to the section's “challenge”, and a section [dns] for the name",
    "tls-alpn-01": "add tls-alpn-01 to the section's “challenge”",
    "dns-persist-01": "add dns-persist-01 to the section's “challenge”, and publish what "
                      "“letsencrypt-tiny records” prints",
}

T = TypeVar("T")


class Invalid(Error):
    """An authorization is not pending or valid any more, and so its order is dead (§7.1.6)."""

    def __init__(self, message: str, problem: Problem | None) -> None:
        super().__init__(message)
        self.problem = problem    # the server's reason, if it gave one


class Challenge(NamedTuple):
    """The challenge that is responded to (§8)."""

    type: str
    url: str
    status: str
    token: str


class Authorization(NamedTuple):
    """What an authorization object says (§7.1.4)."""

    identifier: Identifier               # a wildcard with its “*.”
    status: str
    challenges: tuple[JsonObject, ...]   # of the types wanted, by preference, unread but for it
    offered: tuple[str, ...]             # types of all challenges
    problem: Problem | None              # of the challenge that failed


def parse(obj: JsonObject, types: Collection[str] = ()) -> Authorization:
    """Take an authorization object apart; raises ProtocolError.

    ``types`` are those of the challenges that are wanted, in order of preference.
    """
    try:
        return _parse(obj, list(types))
    except ProtocolError as exc:
        raise ProtocolError(f"an authorization is none as of RFC 8555 §7.1.4: {exc}") from exc


def _parse(obj: JsonObject, types: list[str]) -> Authorization:
    identifier = jsonfields.get_object(obj, "identifier")
    name = jsonfields.get_str(identifier, "value", 300).lower()
    if jsonfields.get_bool(obj, "wildcard"):
        name = "*." + name
    # One that is valid may have none left
    items = jsonfields.get_optional_objects(obj, "challenges", MAX_CHALLENGES)
    failure: Problem | None = None
    for item in items:
        if item.get("error") is not None:
            failure = problems.parse(item["error"])
    # Types that we don't know need not have a token, or anything but a type (§8).
    wanted = [item for item in items if item.get("type") in types]
    wanted.sort(key=lambda item: types.index(item["type"]))
    return Authorization((jsonfields.get_str(identifier, "type", 32), name),
                         jsonfields.get_str(obj, "status", 32), tuple(wanted),
                         tuple(printable(item.get("type"), 64) for item in items), failure)


def preferred(session: Session, authorization: Authorization,
              tokenless: Collection[str] = ()) -> Challenge | None:
    """Return the challenge to respond to, None if none is of a type wanted.

    Raises ProtocolError if it isn't what §8 demands; challenges of the types ``tokenless`` have
    no token, and "" is taken for it.
    """
    if not authorization.challenges:
        return None
    item = authorization.challenges[0]
    try:
        needs_token = item["type"] not in tokenless
        token = jsonfields.get_str(item, "token", 65536) if needs_token else ""
        if needs_token and not challenges.is_token(token):
            raise ProtocolError("a challenge's token is malformed (§8.3): "
                                f"“{printable(token, 60)}”")
        return Challenge(item["type"], session.url(item, "url"),
                         jsonfields.get_str(item, "status", 32), token)
    except ProtocolError as exc:
        raise ProtocolError(f"an authorization is none as of RFC 8555 §7.1.4: {exc}") from exc


class Authorizer:
    """Does the authorizations of one order; each of its identifiers has exactly one (§7.1.3)."""

    def __init__(self, session: Session, solvers: Mapping[str, Solver], patience: Patience,
                 identifiers: frozenset[Identifier]) -> None:
        """``identifiers`` are the order's, ``solvers`` those of the challenge types wanted, in
        order of preference."""
        self._session = session
        self._solvers = solvers
        self._tokenless = [kind for kind, solver in solvers.items() if not solver.has_token]
        self._patience = patience
        self._identifiers = identifiers
        self._claimed: dict[Identifier, str] = {}
        self._held: list[tuple[Solver, Identifier, str]] = []

    def authorize(self, url: str) -> Steps[int | None]:
        """Fetch an authorization (§7.5) and respond to its challenge if it is pending (§7.5.1).

        Return the Retry-After of the server in seconds, if it sent one.  Raises Error.
        """
        response = yield from self._fetch(url)
        retry_after = self._session.retry_after(response)
        authorization = self._check(url, response)
        if authorization.status == "valid":
            return None
        if authorization.status != "pending":
            raise failure(authorization)
        name = authorization.identifier[1]
        doable, why = self._doable(authorization)
        challenge = preferred(self._session, doable, self._tokenless)
        if challenge is None:
            raise Error(f"{printable(name)}: {why or _impossible(authorization, self._solvers)}")
        first = yield from self._present(challenge, authorization.identifier)
        if challenge.status == "pending" and first:    # else another order responds, or has
            answered = yield from self._respond(url, challenge, name)
            retry_after = answered if answered is not None else retry_after
        return retry_after

    def release(self) -> Steps[None]:
        """The authorizations are finished, one way or another: tidy up."""
        while self._held:
            solver, identifier, token = self._held.pop()
            try:
                yield from solver.clean(identifier, token)
            except Error as exc:    # also Interrupted: what is left is tidied at the run's end
                debug(f"{identifier[1]}: {exc}")

    def _fetch(self, url: str) -> Steps[Response]:
        return (yield from self._patience.busy(
            lambda: self._session.post_as_get(url, "the authorization")))

    def _check(self, url: str, response: Response) -> Authorization:
        authorization = parse(self._session.json(response, "the authorization"), self._solvers)
        identifier = authorization.identifier
        if identifier not in self._identifiers:
            # Nothing is left to be done for it, so it may be a domain's above (§7.1.3)
            if authorization.status == "valid" and any(
                    kind == identifier[0] == "dns" and value.endswith("." + identifier[1])
                    for kind, value in self._identifiers):
                return authorization
            raise ProtocolError("the order has an authorization for a foreign identifier "
                                f"“{printable(identifier[1], 300)}”")
        if self._claimed.setdefault(identifier, url) != url:
            raise ProtocolError(f"the order has two authorizations for “{identifier[1]}”")
        return authorization

    def _doable(self, authorization: Authorization) -> tuple[Authorization, str]:
        """Return it without the challenges that nobody can do, and why the first of them can't be
        if its solver knows."""
        plain, account = _plain(authorization.identifier), self._session.kid or ""
        doable: list[JsonObject] = []
        faults: list[str] = []
        for item in authorization.challenges:
            solver = self._solvers[item["type"]]
            if not solver.serves(plain):
                continue
            why = solver.fault(item, account)
            if why:
                debug(f"{plain[1]}: {why}")
                faults.append(why)
            else:
                doable.append(item)
        return authorization._replace(challenges=tuple(doable)), (faults or [""])[0]

    def _present(self, challenge: Challenge, identifier: Identifier) -> Steps[bool]:
        """Make the challenge ready; True if it is ours to respond to it."""
        solver = self._solvers[challenge.type]
        plain = _plain(identifier)
        first = yield from self._told(solver.present(plain, challenge.token,
                                                     self._session.greeting.thumbprint))
        self._held.append((solver, plain, challenge.token))
        return first

    def _told(self, steps: Steps[T]) -> Steps[T]:
        """Go through steps that wait, and let the master know now and then that they do."""
        told = time.monotonic()
        try:
            while True:
                pause = next(steps)
                if time.monotonic() - told > SIGN_OF_LIFE:
                    told = time.monotonic()
                    self._patience.announce(2 * SIGN_OF_LIFE)
                yield pause
        except StopIteration as stop:
            value: T = stop.value
            return value
        finally:
            steps.close()

    def _respond(self, url: str, challenge: Challenge, name: str) -> Steps[int | None]:
        what = f"the {challenge.type} challenge of {printable(name)}"
        try:
            response = yield from self._patience.busy(
                lambda: self._session.post(challenge.url, {}, what))
        except ProblemError as exc:
            # It may have been responded to before, by a run that was killed.
            if exc.problem.type != "malformed":
                raise
            response = yield from self._fetch(url)
            authorization = self._check(url, response)
            if authorization.status == "pending":
                shared = preferred(self._session, self._doable(authorization)[0],
                                   self._tokenless)
                if shared is None or shared.status == "pending":
                    raise
            elif authorization.status != "valid":
                raise
        return self._session.retry_after(response)


def _plain(identifier: Identifier) -> Identifier:
    """Return what is validated of a wildcard: the name below which it is (§7.1.4)."""
    return identifier[0], identifier[1].removeprefix("*.")


def _impossible(authorization: Authorization, solvers: Mapping[str, Solver]) -> str:
    """Say what the CA offers, and which setting would help."""
    offered = ", ".join(authorization.offered) or "none at all"
    if authorization.challenges:   # of a type wanted, but not for this name
        kind = authorization.challenges[0]["type"]
        return (f"the CA offers {offered}, of which {kind} can't be done for this name"
                + (": no section [dns] is for it" if kind == "dns-01" else ""))
    hints = [NEEDS[kind] for kind in authorization.offered if kind in NEEDS]
    return (f"the CA offers no {' or '.join(solvers)} challenge, but only {offered}"
            f"{f' ({hints[0]})' if hints else ''}")


def failure(authorization: Authorization) -> Invalid:
    """Return the error that tells why an authorization isn't valid."""
    name = printable(authorization.identifier[1], 300)
    problem = authorization.problem
    reason = (f"the authorization is {printable(authorization.status, 32)}" if problem is None
              else problem.text())
    return Invalid(f"{name}: {reason}", problem)
