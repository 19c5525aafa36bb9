"""What the signer looks at before it signs: the JWS signing input of an ACME request.

RFC 8555 §6.2 says what the protected header of a request must hold.  Whatever does not hold
exactly that (another protocol's JWS) gets no signature, but for the two of ``inner``.
"""

import re
from typing import Any, NamedTuple

from ..common import urls
from ..common.wire import jose
from ..common.errors import ProtocolError
from ..common.wire.jsonfields import JsonObject, dump, get_object, get_str, parse_object
from ..common.log import printable
from ..common.wire.signer import MAX_REQUEST, Greeting
from . import inner

MAX_LOGGED = 100  # characters of a string

_HEADER = frozenset(("alg", "nonce", "url", "jwk", "kid"))
_NONCE = re.compile(r"[A-Za-z0-9_-]+\Z")  # RFC 8555 §6.5.1
_NOT_LOGGED = frozenset(("signature", "jwk"))


class Request(NamedTuple):
    """A request that may be signed."""

    header: JsonObject
    payload: JsonObject | None     # None for POST-as-GET (RFC 8555 §6.3)
    inner: str = ""                # what the JWS within a request is for: an operation


def is_https_url(text: str) -> bool:
    """True if ``text`` is an https URL, in whatever spelling."""
    try:
        urls.parse(text)
    except ValueError:
        return False
    return True


def check(line: bytes, own: Greeting) -> Request:
    """Return the request whose signing input is ``line``, if the key ``own`` may sign it.

    Raises ProtocolError.
    """
    if len(line) > MAX_REQUEST:
        raise ProtocolError(f"line longer than {MAX_REQUEST} bytes")
    signing_input = jose.parse_signing_input(line)
    header = parse_object(signing_input.protected, "the protected header", MAX_REQUEST)
    if inner.is_binding(header):
        return Request(inner.check_binding(header, signing_input.payload, own), None,
                       "external-account-binding")
    if own.old is not None and "nonce" not in header:
        return Request(inner.check_key_change(header, signing_input.payload, own), None,
                       "key-change")
    _check_header(header, own)
    payload = (parse_object(signing_input.payload, "the payload", MAX_REQUEST)
               if signing_input.payload else None)
    return Request(header, payload)


def _check_header(header: JsonObject, own: Greeting) -> None:
    """RFC 8555 §6.2: alg, nonce, url, and one of jwk and kid; nothing else."""
    if not _HEADER.issuperset(header):
        raise ProtocolError("the protected header has a member that ACME doesn't know")
    if get_str(header, "alg", 16) != own.alg:
        raise ProtocolError(f"alg is not that of the account key, {own.alg}")
    if not _NONCE.match(get_str(header, "nonce")):
        raise ProtocolError("nonce is not base64url")
    if not is_https_url(get_str(header, "url", urls.MAX_URL)):
        raise ProtocolError("url is not an https URL")
    if ("jwk" in header) == ("kid" in header):
        raise ProtocolError("neither jwk nor kid" if "jwk" not in header else "both jwk and kid")
    if "kid" in header:
        kid = get_str(header, "kid", urls.MAX_URL)
        if not is_https_url(kid):
            raise ProtocolError("kid is not an https URL")
        if own.kid is not None and kid != own.kid:
            raise ProtocolError("kid is not the configured keyid")
    elif own.kid is not None:
        # keyid keeps clients from registering and looking up accounts: newAccount takes a jwk
        raise ProtocolError("jwk, where a keyid is configured")
    elif get_object(header, "jwk") != own.jwk:
        raise ProtocolError("jwk is not the account key's")


def describe(line: bytes) -> str:
    """Return ``line`` decoded, for the log: ASCII, long values cut, no signatures."""
    try:
        signing_input = jose.parse_signing_input(line)
    except ProtocolError:
        return f"request={_raw(line)} ({len(line)} bytes)"
    return f"header={_shown(signing_input.protected)} payload={_shown(signing_input.payload)}"


def _shown(data: bytes) -> str:
    if not data:
        return '""'
    try:
        return dump(_shorten(parse_object(data, "", MAX_REQUEST))).decode("ascii")
    except ProtocolError:
        return f"{_raw(data)} ({len(data)} bytes)"


def _raw(data: bytes) -> str:
    return printable(data[:MAX_LOGGED].decode("ascii", "backslashreplace"))


def _shorten(value: Any) -> Any:
    if isinstance(value, dict):
        return {_shorten(key): "..." if key in _NOT_LOGGED else _shorten(item)
                for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if isinstance(value, str) and len(value) > MAX_LOGGED:
        return f"{value[:MAX_LOGGED // 4]}... ({len(value)} characters)"
    return value
