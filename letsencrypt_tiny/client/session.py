"""The session with one ACME server: directory, nonces, signed POST (RFC 8555 §6, §7.1.1, §7.2).

Whatever the server sends is capped and checked here or taken through ``jsonfields``.
Every URL it names must be https and of the directory's own origin: nothing it says makes
the client connect anywhere else.
"""

import math
import re
import ssl
import threading
from collections.abc import Callable
from typing import NamedTuple

from .. import __version__
from ..common import log
from ..common.wire import jose, jsonfields, problems
from ..common.errors import ProtocolError
from ..common.wire.jsonfields import JsonObject
from ..common.wire.problems import Problem
from .connection import Connection, Response
from .problem import ProblemError
from .signer import Signer
from .transport import Route, parse_url

USER_AGENT = f"letsencrypt-tiny/{__version__}"
JSON = "application/json"
MAX_JSON = 1 << 20          # bytes of a JSON response
MAX_RETRY_AFTER = 86400     # seconds
BAD_NONCE_RETRIES = 10
MAX_NONCES = 64             # kept

_NONCE = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")    # base64url (§6.5.1)
_DELAY_SECONDS = re.compile(r"[0-9]{1,18}\Z")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# IMF-fixdate (RFC 9110 §5.6.7)
_HTTP_DATE = re.compile(r"[A-Za-z]{3}, ([0-9]{2}) ([A-Za-z]{3}) ([0-9]{4}) "
                        r"([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT\Z")
# A kid that was remembered and is none of this key's (any more): what servers answer
_NOT_THIS_ACCOUNT = ("accountDoesNotExist", "unauthorized")


class Directory(NamedTuple):
    """What the server offers (§7.1.1); unknown members are ignored."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str | None
    renewal_info: str | None                  # RFC 9773
    terms_of_service: str | None
    external_account_required: bool
    profiles: dict[str, str] | None           # draft-ietf-acme-profiles; name -> description


def parse_retry_after(value: str | None, now: Callable[[], float]) -> int | None:
    """Return the seconds that a Retry-After field asks for, from 0 to MAX_RETRY_AFTER.

    It holds seconds or an HTTP date (RFC 9110 §10.2.3); None for anything else.
    """
    if value is None:
        return None
    if _DELAY_SECONDS.match(value):
        return min(int(value), MAX_RETRY_AFTER)
    match = _HTTP_DATE.match(value)
    if match is None or match.group(2).lower() not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match.group(i)) for i in (1, 3, 4, 5, 6))
    month = _MONTHS.index(match.group(2).lower()) + 1
    if not (1970 <= year and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    then = _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    return max(0, min(math.ceil(then - now()), MAX_RETRY_AFTER))


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 (``calendar`` is slow to import, and can't be once confined)."""
    if month < 3:    # a year that begins in March has its leap day at the end
        year, month = year - 1, month + 12
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (153 * month - 457) // 5 + day - 719469


class Nonces:
    """The anti-replay nonces that responses brought (§6.5); the freshest is used first."""

    def __init__(self) -> None:
        self._nonces: list[str] = []

    def put(self, response: Response) -> None:
        """Keep the nonce of a response; a malformed one MUST be ignored (§6.5.1)."""
        nonce = response.get("replay-nonce")
        if nonce is not None and _NONCE.match(nonce):
            self._nonces.append(nonce)
            del self._nonces[:-MAX_NONCES]

    def take(self) -> str | None:
        """Return a nonce, which is not given again; None if none is left."""
        try:
            return self._nonces.pop()
        except IndexError:    # another thread took the last one
            return None


