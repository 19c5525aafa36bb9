"""What a hostile ACME server may do (SECURITY.md, A), ready-made for ``Hostile``.

Each function takes the server and installs one misbehaviour; resources are named as in
``hostile``.  Where more than one value is bad there's a list of them.
"""

import copy
import datetime
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from . import ca
from .hostile import JSON, Default, Headers, Hostile, Request, Response

BAD_TOKENS = ["", "../../../etc/cron.d/x", "..", ".", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb",
              "a b", "tökén" * 8, "%2e%2e%2f", "-" * 10_000, "A" * 21 + "=", "A" * 31 + "\r\n",
              None, 17, ["A" * 43], {"a": "b"}]

SHELL_WORDS = ["$(touch {0})", "`touch {0}`", "; touch {0};", "| touch {0}", "&& touch {0}",
               "\ntouch {0}\n", "'; touch {0}; '", '"; touch {0}; "', "-engine {0}", "$ENV::HOME"]

CONTROL = "\x1b[31mred\x1b]0;title\x07 \x9b2J c1\x85 cr\rover\nerror: forged\0\x7f\u2028\u202egnp"

RETRY_AFTER = ["1000000000", "-1", "1e9", "", "soon", "9" * 5000, "1.5", "\xb2", "0x10",
               "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT",
               "Sun, 99 Foo 2026 99:99:99 GMT", "NaN", "-1000000000"]


def _append(message: Any, words: str, keep: Collection[str]) -> Any:
    if isinstance(message, str):
        return message if message.startswith("https://") else message + words
    if isinstance(message, list):
        return [_append(item, words, keep) for item in message]
    if isinstance(message, dict):
        return {key: value if key in keep else _append(value, words, keep)
                for key, value in message.items()}
    return message


def divide(server: Hostile, behaviours: Mapping[str, Callable[[Hostile], Any]]) -> None:
    """Let the order of each name (its first) meet a server that misbehaves in a way of its own.

    Of the server itself, what is said for a whole run stays: directory, newNonce, newAccount.
    """
    parts = {}
    for name, misbehave in behaviours.items():
        parts[name] = part = copy.copy(server)  # orders and all that are shared
        part.on = {}
        misbehave(part)

    def handler(request: Request, default: Default) -> Response:
        part = parts.get(server.name(request) or "")
        return default() if part is None else part.answer(request)
    for resource in ("newOrder", "order", "finalize", "authz", "challenge", "certificate"):
        server.on[resource] = handler


def bad_token(server: Hostile, token: object) -> None:
    """A1: every challenge has this token; a good client writes nothing."""
    def change(authz: JSON) -> None:
        for challenge in authz["challenges"]:
            challenge["token"] = token
    server.edit("authz", change)


def shell_words(server: Hostile, resource: str, words: str,
                keep: Collection[str] = ("status",)) -> None:
    """A2: ``words`` end every string of a resource but URLs and the members to ``keep``."""
    server.edit(resource, lambda message: _append(message, words, keep))


def problem(server: Hostile, resource: str, detail: str = CONTROL, type_: str = "malformed",
            status: int = 403, **members: Any) -> None:
    """A3: a problem document with control characters in its detail and in a subproblem's."""
    members.setdefault("subproblems", [{
        "type": f"urn:ietf:params:acme:error:{type_}", "detail": detail,
        "identifier": {"type": "dns", "value": detail}}])
    server.on[resource] = lambda _request, _default: Response.problem(
        type_, detail, status, **members)


def failed_challenge(server: Hostile, detail: str = CONTROL, type_: str = "unauthorized") -> None:
    """A3: validation fails, and the challenge's error has control characters in its detail."""
    def change(authz: JSON) -> None:
        if any(challenge["status"] != "pending" for challenge in authz["challenges"]):
            authz["status"] = "invalid"
            for challenge in authz["challenges"]:
                challenge.update(status="invalid", error={
                    "type": f"urn:ietf:params:acme:error:{type_}", "detail": detail, "status": 403})
    server.edit("authz", change)


