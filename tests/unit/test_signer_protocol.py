"""Client <-> signer: lacme-accountd's protocol, version 1, and what is refused of it."""

import json
import os
import time

import pytest

from letsencrypt_tiny.common.wire import jose, signer as sp
from letsencrypt_tiny.common.errors import LocalProtocolError, ProtocolError

JWK = {"e": "AQAB", "kty": "RSA", "n": "wJ-_" * 85 + "ww"}
KID = "https://acme.example/acct/1"
THUMBPRINT = jose.thumbprint(JWK)
KEY = jose.canonical_json(JWK)


def lines(data: bytes, limit: int = sp.MAX_ANSWER) -> list[bytes]:
    """Return the lines that a buffer cuts ``data`` into."""
    buffer = sp.LineBuffer(limit)
    buffer.feed(data)
    found = []
    while (line := buffer.next_line()) is not None:
        found.append(line)
    return found


def test_greeting_with_a_key() -> None:
    greeting = sp.Greeting("ES256", JWK, THUMBPRINT)
    data = sp.format_greeting(greeting)
    first, second = lines(data)
    assert first == b'1 OK {"alg":"ES256","jwk-thumbprint":"%s"}' % THUMBPRINT.encode()
    assert second == KEY and data == first + b"\r\n" + second + b"\r\n"
    assert sp.parse_greeting(first, second) == greeting


def test_greeting_with_an_account_url_hides_the_key() -> None:
    first, second = lines(sp.format_greeting(sp.Greeting("RS256", JWK, THUMBPRINT, KID)))
    assert second == b"{}"
    assert sp.parse_greeting(first, second) == sp.Greeting("RS256", {}, THUMBPRINT, KID)


def test_greeting_of_an_old_signer() -> None:
    assert sp.parse_greeting(b"1 OK", KEY) == sp.Greeting("RS256", JWK, THUMBPRINT)


def test_greeting_of_lacme_accountd() -> None:
    # its JSON is unordered, and may have white space and members of the future
    first = json.dumps({"jwk-thumbprint": THUMBPRINT, "alg": "RS256", "x": [1]}).encode()
    assert sp.parse_greeting(b"1 OK " + first, json.dumps(JWK).encode()).jwk == JWK


def extra(**members: object) -> bytes:
    """Return a first line with these members."""
    values = {key.replace("_", "-"): value for key, value in members.items()}
    return b"1 OK " + json.dumps(values).encode()


@pytest.mark.parametrize("first, second", [
    (b"", KEY), (b"2 OK", KEY), (b"0 OK", KEY), (b"1OK", KEY), (b"1 OKAY", KEY), (b" 1 OK", KEY),
    (b"1 NO", KEY), (b"1 OK\n", KEY), (b"99999 OK", KEY), (b"\xd9\xa1 OK", KEY), (b"1 OK", b""),
    (b"HTTP/1.1 200 OK", KEY), (b"1 OK x", KEY), (b"1 OK []", KEY), (b"1 OK {}", b"[]"),
    (b"1 OK", b"{}"), (b"1 OK", b'{"kty":"RSA"}'), (b"1 OK", b'{"kty":["RSA"]}'),
    (b"1 OK", b'{"kty":"oct","k":"AA"}'), (extra(alg="none"), KEY), (extra(alg="HS256"), KEY),
    (extra(alg=1), KEY), (extra(alg="RS256" * 10), KEY), (extra(jwk_thumbprint="AA"), KEY),
    (extra(jwk_thumbprint=THUMBPRINT), b"{}"), (extra(kid=KID), b"{}"),
    (extra(kid=KID, jwk_thumbprint="AA"), b"{}"), (extra(kid=KID, jwk_thumbprint="ü"), b"{}"),
    (extra(kid=KID, jwk_thumbprint=THUMBPRINT + "="), b"{}"), (extra(kid=1), KEY),
    (extra(kid="http://a/1", jwk_thumbprint=THUMBPRINT), b"{}"),
    (extra(kid="https://", jwk_thumbprint=THUMBPRINT), b"{}"),
    (extra(kid=KID + "\n", jwk_thumbprint=THUMBPRINT), b"{}"),
    (extra(kid=KID + "\x1b", jwk_thumbprint=THUMBPRINT), b"{}"),
    (extra(kid=KID + " x", jwk_thumbprint=THUMBPRINT), b"{}"),
    (extra(kid=KID + "é", jwk_thumbprint=THUMBPRINT), b"{}"),
    (extra(kid=KID + "x" * 2100, jwk_thumbprint=THUMBPRINT), b"{}"),
    (b"1 OK", b'{"kty":"RSA","e":"AQAB","n":"%s"}' % (b"A" * 9000))])
