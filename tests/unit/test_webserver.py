"""The challenge web server: what it answers, and what it must not open.

The real program on real sockets, as an unprivileged user.
"""

import os
import socket
import time
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness.webserver import (AS_ROOT, AUTHORIZATION, PATH, TOKEN, WebServer, connect, exchange,
                               get, read_all, running, status)
from letsencrypt_tiny.common.wire.challenge import MAX_KEY_AUTHORIZATION
from letsencrypt_tiny.webserver.challenges import Challenges
from letsencrypt_tiny.webserver.http import MAX_HEAD, is_last, respond


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with running() as made:
        yield made


# --- what it answers ---------------------------------------------------------------------------

@pytest.mark.parametrize("index", [0, 1, 2], ids=["TCP v4", "TCP v6", "UNIX"])
def test_get(server: WebServer, index: int) -> None:
    response = exchange(server.addresses[index], get(PATH))
    assert status(response) == 200
    assert response.partition(b"\r\n\r\n")[2] == AUTHORIZATION.encode()
    assert b"Content-Type: application/octet-stream\r\n" in response


def test_http_1_0(server: WebServer) -> None:
    request = f"GET {PATH} HTTP/1.0\r\n\r\n".encode()
    assert status(exchange(server.addresses[0], request)) == 200


def test_head_has_no_body(server: WebServer) -> None:
    response = exchange(server.addresses[0], get(PATH, "HEAD"))
    assert response.startswith(b"HTTP/1.1 200 ") and response.endswith(b"\r\n\r\n")
    assert f"Content-Length: {len(AUTHORIZATION)}\r\n".encode() in response
    response = exchange(server.addresses[0], get("/", "HEAD"))
    assert response.startswith(b"HTTP/1.1 404 ") and response.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get",
                                    "PROPFIND", "X" * 200])
def test_other_methods(server: WebServer, method: str) -> None:
    response = exchange(server.addresses[0], get(PATH, method))
    assert status(response) == 405 and b"\r\nAllow: GET, HEAD\r\n" in response


@pytest.mark.parametrize("path", [
    "/", "*", TOKEN, "/favicon.ico", "/.well-known/acme-challenge", "/.well-known/acme-challenge/",
    PATH + "/", PATH + "?", PATH + "?a=b", PATH + "#", PATH + ".", PATH + ";x", PATH[:-1],
    PATH.replace("-", "%2d"), PATH.upper(), PATH.replace("w", "W", 1), "/" + PATH, PATH[1:],
    "/.well-known/acme-challenge/.", "/.well-known/acme-challenge/..",
    "/.well-known/acme-challenge/../../../../../../etc/passwd",
    "/.well-known/acme-challenge/..%2f..%2fetc%2fpasswd", "/.well-known/acme-challenge//etc/passwd",
    "/.well-known/acme-challenge/" + "a" * 129, "/.well-known/acme-challenge/json.py",
    "/x/.." + PATH, "/.well-known/./acme-challenge/" + TOKEN, PATH + "%00", PATH + "%0d%0aX:y",
    "https://example.org" + PATH, "ftp://example.org" + PATH, "http:" + PATH,
    "//example.org" + PATH, "http://example.org", "http://example.org/",
    "http://example.org//", "http://example.org/" + PATH,
    "http://example.org" + PATH + "?", "http://example.org/x/.." + PATH,
])
def test_other_paths(server: WebServer, path: str) -> None:
    response = exchange(server.addresses[0], get(path))
    assert status(response) == 404
    assert response.endswith(b"\r\n\r\n404 Not Found\n")


@pytest.mark.parametrize("request_", [
    b"\n\n", b"\r\r\n", b"\n" + get(PATH), b"\r\n " + get(PATH), b"GET\r\n\r\n",
    b"GET " + PATH.encode() + b"\r\n", b"GET  / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1 \r\n\r\n", b" GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n",
    b"GET / HTTP/1.1\n\n", b"GET /\0 HTTP/1.1\r\n\r\n", b"GET /\xe9 HTTP/1.1\r\n\r\n",
    b"GET /\r X HTTP/1.1\r\n\r\n", b"GET /\t HTTP/1.1\r\n\r\n", b"GET\x0b/ HTTP/1.1\r\n\r\n",
    b"GET / http/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(506),
    b"\0" * 100, b"\x1b[2J", b"\xff\xf4\xff\xfd\x06",
], ids=repr)
def test_malformed(server: WebServer, request_: bytes) -> None:
    assert status(exchange(server.addresses[0], request_)) == 400


