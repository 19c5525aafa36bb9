"""Master <-> ACME client: what is said of accounts; see ``order.py``.

Pure functions: no I/O here.
"""

from typing import NamedTuple

from ..errors import ProtocolError
from ..names import MAX_NAME
from .jsonfields import (JsonObject, get_bool, get_optional_object, get_optional_str, get_str,
                         get_strs)

MAX_ORDERS = 500       # of an account, that are told of
_MAX_NAMES = 1000      # of one order
_MAX_WHERE = 5000      # characters: a path, and a section's name


class AccountUpdate(NamedTuple):
    """Look up, register, update or deactivate the account (RFC 8555 §7.3)."""

    register: bool = False
    terms_agreed: bool = False
    deactivate: bool = False
    contact: tuple[str, ...] | None = None    # None: leave as it is …
    new_contact: tuple[str, ...] = ()         # … but for an account that is made
    eab_kid: str = ""                    # external account to register with (§7.3.4) …
    where: str = "[client]"              # … and the section that says so, for messages
    orders: bool = False                 # tell its orders too (§7.1.2.1)
    find_key: bool = False               # the signer has two keys: find out which one it is for
    rollover: bool = False               # the same, and have the next one take its place (§7.3.5)
    find_terms: bool = False             # an account that isn't there is told as one without URL


class AccountObject(NamedTuple):
    """The account as the server has it (RFC 8555 §7.1.2)."""

    url: str
    account: JsonObject
    terms_of_service: str | None = None


class KnownOrder(NamedTuple):
    """One of the account's orders (§7.1.3)."""

    url: str
    status: str = ""
    expires: str = ""
    identifiers: tuple[str, ...] = ()    # their values


def parse_update(obj: JsonObject) -> AccountUpdate:
    """Parse an AccountUpdate; raises ProtocolError."""
    contact = None if obj.get("contact") is None else tuple(get_strs(obj, "contact"))
    return AccountUpdate(
        get_bool(obj, "register"), get_bool(obj, "terms_agreed"), get_bool(obj, "deactivate"),
        contact, tuple(get_strs(obj, "new_contact")), get_str(obj, "eab_kid", 200),
        get_str(obj, "where", _MAX_WHERE),
        get_bool(obj, "orders"), get_bool(obj, "find_key"), get_bool(obj, "rollover"),
        get_bool(obj, "find_terms"))


def parse_object(obj: JsonObject) -> AccountObject:
    """Parse an AccountObject; raises ProtocolError."""
    return AccountObject(get_str(obj, "url", 2048), get_optional_object(obj, "account") or {},
                         get_optional_str(obj, "terms_of_service", 2048))


def parse_order(obj: JsonObject) -> KnownOrder:
    """Parse a KnownOrder; raises ProtocolError."""
    names = tuple(get_strs(obj, "identifiers", _MAX_NAMES))
    if any(len(name) > MAX_NAME for name in names):
        raise ProtocolError("an identifier that is too long")
    return KnownOrder(get_str(obj, "url", 2048), get_str(obj, "status", 32),
                      get_str(obj, "expires", 64), names)
