"""The client's pure functions: HTTP/1.1, URLs, proxies, Retry-After, problems, objects, states."""

import email.utils
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.client import finish
from letsencrypt_tiny.client import certificate, connection, links, stream, transport
from letsencrypt_tiny.client.connection import Response
from letsencrypt_tiny.client.nonces import Nonces
from letsencrypt_tiny.client.patience import Patience, TimedOut, parse_retry_after
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.common import clock, urls
from letsencrypt_tiny.common.errors import ConfigError, Error, ProtocolError
from letsencrypt_tiny.common.wire import problems
from letsencrypt_tiny.common.wire.problems import Problem
from letsencrypt_tiny.common.wire.order import Access, Answer, Progress

# --- HTTP --------------------------------------------------------------------------------------

GOOD = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", b"", False),
    (b"HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n", b"", True),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", True),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
     b"3\r\nabc\r\n00A;x=y\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789", True),
    (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end", False),
]

BAD = [
    b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"x" * 100000,
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 10000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
]

CUT = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    b"H", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Le",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b"HTTP/1.1 204 No\r\nA: b",
    b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
]


def answered(data: bytes, size: int, method: str = "GET") -> "tuple[Response, bool]":
    """The response to a request that is answered with ``data``, ``size`` bytes at a time."""
    ours, theirs = socket.socketpair()
    made = connection.Connection(
        transport.Route(urls.Url("h.example", 443, "/"), None, ()),
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), 10)
    made._timed = stream.Timed(ours, 0)

    def write() -> None:
        with theirs:
            try:
                theirs.recv(65536)
                for start in range(0, len(data), size):
                    theirs.sendall(data[start:start + size])
            except OSError:
                pass    # refused early

    thread = threading.Thread(target=write)
    thread.start()
    try:
        response = made.exchange(method, "/x?y", (("Host", "h"),), None, 100)
        return response, made.is_open
    finally:
        made.close()
        ours.close()
        thread.join()


@pytest.mark.parametrize("size", [1, 7, 100000])
@pytest.mark.parametrize("data, body, keep", GOOD)
def test_responses_are_read_however_they_arrive(data: bytes, body: bytes, keep: bool,
                                                size: int) -> None:
    response, kept = answered(data, size)
    assert response.body == body and kept is keep


@pytest.mark.parametrize("data", BAD)
def test_ambiguous_or_oversized_responses_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        answered(data, 100000)


@pytest.mark.parametrize("data", CUT)
def test_what_was_cut_off_is_told_as_that(data: bytes) -> None:
    """Wherever it was: it is no answer, and may be asked for again."""
    with pytest.raises(transport.CutOff, match="closed"):
        answered(data, 100000)


