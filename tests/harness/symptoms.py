"""What letsencrypt-tiny-troubleshooting(7) is about, brought about: each really goes wrong.

``PRODUCERS`` has for each heading of the page what makes a site with a certificate [a], of a
server that does as it is told, say what the page quotes.
"""

import datetime
import fcntl
import http.server
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import ca
from .bind import PRIMARY, Bind, with_resolver
from .hostile import JSON, Default, Hostile, Request, Response
from .net import free_port
from .run import CLIENT_USER, ENVIRONMENT, Site, as_user, run

Producer = Callable[[Site, Hostile], str]
PRODUCERS: dict[str, Producer] = {}
FORCED = "--quiet", "newOrder", "--force"


def symptom(heading: str) -> Callable[[Producer], Producer]:
    """Let a function be what brings about the symptom of this heading."""
    def keep(function: Producer) -> Producer:
        PRODUCERS[heading] = function
        return function
    return keep


def _said(site: Site, *args: str) -> str:
    done = site.run(*(args or FORCED))
    return done.stdout + done.stderr


def _refused(kind: str) -> Producer:
    """The validation fails so."""
    def produce(site: Site, server: Hostile) -> str:
        def authz(_request: Request, default: Default) -> Response:
            message: JSON = default().object()
            if message["status"] == "valid":
                message["status"] = "invalid"
                for item in message["challenges"]:
                    item["error"] = {"type": f"urn:ietf:params:acme:error:{kind}",
                                     "detail": "why"}
            return Response.json(message)
        server.on["authz"] = authz
        server.edit("order", lambda order: order.update(status="invalid"))
        return _said(site)
    return produce


for _heading, _kind in (
        ("The authority cannot connect", "connection"), ("Something else answers", "unauthorized"),
        ("The name has no address", "dns"), ("CAA forbids", "caa")):
    PRODUCERS[_heading] = _refused(_kind)


def _order_refused(kind: str, status: int, **headers: str) -> Producer:
    """The order is refused so."""
    def produce(site: Site, server: Hostile) -> str:
        server.on["newOrder"] = lambda _request, _default: Response.problem(
            kind, "why", status, dict(headers))
        return _said(site)
    return produce


PRODUCERS["A limit of the authority"] = _order_refused("rateLimited", 429, **{"Retry-After": "99"})
PRODUCERS["The authority is out of order"] = _order_refused("serverInternal", 503)
PRODUCERS["The terms have changed"] = _order_refused("userActionRequired", 403)


