"""What a validation that failed is told as: one sentence for its kind, and who reached us."""

import http.client
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from harness.hostile import JSON, Default, Hostile, Request, Response
from harness.pebble import Pebble
from harness.run import Site
from harness.verdict import errors
from letsencrypt_tiny.master.report.validation import sentence

NOBODY_CAME = "no request for a challenge reached us"


@pytest.fixture
def ready(site: Site, pebble: Pebble) -> Site:
    """A site with an account at Pebble."""
    site.open_account(pebble)
    return site


def failed(site: Site, name: str, *more: str) -> str:
    """Order a certificate that can't be had; return the line that says why."""
    site.certificate("a", [name, *more])
    done = site.run("--quiet", "newOrder")
    assert done.returncode == 1, done
    line, = errors(done)
    assert line.startswith("error: a: ") and done.stderr.count("\n") == 1
    assert line.count("a: ") == 1, "the section's name, once"
    return line


# --- as Pebble validates -------------------------------------------------------------------------

def test_nobody_there(ready: Site, pebble: Pebble) -> None:
    pebble.set_a("elsewhere.example", "127.0.0.77")
    line = failed(ready, "elsewhere.example")
    assert "127.0.0.77" in line and "(connection)" in line
    assert line.endswith(f"; {sentence('connection')}; {NOBODY_CAME}")


class Stranger(BaseHTTPRequestHandler):
    """Another host's web server."""

    def do_GET(self) -> None:
        """Answer with something."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"It works!")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def stranger(pebble: Pebble) -> Iterator[str]:
    """The address of one."""
    with HTTPServer(("127.0.0.78", pebble.http_port), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield "127.0.0.78"
        server.shutdown()


def test_another_host(ready: Site, pebble: Pebble, stranger: str) -> None:
    """Of two names one leads there."""
    pebble.set_a("moved.example", stranger)
    line = failed(ready, "moved.example")
    assert sentence("unauthorized") in line and line.endswith(f"; {NOBODY_CAME}")
    line = failed(ready, "moved.example", "here.example")
    assert line.endswith((f"; {NOBODY_CAME}", "; no request for moved.example reached us"))


# --- who reached us ------------------------------------------------------------------------------

def refuse(hostile: Hostile, kind: str, port: int, target: str = "", *hosts: str) -> None:
    """Let the server ask for ``target`` (or the token) of ``hosts``, then refuse."""
    def challenge(request: Request, default: Default) -> Response:
        answer = default()
        if request.payload == {}:
            for host in hosts:
                token = answer.object()["token"]
                ask(port, target or f"/.well-known/acme-challenge/{token}", host)
        return answer

    def authz(_request: Request, default: Default) -> Response:
        message: JSON = default().object()
        if message["status"] == "valid":
            message["status"] = "invalid"
            for item in message["challenges"]:
                item["error"] = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": "No."}
        return Response.json(message)
    hostile.on.update(challenge=challenge, authz=authz)
    hostile.edit("order", lambda order: order.update(status="invalid"))


def ask(port: int, target: str, host: str) -> None:
    """Ask our web server for something, as a validation server does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", target, headers={"Host": host})
    connection.getresponse().read()
    connection.close()


@pytest.fixture
def refusing(site: Site, hostile: Hostile) -> Site:
    """A site with an account at a server that refuses."""
    site.use(hostile)
    site.main["webserver"]["listen"] = f"127.0.0.1:{hostile.http_port}"
    site.genkey()
    assert site.register().returncode == 0
    return site


@pytest.mark.alike(2)
@pytest.mark.parametrize("kind, target, hosts, told", [
    ("dns", "", (), f"{sentence('dns')}; {NOBODY_CAME}"),
    ("connection", "", ("v.example",), f"{sentence('connection')}; requests reached us, and were "
     "answered"),
    ("unauthorized", "", ("V.example:80",), "requests reached us, and were answered"),
    ("incorrectResponse", "", ("localhost",),
     f"{sentence('unauthorized')}; only requests for other names reached us (localhost)"),
    ("unauthorized", "/.well-known/acme-challenge/x", ("v.example",),
     "requests for v.example reached us, for no challenge that we have"),
    ("connection", "/", ("v.example",), NOBODY_CAME),
    ("caa", "", ("v.example",), sentence("caa")),
    ("serverInternal", "", (), "No. (serverInternal)")])
def test_kinds(kind: str, target: str, hosts: tuple[str, ...], told: str, refusing: Site,
               hostile: Hostile) -> None:
    refuse(hostile, kind, hostile.http_port, target, *hosts)
    assert failed(refusing, "v.example").endswith(f" {told}")


def test_a_limit_that_is_reached(refusing: Site, hostile: Hostile) -> None:
    """Of orders, which no validation follows."""
    hostile.on["newOrder"] = lambda _request, _default: Response.problem(
        "rateLimited", "Too many.", 429, {"Retry-After": "3600"})
    assert failed(refusing, "v.example").endswith(f"; {sentence('rateLimited')}")


def test_of_several_names(refusing: Site, hostile: Hostile) -> None:
    refuse(hostile, "connection", hostile.http_port, "", "b.example", "c.example")
    line = failed(refusing, *(f"{letter}.example" for letter in "bcdefgh"))
    assert line.endswith("; no request for d.example, e.example, f.example and 2 more reached us")


def test_many_who_ask_in_vain(refusing: Site, hostile: Hostile) -> None:
    """They don't hide the one that was answered."""
    def crowd(request: Request, default: Default) -> Response:
        if request.payload == {}:
            for number in range(1200):
                ask(hostile.http_port, "/.well-known/acme-challenge/x", f"n{number}.example")
        return asked(request, default)
    refuse(hostile, "unauthorized", hostile.http_port, "", "v.example")
    asked = hostile.on["challenge"]
    hostile.on["challenge"] = crowd
    assert failed(refusing, "v.example").endswith("; requests reached us, and were answered")


@pytest.mark.parametrize("kind", ["connection", "unauthorized", "caa"])
def test_what_is_no_validation(kind: str, refusing: Site, hostile: Hostile) -> None:
    """newOrder is refused with the same type."""
    hostile.on["newOrder"] = lambda _request, _default: Response.problem(kind, "No.", 403)
    assert failed(refusing, "v.example").endswith(f"No. ({kind})")


# --- behind another web server -------------------------------------------------------------------

def test_a_web_server_without_our_snippet(refusing: Site, hostile: Hostile) -> None:
    """The failure says who has the port, and what to include."""
    refusing.main["webserver"].pop("listen")
    refuse(hostile, "unauthorized", 80, "", "v.example")
    with HTTPServer(("127.0.0.1", 80), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        line = failed(refusing, "v.example")
        server.shutdown()
    assert re.search(rf"; {NOBODY_CAME}: \S+ \(process {os.getpid()}\) listens on port 80: "
                     rf"challenges are answered on {refusing.rundir}/www\.socket, to which it "
                     r"must pass them on \(include \S+/nginx\.conf.*\)$", line), line


def test_where_another_web_server_answers(refusing: Site, hostile: Hostile) -> None:
    """Who reached that one is not ours to know."""
    directory = refusing.path / "served"
    directory.mkdir()
    directory.chmod(0o1777)
    refusing.main["webserver"].update({"challenge-directory": str(directory), "listen": ""})
    refuse(hostile, "unauthorized", 0)
    assert failed(refusing, "v.example").endswith(f" (unauthorized); {sentence('unauthorized')}")
