"""What real servers, and gateways before them, do that others don't: ready-made for ``Hostile``.

``WORDS`` are odd servers a certificate can be had from; ``FAULTS`` are single wrong answers that
anything on the way may give to any request.
"""

import email.utils
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from .hostile import JSON, Default, Hostile, Request, Response

Word = Callable[[Hostile], None]


def keep(server: Hostile, resource: str, *members: str) -> None:
    """Of each object only these members are sent."""
    server.edit(resource, lambda obj: {key: obj[key] for key in members if key in obj})


def drop(server: Hostile, resource: str, *members: str) -> None:
    """These members are never sent."""
    server.edit(resource, lambda obj: [obj.pop(key, None) for key in members] and obj)


def finalize_once(server: Hostile) -> None:
    """The order has “finalize” in newOrder's answer only (django-ca 3.2)."""
    drop(server, "order", "finalize")
    drop(server, "finalize", "finalize")


def valid_bare(server: Hostile) -> None:
    """A valid order has “status” and “certificate” alone (Entrust)."""
    def bare(order: JSON) -> JSON:
        return order if order["status"] != "valid" else {
            "status": "valid", "certificate": order["certificate"]}
    server.processing = 1
    server.edit("order", bare)
    server.edit("finalize", bare)


def authz_null(server: Hostile, absent: bool = False) -> None:
    """No authorizations as soon as the order is ready (Telia, Venafi)."""
    def change(order: JSON) -> None:
        if order["status"] != "pending":
            order.update(authorizations=None)
            if absent:
                del order["authorizations"]
    for resource in "order", "finalize", "newOrder":
        server.edit(resource, change)


def authz_valid_bare(server: Hostile, absent: bool = False) -> None:
    """The authorizations are valid already, and have no challenges."""
    def change(authz: JSON) -> None:
        authz.update(status="valid", challenges=None)
        if absent:
            del authz["challenges"]
    server.edit("authz", change)
    _ready(server)


def parent_authz(server: Hostile) -> None:
    """The one authorization is valid, and for the domain above."""
    def change(authz: JSON) -> None:
        name = authz["identifier"]["value"].partition(".")[2]
        authz.update(status="valid", identifier={"type": "dns", "value": name})
    server.edit("authz", change)
    _ready(server)


def _ready(server: Hostile) -> None:
    """The order needs no challenge responded to, but is pending at first."""
    def handler(request: Request, default: Default) -> Response:
        server.validate(int(request.id))
        return default()
    server.on["order"] = handler


def nulls(server: Hostile) -> None:
    """Whatever is optional is null."""
    server.edit("authz", lambda authz: authz.update(wildcard=None, expires=None))
    server.edit("directory", lambda obj: obj.update(
        renewalInfo=None, meta={"externalAccountRequired": None, "profiles": None,
                                "termsOfService": None, "caaIdentities": None}))
    server.edit("newAccount", lambda obj: obj.update(contact=None, orders=None))
    server.edit("order", lambda obj: obj.update(error=None, notBefore=None, expires=None))


def account_bare(server: Hostile, status: object = None) -> None:
    """newAccount answers without “status”, or with an empty one."""
    for resource in "newAccount", "account":
        server.edit(resource, lambda account: account.update(status=status))


def typed_json(server: Hostile, namespace: str = "urn:ietf:params:acme:error:") -> None:
    """Problem documents are typed application/json; the first three nonces are bad."""
    left = 3

    def handler(_request: Request, default: Default) -> Response:
        nonlocal left
        left -= 1
        if left >= 0:
            return Response.json({"type": f"{namespace}badNonce", "detail": "no"}, 400)
        return default()
    server.on["newOrder"] = handler


def poll_429(server: Hostile) -> None:
    """Polls of the order are refused as too many, twice; when to come back isn't said."""
    once(server, "order", told(429, "rateLimited"), 2)


def html_502(server: Hostile) -> None:
    """A gateway answers the first newOrder and the first request for the certificate."""
    for resource in "newOrder", "certificate":
        once(server, resource, page(502))


def cut_header(server: Hostile) -> None:
    """The first answer of newOrder ends within its header."""
    once(server, "newOrder", FAULTS["cut in the header"])


def no_identifiers(server: Hostile) -> None:
    """Only newOrder's answer has the identifiers."""
    for resource in "order", "finalize":
        drop(server, resource, "identifiers")


