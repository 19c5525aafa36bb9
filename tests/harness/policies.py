"""A policy, requests that the signer judges by it, and the CSRs and certificates in them."""

import functools
import json
from typing import Any

from harness import ca
from harness.accountd import b64_text as b64
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.common.wire.order import Order
from letsencrypt_tiny.common.wire.policy import OPERATIONS, ORDERING, Policy
from letsencrypt_tiny.common.wire.signer import Greeting, NextKey
from letsencrypt_tiny.common.x509.csr import parse_csr
from letsencrypt_tiny.signer import account_key, policy

ORIGIN = "https://ca.example"
URL, KID = f"{ORIGIN}/acme/new-order", f"{ORIGIN}/acme/acct/1"
NAMES = ("example.org", ".example.net", "*.wild.example", "192.0.2.1", "2001:db8::1")
ALL = Policy("all", frozenset([ORIGIN]), frozenset(OPERATIONS), frozenset(NAMES),
             frozenset(["short"]))
DEFAULT = ALL._replace(name="default", operations=frozenset(ORDERING))
JWS = {"protected": "e30", "payload": "e30", "signature": "AAAA"}
EAB = "kid-1"     # of an external account


@functools.lru_cache(None)
def key(kind: str = "ec:P-256", which: str = "server") -> str:
    """A private key in PEM, the same for each kind and use."""
    return ca.genkey(kind)


@functools.lru_cache(None)
def greeting(kind: str = "ec:P-256") -> Greeting:
    """What the signer knows of the account key, of the next one and of an external account."""
    own, following = (account_key.load(key(kind, which).encode(), "", lambda _: b"")
                      for which in ("account", "next"))
    return Greeting(own.alg, own.jwk, own.thumbprint, bindings=((EAB, "HS256"),),
                    next=NextKey(following.alg, following.jwk, following.thumbprint))


def inner(header: dict[str, Any], payload: Any) -> dict[str, str]:
    """A JWS within a request; nobody looks at its signature."""
    protected, body = (b64(json.dumps(part).encode()) for part in (header, payload))
    return {"protected": protected, "payload": body, "signature": "AAAA"}


def binding(kind: str = "ec:P-256", payload: Any = None, **changes: Any) -> dict[str, str]:
    """An external account binding (RFC 8555 §7.3.4), with changes to its header."""
    header = {"alg": "HS256", "kid": EAB, "url": URL, **changes}
    return inner(header, greeting(kind).jwk if payload is None else payload)


def key_change(kind: str = "ec:P-256", said: dict[str, Any] | None = None, **changes: Any
               ) -> dict[str, str]:
    """A key change to the next key (§7.3.5), with changes to its header and what is said."""
    own = greeting(kind)
    assert own.next is not None
    header = {"alg": own.next.alg, "jwk": own.next.jwk, "url": URL, **changes}
    return inner(header, {"account": KID, "oldKey": own.jwk, **(said or {})})


def csr(*extensions: str, subject: str = "/", pem: str = "", options: tuple[str, ...] = ()
        ) -> bytes:
    """A certificate request by openssl, DER."""
    added = [part for extension in extensions for part in ("-addext", extension)]
    return ca.openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-utf8",
                      "-subj", subject, "-outform", "DER", *options, *added,
                      stdin=(pem or key()).encode())


@functools.lru_cache(None)
def good_csr(names: str = "DNS:example.org") -> bytes:
    """A request for these names, and nothing more."""
    return csr(f"subjectAltName={names}")


@functools.lru_cache(None)
def certificate(names: str = "DNS:example.org") -> bytes:
    """A self-signed certificate, DER."""
    return csr(f"subjectAltName={names}", options=("-x509",))


def line(payload: Any, member: str = "kid", kind: str = "ec:P-256", **changes: Any) -> bytes:
    """A signing input; a payload in bytes is taken as it is, None is the empty one."""
    own = greeting(kind)
    header: dict[str, Any] = {"alg": own.alg, "nonce": "abc-_", "url": URL,
                              member: KID if member == "kid" else own.jwk, **changes}
    if payload is None:
        payload = b""
    elif not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    return f"{b64(json.dumps(header).encode())}.{b64(payload)}".encode()


