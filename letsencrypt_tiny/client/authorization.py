"""Authorizations and challenges (RFC 8555 §7.5, §8): proving control of each identifier.

For http-01 (§8.3) the key authorization is put into a file named like the token, in the
working directory, which the web server serves.
"""

import os
import re
import threading
from collections.abc import Generator
from typing import NamedTuple

from ..common.wire import jsonfields, problems
from ..common.errors import Error, ProtocolError
from ..common.wire.jsonfields import JsonObject
from ..common.wire.problems import Problem
from ..common.log import printable
from ..common.names import Identifier
from .patience import Patience
from .problem import ProblemError
from .session import Session

MAX_CHALLENGES = 50
# A token is base64url with 128 bits of entropy, so at least 22 letters (§8.3); whether they
# are random can't be seen, and a file name is safe whatever its length.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


class Challenge(NamedTuple):
    """An http-01 challenge (§8.3); those of other types are only counted by name."""

    url: str
    status: str
    token: str


class Authorization(NamedTuple):
    """What an authorization object says (§7.1.4)."""

    identifier: Identifier               # a wildcard with its “*.”
    status: str
    challenge: Challenge | None          # the one that we can do
    offered: tuple[str, ...]             # types of all challenges
    problem: Problem | None              # of the challenge that failed


def parse(session: Session, obj: JsonObject) -> Authorization:
    """Take an authorization object apart; raises ProtocolError."""
    try:
        return _parse(session, obj)
    except ProtocolError as exc:
        raise ProtocolError(f"an authorization is none as of RFC 8555 §7.1.4: {exc}") from exc


def _parse(session: Session, obj: JsonObject) -> Authorization:
    identifier = jsonfields.get_object(obj, "identifier")
    name = jsonfields.get_str(identifier, "value", 300).lower()
    if jsonfields.get_bool(obj, "wildcard"):
        name = "*." + name
    http01: Challenge | None = None
    failure: Problem | None = None
    offered: list[str] = []
    for item in jsonfields.get_objects(obj, "challenges", MAX_CHALLENGES):
        # Types that we don't know need not have a token, or anything but a type (§8).
        kind = item.get("type")
        offered.append(printable(kind, 64))
        if item.get("error") is not None:
            failure = problems.parse(item["error"])
        if kind == "http-01" and http01 is None:
            token = jsonfields.get_str(item, "token", 65536)
            if not _TOKEN.match(token):
                raise ProtocolError("a challenge's token is malformed (§8.3): "
                                    f"“{printable(token, 60)}”")
            http01 = Challenge(session.url(item, "url"), jsonfields.get_str(item, "status", 32),
                               token)
    return Authorization((jsonfields.get_str(identifier, "type", 32), name),
                         jsonfields.get_str(obj, "status", 32), http01, tuple(offered), failure)


class Tokens:
    """The files of the challenge directory, which is the working directory.

    Two orders may share a pending authorization, so each file is there until the last
    of them has released it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[str, int] = {}

    def hold(self, token: str, key_authorization: bytes) -> bool:
        """Provide the file for a token (§8.3); return if it wasn't there yet.  Raises Error."""
        with self._lock:
            users = self._users.get(token, 0)
            if not users:
                try:
                    _write(token, key_authorization)
                except OSError as exc:
                    raise Error("cannot write into the challenge directory: "
                                f"{exc.strerror}") from exc
            self._users[token] = users + 1
            return not users

    def release(self, token: str) -> None:
        """Remove the file unless another order needs it."""
        with self._lock:
            self._users[token] -= 1
            if not self._users[token]:
                del self._users[token]
                _remove(token)

    def remove_all(self) -> None:
        """Remove what is left at the end."""
        with self._lock:
            for token in self._users:
                _remove(token)
            self._users.clear()


def _write(name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o644)
    except FileExistsError:
        # A token of an earlier run that was killed: its order has been taken up again.
        os.unlink(name)
        fd = os.open(name, flags, 0o644)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def _remove(name: str) -> None:
    try:
        os.unlink(name)
    except OSError:
        pass    # the master removes the directory


class Authorizer:
    """Does the authorizations of one order; each of its identifiers has exactly one (§7.1.3)."""

    def __init__(self, session: Session, tokens: Tokens, patience: Patience,
                 identifiers: frozenset[Identifier]) -> None:
        self._session = session
        self._tokens = tokens
        self._patience = patience
        self._identifiers = identifiers
        self._claimed: dict[Identifier, str] = {}
        self._held: list[str] = []

    def authorize(self, url: str) -> Generator[float, None, int | None]:
        """Fetch an authorization (§7.5) and respond to its challenge if it is pending (§7.5.1).

        Return the Retry-After of the server in seconds, if it sent one.  Raises Error.
        """
        response = yield from self._patience.busy(
            lambda: self._session.post_as_get(url, "the authorization"))
        retry_after = self._session.retry_after(response)
        authorization = self._check(url, self._session.json(response, "the authorization"))
        name = authorization.identifier[1]
        if authorization.status == "valid":
            return None
        if authorization.status != "pending":
            raise failure(authorization)
        challenge = authorization.challenge
        if challenge is None:
            raise Error(f"{printable(name)}: the CA offers no http-01 challenge, but only "
                        f"{', '.join(authorization.offered) or 'none at all'}")
        # §8.1: keyAuthorization = token || '.' || base64url(Thumbprint(accountKey))
        content = f"{challenge.token}.{self._session.signer.greeting.thumbprint}"
        first = self._tokens.hold(challenge.token, content.encode("ascii"))
        self._held.append(challenge.token)
        if challenge.status == "pending" and first:    # else another order responds, or has
            answered = yield from self._respond(url, challenge, name)
            retry_after = answered if answered is not None else retry_after
        return retry_after

    def release(self) -> None:
        """The authorizations are finished, one way or another: remove the token files."""
        while self._held:
            self._tokens.release(self._held.pop())

    def _check(self, url: str, obj: JsonObject) -> Authorization:
        authorization = parse(self._session, obj)
        identifier = authorization.identifier
        if identifier not in self._identifiers:
            raise ProtocolError("the order has an authorization for a foreign identifier "
                                f"“{printable(identifier[1], 300)}”")
        if self._claimed.setdefault(identifier, url) != url:
            raise ProtocolError(f"the order has two authorizations for “{identifier[1]}”")
        return authorization

    def _respond(self, url: str, challenge: Challenge,
                 name: str) -> Generator[float, None, int | None]:
        what = f"the http-01 challenge of {printable(name)}"
        try:
            response = yield from self._patience.busy(
                lambda: self._session.post(challenge.url, {}, what))
        except ProblemError as exc:
            # It may have been responded to before, by a run that was killed.
            if exc.problem.type != "malformed":
                raise
            response = yield from self._patience.busy(
                lambda: self._session.post_as_get(url, "the authorization"))
            authorization = self._check(url, self._session.json(response, "the authorization"))
            shared = authorization.challenge
            if authorization.status != "valid" and (
                    authorization.status != "pending" or shared is None
                    or shared.status == "pending"):
                raise
        return self._session.retry_after(response)


def failure(authorization: Authorization) -> Error:
    """Return the error that tells why an authorization isn't valid."""
    name = printable(authorization.identifier[1], 300)
    if authorization.problem is not None:
        return ProblemError(authorization.problem, what=name)
    return Error(f"{name}: the authorization is {printable(authorization.status, 32)}")
