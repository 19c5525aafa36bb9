"""ClientHellos: what OpenSSL writes, what is malformed, and what nobody thought of."""

import random
import ssl
import time

import pytest

from harness.tlsserver import context
from letsencrypt_tiny.tlsserver import hello
from letsencrypt_tiny.tlsserver.hello import Alert, Hello, parse

NAME = "a.example"
ALPN = b"\x00\x10\x00\x0d\x00\x0b\x0aacme-tls/1"
SNI = b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09a.example"


def written(name: str = NAME, protocols: "tuple[str, ...]" = ("acme-tls/1",),
            made: "ssl.SSLContext | None" = None) -> bytes:
    """Return the ClientHello that OpenSSL writes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = (made or context(protocols)).wrap_bio(incoming, outgoing, server_hostname=name or None)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def record(body: bytes, kind: int = 22) -> bytes:
    return bytes([kind, 3, 1]) + len(body).to_bytes(2, "big") + body


def message(body: bytes) -> bytes:
    return b"\x01" + len(body).to_bytes(3, "big") + body


def client_hello(extensions: "bytes | None") -> bytes:
    """Return the smallest one, with these extensions."""
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    if extensions is not None:
        body += len(extensions).to_bytes(2, "big") + extensions
    return record(message(body))


def alert(data: bytes) -> int:
    """Return the alert that data are refused with; 0: it is one, -1: more must come."""
    try:
        return -1 if parse(data) is None else 0
    except Alert as exc:
        assert exc.record() == bytes([21, 3, 3, 0, 2, 2, exc.description])
        return exc.description


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_openssl_writes(version: ssl.TLSVersion) -> None:
    made = context()
    made.maximum_version = version
    data = written("A.Example", made=made)
    assert parse(data) == Hello("a.example", (b"acme-tls/1",))
    for end in range(len(data)):
        assert parse(data[:end]) is None
    assert parse(data + b"anything") == parse(data)
    assert parse(written(protocols=("h2", "acme-tls/1"))) == Hello(NAME, (b"h2", b"acme-tls/1"))
    assert parse(written(protocols=())) == Hello(NAME, ())
    assert parse(written(name="")) == Hello("", (b"acme-tls/1",))


def test_the_smallest() -> None:
    assert parse(client_hello(None)) == parse(client_hello(b"")) == Hello("", ())
    assert parse(client_hello(SNI + ALPN)) == Hello(NAME, (b"acme-tls/1",))
    assert parse(client_hello(b"\xff\x01\0\1\0" + ALPN + b"\x2a\x2a\0\0" + SNI)) == Hello(
        NAME, (b"acme-tls/1",))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_fragments(size: int) -> None:
    """A message may be spread over records as one likes (RFC 8446 §5.1), within reason."""
    body = written()[5:]
    data = b"".join(record(body[at:at + size]) for at in range(0, len(body), size))
    pieces = -(-len(body) // size)
    assert alert(data) == (0 if pieces <= hello.MAX_RECORDS else hello.DECODE_ERROR)


@pytest.mark.parametrize("data, description", [
    (b"GET / HTTP/1.1\r\n", 10), (b"\x15\3\1\0\2\2\x28", 10), (b"\x17", 10), (b"\x16\2", 10),
    (b"\x80\x2e\1\3\1", 10),                            # SSLv2's
    (record(b"\x02\0\0\0"), 10), (record(b"\x01\0") + record(b"\0\0", 23), 10),
    (record(b""), 50), (b"\x16\3\1\x40\1", 22), (b"\x16\3\1\xff\xff", 22),
    (record(b"\x01\xff\xff\xff"), 50), (record(b"\x01\0\x40\0"), 50),
    (record(message(b"")), 50), (record(message(b"\3\3" + bytes(32))), 50),
    (client_hello(b"")[:-1] + b"\1", 50),               # beyond the end
    (client_hello(SNI + SNI), 50), (client_hello(ALPN + SNI + ALPN), 50),
    (client_hello(SNI[:-1]), 50), (client_hello(SNI + b"\0"), 50),
    (client_hello(b"\0\0\0\0"), 50), (client_hello(b"\0\0\0\2\0\0"), 50),
    (client_hello(b"\0\0\0\5\0\3\0\0\0"), 50),          # an empty name
    (client_hello(b"\0\0\0\6\0\4\1\0\1a"), 50),         # no host_name
    (client_hello(b"\0\0\0\6\0\4\0\0\1\xe4"), 50),      # not ASCII
    (client_hello(b"\0\0\0\x0a\0\x08\0\0\1a\0\0\1b"), 50),    # two
    (client_hello(b"\0\0\0\x06\0\x03\0\0\1a"), 50),
    (client_hello(b"\0\0\1\3\1\1\0\0\xfe" + b"a" * 254), 50),
    (client_hello(b"\0\x10\0\2\0\0"), 50), (client_hello(b"\0\x10\0\3\0\1\0"), 50),
    (client_hello(b"\0\x10\0\4\0\2\2a"), 50), (client_hello(b"\0\x10\0\5\0\2\1ab"), 50),
])
def test_malformed(data: bytes, description: int) -> None:
    assert alert(data) == description


def test_nothing_is_waited_for_without_end() -> None:
    """Of bytes that could still become one: there is a limit, also in time."""
    began = time.process_time()
    longest = hello.MAX_HELLO - 4
    start = record(b"\x01" + (longest + 1).to_bytes(3, "big") + bytes(100))
    assert alert(start) == hello.DECODE_ERROR
    data = record(b"\x01" + longest.to_bytes(3, "big") + bytes(100))
    data += b"".join(record(bytes(1)) for _ in range(hello.MAX_RECORDS - 3))
    data += record(bytes(longest))[:longest - hello.MAX_RECORDS - 93]
    assert alert(data) == -1 and hello.MAX_BYTES - len(data) < 10
    assert alert(data + bytes(10)) == hello.DECODE_ERROR
    tiny = b"".join(record(b"\x01\0\x3f\xf0"[number:number + 1] or b"\0")
                    for number in range(4000))[:hello.MAX_BYTES]
    assert alert(tiny) == hello.DECODE_ERROR
    for end in range(0, len(tiny), 6):
        alert(tiny[:end])
    assert time.process_time() - began < 2


def test_whatever_comes() -> None:
    """Changed, cut, doubled and random bytes: an answer or an alert, nothing else, and at once."""
    chance = random.Random(8737)
    seeds = [written(), written("b" * 60 + ".example", ("h2", "acme-tls/1")),
             client_hello(SNI + ALPN), client_hello(None)]
    began, found = time.process_time(), {}
    for _ in range(20000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(data))
            what = chance.randrange(4)
            if what == 0:
                data[at] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
            elif what == 1:
                data[at:at] = chance.randbytes(chance.randrange(1, 4))
            elif what == 2:
                del data[at:at + chance.randrange(1, 40)]
            else:
                data += data[at:]
            data = data or bytearray(1)
        result = alert(bytes(data))
        found[result] = found.get(result, 0) + 1
    for _ in range(5000):
        alert(b"\x16\3\1" + chance.randbytes(chance.randrange(600)))
    assert set(found) == {-1, 0, 10, 22, 50} and min(found.values()) > 20
    assert time.process_time() - began < 20