def boulder(server: Hostile) -> None:
    """Let it judge kids as Boulder does: mostly “malformed” (never “unauthorized”).

    An account's is taken if newAccount was asked for it last: nobody verifies signatures here.
    """
    found = server.url("account/0")

    def new_account(_request: Request, default: Default) -> Response:
        nonlocal found
        response = default()
        found = response.headers.get("Location") or found
        return response

    def handler(request: Request, default: Default) -> Response:
        kid = request.protected.get("kid")
        if kid in (None, found):
            return default()
        if not kid.startswith(server.url("account/")):
            return Response.problem("malformed", "KeyID header contained an invalid account URL: "
                                    f'"{kid}"', 400)
        number = kid.rpartition("/")[2]
        if number.isdigit() and int(number) > 1000:
            return Response.problem("accountDoesNotExist", f'Account "{kid}" not found', 400)
        return Response.problem("malformed", "JWS verification error", 400)
    server.on["newAccount"] = new_account
    for resource in ("account", "newOrder", "order", "finalize", "authz", "challenge",
                     "certificate", "revokeCert"):
        server.on[resource] = handler


def rewrite(server: Hostile, resource: str, old: str, new: str) -> None:
    """Replace ``old`` in the body and headers of a resource."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        headers = {name: value and value.replace(old, new)
                   for name, value in response.headers.items()}
        return response._replace(headers=headers, body=response.whole_body().replace(
            old.encode(), new.encode()))
    server.on[resource] = handler


def http_urls(server: Hostile, resource: str) -> None:
    """A4: all its URLs, in the body and in Location, are http:// ones."""
    rewrite(server, resource, "https://", "http://")


def foreign_urls(server: Hostile, resource: str,
                 origin: str = "https://169.254.169.254") -> None:
    """A5: all its URLs, in the body and in Location, are of another origin."""
    rewrite(server, resource, server.base, origin)


def redirect(server: Hostile, resource: str, location: str | None = None,
             status: int = 307) -> None:
    """A6: a redirect, by default to a path of this server (which ``asked("elsewhere")`` shows)."""
    server.on[resource] = lambda _request, _default: Response(
        status, {"Location": location or server.url("elsewhere")})


def endless_body(server: Hostile, resource: str, piece: bytes = b" " * 65536) -> None:
    """A7: a body that never ends."""
    def forever() -> Iterator[bytes]:
        while True:
            yield piece
    server.on[resource] = lambda _request, _default: Response(
        200, {"Content-Type": "application/json"}, forever())


def endless_headers(server: Hostile, resource: str, count: int = 200_000) -> None:
    """A7: more header lines than anybody wants."""
    server.on[resource] = lambda _request, default: default()._replace(
        headers={f"X-{number}": "x" * 60 for number in range(count)})


def slow_body(server: Hostile, resource: str, interval: float = 1) -> None:
    """A8: the right body, one byte every ``interval`` seconds."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        body = response.whole_body()

        def trickle() -> Iterator[bytes]:
            for byte in body:
                yield bytes([byte])
                if server.stopping.wait(interval):
                    return
        headers: Headers = {**response.headers, "Content-Length": str(len(body))}
        return response._replace(headers=headers, body=trickle())
    server.on[resource] = handler


def silence(server: Hostile, resource: str) -> None:
    """A8: no answer at all; the connection stays open."""
    def handler(_request: Request, default: Default) -> Response:
        server.stopping.wait(600)
        return default()
    server.on[resource] = handler


def retry_after(server: Hostile, value: str | None, polls: int = 1) -> None:
    """A9: the finalized order says "processing" ``polls`` times, with this Retry-After."""
    server.processing = polls
    server.retry_after = value


def busy(server: Hostile, resource: str, value: str | None, status: int = 503,
         times: int | None = None, detail: str = "too busy") -> None:
    """A9: 503 (or 429) with this Retry-After, ``times`` times or for ever."""
    _sometimes(server, resource, times, lambda: Response.problem(
        "rateLimited", detail, status, {"Retry-After": value}))


def bad_nonce(server: Hostile, resource: str, times: int | None = None) -> None:
    """A10: badNonce, ``times`` times or for ever."""
    _sometimes(server, resource, times, lambda: Response.problem("badNonce", "no", 400))


def _sometimes(server: Hostile, resource: str, times: int | None,
               answer: Callable[[], Response]) -> None:
    done = 0

    def handler(_request: Request, default: Default) -> Response:
        nonlocal done
        done += 1
        return answer() if times is None or done <= times else default()
    server.on[resource] = handler


def certificate_for_another_key(server: Hostile) -> None:
    """A11: the certificate is for a key that isn't the CSR's."""
    server.issuer = lambda _csr, names: server.issue(ca.request(names, ca.genkey()))


def certificate_for_other_names(server: Hostile, names: list[str]) -> None:
    """A12: the certificate is for these names instead."""
    server.issuer = lambda csr, _names: server.issue(csr, names=names)


def expired_certificate(server: Hostile) -> None:
    """A13: the certificate's time was over yesterday."""
    _dated(server, -10, 9)