def test_interim_answers_are_passed_over() -> None:
    """RFC 9110 §15.2; but not 101, after which no HTTP is spoken."""
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for status in 100, 102, 103, 199:
        interim = b"HTTP/1.1 %d x\r\nLink: </x>; rel=preload\r\n\r\n" % status
        response, kept = answered(interim * 5 + ok, 7)
        assert (response.status, response.body, kept) == (200, b"ok", True)
        assert response.get("link") is None
    assert answered(b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\n" + ok, 1000)[0].status == 101


def test_white_space_around_values_is_no_part_of_them() -> None:
    response, kept = answered(
        b"HTTP/1.1 200 OK\r\nReplay-Nonce:\t abc \t\r\nLocation:/x \r\nA: b\r\n c \r\n"
        b"Transfer-Encoding: chunked \r\n\r\n2\r\nok\r\n0\r\n\r\n", 1000)
    assert response.body == b"ok" and kept
    assert response.get("replay-nonce") == "abc" and response.get("location") == "/x"
    assert response.get("a") == "b c"


def test_the_answer_to_head_has_no_body() -> None:
    response, kept = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", 1000, "HEAD")
    assert response.body == b"" and kept


# --- URLs and proxies --------------------------------------------------------------------------

def test_urls() -> None:
    parse = transport.parse_url
    assert parse("https://Example.org", "x") == ("example.org", 443, "/")
    assert parse("https://example.org:14000/dir?a=b", "x") == ("example.org", 14000, "/dir?a=b")
    assert parse("https://[::1]:8443/", "x").authority == "[::1]:8443"
    assert parse("https://a.example:443/", "x").authority == "a.example"
    # what has several spellings is one: scheme and host in capitals, the default port
    assert parse("HTTPS://A.Example:443/d", "x") == parse("https://a.example/d", "x")
    assert parse("https://a.example?x", "x").target == "/?x"


@pytest.mark.parametrize("url", [
    "http://example.org/", "ftp://x/", "//example.org/", "/dir", "", "https://", "https:///x",
    "https://user@example.org/", "https://user:pw@example.org/", "https://a.example\\@b/",
    "https://a.example/#x", "https://a.example/\n", "https://a.example/ x", "https://a.example/é",
    "https://a.example:0/", "https://a.example:65536/", "https://a.example:x/",
    "https://a.example/\x1b", " https://a.example/", "https://bü.example/",
    "https://a.example/" + "x" * 3000, "https://-a.example/"])
def test_what_is_no_https_url_is_refused(url: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        transport.parse_url(url, "“newOrder”")
    assert str(caught.value).startswith("“newOrder” is not an https URL")
    assert str(caught.value).isprintable()


def test_proxies() -> None:
    url = transport.parse_url("https://acme.example.org/d", "x")

    def find(setting: str = "", **environ: str) -> urls.Proxy | None:
        return transport.find_proxy(setting, url, environ)

    assert find() is None and find(http_proxy="http://p:1") is None
    assert find(https_proxy="http://p.example:3128/") == ("p.example", 3128, "")
    assert find(https_proxy="p:1", HTTPS_PROXY="q:2") == ("p", 1, "")
    assert find(HTTPS_PROXY="q") == ("q", 80, "")
    secured = find("http://u%40x:p%3Aw@[::1]:8", https_proxy="q:2")
    assert secured is not None and secured[:2] == ("::1", 8)
    assert transport.proxy_authorization(secured) == "Basic dUB4OnA6dw=="
    assert transport.proxy_authorization(urls.Proxy("p", 1)) is None
    for no_proxy in "*", "acme.example.org", "x, example.org", ".example.org", "*.example.org":
        assert find(https_proxy="p:1", no_proxy=no_proxy) is None, no_proxy
        assert find("p:1", no_proxy=no_proxy) is not None
    for no_proxy in "", "ample.org", "b.example.org", "acme.example.org:80", ",", ".":
        assert find(https_proxy="p:1", no_proxy=no_proxy) is not None, no_proxy
    for bad in ("socks5://p:1", "https://p:1", "http://secret@p:99999", "http://p:1/x",
                "http://secret\n@p:1", "http://secret@p-:1", "http://u:secret@"):
        with pytest.raises(ConfigError) as caught:
            find(bad)
        assert "secret" not in str(caught.value)
        assert str(caught.value).startswith("the proxy for https is not ")


def test_tls_settings_are_checked(tmp_path: Path) -> None:
    for bad in ({"tls_minimum": "SSLv3"}, {"tls_maximum": "2"}, {"ciphers": "NO SUCH"},
                {"ca_file": str(tmp_path / "absent.pem")}, {"ca_file": os.devnull}):
        with pytest.raises(ConfigError):
            transport.tls_context(Access("https://x/", **bad))
    context = transport.tls_context(Access("https://x/", tls_minimum="TLSv1.3",
                                           verify=False))
    assert context.minimum_version.name == "TLSv1_3" and not context.check_hostname


# --- Retry-After and nonces --------------------------------------------------------------------

@pytest.mark.parametrize("value, seconds", [
    (None, None), ("0", 0), ("3", 3), ("86401", 86400), ("1000000000", 86400), ("-1", None),
    ("1.5", None), ("", None), ("1e9", None), ("٣", None), ("9" * 5000, None), ("soon", None),
    ("Sun, 06 Nov 1994 08:49:37 GMT", 10), ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
    ("Sun, 06 Nov 1994 08:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
    ("Sun, 06 Foo 1994 08:49:37 GMT", None), ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ("Sun, 06 Nov 1994 99:49:37 GMT", None), ("Sun Nov  6 08:49:37 1994", None)])
def test_retry_after(value: str | None, seconds: int | None) -> None:
    assert parse_retry_after(value, lambda: 784111767.0) == seconds


def test_http_dates() -> None:
    """Every month and leap years; days before 1970 count backwards."""
    assert clock.days(1970, 1, 1) == 0 and clock.days(1969, 12, 31) == -1
    assert clock.days(2000, 2, 29) + 1 == clock.days(2000, 3, 1) == 11017
    assert clock.days(2100, 3, 1) - clock.days(2100, 2, 28) == 1
    assert clock.parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777
    for bad in ("", "784111777", "Sun, 06 Nov 1994 08:49:37 UTC", "Wed, 31 Dec 1969 23:59:59 GMT",
                "Sun, 06 Nov 1994 08:49:37 GMT\n"):
        assert clock.parse_http_date(bad) is None, bad


def test_retry_after_knows_every_day() -> None:
    for then in range(0, 86400 * 366 * 60, 86400 * 5 + 3601):
        assert parse_retry_after(email.utils.formatdate(then, usegmt=True),
                                 lambda: then - 60.0) == 60


def test_nonces_are_used_once_and_junk_never() -> None:
    nonces = Nonces()
    for value in ("a" * 300, "a b", "a\u00e9", "", "a+b", "abc=", "one", "two-_"):
        nonces.put(Response(200, (("replay-nonce", value),), b""))
    assert [nonces.take() for _ in range(3)] == ["two-_", "one", None]


def test_a_date_is_by_the_clock_of_the_server() -> None:
    """Theirs may be wrong, or ours."""
    at, date = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:32 GMT"
    for ours in (0.0, 784111777.0, 784111777.0 + 3600, 4e9):
        assert parse_retry_after(at, lambda: ours, date) == 5
        assert parse_retry_after("7", lambda: ours, date) == 7
    assert parse_retry_after(at, lambda: 784111767.0, "junk") == 10


# --- problem documents -------------------------------------------------------------------------

def test_a_problem_in_one_line() -> None:
    parsed = problems.parse({
        "type": "urn:ietf:params:acme:error:compound", "detail": "Two\r\nthings \x1b[31m",
        "subproblems": [{"type": "urn:ietf:params:acme:error:caa", "detail": "CAA \x9b forbids",
                         "identifier": {"type": "dns", "value": "a.example\n"}},
                        {"type": "https://ca.example/odd", "identifier": 3}, 7]}, 403)
    assert (parsed.type, parsed.status, len(parsed.subproblems)) == ("compound", 403, 2)
    assert parsed.text() == ("Two\\x0d\\x0athings \\x1b[31m (compound); "
                             "a.example\\x0a: CAA \\x9b forbids (caa); https://ca.example/odd")


@pytest.mark.parametrize("status", [408, 425, 500, 501, 502, 503, 504, 520])
def test_what_may_have_been_heeded(status: int) -> None:
    """As nobody says what it is: not the server, if there is one."""
    assert ProblemError(Problem("", status=status)).doubtful
    assert not ProblemError(Problem("serverInternal", status=status)).doubtful
    assert not ProblemError(Problem("", status=403)).doubtful


@pytest.mark.parametrize("value", [None, 3, [], {}, {"type": 3, "detail": [], "status": "x"},
                                   {"subproblems": {"a": 1}}, {"type": "about:blank"}])
def test_a_malformed_problem_is_one_too(value: Any) -> None:
    parsed = problems.parse(value, 500)
    assert parsed == Problem("", "", 500) and parsed.text() == "HTTP status 500"


def test_a_problem_is_never_long() -> None:
    one = {"detail": "x" * 100000, "type": "y" * 100000, "identifier": {"value": "z" * 100000}}
    parsed = problems.parse({**one, "subproblems": [one] * 100000})
    assert len(parsed.subproblems) == problems.MAX_SUBPROBLEMS
    assert len(parsed.text()) <= problems.MAX_TEXT + 1
    few = problems.parse({"detail": "d", "subproblems": [{"detail": "e"}] * 50}).text()
    assert few.endswith("; and 30 more")


def test_what_a_gateway_says_in_a_few_words() -> None:
    page = (b"<html>\r\n<head><title>502 Bad Gateway</title><style>p {color: red}</style></head>"
            b"<!-- a padding\nto disable MSIE --><body><h1>502 Bad\tGateway</h1>\x1b[31m"
            b"</body></html>")
    assert problems.from_text(page, 502).text() == (
        "HTTP status 502: 502 Bad Gateway 502 Bad Gateway \\x1b[31m")
    assert problems.from_text(b"  ", 504).text() == "HTTP status 504"
    assert problems.from_text(b"\xff\xfe no UTF-8", 500).text().isprintable()
    assert len(problems.from_text(b"word " * 1000000, 500).text()) < 200


def test_the_namespace_of_the_drafts_is_one_too() -> None:
    for name in "urn:acme:error:badNonce", "urn:ietf:params:acme:error:badNonce":
        assert problems.parse({"type": name}).type == "badNonce"
    assert problems.parse({"instance": "https://ca.example/i"}).instance == "https://ca.example/i"
    assert problems.parse({"instance": 7}).instance == ""


# --- waits -------------------------------------------------------------------------------------

def waits_of(error: Error, times: int, limit: int = 10) -> tuple[list[float], Any]:
    """What is waited for a request that fails so often, and its end."""
    failures = [error] * times

    def request() -> str:
        if failures:
            raise failures.pop()
        return "done"
    waits: list[float] = []
    try:
        return waits, finish(Patience("s", limit, lambda _: None).busy(request), waits.append)
    except Error as exc:
        return waits, exc


@pytest.mark.parametrize("status", [429, 503, 500, 502])
def test_a_servers_wish_within_the_time_left_is_heeded(status: int) -> None:
    busy = ProblemError(Problem("", status=status), 2)
    assert waits_of(busy, 2) == ([2, 2], "done")
    assert waits_of(busy, 30, 90)[0] == [2] * 30    # as often as it wants, within the limit
    waits, end = waits_of(busy, 99)
    assert waits == [2] * 5 and isinstance(end, ProblemError)
    waits, end = waits_of(ProblemError(Problem("x", "No.", status), 600, "newOrder"), 1)
    assert waits == [] and str(end) == (
        "newOrder: No. (x); the CA asks to come back in 600 s, which is more than what is left "
        "of the 10 s of the setting “timeout”")
    assert end.retry_after == 600


def test_without_a_wish_the_pauses_grow() -> None:
    for status in 408, 502, 503, 504:
        gateway = ProblemError(Problem("", status=status))
        assert waits_of(gateway, 3) == ([1, 2, 4], "done")
        assert waits_of(gateway, 99, 90)[0] == [1, 2, 4, 8, 16]
        assert waits_of(gateway, 99)[0] == [1, 2, 4]
    assert waits_of(ProblemError(Problem("", status=503), 0), 99, 90)[0] == [1, 2, 4, 8, 16]
    assert waits_of(transport.CutOff("x"), 99, 90)[0] == [1, 2, 4]
    # a server that has erred may do better; one that has had enough says when it has not
    assert waits_of(ProblemError(Problem("serverInternal", status=500)), 99, 90)[0] == [1, 2, 4]
    for error in (ProblemError(Problem("rateLimited", status=429)),
                  ProblemError(Problem("badCSR", status=400), 1),
                  transport.TransportError("x"), transport.NoAnswer("x")):
        assert waits_of(error, 1) == ([], error)


def test_the_wait_that_ends_a_run_says_who_asked_for_it() -> None:
    patience = Patience("s", 90, lambda _: None)
    patience.enter("processing")
    with pytest.raises(TimedOut, match="still processing, and the CA asks to come back in 600 s, "
                                       "which is more than what is left of the 90 s") as caught:
        finish(patience.until_poll(600))
    assert caught.value.retry_after == 600
    with pytest.raises(TimedOut, match="the 3 seconds of the setting “timeout” are over; the next"):
        patience = Patience("s", 3, lambda _: None)
        while True:
            finish(patience.until_poll(None))
    with pytest.raises(TimedOut, match="the 3 seconds of the setting “timeout” are over; the next"):
        patience = Patience("s", 3, lambda _: None)
        while True:
            finish(patience.until_poll(1))


def test_a_slow_answer_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the master, which ends a client that is silent for too long."""
    answers: list[Answer] = []
    clock_ = iter([0.0, 6.0, 10.0, 11.0])
    monkeypatch.setattr("letsencrypt_tiny.client.patience.time.monotonic", lambda: next(clock_))
    patience = Patience("s", 90, answers.append)
    assert patience.timed(lambda: "slow") == "slow" and answers == [Progress("s", "new")]
    assert patience.timed(lambda: "fast") == "fast" and len(answers) == 1


# --- certificates ------------------------------------------------------------------------------

def test_alternate_links() -> None:
    fields = ('<https://ca.example/dir>;rel="index"', '<https://ca.example/1>; rel="alternate"',
              '<https://ca.example/2>;title="a, b";rel=alternate, <https://ca.example/3>; '
              'REL="up Alternate"', "<<>;;,<", "<https://ca.example/4>", 'x; rel="alternate"')
    assert links.find(fields, "alternate") == [f"https://ca.example/{i}" for i in (1, 2, 3)]


def test_alternates_that_do_not_fit_are_left_out() -> None:
    assert certificate.fit("a" * 50, ("b" * 20, "c" * 20, "d" * 20), 100) == ("b" * 20, "c" * 20)
    assert certificate.fit("\n" * 50, ("b",), 100) == ()
