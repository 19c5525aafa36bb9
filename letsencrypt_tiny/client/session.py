"""The session with one ACME server: GET, and POST signed by one account key (RFC 8555 §6).

Whatever the server sends is capped and checked here or taken through ``jsonfields``.
Every URL it names must be https and of the directory's own origin, or one that the configuration
adds: nothing it says makes the client connect anywhere else.
"""

import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urljoin

from .. import __version__
from ..common import log
from ..common.errors import LocalProtocolError, ProtocolError
from ..common.wire import jose, jsonfields
from ..common.wire.jsonfields import JsonObject
from ..common.wire.signer import Greeting
from . import directory, links, patience, strangers
from .connection import Response
from .connections import Connections
from .directory import Directory
from .nonces import MOST, Nonces
from .problem import MAX_JSON, ProblemError, parse_object, parse_problem
from .profiles import Profiles
from .signer import Signer
from .transport import CutOff, NoAnswer, Route, parse_url

USER_AGENT = f"letsencrypt-tiny/{__version__}"
JSON = "application/json"
_NO_HEAD = (404, 405, 501)  # answers to HEAD of a server that has GET
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Session:
    """Requests to one server by one account key; used by several threads at once.

    Without a signer there is only GET.  ``kid`` is the account's URL, None until it is known;
    ``find_kid`` is set as long as the server hasn't taken it for this key's, and finds it again.
    """

    def __init__(self, directory_url: str, route: Route, context: ssl.SSLContext,
                 signer: Signer | None, now: Callable[[], float],
                 answer_timeout: float = 90.0, others: Sequence[Route] = ()) -> None:
        """``answer_timeout``: seconds for one answer of the server; ``others``: routes to other
        origins that its URLs may have."""
        self.directory_url = directory_url
        self._signer = signer
        self.now = now
        self.kid: str | None = None
        self.find_kid: Callable[[], str] | None = None
        self.requests = 0
        self.profiles = Profiles()
        self.connections = Connections([route, *others], context, answer_timeout)
        self._nonces = Nonces()
        self._lock = threading.Lock()
        self._directory: Directory | None = None
        self.document, self.remembers = "", False   # its text; whether it is of an earlier run

    # --- directory (§7.1.1) ---------------------------------------------------------------

    @property
    def directory(self) -> Directory:
        """The directory; it must have been fetched."""
        if self._directory is None:
            raise LocalProtocolError("the directory has not been fetched")
        return self._directory

    def fetch_directory(self) -> None:
        """GET the directory.  Raises Error."""
        what = f"the directory {self.directory_url}"
        found = self.json(self.get(self.directory_url, what), what)
        self._directory, self.remembers = directory.parse(found, self.url, what), False
        self.document = directory.document(found)

    def doubt(self, document: str) -> None:
        """The server was out of order: few requests are to show whether it is still; ``document``
        is its directory, as remembered, or "".  Raises ProtocolError."""
        self._nonces.doubt()
        if document:
            obj = jsonfields.parse_object(document.encode(), "the directory", MAX_JSON)
            self._directory = directory.parse(obj, self.url, "the directory, as remembered,")
            self.remembers = True

    # --- requests -------------------------------------------------------------------------

    def get(self, url: str, what: str) -> Response:
        """Fetch a resource that wants no signature (§6.3).

        Raises ProblemError if the server refuses, other Errors as ``post``.
        """
        response = self._send("GET", url, what)
        self._raise_for_status(response, what)
        return response

    def post_as_get(self, url: str, what: str, accept: str = JSON,
                    limit: int = MAX_JSON) -> Response:
        """Fetch a resource (§6.3); see ``post``."""
        return self.post(url, None, what, accept=accept, limit=limit)

    def post(self, url: str, payload: JsonObject | None, what: str, *, with_jwk: bool = False,
             accept: str = JSON, limit: int = MAX_JSON) -> Response:
        """Send a signed request (§6.2); ``payload`` None is POST-as-GET.

        ``with_jwk`` names the key instead of the account.  A bad nonce is retried with the
        one of the error response (§6.5), whatever is refused by finding the account again, once,
        as long as the server has not taken the kid for this key's.
        Raises ProblemError if the server refuses, other Errors if it can't be understood or
        reached, LocalProtocolError without a signer; ``what`` names the request in messages.
        """
        body = b"" if payload is None else jsonfields.dump(payload)
        kid = None if with_jwk else self.kid
        bad_nonces = 0
        while True:
            try:
                response = self._post_once(url, body, kid, what, accept, limit)
            except ProblemError as exc:
                if exc.problem.type != "badNonce":
                    self._nonces.taken(exc.passing)
                # one more, if others' were in a row: it may have been given to them in vain
                elif self._nonces.refused() and bad_nonces < MOST or \
                        self._nonces.accepted and not bad_nonces:
                    bad_nonces += 1
                    continue
                else:
                    raise
                # Servers say in many ways that a kid is none of this key's
                if kid is None or not exc.verdict or not self._find_another(kid):
                    raise
                kid = self.kid
            else:
                self._nonces.taken()
                self.find_kid = None if kid else self.find_kid
                return response

    def _find_another(self, kid: str) -> bool:
        """Find the account again that was refused as ``kid``; True if it is another."""
        with self._lock:    # one thread asks, the others wait for what it learns
            find_kid, self.find_kid = self.find_kid, None
            if find_kid is not None and self.kid == kid:
                try:
                    self.kid = find_kid()
                except (ProblemError, CutOff):
                    self.find_kid = find_kid    # the next one asks
                    raise
            return self.kid != kid

    def _post_once(self, url: str, payload: bytes, kid: str | None, what: str, accept: str,
                   limit: int) -> Response:
        self.check_url(url, what)    # before it is signed
        signer = self.require_signer(what)
        greeting = signer.greeting
        header: JsonObject = {"alg": greeting.alg, "nonce": self._nonce(), "url": url}
        if kid is not None:
            header["kid"] = kid
        elif greeting.jwk:
            header["jwk"] = greeting.jwk
        else:
            raise LocalProtocolError(f"{what} needs the account's public key, which the account "
                                     "key manager withholds (its keyid is set)")
        protected = jsonfields.dump(header)
        # Flattened JWS JSON serialization (§6.2)
        body = jsonfields.dump({
            "protected": jose.encode_text(protected), "payload": jose.encode_text(payload),
            "signature": jose.encode_text(signer.sign(protected, payload))})
        response = self._send("POST", url, what, body, accept, limit)
        self._raise_for_status(response, what)
        return response

    @property
    def greeting(self) -> Greeting:
        """What the signer says of itself and its key.  Raises LocalProtocolError without one."""
        return self.require_signer("the account").greeting

    def require_signer(self, what: str) -> Signer:
        """Return the signer; ``what`` needs it.  Raises LocalProtocolError without one."""
        if self._signer is None:
            raise LocalProtocolError(f"{what} needs a signature, and there is no account key "
                                     "manager in this conversation")
        return self._signer

    def _nonce(self) -> str:
        nonce = self._nonces.take() or self._nonces.invent()
        if nonce is None:
            response = self._send("HEAD", self.directory.new_nonce, "newNonce")    # §7.2
            if response.status in _NO_HEAD:
                response = self._send("GET", self.directory.new_nonce, "newNonce")
            self._raise_for_status(response, "newNonce")
            nonce = self._nonces.take()
        if nonce is None:
            raise ProtocolError("the CA's newNonce brought no usable nonce (RFC 8555 §7.2)")
        return nonce

    def _send(self, method: str, url: str, what: str, body: bytes | None = None,
              accept: str = JSON, limit: int = MAX_JSON) -> Response:
        where = parse_url(self.check_url(url, what), what)
        fields = [("Host", where.authority), ("User-Agent", USER_AGENT),    # §6.1
                  ("Accept-Language", "en"), ("Accept", accept),
                  ("Accept-Encoding", "identity")]
        if body is not None:
            fields.append(("Content-Type", "application/jose+json"))    # §6.2
        self.requests += 1
        connection = self.connections.to(where.origin)
        began = time.monotonic() if connection.is_open else None
        try:
            response = connection.exchange(method, where.target, tuple(fields), body, limit)
        except ProtocolError as exc:
            raise ProtocolError(f"{what}: {exc}") from exc
        except (CutOff, NoAnswer) as exc:
            raise type(exc)(f"{what}: {exc}") from exc
        if began is not None:
            self.connections.distance.answered(time.monotonic() - began)
        log.debug(f"{method} {url}: {response.status}")
        self._nonces.put(response)
        return response

    def _raise_for_status(self, response: Response, what: str) -> None:
        if 200 <= response.status < 300:
            return
        if 300 <= response.status < 400:
            raise ProtocolError(f"{what}: the CA answers with a redirect (HTTP status "
                                f"{response.status}), which is not followed")
        found = parse_problem(response, what)
        if found.type == "userActionRequired":    # §7.3.3
            terms = links.find(response.get_all("link"), "terms-of-service")
            more = ([f"see {found.instance}"] if found.instance else []) + (
                [f"the terms of service are now {terms[0]}"] if terms else [])
            found = found._replace(detail="; ".join(filter(None, [found.detail, *more])))
        raise ProblemError(found, self.retry_after(response), what)

    def connect(self, seconds: float) -> None:
        """Make this thread's connection within so many seconds, for requests that are to come.

        Raises Error.
        """
        self.connections.to(parse_url(self.directory_url, "the directory").origin).open(seconds)

    def close(self) -> None:
        """Close every connection; no other thread may use the session any more."""
        self.connections.close()

    # --- what responses hold --------------------------------------------------------------

    def retry_after(self, response: Response) -> int | None:
        """Return the seconds of the Retry-After field (§6.6, §7.5.1), None without one."""
        return patience.parse_retry_after(response.get("retry-after"), self.now,
                                          response.get("date"))

    def json(self, response: Response, what: str) -> JsonObject:
        """Return the JSON object of a response; raises ProtocolError."""
        if response.media_type != JSON:
            kind = log.printable(response.get("content-type") or "no type", 100)
            raise ProtocolError(f"{what}: the CA sent {kind} instead of {JSON}"
                                + strangers.page(response.body, response.media_type))
        return parse_object(response, what)

    def location(self, response: Response, base: str, what: str) -> str:
        """Return the Location field: the URL of what was made by the request to ``base``.

        Raises ProtocolError.
        """
        reference = response.get("location")
        if reference is None:
            raise ProtocolError(f"{what}: the CA sent no Location")
        return self.resolve(reference, base, f"{what}: Location")

    def resolve(self, reference: str, base: str, what: str) -> str:
        """Return the URL that a reference in the answer of ``base`` means (RFC 3986 §5).

        Raises ProtocolError as ``check_url``.
        """
        # What has a scheme, or mustn't be in a URL, is judged as it is: urljoin would mend it
        if reference.isprintable() and " " not in reference and not _SCHEME.match(reference):
            reference = urljoin(base, reference)
        return self.check_url(reference, what)

    def url(self, obj: JsonObject, key: str) -> str:
        """Return the URL ``key`` of ``obj``; raises ProtocolError."""
        return self.check_url(jsonfields.get_str(obj, key, 2048), f"“{key}”")

    def check_url(self, url: str, what: str) -> str:
        """Return ``url`` if it has the directory's origin, or another that the configuration
        allows; raises ProtocolError."""
        if parse_url(url, what).origin not in self.connections:
            raise ProtocolError(f"{what} is of another origin than the directory "
                                f"{self.directory_url}: “{log.printable(url, 200)}” "
                                "(setting “origins” of [client])")
        return url
