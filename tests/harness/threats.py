"""The table of what a hostile server does (SECURITY.md, A), and what is then said of it.

A row of ``CASES`` is one section of one run: a failed order harms no other.  What a whole run
meets is in ``WHOLE``.  The misbehaviours themselves are ``harness.misbehaviour``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from . import misbehaviour as m
from .hostile import Hostile, Response

METADATA = "169.254.169.254"    # of many a cloud, where secrets are to be had
TIMEOUT = 12                    # seconds of the setting “timeout”
REQUEST = 10                    # seconds that the client waits for one answer

Misbehave = Callable[[Hostile], Any]


class Case(NamedTuple):
    """A misbehaviour, and what the section's only error says; None: a certificate all the same."""

    misbehave: Misbehave
    error: str | None


CASES: dict[str, Case] = {"good": Case(lambda server: None, None)}


def case(name: str, error: str | None, misbehave: Callable[..., Any], *args: Any,
         **options: Any) -> None:
    """Add a case."""
    assert name not in CASES
    CASES[name] = Case(lambda server: misbehave(server, *args, **options), error)


for number, token in enumerate(m.BAD_TOKENS):
    case(f"a1-token-{number}", "token", m.bad_token, token)

ORDERING = ("newOrder", "authz", "challenge", "order", "finalize", "certificate")
for resource in ORDERING:
    case(f"a3-control-{resource}".lower(), r"\\x1b\[31mred", m.problem, resource)
    case(f"a6-redirect-{resource}".lower(), "redirect", m.redirect, resource,
         status=300 + ORDERING.index(resource) + 2)
    case(f"a10-nonce-{resource}".lower(), "badNonce", m.bad_nonce, resource)


def _failed_challenge(server: Hostile) -> None:
    m.failed_challenge(server)
    server.edit("order", lambda order: order.update(status="invalid"))


case("a3-control-validation", r"\\x1b\[31mred", _failed_challenge)

for resource in ("newOrder", "authz", "order", "finalize"):
    case(f"a4-http-{resource}".lower(), "not an https URL", m.http_urls, resource)
    for kind, origin in (("metadata", f"https://{METADATA}"), ("port", "https://127.0.0.1:1"),
                         ("name", "https://localhost.example")):
        case(f"a5-{kind}-{resource}".lower(), "another origin", m.foreign_urls, resource, origin)
    case(f"a5-userinfo-{resource}".lower(), "not an https URL", m.rewrite, resource,
         "https://127.0.0.1", f"https://127.0.0.1@{METADATA}")
    case(f"a7-body-{resource}".lower(), "more than [0-9]+ bytes", m.endless_body, resource)
    case(f"a16-nested-{resource}".lower(), "nested too deeply", m.nested_json, resource)
case("a7-body-certificate", "sent application/json|more than [0-9]+ bytes", m.endless_body,
     "certificate")
case("a7-headers", "HTTP", m.endless_headers, "newOrder")
case("a8-slow-order", f"no complete answer within {REQUEST} seconds", m.slow_body, "newOrder")
case("a8-slow-chain", f"no complete answer within {REQUEST} seconds", m.slow_body, "certificate")
case("a8-silence", f"no complete answer within {REQUEST} seconds", m.silence, "authz")

for number, value in enumerate(m.RETRY_AFTER):
    far = value == "1000000000" or "9999" in value and "Dec" in value
    case(f"a9-retry-{number}", "still processing, and the CA asks to come back in 86400 s"
         if far else None, m.retry_after, value)
    # else they fail alike, and are told of in one line
    case(f"a9-busy-{number}", "too busy", m.busy, "newOrder", value, detail=f"too busy {number}")
case("a9-processing", f"still processing, and the {TIMEOUT} seconds", m.retry_after, "0", 1000)

case("a11-key", "is for another key", m.certificate_for_another_key)
case("a12-names", "is for other names: other.example", m.certificate_for_other_names,
     ["other.example"])
