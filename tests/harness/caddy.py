"""Caddy's ACME server: Smallstep's code, a second opinion on RFC 8555."""

import tempfile
from pathlib import Path

from .daemon import Daemon
from .names import Names
from .net import free_ports

_CADDYFILE = """{{
    admin off
    auto_https disable_redirects
    skip_install_trust
    http_port {http_port}
    https_port {port}
    servers {{
        protocols h1 h2
    }}
}}
localhost:{port} {{
    bind 127.0.0.1 [::1]
    tls internal
    acme_server {{
        lifetime {lifetime}
    }}
}}
"""

# Smallstep resolves names by the system's resolver: these mounts are Caddy's alone.  Without
# a resolv.conf, Go asks 127.0.0.1:53 all the same.
_START = """mount --bind hosts /etc/hosts || exit 1
test ! -e /etc/resolv.conf || mount --bind resolv.conf /etc/resolv.conf || exit 1
exec /usr/bin/caddy run --config Caddyfile --adapter caddyfile
"""


class CaddyACME:
    """A running Caddy that issues certificates by ACME.  Needs root and a network of our own.

    ``directory`` is the directory's URL, ``ca_file`` the root of both its HTTPS certificate and
    of those it issues (they last ``lifetime``, less than the seven days of its intermediate).
    It validates http-01 at ``http_port``, always 80, of 127.0.0.1, whatever the name.
    """

    http_port = 80
    tls_port = 443

    def __init__(self, lifetime: str = "144h") -> None:
        self._lifetime = lifetime
        self._port, self._unused = free_ports(2)
        self.directory = f"https://localhost:{self._port}/acme/local/directory"

    def __enter__(self) -> "CaddyACME":
        self._temporary = tempfile.TemporaryDirectory(prefix="caddy-")
        path = Path(self._temporary.name)
        path.chmod(0o755)  # children without privilege read the CA file
        self.ca_file = path / "root.pem"
        (path / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (path / "Caddyfile").write_text(_CADDYFILE.format(
            port=self._port, http_port=self._unused, lifetime=self._lifetime))
        self.names = Names(path, dns_port=53)
        try:
            self._daemon = Daemon(
                ["/usr/bin/unshare", "--mount", "--", "/bin/sh", "-c", f"cd {path}; {_START}"],
                path / "caddy.log", [self._port],
                env={"HOME": str(path), "XDG_DATA_HOME": f"{path}/data",
                     "XDG_CONFIG_HOME": f"{path}/config", "GODEBUG": "netdns=go"})
        except BaseException:
            self.names.stop()
            raise
        self.ca_file.write_bytes((path / "data/caddy/pki/authorities/local/root.crt").read_bytes())
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self.names.stop()
        self._temporary.cleanup()

    @property
    def log(self) -> str:
        """What Caddy wrote."""
        return self._daemon.text()

    def set_a(self, name: str, *addresses: str) -> None:
        """Let ``name`` have these IPv4 addresses; with none, 127.0.0.1 again."""
        self.names.set_a(name, addresses)

    def roots(self) -> Path:
        """Return the path of a PEM file with the root that Caddy issues under."""
        return self.ca_file
