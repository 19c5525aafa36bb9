"""The JWS within a request, as the signer sees it: before it makes one, and in one it is to sign.

It makes two, and no others: a MAC that binds an account of its own key to an external account
(RFC 8555 §7.3.4), and by the next key, of which it alone has the private part, the one of a key
change (§7.3.5).  Under a policy it signs no request with one that says something else.
"""

from collections.abc import Callable

from ..common import urls
from ..common.errors import ProtocolError
from ..common.wire import jose
from ..common.wire.inner import BINDING, MAC_ALGORITHMS
from ..common.wire.jsonfields import JsonObject, get_object, get_str, parse_object
from ..common.wire.signer import MAX_REQUEST, Greeting


def is_binding(header: JsonObject) -> bool:
    """True for the header of what is to be given a MAC."""
    return header.get("alg") in MAC_ALGORITHMS and "nonce" not in header


def binding_of(line: bytes) -> str:
    """Return the KID of a signing input that was judged to be a binding; "" if it is none."""
    header = parse_object(jose.parse_signing_input(line).protected, "", MAX_REQUEST)
    return get_str(header, "kid") if is_binding(header) else ""


def check_binding(header: JsonObject, payload: bytes, own: Greeting) -> JsonObject:
    """Return what origins are to be judged of the header of a binding; raises ProtocolError.

    Its payload is the account's public key, and that is the signer's own.
    """
    _exactly(header, "the header of an external account binding", "alg", "kid", "url")
    kid = get_str(header, "kid", 200)
    if dict(own.bindings).get(kid) != header["alg"]:
        raise ProtocolError("there is no [eab KID] for this kid and alg")
    if own.kid is not None:   # it keeps clients from registering
        raise ProtocolError("an external account binding, where a keyid is configured")
    if parse_object(payload, "the payload", MAX_REQUEST) != own.jwk:
        raise ProtocolError("the external account binding is not for the account key")
    return {"url": _https(header, "url")}


def check_key_change(header: JsonObject, payload: bytes, own: Greeting) -> JsonObject:
    """Return the same of what the next key, ``own``, is to sign; raises ProtocolError."""
    _exactly(header, "the header of a key change", "alg", "jwk", "url")
    if header["alg"] != own.alg or get_object(header, "jwk") != own.jwk:
        raise ProtocolError("the key change is not by the next key")
    said = parse_object(payload, "the payload", MAX_REQUEST)
    _exactly(said, "the payload of a key change", "account", "oldKey")
    if get_object(said, "oldKey") != own.old:
        raise ProtocolError("oldKey is not the account key")
    return {"url": _https(header, "url"), "kid": _https(said, "account")}


def _outer_binding(header: JsonObject, payload: JsonObject, own: Greeting) -> None:
    """Who made the MAC doesn't matter: the CA lets in whom it knows."""
    inner, said = _open(get_object(payload, BINDING))
    _exactly(inner, "the header of an external account binding", "alg", "kid", "url")
    if not is_binding(inner):
        raise ProtocolError("the external account binding has no MAC")
    get_str(inner, "kid")
    if inner["url"] != header["url"] or said != own.jwk:
        raise ProtocolError("the external account binding is not for this request and the "
                            "account key")


def _outer_key_change(header: JsonObject, payload: JsonObject, own: Greeting) -> None:
    if own.next is None:
        raise ProtocolError("a key change, and there is no next key (--genkey with --next)")
    inner, said = _open(payload)
    _exactly(inner, "the header of a key change", "alg", "jwk", "url")
    _exactly(said, "the payload of a key change", "account", "oldKey")
    if inner["alg"] != own.next.alg or inner["jwk"] != own.next.jwk:
        raise ProtocolError("the key change is to another key than the next one")
    if inner["url"] != header["url"] or said["account"] != header.get("kid") \
            or said["oldKey"] != own.jwk:
        raise ProtocolError("the key change is not for this request, account and key")


# operation -> what is looked at in the JWS within such a request
OUTER: dict[str, Callable[[JsonObject, JsonObject, Greeting], None]] = {
    "external-account-binding": _outer_binding, "key-change": _outer_key_change}


def _open(jws: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return header and payload of a JWS whose form has been checked."""
    header, payload = (jose.decode(get_str(jws, name, MAX_REQUEST).encode("utf-8", "replace"))
                       for name in ("protected", "payload"))
    return (parse_object(header, "the inner header", MAX_REQUEST),
            parse_object(payload, "the inner payload", MAX_REQUEST))


def _exactly(obj: JsonObject, what: str, *members: str) -> None:
    if obj.keys() != set(members):
        raise ProtocolError(f"{what} has other members than {', '.join(members)}")


def _https(obj: JsonObject, member: str) -> str:
    url = get_str(obj, member, urls.MAX_URL)
    try:
        urls.parse(url)
    except ValueError:
        raise ProtocolError(f"{member} is not an https URL") from None
    return url
