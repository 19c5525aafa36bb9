"""Which requests for challenges came: what the web server says, and what the master hears."""

import fcntl
import os

import pytest

from letsencrypt_tiny.common.errors import ProtocolError
from letsencrypt_tiny.common.wire.visits import (MAX_LINE, MAX_VISITS, Visit, format_visit,
                                                 parse_visit, plain_host)
from letsencrypt_tiny.master.responders.visits import Visits
from letsencrypt_tiny.webserver import main as webserver
from letsencrypt_tiny.webserver.http import visit

TARGET = b"/.well-known/acme-challenge/x"


@pytest.mark.parametrize("field, host", [
    ("a.example", "a.example"), (" A.Example:80\t", "a.example"), ("a.example.", "a.example"),
    ("192.0.2.1:8080", "192.0.2.1"), ("[2001:DB8::1]:80", "2001:db8::1"), ("[::1]", "::1"),
    ("", ""), ("a b", ""), ("a\x1b[31m", ""), ("x" * 256, ""), ("ü.example", "")])
def test_hosts(field: str, host: str) -> None:
    assert plain_host(field) == host
    assert parse_visit(format_visit(Visit(404, host)).rstrip(b"\n")) == Visit(404, host)


@pytest.mark.parametrize("line", [
    b"", b"200", b"2000 a", b"100 a", b"200 A", b"200 a b", b"200 a\n", b"200 \xff", b"x a",
    b"200 " + b"a" * 256, b"200 " + b"a" * MAX_LINE])
def test_what_is_no_line(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_visit(line)


@pytest.mark.parametrize("head, host", [
    (b"GET " + TARGET + b" HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"),
    (b"\r\nGET http://b.example" + TARGET + b" HTTP/1.1\r\nX: y\r\nhOST:A.example:80\r\n\r\n",
     "a.example"),
    (b"GET " + TARGET + b" HTTP/1.0\r\n\r\n", ""), (b"POST " + TARGET + b" HTTP/1.0\r\n\r\n", ""),
    (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", None), (b"", None), (b"GET\r\n\r\n", None),
    (b"GET /x" + TARGET + b" HTTP/1.1\r\nHost: a\r\n\r\n", None)])
def test_what_is_told_of_a_request(head: bytes, host: str | None) -> None:
    assert visit(head, 404) == (None if host is None else Visit(404, host))


def test_each_once_and_never_waited_for() -> None:
    """Nobody reads; then somebody does, and hears of what is seen again."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(4096))
    told = webserver.Visits(writer)
    told.tell(Visit(404, "a.example"))
    os.read(reader, 4096)
    for _ in range(2):
        told.tell(Visit(404, "a.example"))
    for number in range(MAX_VISITS + 5):
        told.tell(Visit(404, f"n{number}"))
    text = os.read(reader, 65536)
    assert text.startswith(b"404 a.example\n404 n0\n") and text.count(b"a.example") == 1
    os.close(reader)
    told.tell(Visit(200, "b.example"))    # nobody is there: no matter
    os.close(writer)
    webserver.Visits(writer).tell(Visit(200, "b.example"))   # nothing is there


def test_what_is_no_pipe_is_told_nothing() -> None:
    descriptor = os.memfd_create("x")
    webserver.Visits(descriptor).tell(Visit(200, "a.example"))
    assert os.fstat(descriptor).st_size == 0
    os.close(descriptor)


@pytest.mark.parametrize("junk", [b"junk\n", b"x" * (MAX_LINE + 1), b"200 a\n\n"])
def test_a_web_server_that_says_something_else(junk: bytes) -> None:
    """It is listened to no more."""
    visits = Visits()
    os.write(visits.writer, junk)
    assert visits.told(["b.example"]).startswith(("no request for a", "only requests for other"))
    with pytest.raises(BrokenPipeError):
        os.write(visits.writer, b"200 b.example\n")
    assert visits.told(["b.example"]).startswith(("no request for a", "only requests for other"))
    os.close(visits.writer)
    visits.close()


def test_a_web_server_that_says_too_much() -> None:
    visits = Visits()
    for start in range(0, 5 * MAX_VISITS, 100):
        try:
            os.write(visits.writer, b"".join(format_visit(Visit(404, f"n{start + number}"))
                                             for number in range(100)))
        except BlockingIOError:
            break
        visits.read()
    assert len(visits._seen) < 2 * MAX_VISITS + 65536 // 7
    os.close(visits.writer)
    visits.close()
