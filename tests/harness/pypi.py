"""ACME servers in Python, which come from PyPI: a virtual environment, and HTTPS before their WSGI.

Debian doesn't have them.  They are installed once, below build/, as pip is configured on this
machine.
"""

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import netns
from .ca import CA
from .daemon import Daemon
from .names import Names
from .net import free_port
from .run import ROOT

_SECONDS = 300   # to install one
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"

# WSGIRequestHandler answers one request a connection, as HTTP/1.0
_SERVE = '''
import socketserver, ssl, sys, wsgiref.simple_server as simple
sys.path.insert(0, ".")
from application import application

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])

class Server(socketserver.ThreadingMixIn, simple.WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def get_request(self):
        connection, address = super().get_request()
        return context.wrap_socket(connection, server_side=True,
                                   do_handshake_on_connect=False), address

class Handler(simple.WSGIRequestHandler):
    def get_environ(self):
        return {**super().get_environ(), "HTTPS": "on"}

    def address_string(self):
        return self.client_address[0]

simple.make_server("127.0.0.1", int(sys.argv[1]), application, Server, Handler).serve_forever()
'''

# They resolve names by the system's resolver: these mounts are theirs alone
_START = """mount --bind hosts /etc/hosts || exit 1
test ! -e /etc/resolv.conf || mount --bind resolv.conf /etc/resolv.conf || exit 1
exec "$@"
"""


class Unavailable(Exception):
    """The server can't be installed here; says why."""


def installed(requirement: str, within: str = "servers") -> Path:
    """Return the interpreter of the virtual environment that has what is required.

    ``within``: the environment's name, for what doesn't go together.  Raises Unavailable.
    """
    build = ROOT / "build"
    if not build.exists():
        build.mkdir()
        os.chown(build, ROOT.stat().st_uid, ROOT.stat().st_gid)    # others build there, too
    environment = build / within
    done = environment / f"{requirement}.installed"
    with open(build / f"{within}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = environment / "bin/python3"
        if not done.exists():
            if not python.exists():
                _run("/usr/bin/python3", "-m", "venv", str(environment))
            _run(str(python), "-m", "pip", "install", "--quiet", "--retries", "1",
                 "--timeout", "30", "--only-binary", ":all:", requirement)
            done.touch()
            _run("/usr/bin/chown", "-R", f"--reference={ROOT}", str(environment))
    return python


def _run(*argv: str) -> None:
    """Run a command in the machine's own network, which is not that of the tests."""
    try:
        done = subprocess.run([*netns.outside(), *argv], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"pip takes more than {_SECONDS} s") from None
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines()
        raise Unavailable(lines[-1] if lines else f"{argv[0]} ended with {done.returncode}")


class PythonServer:
    """A running ACME server.  Needs root and a network of our own.

    ``directory`` is the directory's URL, ``ca_file`` holds the CA of its HTTPS certificate.
    It validates http-01 at ``http_port``, always 80, of 127.0.0.1, whatever the name.  Subclasses
    say what has to be installed, and ``prepare`` the WSGI application.
    """

    requirement: str
    name_server: str        # an address of 127.0.0.0/8, as port 53 is always taken
    path_of_directory: str
    http_port = 80

    def __init__(self) -> None:
        self._port = free_port()
        self.origin = f"https://localhost:{self._port}"
        self.directory = self.origin + self.path_of_directory

    def prepare(self, path: Path, python: Path) -> Mapping[str, str]:
        """Write application.py to ``path``, and what else is needed; return the environment."""
        raise NotImplementedError

    def __enter__(self) -> "PythonServer":
        python = installed(self.requirement)
        self._temporary = tempfile.TemporaryDirectory(prefix="pypi-")
        self.path = path = Path(self._temporary.name)
        path.chmod(0o755)    # children without privilege read the CA file
        self.ca = CA(path, type(self).__name__)
        self.ca_file = self.ca.root
        for name, text in (("hosts", _HOSTS), ("resolv.conf", f"nameserver {self.name_server}\n"),
                           ("serve.py", _SERVE)):
            (path / name).write_text(text)
        environment = {"HOME": str(path), **self.prepare(path, python)}
        self._names = Names(path, 53, self.name_server)
        try:
            self._daemon = Daemon(
                ["/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c", f"cd {path}; {_START}", "sh",
                 str(python), "serve.py", str(self._port), *map(str, self.ca.server())],
                path / f"{type(self).__name__}.log", [self._port], environment)
        except BaseException:
            self._names.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self._names.stop()
        self._temporary.cleanup()

    def run(self, python: Path, script: str, env: Mapping[str, str] | None = None) -> str:
        """Run a script with the server's modules, in its directory; return what it prints."""
        done = subprocess.run([str(python), "-c", script], cwd=self.path, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False,
                              env={"PATH": os.defpath, "LANG": "C.UTF-8", **(env or {})})
        if done.returncode != 0:
            raise RuntimeError(done.stdout)
        return done.stdout

    @property
    def log(self) -> str:
        """What the server wrote."""
        return self._daemon.text()

    def roots(self) -> Path:
        """Return the path of a PEM file with the root that it issues under."""
        return self.ca_file

    def revoked(self, serial: str) -> bool:
        """True if the certificate with this serial number in hexadecimal is revoked."""
        raise NotImplementedError