def certificate_of_the_future(server: Hostile) -> None:
    """A13: the certificate's time begins tomorrow."""
    _dated(server, 1, 90)


def _dated(server: Hostile, start: float, days: float) -> None:
    def issuer(csr: str, _names: list[str]) -> str:
        begin = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=start)
        return server.issue(csr, not_before=begin, days=days)
    server.issuer = issuer


def junk_in_pem(server: Hostile, after: str | bytes = "", before: str | bytes = ""
                ) -> None:
    """A14: something stands before or after the certificates."""
    def issuer(csr: str, _names: list[str]) -> bytes:
        return _to_bytes(before) + server.issue(csr).encode() + _to_bytes(after)
    server.issuer = issuer


def _to_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def private_key_in_pem(server: Hostile) -> None:
    """A14: a private key stands behind the certificates."""
    junk_in_pem(server, ca.genkey())


def certificate_of_another_ca(server: Hostile, other: ca.CA) -> None:
    """The certificate is right but for its issuer."""
    server.issuer = lambda csr, _names: other.issue(csr) + other.intermediate.read_text()


def truncated_chain(server: Hostile, keep: float = 0.5) -> None:
    """A15: the connection is closed after this part of the promised Content-Length."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        body = response.whole_body()
        return response._replace(headers={**response.headers, "Content-Length": str(len(body))},
                                 body=[body[:int(len(body) * keep)]])
    server.on["certificate"] = handler


def nested_json(server: Hostile, resource: str, depth: int = 100_000) -> None:
    """A16: an unknown member of the object is nested very deeply."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        return response._replace(body=response.whole_body().rstrip()[:-1] + b', "deep": '
                                 + b"[" * depth + b"]" * depth + b"}")
    server.on[resource] = handler


def foreign_identifier(server: Hostile, resource: str = "authz", name: str = "victim.example"
                       ) -> None:
    """A17: the authorization, or ``resource="newOrder"`` and "order", is for another name."""
    def change(message: JSON) -> None:
        identifiers: list[dict[str, str]] = message.get("identifiers", [message.get("identifier")])
        identifiers[0].update(value=name)
    server.edit(resource, change)


def valid_without_certificate(server: Hostile) -> None:
    """A18: a valid order has no certificate URL."""
    for resource in "order", "finalize":
        server.edit(resource, lambda order: order.pop("certificate", None))


def many_authorizations(server: Hostile, count: int = 10_000) -> None:
    """A20: the order has ``count`` authorizations, all different, all for its first name."""
    def change(order: JSON) -> None:
        first = order["authorizations"][0]
        order["authorizations"] = [f"{first}-{number}" for number in range(count)]
    server.edit("newOrder", change)
    server.edit("order", change)


def huge_pem(server: Hostile, size: int = 50_000_000,
             filler: bytes = b"-----BEGIN CERTIFICATE-----\n") -> None:
    """The certificate is followed by ``filler`` up to about ``size`` bytes."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        body = response.whole_body()
        piece = filler * (65536 // len(filler) + 1)
        count = size // len(piece)
        total = len(body) + count * len(piece)
        headers: Headers = {**response.headers, "Content-Length": str(total)}

        def pieces() -> Iterator[bytes]:
            yield body
            for _ in range(count):
                yield piece
        return response._replace(headers=headers, body=pieces())
    server.on["certificate"] = handler


def profiles(server: Hostile, *names: str, refuse: str = "", echo: str | None = "") -> None:
    """It has profiles of these names, and its orders say which theirs is, or that it is ``echo``
    (None: nothing).  ``refuse``: at newOrder, or finalize, it wants to know of none."""
    def directory(message: JSON) -> None:
        message["meta"]["profiles"] = {name: f"https://ca.example/{name}" for name in names}

    def new_order(request: Request, default: Default) -> Response:
        asked = request.payload.get("profile")
        if asked is not None and (refuse == "newOrder" or asked not in names):
            return Response.problem("invalidProfile", f"no profile “{asked}” today", 400)
        response = default()
        if response.status == 201 and (named := asked if echo == "" else echo) is not None:
            server.orders[-1]["profile"] = named
        return response

    def finalize(request: Request, default: Default) -> Response:
        if refuse == "finalize" and "profile" in server.orders[int(request.id)]:
            return Response.problem("invalidProfile", "its profile is gone", 400)
        return default()
    server.edit("directory", directory)
    server.on.update(newOrder=new_order, finalize=finalize)