# --- what else it answers: RFC 9112 ---------------------------------------------------------------

@pytest.mark.parametrize("uri", [
    "http://example.org", "http://example.org:80", "http://example.org:", "http://192.0.2.1:8080",
    "http://[2001:db8::1]", "http://[2001:db8::1]:80", "HTTP://EXAMPLE.ORG", "http://a_b.example",
    "http://example.org.", "http://other.example"])
def test_absolute_form(server: WebServer, uri: str) -> None:
    """§3.2.2: whatever the Host field says."""
    response = exchange(server.addresses[0], get(uri + PATH))
    assert status(response) == 200 and response.endswith(AUTHORIZATION.encode())


@pytest.mark.parametrize("uri", [
    "http://", "http://:80", "http://me@example.org", "http://example.org:80:80", "http://[::1",
    "http://example.org:http", "http://[example.org]", "http://example.org\\", "http://a[b]"])
def test_absolute_form_without_a_host(server: WebServer, uri: str) -> None:
    assert status(exchange(server.addresses[0], get(uri + PATH))) == 400


@pytest.mark.parametrize("count", [1, 2, 5, 3000])
def test_empty_lines_before_the_request(server: WebServer, count: int) -> None:
    """§2.2"""
    for method in ("GET", "HEAD"):
        response = exchange(server.addresses[0], b"\r\n" * count + get(PATH, method))
        assert response.startswith(b"HTTP/1.1 200 ")
        assert response.endswith(AUTHORIZATION.encode()) == (method == "GET")


