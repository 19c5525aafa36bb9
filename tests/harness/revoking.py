"""A CA that judges who may revoke as RFC 8555 §7.6 has it: the account that has the certificate, or
one that is authorized for all of its names."""

import re

from . import ca
from .hostile import Default, Hostile, Request, Response, unbase64url


def judged(server: Hostile) -> None:
    """Let a server do that."""
    owners: dict[int, str] = {}    # order -> kid

    def new_order(request: Request, default: Default) -> Response:
        response = default()
        owners[len(server.orders) - 1] = request.protected["kid"]
        return response

    def revoke(request: Request, default: Default) -> Response:
        text = ca.pem(unbase64url(request.payload["certificate"]), "CERTIFICATE")
        mine = [server.orders[number] for number, kid in owners.items()
                if kid == request.protected.get("kid")]
        own = {_serial(str(server.certificates[int(order["certificate"].rpartition("/")[2])]))
               for order in mine if "certificate" in order}
        proved = {name for order in mine for url in order["authorizations"]
                  for name in _authorized(server, url)}
        if _serial(text) in own or _names(text) <= proved:
            return default()
        return Response.problem("unauthorized", "it is not yours")
    server.on.update(newOrder=new_order, revokeCert=revoke)


def _authorized(server: Hostile, url: str) -> list[str]:
    found = server._authorizations[int(url.rpartition("/")[2])]
    name = ("*." if found.get("wildcard") else "") + found["identifier"]["value"]
    return [name] if found["status"] == "valid" else []


def _serial(text: str) -> bytes:
    return ca.openssl("x509", "-noout", "-serial", stdin=text.encode())


def _names(text: str) -> set[str]:
    shown = ca.openssl("x509", "-noout", "-ext", "subjectAltName", stdin=text.encode()).decode()
    return set(re.findall(r"DNS:([^,\s]+)", shown))