def spaces(server: Hostile) -> None:
    """White space stands around the values of fields, and newNonce is 404 to HEAD."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        return response._replace(headers={
            "Replay-Nonce": f" {server.nonce()}\t", **{
                name: f"\t {value} \t" for name, value in response.headers.items()}})
    for resource in "newAccount", "newOrder", "order", "authz", "finalize", "certificate":
        server.on[resource] = handler
    server.on["newNonce"] = lambda request, default: (
        Response(404, {"Replay-Nonce": None}) if request.method == "HEAD" else default())


def same_url_twice(server: Hostile) -> None:
    """An authorization stands twice in the order."""
    for resource in "newOrder", "order":
        server.edit(resource, lambda order: order.update(
            authorizations=order["authorizations"] * 2))


def burst(server: Hostile, most: int = 3) -> None:
    """At most so many POSTs a second, beyond it 429 with Retry-After: 1."""
    moments: list[float] = []

    def handler(_request: Request, default: Default) -> Response:
        now = time.monotonic()
        moments[:] = [moment for moment in moments if moment > now - 1]
        if len(moments) >= most:
            return Response.problem("rateLimited", "not so fast", 429, {"Retry-After": "1"})
        moments.append(now)
        return default()
    for resource in "newOrder", "order", "authz", "challenge", "finalize", "certificate":
        server.on[resource] = handler


def skewed_date(server: Hostile) -> None:
    """Retry-After is a date, 2 s after the answer's Date, which is an hour ahead of ours."""
    server.processing = 2   # at one look ahead of time, too

    def handler(_request: Request, default: Default) -> Response:
        now = time.time() + 3600
        response = default()
        return response._replace(headers={
            **response.headers, "Retry-After": email.utils.formatdate(now + 2, usegmt=True),
            "Date": email.utils.formatdate(now, usegmt=True)})
    server.on["finalize"] = server.on["order"] = handler


def capitals(server: Hostile) -> None:
    """Every URL has the host in capitals, and its port."""
    server.base = f"HTTPS://LOCALHOST:{server.port}"
    server.directory = f"https://localhost:{server.port}/directory"


def query(server: Hostile) -> None:
    """Resources are queries, percent-encoded or below an empty segment."""
    def spell(path: str) -> str:
        resource = path.split("/")[1]
        if resource in ("order", "authz"):
            return f"/acme?{path[1:]}"
        return f"/acme%2Fone/{quote(path[1:], '')}" if resource == "finalize" else f"/{path}"

    def unspell(target: str) -> str:
        for prefix in "/acme?", "/acme%2Fone/":
            if target.startswith(prefix):
                return "/" + unquote(target.removeprefix(prefix))
        return "/" + target.lstrip("/")
    server.spell, server.unspell = spell, unspell
    server.directory = server.url("directory")


def relative(server: Hostile) -> None:
    """Location holds a path alone."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        location = response.headers["Location"] or ""
        return response._replace(headers={**response.headers,
                                          "Location": location.removeprefix(server.base)})
    for resource in "newAccount", "newOrder":
        server.on[resource] = handler


def head_405(server: Hostile) -> None:
    """newNonce knows no HEAD."""
    server.on["newNonce"] = lambda request, default: (
        Response(405, {"Allow": "GET", "Replay-Nonce": None}) if request.method == "HEAD"
        else default())


def two_answers(server: Hostile) -> None:
    """A second, unasked-for answer follows that of newOrder on the same connection."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        message = response.whole_body().replace(b'"pending"', b'"invalid"')
        return response._replace(extra=(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(message)) + message)
    server.on["newOrder"] = handler


def with_bom(server: Hostile) -> None:
    """A byte order mark stands before all JSON."""
    def handler(_request: Request, default: Default) -> Response:
        response = default()
        return response._replace(body=b"\xef\xbb\xbf" + response.whole_body())
    for resource in "directory", "newOrder", "order", "authz", "challenge", "finalize":
        server.on[resource] = handler