case("a12-more", "is for other names", m.certificate_for_other_names,
     ["a12-more.example", "victim.example"])
case("a12-wildcard", "is for other names", m.certificate_for_other_names, ["*.example"])
case("a13-expired", "it expired", m.expired_certificate)
case("a13-future", "is not valid before", m.certificate_of_the_future)
case("a14-key", "malformed", m.private_key_in_pem)
case("a14-before", "malformed", m.junk_in_pem, before="error: all your keys\n")
case("a14-after", "malformed", m.junk_in_pem, after="$(id)\n")
case("a14-escape", "holds no certificate|not PEM", m.junk_in_pem, after="\x1b[2J\n")
case("a14-binary", "holds no certificate|not PEM", m.junk_in_pem, after=b"\xff\0")
case("a14-label", "malformed", m.junk_in_pem,
     after="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
case("a15-truncated", "closed in the middle", m.truncated_chain)
case("a15-head", "closed in the middle", m.truncated_chain, 0)
for resource in ("authz", "newOrder", "order"):
    case(f"a17-foreign-{resource}".lower(), "foreign identifier|other identifiers",
         m.foreign_identifier, resource)
case("a18-nothing", "names no certificate", m.valid_without_certificate)
case("a20-many", "authorizations", m.many_authorizations)
case("huge-pem", "more than [0-9]+ bytes", m.huge_pem)


def answer(resource: str, response: Response) -> Misbehave:
    """Return what lets this be the answer for a resource, but for the order's Location."""
    def misbehave(server: Hostile) -> None:
        server.on[resource] = lambda _request, _default: response._replace(
            headers={"Location": server.url("order/0"), **response.headers})
    return misbehave


for resource in ORDERING[:2]:
    for kind, response, error in (
            ("html", Response(200, {"Content-Type": "text/html"}, b"<h1>Login</h1>"), "text/html"),
            ("empty", Response(200, {"Content-Type": "application/json"}), "not valid JSON"),
            ("list", Response.json([]), "not a JSON object"),
            ("null", Response.json({"status": None}), "missing|not a"),
            ("error", Response(500, {"Content-Type": "text/plain"}, b"\x1b[2J"), "status 500")):
        CASES[f"odd-{kind}-{resource}".lower()] = Case(answer(resource, response), error)
CASES["odd-type"] = Case(answer("certificate", Response(200, {"Content-Type": "a\x1b[2J"}, b"")),
                         "malformed HTTP header|instead of a certificate chain")


# --- what concerns a whole run ---

def _junk_nonce(server: Hostile) -> None:
    server.on["newNonce"] = lambda _request, default: default()._replace(
        headers={"Replay-Nonce": "a\tb"})


WHOLE: dict[str, tuple[Misbehave, str]] = {
    "a3-control": (lambda server: m.problem(server, "directory"), r"\\x1b\[31mred"),
    "a3-nonce": (lambda server: m.problem(server, "newNonce"), "newNonce"),
    "a4-http": (lambda server: m.http_urls(server, "directory"), "not an https URL"),
    "a5-foreign": (lambda server: m.foreign_urls(server, "directory"), "another origin"),
    "a6-redirect": (lambda server: m.redirect(server, "directory"), "redirect"),
    "a6-nonce": (lambda server: m.redirect(server, "newNonce"), "redirect"),
    "a7-body": (lambda server: m.endless_body(server, "directory"), "more than [0-9]+ bytes"),
    "a7-headers": (lambda server: m.endless_headers(server, "directory"), "HTTP"),
    "a9-busy": (lambda server: m.busy(server, "directory", "1000000000"), "too busy"),
    "a10-none": (lambda server: _junk_nonce(server), "no usable nonce"),
    "a16-nested": (lambda server: m.nested_json(server, "directory"), "nested too deeply"),
    "html": (answer("directory", Response(200, {"Content-Type": "text/html"}, b"<h1>")),
             "text/html"),
    "meta": (answer("directory", Response.json({"meta": "none"})), "meta"),
}