def test_nothing_but_empty_lines(server: WebServer) -> None:
    """They cost no time, byte by byte, and come to an end."""
    request = b"\r\n" * (MAX_HEAD // 2)
    assert status(exchange(server.addresses[0], request)) == 431
    start = time.process_time()
    for end in range(1, MAX_HEAD):
        assert respond(request[:end], no_file) is None
    assert time.process_time() - start < 5


HOSTS = ["example.org", "example.org:80", "example.org:", "192.0.2.1", "[2001:db8::1]:8080", "",
         " \texample.org\t ", "EXAMPLE.ORG.", "a_b.example", "x%41"]
NO_HOSTS = ["example.org/", "example.org, example.org", "a b", "example.org:http", "me@example.org",
            "http://example.org", "[::1", "::1", "[x]", "a:1:2", "a\\b", '"a"', "\xe9", "a\tb",
            "<a>"]


@pytest.mark.parametrize("version, fields, code", [
    ("1.1", [], 400), ("1.1", ["Hos: a"], 400), ("1.1", ["X-Host: a"], 400), ("1.0", [], 200),
    ("1.1", ["hOST:a"], 200), ("1.1", ["X: é", "A:", "Host: a", "B: :"], 200),
    *((version, [f"Host: {host}"], 200) for host in HOSTS for version in ("1.0", "1.1")),
    *((version, [f"Host: {host}"], 400) for host in NO_HOSTS for version in ("1.0", "1.1")),
    *((version, ["Host: a", f"X: y{line}"], 400) for version in ("1.0", "1.1") for line in (
        "\r\nHost: a", "\r\nhost: b", "\r\nHost:", "\r\nHost : a", "\r\n Host: b", "\r\n\tb",
        "\r\nb", "\r\n: b", "\r\nA B: c", "\0", "\nb: c", "\rb: c", "\r\n(: c")),
    ("1.1", [" Host: a"], 400), ("1.1", ["X: y", "Host : a"], 400),
    ("1.1", ["Host\t: a"], 400)])
def test_host(server: WebServer, version: str, fields: list[str], code: int) -> None:
    """One, from HTTP/1.1 on, and a good one (§3.2, §5.1, §5.2)."""
    head = "\r\n".join([f"GET {PATH} HTTP/{version}", *fields, "", ""]).encode("latin-1")
    assert status(exchange(server.addresses[0], head)) == code


def no_file(token: str) -> None:
    """No challenge at all."""


def test_nothing_is_reflected(server: WebServer) -> None:
    for request in (get("/canary<script>"), get(PATH, "CANARY"), b"canary\r\n\r\n"):
        assert b"canary" not in exchange(server.addresses[0], request).lower()


def test_long_head(server: WebServer) -> None:
    for address in server.addresses:
        head = b"GET " + PATH.encode() + b" HTTP/1.1\r\nX: " + b"x" * 60000
        assert status(exchange(address, head)) == 431
        assert status(exchange(address, b"GET /" + b"x" * 60000)) == 431
    head = get(PATH)[:-2] + b"X: " + b"x" * 8000
    assert status(exchange(server.addresses[0], head[:8188] + b"\r\n\r\n")) == 200
    assert status(exchange(server.addresses[0], head + b"x" * 300 + b"\r\n\r\n")) == 431


def test_a_second_request_is_ignored(server: WebServer) -> None:
    response = exchange(server.addresses[0], get(PATH) + get(PATH) + get("/"))
    assert status(response) == 200 and response.count(b"HTTP/1.1 ") == 1


def test_a_body_does_not_lose_the_answer(server: WebServer) -> None:
    request = get(PATH, "POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 40000\r\n\r\n")
    for _ in range(20):
        with connect(server.addresses[0]) as sock:
            sock.sendall(request)
            time.sleep(0.002)
            sock.sendall(b"x" * 40000)
            assert status(read_all(sock)) == 405


def test_an_endless_body_is_cut_off(server: WebServer) -> None:
    start = time.monotonic()
    with connect(server.addresses[0]) as sock, pytest.raises(ConnectionError):
        sock.sendall(get(PATH))
        while time.monotonic() - start < 5:
            sock.sendall(b"x" * 65536)


def test_in_pieces(server: WebServer) -> None:
    with connect(server.addresses[0]) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in get(PATH):
            sock.send(bytes([byte]))
            time.sleep(0.001)
        assert status(read_all(sock)) == 200


def test_half_closed(server: WebServer) -> None:
    with connect(server.addresses[0]) as sock:
        sock.sendall(get(PATH))
        sock.shutdown(socket.SHUT_WR)
        assert status(read_all(sock)) == 200
    with connect(server.addresses[0]) as sock:
        sock.sendall(get(PATH)[:-1])
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""


# --- what it must not open ---------------------------------------------------------------------

def test_unusual_files(server: WebServer) -> None:
    """Nothing but a small plain file is served, and nothing makes the server wait."""
    base, directory = server.base, server.directory
    (base / "outside").write_text("secret")
    (directory / "link").symlink_to(directory / TOKEN)
    (directory / "out").symlink_to(base / "outside")
    (directory / "dangling").symlink_to("nowhere")
    (directory / "directory").mkdir()
    os.mkfifo(directory / "fifo", 0o666)
    with open(directory / "huge", "wb") as huge:
        huge.truncate(8 << 30)
    (directory / "big").write_bytes(b"x" * (MAX_KEY_AUTHORIZATION + 1))
    (directory / "largest").write_bytes(b"x" * MAX_KEY_AUTHORIZATION)
    (directory / "private").write_text(AUTHORIZATION)
    (directory / "private").chmod(0)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(directory / "socket"))
    names = ["link", "out", "dangling", "directory", "fifo", "huge", "big", "socket"]
    if AS_ROOT:
        os.mknod(directory / "device", 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
        names += ["device", "private"]
    with sock:
        for name in names:
            path = f"/.well-known/acme-challenge/{name}"
            assert status(exchange(server.addresses[0], get(path))) == 404, name
    path = "/.well-known/acme-challenge/largest"
    assert status(exchange(server.addresses[0], get(path))) == 200


def test_new_and_removed_files(server: WebServer) -> None:
    """Challenges come and go while the server runs."""
    file = server.directory / "later"
    request = get("/.well-known/acme-challenge/later")
    assert status(exchange(server.addresses[0], request)) == 404
    file.write_text("x")
    file.chmod(0o644)
    assert status(exchange(server.addresses[0], request)) == 200
    file.unlink()
    assert status(exchange(server.addresses[0], request)) == 404


OWN = AUTHORIZATION.partition(".")[2]
SECOND = OWN[::-1]   # of another CA's account
FOREIGN = TOKEN


@pytest.mark.parametrize("content, found", [
    (AUTHORIZATION, True), (f"{TOKEN}.{SECOND}", True), (f"{TOKEN}.{FOREIGN}", False),
    (f"{AUTHORIZATION}\n", False), (f"x{AUTHORIZATION}", False), (OWN, False), (TOKEN, False),
    ("", False), (AUTHORIZATION[:-1], False), (f"x.{OWN}", False),
    (f"{TOKEN}.{OWN}{SECOND}", False), (f"{AUTHORIZATION}.{SECOND}", False), (f"{TOKEN}.", False)])
def test_key_authorizations_of_other_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              content: str, found: bool) -> None:
    """Whoever writes the files can't have names validated for an account of his own (§8.1)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / TOKEN).write_text(content)
    expected = content.encode()
    assert Challenges([OWN, SECOND]).find(TOKEN) == (expected if found else None)
    assert Challenges([OWN]).find(TOKEN) == (expected if content == AUTHORIZATION else None)
    assert Challenges().find(TOKEN) == expected   # no key given


def test_several_account_keys() -> None:
    """As the program is told: the keys of several CAs' accounts, and no other."""
    with running(thumbprints=[FOREIGN, OWN]) as server:
        other, foreign = server.directory / "other", server.directory / "foreign"
        other.write_text(f"other.{FOREIGN}")
        foreign.write_text(f"foreign.{SECOND}")
        for path in other, foreign:
            path.chmod(0o644)
        answers = {name: status(exchange(server.addresses[0], get(
            f"/.well-known/acme-challenge/{name}"))) for name in (TOKEN, "other", "foreign")}
        assert answers == {TOKEN: 200, "other": 200, "foreign": 404}