def interim(server: Hostile) -> None:
    """102 and 103 come before each answer."""
    server.interim = (b"HTTP/1.1 102 Processing\r\n\r\n"
                      b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n")


def agreement(server: Hostile) -> None:
    """newOrder wants other terms agreed to (§7.3.3)."""
    server.on["newOrder"] = lambda _request, _default: Response.problem(
        "userActionRequired", "Terms have changed", 403,
        {"Link": '<https://ca.test/terms-2>;rel="terms-of-service"'},
        instance="https://ca.test/agree?token=x")


WORDS: dict[str, Word] = {
    "finalize-once": finalize_once, "valid-bare": valid_bare, "authz-null": authz_null,
    "authz-absent": lambda server: authz_null(server, absent=True),
    "authz-valid-bare": authz_valid_bare,
    "authz-valid-absent": lambda server: authz_valid_bare(server, absent=True),
    "parent-authz": parent_authz, "nulls": nulls,
    "account-bare": account_bare, "account-empty": lambda server: account_bare(server, ""),
    "json-problem": typed_json,
    "urn-acme-error": lambda server: typed_json(server, "urn:acme:error:"),
    "same-url-twice": same_url_twice, "capitals": capitals,
    "poll-429": poll_429, "html-502": html_502, "cut-header": cut_header,
    "no-identifiers": no_identifiers, "spaces": spaces,
    "query": query, "relative": relative, "head-405": head_405, "two-answers": two_answers,
    "bom": with_bom, "interim": interim, "skewed-date": skewed_date,
}
# Those that are about one order, so that several of them may be one server's
OF_AN_ORDER = ("finalize-once", "valid-bare", "authz-null", "authz-absent", "authz-valid-bare",
               "authz-valid-absent", "parent-authz", "json-problem", "urn-acme-error",
               "same-url-twice", "poll-429", "html-502", "cut-header", "no-identifiers",
               "two-answers", "skewed-date")
WAITING = ("poll-429", "html-502", "cut-header", "skewed-date")


# --- faults ------------------------------------------------------------------------------------

PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Fault = Callable[[Hostile], Response]


def page(status: int, retry_after: str | None = None) -> Fault:
    """An HTML page of a gateway's."""
    return lambda _server: Response(status, {"Content-Type": "text/html", "Retry-After":
                                             retry_after, "Replay-Nonce": None}, PAGE)


def empty(status: int) -> Fault:
    """A status and nothing else."""
    return lambda _server: Response(status, {"Replay-Nonce": None})


def told(status: int, kind: str, retry_after: str | None = None,
         media_type: str = "application/problem+json") -> Fault:
    """A problem document."""
    return lambda _server: Response.problem(kind, "not now", status, {
        "Content-Type": media_type, "Retry-After": retry_after})


def raw(data: bytes, reset: bool = False) -> Fault:
    """Some bytes, and the end of the connection."""
    return lambda _server: Response(raw=data, reset=reset)


def silence(server: Hostile) -> Response:
    """Nothing at all, for longer than the client waits."""
    server.stopping.wait(30)
    return Response(raw=b"", reset=True)


FAULTS: dict[str, Fault] = {
    "500 html": page(500), "500 problem": told(500, "serverInternal"), "500 empty": empty(500),
    "500 later": told(500, "serverInternal", "1"),
    "502 html": page(502), "502 empty": empty(502), "502 later": page(502, "1"),
    "503 html": page(503), "503 problem": told(503, "serverInternal"),
    "503 later": told(503, "rateLimited", "1"), "503 much later": page(503, "3600"),
    "504 html": page(504), "504 empty": empty(504), "408 html": page(408),
    "429 html": page(429), "429 later": told(429, "rateLimited", "1"),
    "429 much later": told(429, "rateLimited", "3600", "application/json"),
    "closed": raw(b""), "reset": raw(b"", True),
    "cut in the status": raw(b"HTTP/1.1 20"), "cut in the header": raw(OK + b"Content-Le"),
    "cut in the body": raw(OK + b"Content-Length: 500\r\n\r\n" + json.dumps(
        {"status": "valid"}).encode()),
    "garbage": raw(b"\x16\x03\x01\x02\x00\x01 SSH-2.0-x\r\n\r\n"),
    "interim for ever": raw(b"HTTP/1.1 102 Processing\r\n\r\n" * 100_000),
    "silence": silence,
}


def once(server: Hostile, resource: str, fault: Fault, times: int = 1,
         heeded: bool = False, when: Callable[[Request], Any] = lambda _request: True) -> None:
    """Let the first requests for a resource meet a fault, ``heeded``: after they were done."""
    left = times

    def handler(request: Request, default: Default) -> Response:
        nonlocal left
        if left <= 0 or not when(request):
            return default()
        left -= 1
        if heeded:
            default()
        return fault(server)
    server.on[resource] = handler
