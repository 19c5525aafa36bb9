"""The two encodings of certificates: DER (X.690) and its armour, PEM (RFC 7468).

Strict, for hostile input: nothing recurses, work is linear in the input, X509Error is all that
comes out of what is malformed.
"""

from binascii import a2b_base64, b2a_base64
from functools import lru_cache

from ..errors import Error

MAX_PEM = 262144   # bytes
_EOL = (b"\n", b"\r")

# Tags (X.690 §8.1.2).  What a SEQUENCE holds is matched as a string of them.
BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = (
    b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x06")
UTF8_STRING, UTC_TIME, GENERALIZED_TIME = b"\x0c", b"\x17", b"\x18"
SEQUENCE, SET = b"\x30", b"\x31"
TRUE = b"\xff"   # content of a BOOLEAN (X.690 §11.1)

# tags, contents, and where each element begins and the last one ends
Elements = tuple[bytes, list[bytes], list[int]]


class X509Error(Error):
    """A certificate, a CSR or their PEM is malformed, or lacks what is needed."""


def elements(data: bytes, what: str) -> Elements:
    """Take apart the DER elements that make up ``data``; ``what`` it is, for the message.

    Tags below 31 and minimal definite lengths below 64 kB only (X.690 §10.1).
    """
    tags, contents, bounds, at, end = bytearray(), [], [0], 0, len(data)
    while at < end:
        tag = data[at]
        start = at + 2
        if start > end or tag & 31 == 31:
            raise X509Error(f"malformed {what}: bad tag or cut short")
        size = data[at + 1]
        if size > 127:
            octets = size - 128
            start += octets
            size = int.from_bytes(data[at + 2:start], "big")
            if start > end or octets not in (1, 2) or size < (128 if octets == 1 else 256):
                raise X509Error(f"malformed {what}: bad length")
        at = start + size
        if at > end:
            raise X509Error(f"malformed {what}: cut short")
        tags.append(tag)
        contents.append(data[start:at])
        bounds.append(at)
    return bytes(tags), contents, bounds


def only(tag: bytes, data: bytes, what: str) -> bytes:
    """Return the content of the one element of ``data``, which must have that tag."""
    size = len(data) - 2
    if size > 1 and data[:1] == tag:   # nearly always, and as strictly
        first = data[1]
        if first == size < 128:
            return data[2:]
        if first == 129 and data[2] == size - 1 > 127:
            return data[3:]
        if first == 130 and data[2] << 8 | data[3] == size - 2 > 255:
            return data[4:]
    tags, contents, _ = elements(data, what)
    if tags != tag:
        raise X509Error(f"malformed {what}")
    return contents[0]


def each(tag: bytes, data: bytes, what: str) -> list[bytes]:
    """Return the contents of the elements of ``data``: one at least, all with that tag."""
    tags, contents, _ = elements(data, what)
    if tags.strip(tag) or not tags:
        raise X509Error(f"malformed {what}")
    return contents


@lru_cache(256)   # there are few different ones, each in every certificate
def oid(content: bytes) -> str:
    """Return an OBJECT IDENTIFIER in dotted form (X.690 §8.19)."""
    if not 1 <= len(content) <= 64 or content[-1] > 127:
        raise X509Error("malformed object identifier")
    arcs: list[int] = []
    value = 0
    for octet in content:
        if value == 0 and octet == 128:
            raise X509Error("malformed object identifier")
        value = value << 7 | octet & 127
        if octet < 128:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def integer(content: bytes) -> bytes:
    """Return the octets of an INTEGER if they are minimal (X.690 §8.3.2)."""
    if not content or content[:1] in (b"\0", b"\xff") and len(content) > 1 \
            and (content[0] ^ content[1]) < 128:
        raise X509Error("malformed integer")
    return content


def encode(tag: bytes, *contents: bytes) -> bytes:
    """Return an element with that tag, which holds ``contents`` one after the other.

    Raises X509Error for 64 kB and more.
    """
    content = b"".join(contents)
    size = len(content)
    if size < 128:
        return tag + bytes([size]) + content
    octets = 1 if size < 256 else 2
    if size >> 16:
        raise X509Error("an element of 64 kB or more")
    return tag + bytes([128 + octets]) + size.to_bytes(octets, "big") + content


def encode_oid(dotted: str) -> bytes:
    """Return the element of an OBJECT IDENTIFIER (X.690 §8.19)."""
    first, second, *arcs = map(int, dotted.split("."))
    content = bytearray()
    for arc in (40 * first + second, *arcs):
        octets = [arc & 127]
        while arc := arc >> 7:
            octets.append(arc & 127 | 128)
        content += bytes(reversed(octets))
    return encode(OID, bytes(content))


def pem_blocks(text: bytes, limit: int = MAX_PEM, alone: bool = False) -> list[tuple[str, bytes]]:
    """Return label and content of each PEM block of ``text`` (RFC 7468).

    Other lines may stand between the blocks, or only white space if ``alone`` (§3, strict).
    Raises X509Error then, beyond ``limit`` bytes, where BEGIN and END don't match, and where
    the base64 isn't canonical.  Lines may have any length.
    """
    if len(text) > limit:
        raise X509Error(f"PEM larger than {limit} bytes")
    found: list[tuple[str, bytes]] = []
    at = 0
    while True:
        start = text.find(b"-----", at)
        if alone and text[at:start if start >= 0 else None].strip():
            raise X509Error("malformed PEM: text between the blocks")
        if start < 0:
            return found
        label, der, at = read_block(text, start)
        found.append((label, der))


def read_block(text: bytes, start: int) -> tuple[str, bytes, int]:
    """Return label, content and end of the PEM block that begins at ``start``."""
    close = text.find(b"-----", start + 11, start + 80)
    if not text.startswith(b"-----BEGIN ", start) or close < 0 \
            or start and text[start - 1:start] not in _EOL:
        raise X509Error("malformed PEM: a boundary that begins no block")
    label = text[start + 11:close]
    footer = b"-----END %b-----" % label
    end = text.find(b"-----", close + 5)
    after = end + len(footer)
    if not label.replace(b" ", b"").isalnum() or not text.startswith(footer, end):
        raise X509Error("malformed PEM: a block that isn't ended by its own label")
    body = text[close + 5:end]
    if body[:1] not in _EOL or body[-1:] not in _EOL \
            or after < len(text) and text[after:after + 1] not in _EOL:
        raise X509Error("malformed PEM: a boundary that isn't a line of its own")
    body = body.replace(b"\n", b"").replace(b"\r", b"")
    try:
        der = a2b_base64(body)
    except ValueError as exc:
        raise X509Error("malformed PEM: not base64") from exc
    if not der or b2a_base64(der, newline=False) != body:   # white space, junk, stray bits
        raise X509Error("malformed PEM: not base64")
    return label.decode("ascii"), der, after


def encode_pem(der: bytes, label: str = "CERTIFICATE") -> bytes:
    """Return ``der`` as PEM, in lines of 64 characters, with a newline at the end."""
    lines = [b2a_base64(der[at:at + 48]) for at in range(0, len(der), 48)]
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (
        label.encode(), b"".join(lines), label.encode())
