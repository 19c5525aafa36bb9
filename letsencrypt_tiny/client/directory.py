"""The directory (RFC 8555 §7.1.1): what the server offers, and where."""

from collections.abc import Callable
from typing import NamedTuple

from ..common import log
from ..common.errors import ProtocolError
from ..common.wire import jsonfields
from ..common.wire.jsonfields import JsonObject
from ..common.wire.order import MAX_DIRECTORY, MAX_ISSUERS, is_issuer

_MEMBERS = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo", "meta")


class Directory(NamedTuple):
    """A directory; members that are unknown are ignored."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str | None
    renewal_info: str | None                  # RFC 9773
    terms_of_service: str | None
    external_account_required: bool
    profiles: dict[str, str] | None           # draft-ietf-acme-profiles; name -> description
    issuers: tuple[str, ...] = ()             # caaIdentities: those that are names
    key_change: str | None = None             # not checked: few need it


def parse(obj: JsonObject, url: Callable[[JsonObject, str], str], what: str) -> Directory:
    """Take a directory object apart; ``url`` gets and checks a URL.  Raises ProtocolError."""
    try:
        meta = jsonfields.get_optional_object(obj, "meta") or {}
        profiles = jsonfields.get_optional_object(meta, "profiles")
        return Directory(
            new_nonce=url(obj, "newNonce"), new_account=url(obj, "newAccount"),
            new_order=url(obj, "newOrder"),
            revoke_cert=url(obj, "revokeCert") if obj.get("revokeCert") else None,
            renewal_info=_renewal_info(obj, url),
            terms_of_service=jsonfields.get_optional_str(meta, "termsOfService", 2048),
            external_account_required=jsonfields.get_bool(meta, "externalAccountRequired"),
            profiles=None if profiles is None else {
                name: str(description) for name, description in profiles.items()},
            issuers=_issuers(meta),
            key_change=obj["keyChange"] if isinstance(obj.get("keyChange"), str) else None)
    except ProtocolError as exc:
        raise ProtocolError(f"{what} is none (RFC 8555 §7.1.1): {exc}") from exc


def document(obj: JsonObject) -> str:
    """Return a directory object as text, as far as it is understood; "" if that is too long."""
    text = jsonfields.dump({name: obj[name] for name in _MEMBERS if name in obj}).decode()
    return text if len(text) <= MAX_DIRECTORY else ""


def _renewal_info(obj: JsonObject, url: Callable[[JsonObject, str], str]) -> str | None:
    """Return where it is asked when to renew; one that can't be used keeps nobody from ordering."""
    try:
        return url(obj, "renewalInfo") if obj.get("renewalInfo") else None
    except ProtocolError as exc:
        log.debug(exc)
        return None


def _issuers(meta: JsonObject) -> tuple[str, ...]:
    """Return the CA's names in records; nothing depends on them but what is printed."""
    items = meta.get("caaIdentities")
    names = [item.lower().rstrip(".") for item in items if isinstance(item, str)] \
        if isinstance(items, list) else []
    return tuple(dict.fromkeys(filter(is_issuer, names)))[:MAX_ISSUERS]
