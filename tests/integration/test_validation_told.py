"""A validation that fails is explained: a sentence for its kind, and whether anybody asked us."""

import socket

import pytest

from harness.hostile import Default, Hostile, Request, Response
from harness.run import Site
from harness.verdict import errors

REACHED = {True: "; requests for challenges did reach us in this run",
           False: "; no request for a challenge has reached us"}


def fails(server: Hostile, kind: str, port: int = 0) -> None:
    """Let each validation fail so; with ``port`` somebody asks for a challenge there before."""
    def handler(_request: Request, default: Default) -> Response:
        authorization = default().object()
        if port:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.sendall(b"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(100).startswith(b"HTTP/1.1 404 ")
        authorization["status"] = "invalid"
        for challenge in authorization["challenges"]:
            challenge.update(status="invalid", error={
                "type": f"urn:ietf:params:acme:error:{kind}", "detail": "Not so."})
        return Response.json(authorization)
    server.on["authz"] = handler


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("kind, told", [
    ("connection", "cannot connect to port 80"), ("dns", "finds no address of the name"),
    ("unauthorized", "is not the challenge"), ("caa", "a CAA record")])
def test_it_is_explained(kind: str, told: str, asked: bool, good: Site, server: Hostile) -> None:
    fails(server, kind, server.http_port if asked else 0)
    done = good.run("newOrder", "--force")
    assert done.returncode == 1
    line, = errors(done)
    assert line.startswith("error: a: a.example: ") and "Not so." in line, line
    assert line.count(told) == 1 and line.endswith(REACHED[asked]), line


def test_where_another_web_server_answers(good: Site, server: Hostile) -> None:
    directory = good.path / "served"
    directory.mkdir()
    directory.chmod(0o1777)
    good.main["webserver"].update({"challenge-directory": str(directory), "listen": ""})
    fails(server, "unauthorized")
    done = good.run("newOrder", "--force")
    assert done.returncode == 1 and "is not the challenge" in done.stderr, done.stderr
    assert "reach" not in done.stderr


@pytest.mark.parametrize("kind", ["serverInternal", "malformed"])
def test_what_needs_no_explanation(kind: str, good: Site, server: Hostile) -> None:
    fails(server, kind)
    done = good.run("newOrder", "--force")
    assert done.returncode == 1 and "reach" not in done.stderr, done.stderr


def test_a_refused_order_is_no_validation(good: Site, server: Hostile) -> None:
    good.certs = {}
    good.certificate("z", ["z.example"])
    server.on["newOrder"] = lambda _request, _default: Response.problem(
        "unauthorized", "No account of ours.", 403)
    done = good.run("newOrder", "--force")
    assert done.returncode == 1 and "is not the challenge" not in done.stderr, done.stderr