def judge(payload: Any, policies: Any = ALL, member: str = "kid", kind: str = "ec:P-256",
          **changes: Any) -> policy.Verdict:
    """The verdict on one request."""
    policies = [policies] if isinstance(policies, Policy) else policies
    return policy.judge(line(payload, member, kind, **changes), greeting(kind), policies)


def order(*values: str, kind: str = "dns", **more: Any) -> dict[str, Any]:
    """The payload of newOrder."""
    return {"identifiers": [{"type": kind, "value": value} for value in values], **more}


def finalize(der: bytes, policies: Any = DEFAULT, kind: str = "ec:P-256") -> policy.Verdict:
    """The verdict on a CSR."""
    return judge({"csr": b64(der)}, policies, kind=kind)


ROWS: list[tuple[str, str, Any]] = [
    ("read", "kid", None), ("respond", "kid", {}),
    ("new-order", "kid", order("example.org")),
    ("new-order", "kid", order("a.example.net", "*.wild.example", profile="short",
                               replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")),
    ("finalize", "kid", {"csr": b64(good_csr())}),
    ("deactivate", "kid", {"status": "deactivated"}),
    ("account-update", "kid", {"contact": ["mailto:a@example.org"]}),
    ("account-update", "kid", {"contact": [], "termsOfServiceAgreed": True}),
    ("account-update", "kid", {"termsOfServiceAgreed": True}),
    ("revoke", "kid", {"certificate": b64(certificate())}),
    ("revoke", "kid", {"certificate": b64(certificate()), "reason": 4}),
    ("key-change", "kid", key_change()),
    ("lookup", "jwk", {"onlyReturnExisting": True}),
    ("lookup", "jwk", {"onlyReturnExisting": True, "contact": [], "termsOfServiceAgreed": True}),
    ("register", "jwk", {}), ("register", "jwk", {"termsOfServiceAgreed": True}),
    ("register", "jwk", {"contact": ["mailto:a@b"], "termsOfServiceAgreed": True}),
    ("external-account-binding", "jwk", {"externalAccountBinding": binding()}),
    ("external-account-binding", "jwk", {"externalAccountBinding": binding(), "contact": [],
                                         "termsOfServiceAgreed": True}),
]


def tlv(tag: int, *parts: bytes) -> bytes:
    """A DER element."""
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, size] if size < 128 else [tag, 128 + len(octets), *octets]) + content


SAN = tlv(0x30, b"\x06\x03\x55\x1d\x11", tlv(4, tlv(0x30, tlv(0x82, b"example.org"))))
OTHER_SAN = SAN.replace(b"example.org", b"example.com")
EXTENSION_REQUEST = bytes.fromhex("06092a864886f70d01090e")


def built(*attributes: bytes, spki: bytes = b"", subject: bytes = b"\x30\x00") -> bytes:
    """A CSR put together by hand; nobody looks at the signature."""
    spki = spki or parse_csr(good_csr()).spki
    return tlv(0x30, tlv(0x30, b"\x02\x01\x00", subject, spki, tlv(0xa0, *attributes)),
               tlv(0x30, bytes.fromhex("06082a8648ce3d040302")), tlv(3, b"\0\0"))


def extension_request(*values: bytes) -> bytes:
    """The attribute of requested extensions (RFC 2985 §5.4.2)."""
    return tlv(0x30, EXTENSION_REQUEST, tlv(0x31, *values))


def extension(oid: str, value: bytes) -> bytes:
    """An extension; the OID in hexadecimal."""
    return tlv(0x30, tlv(6, bytes.fromhex(oid)), tlv(4, value))


SERVER = Access("https://CA.example:443/directory")
ORDER = Order("a", (("dns", "example.org"), ("ip", "2001:db8::1")), good_csr(), profile="short")
