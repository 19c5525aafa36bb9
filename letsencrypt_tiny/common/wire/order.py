"""Master <-> ACME client: the messages of one run, for both ends.

JSON lines on two pipes.  The master writes one line a request and closes its end; the
client answers with any number of ``Progress``, ``Account``, ``KnownOrder``, ``Directory`` and
``Log`` lines and, for each request, exactly one ``Issued``, ``AccountObject``, ``Revoked``,
``Probed``, ``RenewalInfo`` or ``Failed``, in whatever order they finish.  The client's
configuration comes as one JSON object in a line on a descriptor of its own, and after it which
orders are written down (``written.py``).

To the master all that comes back is hostile input: every size is capped here, every type
checked, and nothing is believed that can be verified.  Pure functions: no I/O here.
"""

from typing import Any, NamedTuple

from . import account, jose
from ..errors import LocalProtocolError, ProtocolError
from ..names import MAX_NAME, Identifier, is_dns
from .access import MAX_ORIGINS, Access
from .account import AccountObject, AccountUpdate, KnownOrder
from .failed import Failed as Failed, parse_failed
from .jsonfields import (JsonObject, dump, get_bool, get_int, get_list, get_object, get_objects,
                         get_optional_str, get_str, get_strs, parse_object)
from .probe import Finding, Probe, Probed, parse_answered, parse_probe
from .renewal import RenewalInfo, RenewalQuery, parse_query

MAX_REQUEST = 256 << 10   # bytes of a line to the client
MAX_ANSWER = 1 << 20      # bytes of a line from the client
MAX_CHAIN = 256 << 10     # bytes of one certificate chain in PEM
MAX_ALTERNATES = 8        # alternate chains passed on (RFC 8555 §7.4.2)
MAX_WAIT = 86400          # seconds
MAX_ISSUERS = 20          # names of one CA
MAX_DIRECTORY = 8192      # characters of a directory that is remembered
MAX_PROFILE = 100         # characters of a profile's name


# --- the client's configuration ----------------------------------------------------------

class Door(NamedTuple):
    """A socket to a process that answers challenges (``wire/responder.py``)."""

    type: str                                # of the challenges
    descriptor: int
    zone: str = ""                           # of the names that it answers for; "" is any


class ClientConfig(NamedTuple):
    """What the client must know; it never reads the configuration files."""

    access: Access
    confine: str = "auto"          # auto | required | no
    account_url: str = ""          # at this directory, if known from an earlier run …
    account_key: str = ""          # … and the thumbprint of the key that has it (RFC 7638)
    doors: tuple[Door, ...] = ()
    issuers: tuple[str, ...] = ()  # names of the CA (RFC 8659 §4.2), as known before this run
    by_next: bool = False          # requests are signed by the signer's next key
    doubted: bool = False          # the server was out of order when it was asked last …
    directory: str = ""            # … and its directory was this (JSON), if known


def format_config(config: ClientConfig) -> bytes:
    """Return the line that the client reads from its configuration descriptor."""
    return dump({**config._asdict(), "access": config.access._asdict(),
                 "doors": [door._asdict() for door in config.doors]}) + b"\n"


def parse_config(text: bytes) -> ClientConfig:
    """Parse what ``format_config`` wrote; raises ProtocolError."""
    obj = parse_object(text, "the ACME client's configuration", MAX_REQUEST)
    given = get_object(obj, "access")
    access = Access(
        server=get_str(given, "server"), timeout=get_int(given, "timeout", 0, MAX_WAIT),
        verify=get_bool(given, "verify", True), ca_file=get_str(given, "ca_file"),
        tls_minimum=get_str(given, "tls_minimum"), tls_maximum=get_str(given, "tls_maximum"),
        ciphers=get_str(given, "ciphers"), proxy=get_str(given, "proxy"),
        jobs=None if given.get("jobs") is None else get_int(given, "jobs", 1, 64),
        answer_timeout=get_int(given, "answer_timeout", 1, MAX_WAIT),
        origins=tuple(get_strs(given, "origins", MAX_ORIGINS)))
    return ClientConfig(access, confine=get_str(obj, "confine"),
                        account_url=get_str(obj, "account_url"),
                        account_key=get_str(obj, "account_key", 64),
                        doors=tuple(_get_door(door) for door in get_objects(obj, "doors", 1000)),
                        issuers=_get_names(obj, "issuers"), by_next=get_bool(obj, "by_next"),
                        doubted=get_bool(obj, "doubted"),
                        directory=get_optional_str(obj, "directory", MAX_DIRECTORY) or "")


