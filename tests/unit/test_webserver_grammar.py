"""What the web server takes for a request (webserver/http.py), beside the RFCs' grammar.

The product takes requests apart without regular expressions, which cost too much of its start;
here they stand, as RFC 9110, 9112 and 3986 have them, and both must say the same of what is made of
their pieces.
"""

import random
import re
from collections.abc import Sequence

import pytest

from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire import visits
from letsencrypt_tiny.webserver import http

EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")   # RFC 9112 §2.2
REQUEST_LINE = re.compile(rb"([!-~]+) ([!-~]+) HTTP/1\.([01])\Z")
FIELDS = re.compile(rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*)*\Z")
HOSTS = re.compile(rb"\r\nhost:([^\r]*)", re.I)
HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?"   # RFC 3986 §3.2.2
HOST_FIELD = re.compile(rb"[ \t]*" + HOST + rb"[ \t]*\Z")
ABSOLUTE = re.compile(rb"http://(?!:|/|\Z)" + HOST + rb"((?:/.*)?)\Z", re.I)
HOST_VALUE = re.compile(rb"\r\nhost:([ -~\t]*)\r\n", re.I)
PLAIN_HOST = re.compile(r"[0-9a-z._:-]{0,255}\Z")
VISIT = re.compile(rb"([2-5][0-9][0-9]) ([!-~]*)\Z")

PIECES = [b"\r\n", b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b"/", b"[", b"]", b"::1", b"80",
          b"[::1]:80", b"a.example", b"A-1_~!$&'()*+,;=%41", b"host:", b"\r\nHost: ", b"\r\nhOsT:",
          b"\r\nhost :", b"http://", b"HTTP://", b"https://", b"GET", b"GET / HTTP/1.1",
          b" HTTP/1.0", b" HTTP/1.1", b" HTTP/1.2", b"HTTP/1.1", b"/.well-known/acme-challenge/x",
          b"x", b"X-y: z", b"\r\nA:b", b"\x7f", b"\x80", b"\xe2\x84\xaa", b"\xff", b"@", b"?", b"#"]
ROUNDS = 20_000


def made(random_: random.Random, pieces: Sequence[bytes], most: int = 7) -> bytes:
    """Return some of ``pieces``, one after the other, and at times one octet that is any."""
    text = b"".join(random_.choices(pieces, k=random_.randrange(most)))
    if random_.random() < 0.2:
        at = random_.randrange(len(text) + 1)
        text = text[:at] + bytes([random_.randrange(256)]) + text[at + 1:]
    return text


def are_good(fields: bytes, host_needed: bool) -> bool:
    if FIELDS.match(fields) is None:
        return False
    hosts = HOSTS.findall(fields)
    return host_needed <= len(hosts) <= 1 and all(map(HOST_FIELD.match, hosts))


def test_both_say_the_same() -> None:
    dice = random.Random(17)
    good = [0] * 5
    for _ in range(ROUNDS):
        text = made(dice, PIECES)
        assert http._begin(text) == EMPTY_LINES.sub(b"", text)
        line = text if dice.random() < 0.5 else b"GET " + text + b" HTTP/1.1"
        match, words = REQUEST_LINE.match(line), http._words(line)
        assert (words and (*words[:2], words[2][-1:])) == (match and match.groups()), line
        needed = dice.random() < 0.5
        fields = text if dice.random() < 0.5 else b"\r\nHost: " + text
        assert http._are_good(fields, needed) == are_good(fields, needed), fields
        target = text if dice.random() < 0.5 else b"http://" + text
        match = ABSOLUTE.match(target)
        assert http._path(target) == (match and match.group(1)), target
        host = HOST_VALUE.search(text + b"\r\n")
        assert http._host_of(text + b"\r\n") == (host.group(1) if host else b""), text
        for number, yes in enumerate((words, needed and are_good(fields, needed),
                                      http._path(target), host, len(text) > 1)):
            good[number] += bool(yes)
    assert min(good) > ROUNDS / 50, good   # else nothing is seen of what is good


@pytest.mark.parametrize("host", [b"", b"a", b"a:80", b"a:", b":", b":80", b"[::1]", b"[]",
                                  b"[::1", b"[::1]x", b"a:b", b"a b", b"[::1]:8a", b"a[", b"a]", b"%", b"a/b"])
def test_hosts(host: bytes) -> None:
    for text in (host, b" " + host, host + b"\t", b" \t" + host + b" "):
        assert http._are_good(b"\r\nHost:" + text, True) == bool(HOST_FIELD.match(text))
    for end in (b"", b"/", b"/x", b"/\n"):
        match = ABSOLUTE.match(b"http://" + host + end)
        assert http._path(b"http://" + host + end) == (match and match.group(1))


def test_every_octet() -> None:
    for octet in map(bytes, zip(range(256))):
        for fields in (b"\r\n" + octet + b":", b"\r\na:" + octet, b"\r\nhost:" + octet + b"a",
                       b"\r\nhost:[" + octet + b"]", b"\r\nhost:a:" + octet, octet):
            assert http._are_good(fields, False) == are_good(fields, False), fields
        for line in (octet + b" / HTTP/1.1", b"GET " + octet + b" HTTP/1.1",
                     b"GET / HTTP/1." + octet):
            assert (http._words(line) is None) == (REQUEST_LINE.match(line) is None), line


def test_lines_of_visits() -> None:
    dice = random.Random(18)
    pieces = [b"200", b"404", b"199", b"600", b" ", b" ", b"a.example", b"\xb2", b"9" * 3,
              b"x" * 250, b"[::1]", b"A", b"", b"\n", b"_:-."]
    good = 0
    for _ in range(ROUNDS // 4):
        line = (b"" if dice.random() < 0.5 else b"404 ") + made(dice, pieces, 5)
        match = VISIT.match(line[:visits.MAX_LINE])
        wanted = match and PLAIN_HOST.match(match.group(2).decode()) and (
            int(match.group(1)), match.group(2).decode())
        try:
            assert visits.parse_visit(line) == wanted, line
            good += 1
        except ProtocolError:
            assert not wanted, line
    assert good > 50, good


def test_a_head_of_nothing_but_beginnings_takes_no_time() -> None:
    """What is taken apart is looked at once: no square of its length."""
    import time
    begin = time.process_time()
    for piece in PIECES:
        head = (piece * http.MAX_HEAD)[:http.MAX_HEAD]
        http.respond(head, lambda token: None)
        http.visit(b"GET /.well-known/acme-challenge/x HTTP/1.1" + head, 200)
    assert time.process_time() - begin < 2