def test_greetings_that_are_refused(first: bytes, second: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        sp.parse_greeting(first, second)
    assert str(caught.value).isprintable()


def test_an_alien_greeting_is_quoted_without_its_control_characters() -> None:
    with pytest.raises(ProtocolError, match=r"“\\x1b\[31mSSH-2.0-OpenSSH”"):
        sp.parse_greeting(b"\x1b[31mSSH-2.0-OpenSSH", KEY)


def test_requests() -> None:
    assert sp.format_request(b"AA.AA") == b"AA.AA\r\n"
    text = b"A" * sp.MAX_REQUEST
    assert lines(sp.format_request(text), sp.MAX_REQUEST) == [text]
    with pytest.raises(LocalProtocolError):
        sp.format_request(text + b"A")


@pytest.mark.parametrize("size", [64, 96, 256, 512])
def test_signatures(size: int) -> None:
    signature = os.urandom(size)
    assert sp.parse_signature(lines(sp.format_signature(signature))[0]) == signature


@pytest.mark.parametrize("line", [
    b"", b"AA", b"=", b"OK", b"A" * 43, b"A" * 1370, b"A" * 86 + b"==", b"A" * 86 + b" ",
    b"NOSIGNATURE", b"nosign x", b'{"signature":"AA"}'])
def test_what_is_no_signature(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        sp.parse_signature(line + b"!" if line == b"A" * 43 else line)
    assert not isinstance(caught.value, sp.Refusal)


def test_a_signature_may_look_like_a_refusal() -> None:
    text = b"NOSIGN" + b"A" * 80
    assert sp.parse_signature(text) == jose.decode(text)


@pytest.mark.parametrize("line, reason", [
    (b"NOSIGN", "no reason given"), (b"NOSIGN ", "no reason given"), (b"NOSIGN bad alg", "bad alg"),
    (b"NOSIGN \x1b[2J\xff", "\\x1b[2J\ufffd"), (b"NOSIGN " + b"x" * 900, "x" * 500 + "…")])
def test_refusals(line: bytes, reason: str) -> None:
    with pytest.raises(sp.Refusal) as caught:
        sp.parse_signature(line)
    assert str(caught.value) == f"the account key manager refused to sign: {reason}"


def test_refusals_are_one_line_of_ascii() -> None:
    line = sp.format_refusal("bad “alg” é\r\nNOSIGN forged \x1b[31m" + "x" * 1000)
    assert line.startswith(b'NOSIGN bad "alg" ?\\x0d\\x0aNOSIGN forged \\x1b[31mx')
    assert line.endswith(b"\r\n") and line[:-2].isascii() and line[:-2].decode().isprintable()
    assert len(line) < 600


def test_lines_in_any_pieces() -> None:
    data = b"one\r\n\r\nthree\r\nrest"
    for size in range(1, len(data) + 1):
        buffer = sp.LineBuffer(10)
        found = []
        for at in range(0, len(data), size):
            buffer.feed(data[at:at + size])
            while (line := buffer.next_line()) is not None:
                found.append(line)
        assert found == [b"one", b"", b"three"] and buffer.pending
    assert not sp.LineBuffer(10).pending


def test_line_limit() -> None:
    assert lines(b"x" * 10 + b"\r\n" + b"y" * 10 + b"\r\n", 10) == [b"x" * 10, b"y" * 10]
    for data in (b"x" * 11 + b"\r\n", b"x" * 13, b"x" * 100000, b"a\r\n" + b"x" * 11 + b"\r\n"):
        with pytest.raises(ProtocolError, match="longer than 10 bytes"):
            lines(data, 10)


def test_an_endless_line_takes_no_memory() -> None:
    buffer = sp.LineBuffer(100)
    with pytest.raises(ProtocolError):
        for _ in range(1000):
            buffer.feed(b"x" * 10)
            assert buffer.next_line() is None
            assert len(buffer._data) <= 110


def test_a_line_in_single_bytes_takes_linear_time() -> None:
    """Not 0.6 s of a CPU for each line of 64 kB."""
    def seconds(size: int) -> float:
        best = 9.0
        for _ in range(3):
            buffer, begun = sp.LineBuffer(size), time.process_time()
            for _ in range(size):
                buffer.feed(b"x")
                assert buffer.next_line() is None
            buffer.feed(b"\r\n")
            assert buffer.next_line() == b"x" * size
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(1 << 17) < 8 * seconds(1 << 15)   # 4, not 16


@pytest.mark.parametrize("data", [b"a\nb\r\n", b"\n\r\n", b"a\rb\r\n", b"a\r\r\n"])
def test_bare_line_ends(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="bare"):
        lines(data)


# --- refusals that end no conversation -----------------------------------------------------------

def test_greeting_of_who_goes_on() -> None:
    greeting = sp.Greeting("ES256", JWK, THUMBPRINT, refusals=True)
    first, second = lines(sp.format_greeting(greeting))
    assert json.loads(first[5:]) == {"alg": "ES256", "jwk-thumbprint": THUMBPRINT,
                                     "refusals": True}
    assert sp.parse_greeting(first, second) == greeting
    with_kid = lines(sp.format_greeting(greeting._replace(kid=KID)))
    assert sp.parse_greeting(*with_kid) == greeting._replace(jwk={}, kid=KID)


@pytest.mark.parametrize("value", [False, None, 1, "true", [True], {}])
def test_greeting_of_who_may_not(value: object) -> None:
    """What is not meant like that is not a reason to refuse a signer."""
    assert not sp.parse_greeting(extra(refusals=value), KEY).refusals


def test_hello() -> None:
    assert sp.format_hello() == b"NOSIGN\r\n" and sp.is_hello(lines(sp.format_hello())[0])
    for line in (b"", b"NOSIGN ", b"NOSIGN x", b"nosign", b"NOSIGNAL", b"e30."):
        assert not sp.is_hello(line)


def test_explain_lines() -> None:
    assert sp.format_explain(b"AA.AA") == b"EXPLAIN AA.AA\r\n"
    assert sp.parse_explain(b"EXPLAIN AA.AA") == b"AA.AA" and sp.parse_explain(b"EXPLAIN ") == b""
    for line in (b"", b"EXPLAIN", b"explain AA.AA", b"EXPLAINAA.AA", b"AA.AA"):
        assert sp.parse_explain(line) is None
    text = b"A" * sp.MAX_REQUEST
    assert lines(sp.format_explain(text), sp.MAX_LINE) == [b"EXPLAIN " + text]
    with pytest.raises(LocalProtocolError):
        sp.format_explain(text + b"A")


def test_explanations_are_ok_or_a_refusal() -> None:
    for why in ("", "policy “p”: no"):
        assert sp.parse_explanation(lines(sp.format_explanation(why))[0]) == \
            why.translate({ord("“"): '"', ord("”"): '"'})
    assert sp.format_explanation("") == b"OK\r\n"
    assert sp.parse_explanation(b"NOSIGN") == "no reason given"
    for line in (b"", b"ok", b"OK ", b"AAAA", b"NOSIGNAL", b"\x1b[31m"):
        with pytest.raises(ProtocolError, match="does not explain itself") as caught:
            sp.parse_explanation(line)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("kid", [KID, None])
def test_what_is_asked_about_an_order(kid: str | None) -> None:
    greeting = sp.Greeting("ES256", JWK, THUMBPRINT, kid, True)
    found = []
    for line in sp.explanations(greeting, "https://ca.example:14000", [("dns", "a.example"),
                                                                       ("ip", "::1")], b"CSR"):
        asked = sp.parse_explain(lines(line, sp.MAX_LINE)[0])
        assert asked is not None
        found.append(tuple(map(json.loads, jose.parse_signing_input(asked))))
    (first, order), (second, finalize) = found
    for header in (first, second):
        assert header.keys() == {"alg", "nonce", "url", "kid"} and header["alg"] == "ES256"
        assert header["url"].startswith("https://ca.example:14000/")
        assert header["kid"] == kid or kid is None \
            and header["kid"].startswith("https://ca.example:14000/")
    assert order == {"identifiers": [{"type": "dns", "value": "a.example"},
                                     {"type": "ip", "value": "::1"}]}
    assert finalize == {"csr": "Q1NS"}
    profiled = sp.explanations(greeting, "https://ca.example", [("dns", "a")], b"", "short")[0]
    asked = sp.parse_explain(lines(profiled, sp.MAX_LINE)[0])
    assert asked and json.loads(jose.parse_signing_input(asked).payload)["profile"] == "short"