def _get_names(obj: JsonObject, key: str) -> tuple[str, ...]:
    found = tuple(get_strs(obj, key, MAX_ISSUERS))
    if not all(map(is_issuer, found)):
        raise ProtocolError(f"“{key}” holds what is no name of a CA")
    return found


def is_issuer(name: str) -> bool:
    """True for what may name a CA in a record (RFC 8659 §4.2): a host name, and no wildcard."""
    return is_dns(name) and not name.startswith("*.")


def _get_door(obj: JsonObject) -> Door:
    return Door(get_str(obj, "type", 32), get_int(obj, "descriptor", 0, 1 << 20),
                get_str(obj, "zone", MAX_NAME))


# --- requests ----------------------------------------------------------------------------

class Order(NamedTuple):
    """Obtain a certificate (RFC 8555 §7.4)."""

    section: str
    identifiers: tuple[Identifier, ...]
    csr: bytes                           # DER
    url: str | None = None            # of an earlier unfinished order for the same …
    account: str = ""                    # whose key has that order, and “replaces”; "" is any
    profile: str | None = None        # draft-ietf-acme-profiles
    replaces: str | None = None       # certID (RFC 9773 §5)
    alternates: bool = False             # fetch the alternate chains too
    challenges: tuple[str, ...] = ("http-01",)
    finalize: str | None = None          # where the earlier order is finalized, if known
    profile_required: bool = False       # no certificate without it
    asked: bool = False                  # for an order, in an earlier run that heard of none


class Revocation(NamedTuple):
    """Revoke a certificate (RFC 8555 §7.6)."""

    section: str                         # what to call it in the answer (the file's name)
    certificate: bytes                   # DER
    reason: int | None = None         # RFC 5280 §5.3.1
    with_certificate_key: bool = False   # the signer holds the certificate's key
    # Of whoever has not the certificate, but can prove that its names are his
    identifiers: tuple[Identifier, ...] = ()
    challenges: tuple[str, ...] = ()


Request = Order | AccountUpdate | Revocation | Probe | RenewalQuery


def format_request(request: Request) -> bytes:
    """Return the line that asks for ``request``."""
    obj: dict[str, Any] = {"request": type(request).__name__, **request._asdict()}
    for key in ("csr", "certificate"):
        if key in obj:
            obj[key] = jose.encode_text(obj[key])
    line = dump(obj) + b"\n"
    if len(line) > MAX_REQUEST:
        raise LocalProtocolError(f"a request of more than {MAX_REQUEST} bytes")
    return line


def parse_request(line: bytes) -> Request:
    """Parse what ``format_request`` wrote; raises ProtocolError."""
    obj = parse_object(line, "a request", MAX_REQUEST)
    kind = get_str(obj, "request")
    if kind == "Order":
        return Order(
            section=get_str(obj, "section"), identifiers=_get_identifiers(obj),
            csr=_get_bytes(obj, "csr"), url=get_optional_str(obj, "url"),
            account=get_str(obj, "account", 64),
            profile=get_optional_str(obj, "profile"), replaces=get_optional_str(obj, "replaces"),
            alternates=get_bool(obj, "alternates"), challenges=tuple(get_strs(obj, "challenges")),
            finalize=get_optional_str(obj, "finalize", 2048),
            profile_required=get_bool(obj, "profile_required"), asked=get_bool(obj, "asked"))
    if kind == "AccountUpdate":
        return account.parse_update(obj)
    if kind == "Revocation":
        reason = None if obj.get("reason") is None else get_int(obj, "reason", 0, 10)
        return Revocation(get_str(obj, "section"), _get_bytes(obj, "certificate"), reason,
                          get_bool(obj, "with_certificate_key"), _get_identifiers(obj),
                          tuple(get_strs(obj, "challenges")))
    if kind in ("Probe", "RenewalQuery"):
        return parse_probe(obj) if kind == "Probe" else parse_query(obj)
    raise ProtocolError(f"an unknown request “{kind}”")