def test_rooms_of_several_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in one hides nothing that is in another, and nothing is above."""
    monkeypatch.chdir(tmp_path)
    for room in "01":
        (tmp_path / room).mkdir()
    (tmp_path / "0/both").write_text("junk of a client gone wrong")
    (tmp_path / "1/both").write_text(f"both.{OWN}")
    (tmp_path / "0/one").write_text(f"one.{OWN}")
    (tmp_path / "above").write_text(f"above.{OWN}")
    found = Challenges([OWN], 2)
    assert (found.find("both"), found.find("one"), found.find("above"), found.find("none")) == (
        f"both.{OWN}".encode(), f"one.{OWN}".encode(), None, None)
    assert Challenges([OWN]).find("above") is not None is Challenges([OWN]).find("one")


@pytest.mark.parametrize("text, last", [
    ("GET / HTTP/1.1\nHost: a\nConnection: close\n\n", True),
    ("GET / HTTP/1.1\nhost: a\ncONNECTION: Close\nAccept: */*\n\n", True),
    ("GET / HTTP/1.0\n\n", True), ("GET / HTTP/1.0\nHost: a\n\n", True),
    ("GET / HTTP/1.0\nConnection: keep-alive\n\n", False),
    ("GET / HTTP/1.1\nHost: a\n\n", False),
    ("GET / HTTP/1.1\nHost: a\nX-Connection: close\n\n", False),
    ("GET / HTTP/1.1\nHost: a\nConnection: close\n\nGET", False),      # more has come
    ("GET / HTTP/1.1\nHost: a\nConnection: close\nContent-Length: 3\n\n", False),
    ("GET / HTTP/1.0\nTransfer-Encoding: chunked\n\n", False),
    ("POST / HTTP/1.0\n\n", False), ("HEAD / HTTP/1.0\n\n", False),
    ("\nGET / HTTP/1.0\n\n", False), ("GET / HTTP/1.0\nConn", False)])
def test_after_which_request_nothing_comes(text: str, last: bool) -> None:
    assert is_last(text.replace("\n", "\r\n").encode()) is last
