"""A run of the real master in which ``redteam.py`` stands in for one of the other programs."""

import contextlib
import json
import os
import shutil
import socket
import time
from pathlib import Path
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import ca, proc
from .actor import Word
from .hostile import Default, Hostile, Request, Response
from .net import Listener, free_port
from .run import DNS_USER, TLSSERVER_USER, USERS, Prefix, Result, Site

SECTION = {"client": "client", "webserver": "webserver", "signer": "accountd",
           "tlsserver": "tlsserver", "dns": "dns"}
USER = {**dict(zip(("signer", "client", "webserver"), USERS)), "tlsserver": TLSSERVER_USER,
        "dns": DNS_USER}


class Field(NamedTuple):
    """Where the red team plays."""

    site: Site
    server: Hostile
    setup: dict[str, Any]


class Played(NamedTuple):
    """How it ended: of the run, and what the red team reported."""

    done: "Result[str]"
    report: dict[str, Any]


_LAUNCHER = """import sys
sys.path.insert(0, {path!r})
from harness.redteam import main
sys.exit(main())
"""


def _install(path: Path) -> None:
    """Put the red team where every user finds it."""
    (path / "harness").mkdir(0o755)
    for name in "__init__", "actor", "redteam":
        shutil.copy(Path(__file__).with_name(f"{name}.py"), path / "harness")
    for file in (path / "harness").iterdir():
        file.chmod(0o644)
    (path / "redteam.py").write_text(_LAUNCHER.format(path=str(path)))
    (path / "redteam.py").chmod(0o644)


@contextlib.contextmanager
def field(prefix: Prefix, authority: ca.CA) -> Iterator[Field]:
    """A site with certificates in two sections, and every thing worth an attack."""
    site = Site(prefix)
    with Hostile(authority=authority) as server, Listener() as trap:
        site.use(server)
        site.genkey()
        for section in "a", "b":
            # the key that is there is what certificates are compared with
            site.certificate(section, [f"{section}.example"], reuse_key="yes")
        for command in ("account", "--register", "--tos-agreed"), ("newOrder",):
            done = site.run(*command)
            if done.returncode != 0:
                raise RuntimeError(done.stderr)
        _install(site.path)
        (site.etc / "dns.key").write_text(
            'key "k" { algorithm hmac-sha256; secret "c2VjcmV0IHNlY3JldCE="; };')
        (site.etc / "dns.key").chmod(0o600)
        setuid = site.path / "setuid"
        shutil.copy("/usr/bin/id", setuid)
        setuid.chmod(0o4755)
        public = site.path / "public"
        public.touch(0o644)
        names = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        names[0].bind(f"\0{site.path.name}")
        names[1].bind(str(site.path / "S.signer"))
        os.chmod(site.path / "S.signer", 0o600)
        for sock in names:
            sock.listen()
        yield Field(site, server, {
            "package": str(prefix.package.parent), "report": str(site.path / "report"),
            "secrets": {"shadow": "/etc/shadow", "account key": str(site.account_key),
                        "server key": str(site.file("a", "privkey.pem")),
                        "state": str(site.lib / "state/accounts.json"),
                        "DNS key": str(site.etc / "dns.key")},
            "directories": {"library": str(site.lib), "section": str(site.file("a", "")),
                            "state": str(site.lib / "state"), "configuration": str(site.etc),
                            "accountd": str(site.lib / "accountd"),
                            "run directory": str(site.rundir), "/etc": "/etc", "/tmp": "/tmp",
                            "/var/tmp": "/var/tmp", "/dev/shm": "/dev/shm"},
            "host": "127.0.0.1", "trap": trap.port, "public": str(public), "setuid": str(setuid),
            "abstract": site.path.name, "socket": str(site.path / "S.signer")})
        for sock in names:
            sock.close()
    site.remove()


# What the red team's client can do besides what ``words`` has

def plant(victims: dict[str, str]) -> Word:
    """Symbolic links {name: target}, and all that may mislead in a directory."""
    return ["plant", victims]


def dig(depth: int) -> Word:
    """Directories in one another."""
    return ["dig", depth]


def survive(seconds: float) -> Word:
    """A process that is nobody's."""
    return ["survive", seconds]


def refill(seconds: float, junk: bytes) -> Word:
    """Files that come back while, after that junk, the directory is removed."""
    return ["refill", seconds, junk.hex()]


def _plays(setup: Path) -> bool:
    """Tell whether the stand-in with this setup runs."""
    for pid in proc.descendants(os.getpid()):
        try:
            if str(setup) in proc.read(pid).argv:
                return True
        except ProcessLookupError:
            pass
    return False


def play(field: Field, role: str, mode: str = "no", *args: str, timeout: float = 30,
         **setup: Any) -> Played:
    """Run newOrder with the red team in a role; everybody stays until its attacks are over."""
    site, section = field.site, SECTION[role]
    report = site.path / "report"
    report.unlink(missing_ok=True)
    report.touch()
    report.chmod(0o666)
    path = site.path / "setup.json"
    path.write_text(json.dumps({**field.setup, **setup}))
    path.chmod(0o644)

    def wait(_request: Request, default: Default) -> Response:
        """Nothing else waits for a web server, which may not even have begun, or been killed."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            text = report.read_text()
            if '["end"' in text or '["descriptors"' in text and not _plays(path):
                break
            time.sleep(0.01)
        return default()
    challenges = {name: dict(settings) for name, settings in site.certs.items()}
    if role in ("webserver", "tlsserver", "dns"):
        field.server.on["directory"] = wait
    if role == "tlsserver":
        site.main.setdefault(section, {"listen": f"127.0.0.1:{free_port()}"})
        for name in site.certs:
            site.certs[name]["challenge"] = "tls-alpn-01"
    if role == "dns":
        site.main.setdefault(section, {"server": "127.0.0.1", "update-timeout": "5",
                                       "key-file": field.setup["secrets"]["DNS key"]})
        for name in site.certs:
            site.certs[name]["challenge"] = "dns-01"
    settings = dict(site.main[section])
    site.main[section].update(
        confine=mode, command=f"/usr/bin/python3 -IS {site.path}/redteam.py {path} {role}")
    if role in ("signer", "tlsserver", "dns"):   # which need the directory of Debian's packages
        site.main[section]["command"] = site.main[section]["command"].replace("-IS", "-I")
    try:
        done = site.run("newOrder", "--force", *(args or ("a",)), timeout=timeout)
    finally:
        site.main[section] = settings
        site.certs.update(challenges)
        field.server.on.clear()
    lines = [json.loads(line) for line in report.read_text().splitlines()
             if line.startswith("[")]
    return Played(done, dict(lines))