class Session:
    """Requests to one server by one account key; used by several threads at once.

    Each thread has a connection of its own.  ``kid`` is the account's URL, None until it is
    known; ``find_kid``, if set, finds it again should the server not know it.
    """

    def __init__(self, directory_url: str, route: Route, context: ssl.SSLContext,
                 signer: Signer, now: Callable[[], float]) -> None:
        self.directory_url = directory_url
        self.signer = signer
        self.now = now
        self.kid: str | None = None
        self.find_kid: Callable[[], str] | None = None
        self.requests = 0
        self._origin = parse_url(directory_url, "the server's directory")._replace(target="")
        self._route = route
        self._context = context
        self._nonces = Nonces()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._directory: Directory | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports that are connected to."""
        return self._route.ports

    # --- directory (§7.1.1) ---------------------------------------------------------------

    @property
    def directory(self) -> Directory:
        """The directory; it must have been fetched."""
        if self._directory is None:
            raise RuntimeError("the directory has not been fetched")
        return self._directory

    def fetch_directory(self) -> None:
        """GET the directory.  Raises Error."""
        what = f"the directory {self.directory_url}"
        response = self._send("GET", self.directory_url, what)
        self._raise_for_status(response, what)
        obj = self.json(response, what)
        try:
            meta = jsonfields.get_optional_object(obj, "meta") or {}
            profiles = jsonfields.get_optional_object(meta, "profiles")
            self._directory = Directory(
                new_nonce=self.url(obj, "newNonce"), new_account=self.url(obj, "newAccount"),
                new_order=self.url(obj, "newOrder"),
                revoke_cert=self.url(obj, "revokeCert") if obj.get("revokeCert") else None,
                renewal_info=self.url(obj, "renewalInfo") if obj.get("renewalInfo") else None,
                terms_of_service=jsonfields.get_optional_str(meta, "termsOfService", 2048),
                external_account_required=jsonfields.get_bool(meta, "externalAccountRequired"),
                profiles=None if profiles is None else {
                    name: str(description) for name, description in profiles.items()})
        except ProtocolError as exc:
            raise ProtocolError(f"{what} is none (RFC 8555 §7.1.1): {exc}") from exc

    # --- requests -------------------------------------------------------------------------

    def post_as_get(self, url: str, what: str, accept: str = JSON,
                    limit: int = MAX_JSON) -> Response:
        """Fetch a resource (§6.3); see ``post``."""
        return self.post(url, None, what, accept=accept, limit=limit)

    def post(self, url: str, payload: JsonObject | None, what: str, *, with_jwk: bool = False,
             accept: str = JSON, limit: int = MAX_JSON) -> Response:
        """Send a signed request (§6.2); ``payload`` None is POST-as-GET.

        ``with_jwk`` names the key instead of the account.  A bad nonce is retried with the
        one of the error response (§6.5), a stale kid by finding the account again, once.
        Raises ProblemError if the server refuses, other Errors if it can't be understood or
        reached; ``what`` names the request in messages.
        """
        body = b"" if payload is None else jsonfields.dump(payload)
        kid = None if with_jwk else self.kid
        bad_nonces = 0
        while True:
            try:
                return self._post_once(url, body, kid, what, accept, limit)
            except ProblemError as exc:
                if exc.problem.type == "badNonce" and bad_nonces < BAD_NONCE_RETRIES:
                    bad_nonces += 1
                    continue
                if (kid is None or self.find_kid is None
                        or exc.problem.type not in _NOT_THIS_ACCOUNT):
                    raise
                with self._lock:    # one thread asks, the others wait for what it learns
                    find_kid, self.find_kid = self.find_kid, None
                    if find_kid is not None and self.kid == kid:
                        self.kid = find_kid()
                if self.kid == kid:
                    raise
                kid = self.kid

    def _post_once(self, url: str, payload: bytes, kid: str | None, what: str, accept: str,
                   limit: int) -> Response:
        self.check_url(url, what)    # before it is signed
        greeting = self.signer.greeting
        header: JsonObject = {"alg": greeting.alg, "nonce": self._nonce(), "url": url}
        if kid is not None:
            header["kid"] = kid
        elif greeting.jwk:
            header["jwk"] = greeting.jwk
        else:
            raise ProtocolError(f"{what} needs the account's public key, which the signer "
                                "withholds (its keyid is set)")
        protected = jsonfields.dump(header)
        # Flattened JWS JSON serialization (§6.2)
        body = jsonfields.dump({
            "protected": jose.encode_text(protected), "payload": jose.encode_text(payload),
            "signature": jose.encode_text(self.signer.sign(protected, payload))})
        response = self._send("POST", url, what, body, accept, limit)
        self._raise_for_status(response, what)
        return response

    def _nonce(self) -> str:
        nonce = self._nonces.take()
        if nonce is None:
            self._raise_for_status(self._send("HEAD", self.directory.new_nonce, "newNonce"),
                                   "newNonce")    # §7.2
            nonce = self._nonces.take()
        if nonce is None:
            raise ProtocolError("the server's newNonce brought no usable nonce (RFC 8555 §7.2)")
        return nonce

    def _send(self, method: str, url: str, what: str, body: bytes | None = None,
              accept: str = JSON, limit: int = MAX_JSON) -> Response:
        target = parse_url(self.check_url(url, what), what).target
        fields = [("Host", self._origin.authority), ("User-Agent", USER_AGENT),    # §6.1
                  ("Accept-Language", "en"), ("Accept", accept)]
        if body is not None:
            fields.append(("Content-Type", "application/jose+json"))    # §6.2
        self.requests += 1
        try:
            response = self._connection().exchange(method, target, tuple(fields), body, limit)
        except ProtocolError as exc:
            raise ProtocolError(f"{what}: {exc}") from exc
        log.debug(f"{method} {url}: {response.status}")
        self._nonces.put(response)
        return response

    def _raise_for_status(self, response: Response, what: str) -> None:
        if 200 <= response.status < 300:
            return
        if 300 <= response.status < 400:
            raise ProtocolError(f"{what}: the server answers with a redirect (HTTP status "
                                f"{response.status}), which is not followed")
        found = Problem("", "", response.status)
        if _media_type(response) == "application/problem+json":
            try:
                found = problems.parse(jsonfields.parse_object(response.body, what, MAX_JSON),
                                       response.status)
            except ProtocolError as exc:
                log.debug(f"an unreadable problem document: {exc}")
        raise ProblemError(found, self.retry_after(response), what)

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = Connection(self._route, self._context)
            self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection; no other thread may use the session any more."""
        for connection in self._connections:
            connection.close()

    # --- what responses hold --------------------------------------------------------------

    def retry_after(self, response: Response) -> int | None:
        """Return the seconds of the Retry-After field (§6.6, §7.5.1), None without one."""
        return parse_retry_after(response.get("retry-after"), self.now)

    def json(self, response: Response, what: str) -> JsonObject:
        """Return the JSON object of a response; raises ProtocolError."""
        if _media_type(response) != JSON:
            kind = log.printable(response.get("content-type") or "no type", 100)
            raise ProtocolError(f"{what}: the server sent {kind} instead of {JSON}")
        return jsonfields.parse_object(response.body, what, MAX_JSON)

    def location(self, response: Response, what: str) -> str:
        """Return the Location field: the URL of what was made; raises ProtocolError."""
        url = response.get("location")
        if url is None:
            raise ProtocolError(f"{what}: the server sent no Location")
        return self.check_url(url, f"{what}: Location")

    def url(self, obj: JsonObject, key: str) -> str:
        """Return the URL ``key`` of ``obj``; raises ProtocolError."""
        return self.check_url(jsonfields.get_str(obj, key, 2048), f"“{key}”")

    def check_url(self, url: str, what: str) -> str:
        """Return ``url`` if it has the directory's origin; raises ProtocolError."""
        if parse_url(url, what)._replace(target="") != self._origin:
            raise ProtocolError(f"{what} is of another origin than the directory "
                                f"{self.directory_url}: “{log.printable(url, 200)}”")
        return url


def _media_type(response: Response) -> str:
    return (response.get("content-type") or "").split(";")[0].strip().lower()