def _get_identifiers(obj: JsonObject) -> tuple[Identifier, ...]:
    pairs = get_list(obj, "identifiers", 10000)
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2
                and all(isinstance(item, str) for item in pair)):
            raise ProtocolError("an identifier that is not a pair of strings")
    return tuple((kind, value) for kind, value in pairs)


def _get_bytes(obj: JsonObject, key: str) -> bytes:
    return jose.decode(get_str(obj, key, MAX_REQUEST).encode("utf-8", "replace"))


# --- answers -----------------------------------------------------------------------------

class Account(NamedTuple):
    """The account that the signer's key has at this directory; "" if it has none (any more)."""

    url: str
    key: str                             # the key's thumbprint (RFC 7638)


class Directory(NamedTuple):
    """What is to be remembered of the CA's directory (RFC 8555 §7.1.1)."""

    issuers: tuple[str, ...]             # “caaIdentities”
    renewal_info: bool = False           # there is “renewalInfo” (RFC 9773)
    document: str = ""                   # all of it (JSON), where the server is out of order


class Progress(NamedTuple):
    """An order is in a new state (RFC 8555 §7.1.6) or waits."""

    section: str
    state: str                           # new, pending, ready, processing, valid
    url: str | None = None            # the order's
    wait: int = 0                        # seconds to the next poll
    finalize: str | None = None          # where it is finalized: not all servers say it twice


class Issued(NamedTuple):
    """The certificate chain, PEM, as the server sent it; the master verifies it."""

    section: str
    chain: str
    alternates: tuple[str, ...] = ()
    profile: str | None = None           # that the order has, as the server says


class Revoked(NamedTuple):
    """The certificate is revoked."""

    section: str


class Log(NamedTuple):
    """A message for the administrator."""

    level: str                           # error, warning, info, debug
    text: str


Answer = (Account | Directory | Progress | Issued | AccountObject | KnownOrder | Revoked | Failed
          | Log | Finding | Probed | RenewalInfo)


def format_answer(answer: Answer) -> bytes:
    """Return the line that tells the master of ``answer``."""
    line = dump({"answer": type(answer).__name__, **answer._asdict()}) + b"\n"
    if len(line) > MAX_ANSWER:
        raise LocalProtocolError(f"an answer of more than {MAX_ANSWER} bytes")
    return line


def parse_answer(line: bytes) -> Answer:
    """Parse a line of the client's; raises ProtocolError whatever it holds."""
    obj = parse_object(line, "an answer of the ACME client", MAX_ANSWER)
    kind = get_str(obj, "answer", 32)
    if kind == "Progress":
        return Progress(get_str(obj, "section"), get_str(obj, "state", 32),
                        get_optional_str(obj, "url", 2048), get_int(obj, "wait", 0, MAX_WAIT),
                        get_optional_str(obj, "finalize", 2048))
    if kind == "Issued":
        alternates = get_list(obj, "alternates", MAX_ALTERNATES)
        if not all(isinstance(chain, str) and len(chain) <= MAX_CHAIN for chain in alternates):
            raise ProtocolError("an alternate chain that is no text, or too long")
        return Issued(get_str(obj, "section"), get_str(obj, "chain", MAX_CHAIN), tuple(alternates),
                      get_optional_str(obj, "profile", MAX_PROFILE))
    if kind == "Failed":
        return parse_failed(obj)
    if kind == "Account":
        return Account(get_str(obj, "url", 2048), get_str(obj, "key", 64))
    if kind == "Directory":
        return Directory(_get_names(obj, "issuers"), get_bool(obj, "renewal_info"),
                         get_optional_str(obj, "document", MAX_DIRECTORY) or "")
    if kind == "AccountObject":
        return account.parse_object(obj)
    if kind == "KnownOrder":
        return account.parse_order(obj)
    if kind == "Revoked":
        return Revoked(get_str(obj, "section"))
    if kind == "Log":
        return Log(get_str(obj, "level", 16), get_str(obj, "text", 65536))
    return parse_answered(obj, kind)