class _Stranger(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Know nothing of challenges."""
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def _stranger() -> Iterator[None]:
    """A web server at port 80 that lacks our snippet."""
    with http.server.HTTPServer(("127.0.0.1", 80), _Stranger) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield
        server.shutdown()


@symptom("A web server has port 80")
def _port_80(site: Site, _server: Hostile) -> str:
    site.main["webserver"].pop("listen")
    with _stranger():
        return _said(site, "check")


@symptom("The port is in use")
def _in_use(site: Site, _server: Hostile) -> str:
    site.main["webserver"]["listen"] = "127.0.0.1:80"
    with _stranger():
        return _said(site)


@symptom("The authority cannot be reached")
def _unreachable(site: Site, _server: Hostile) -> str:
    site.main["client"]["server"] = f"https://127.0.0.1:{free_port()}/directory"
    return _said(site)


@symptom("The authority's own certificate is not trusted")
def _private(site: Site, _server: Hostile) -> str:
    del site.main["client"]["ca-file"]
    return _said(site)


@symptom("The chain ends at an unknown root")
def _unknown_root(site: Site, _server: Hostile) -> str:
    roots = site.certs["a"].pop("CAfile")
    told = _said(site)
    site.certs["a"]["CAfile"] = roots     # what was kept is installed, and in nobody's way
    assert site.run("newOrder").returncode == 0
    return told


@symptom("The clock is wrong")
def _clock(site: Site, server: Hostile) -> str:
    begin = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)
    server.issuer = lambda csr, _names: server.issue(csr, not_before=begin)
    try:
        return _said(site)
    finally:
        server.issuer = lambda csr, _names: server.issue(csr)


@symptom("There is no account")
def _no_account(site: Site, _server: Hostile) -> str:
    with Hostile(authority=_server.ca) as other:
        site.main["client"]["server"] = other.directory
        return _said(site)


@symptom("The authority wants to know its customer")
def _eab(site: Site, _server: Hostile) -> str:
    with Hostile(authority=_server.ca) as other:
        site.main["client"]["server"] = other.directory
        other.on["newAccount"] = lambda request, default: \
            Response.problem("externalAccountRequired", "why") \
            if not request.payload.get("onlyReturnExisting") else default()
        return _said(site, "--quiet", "account", "--register", "--tos-agreed")


@symptom("There is no account key")
def _no_key(site: Site, _server: Hostile) -> str:
    aside = site.account_key.rename(site.account_key.with_name("aside"))
    try:
        return _said(site)
    finally:
        aside.rename(site.account_key)


@symptom("The account key's host cannot be reached")
def _far(site: Site, _server: Hostile) -> str:
    site.main["accountd"]["command"] = "/usr/bin/ssh -T -F none -o UserKnownHostsFile=/dev/null " \
        "signer.invalid letsencrypt-tiny-accountd --stdio"
    return _said(site)


@symptom("The account key manager refuses")
def _policy(site: Site, server: Hostile) -> str:
    site.accountd["policy mine"] = {"identifiers": "b.example",
                                    "origins": server.directory.rpartition("/")[0]}
    site.main["accountd"]["command"] = f"{site.prefix.accountd} --policy=mine"
    return _said(site)


@symptom("A wildcard is not proved by http-01")
def _wildcard(site: Site, _server: Hostile) -> str:
    site.certs["a"]["names"] = "*.a.example"
    return _said(site, "check")


@symptom("The name server takes no update")
def _no_update(site: Site, _server: Hostile) -> str:
    """By a key that is for another zone."""
    with Bind(site.path / "bind", {"a.example": "", "acme.example": ""}) as bind:
        site.main["dns"] = {"server": PRIMARY, "key-file": str(bind.keys["hmac-sha224"])}
        site.certs["a"]["challenge"] = "dns-01"
        return run(with_resolver(bind.resolv_conf, site.command(*FORCED))).stderr


@symptom("The notification fails")
def _notify(site: Site, _server: Hostile) -> str:
    site.certs["a"]["notify"] = "false"
    return _said(site)


@symptom("The key does not fit the certificate")
def _mixed_up(site: Site, _server: Hostile) -> str:
    site.file("a", "privkey.pem").write_text(ca.genkey())
    return _said(site, "newOrder")


@symptom("The service cannot read its key")
def _unreadable(site: Site, _server: Hostile) -> str:
    path = site.file("a", "privkey.pem")
    return run(as_user(CLIENT_USER, ["/bin/cat", str(path)])).stderr


@symptom("The disk is full")
def _full(site: Site, _server: Hostile) -> str:
    directory = site.lib / "state"
    script = 'cp -a "$1" "$2"; mount -t tmpfs -o mode=700,nr_inodes=6 none "$1"; ' \
        'cp -a "$2/." "$1" || :; shift 2; exec "$@"'
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh", directory,
         site.path / "aside", *site.command(*FORCED)], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, env=ENVIRONMENT, check=False)
    return done.stderr


@symptom("Another client renews the same names")
def _rivals(site: Site, _server: Hostile) -> str:
    """On a host, as far as it is another one, that has dehydrated in cron's hands."""
    if not (os.path.isdir("/etc/cron.daily") and os.path.isdir("/usr/local/etc")):
        pytest.skip("needs /etc/cron.daily and /usr/local/etc")
    etc, cron = site.path / "host/etc", site.path / "host/cron"
    (etc / "dehydrated").mkdir(parents=True)
    (etc / "dehydrated/domains.txt").write_text("a.example\n")
    cron.mkdir()
    (cron / "local").write_text("#!/bin/sh\nexec dehydrated --cron\n")
    script = 'mount --bind "$1" /usr/local/etc; mount --bind "$2" /etc/cron.daily; ' \
        'shift 2; exec "$@"'
    return run(["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh", etc, cron,
                *site.command("check")]).stderr


@symptom("Not as root")
def _nobody(site: Site, _server: Hostile) -> str:
    return run(as_user("nobody", site.command("newOrder"))).stderr


@symptom("Another run is under way")
def _locked(site: Site, _server: Hostile) -> str:
    site.run("check")
    lock = Path(site.rundir / "lock")
    with open(lock, "a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return _said(site)


@symptom("A setting is unknown")
def _unknown(site: Site, _server: Hostile) -> str:
    site.certs["a"]["notfy"] = "true"
    return _said(site, "check")


@symptom("Others can write a file")
def _writable(site: Site, _server: Hostile) -> str:
    site.configure()
    os.chmod(site.config, 0o666)
    try:
        return _said(site)
    finally:
        os.chmod(site.config, 0o644)
