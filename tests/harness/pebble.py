"""Pebble: Let's Encrypt's test server, with the nuisances it was made for."""

import contextlib
import http.client
import json
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .ca import CA, LOOPBACK
from .daemon import Daemon
from .names import Names
from .net import free_ports

INSTALLED = Path("/usr/bin/pebble")


class Pebble:
    """A running Pebble with a name server and certificates of its own.

    Left alone it rejects 5 % of good nonces, re-uses half of the valid authorizations and
    waits 0–15 s before each validation; ``noncereject`` and ``authzreuse`` (per cent),
    ``sleeptime`` (at most, seconds) and ``nosleep`` change that.  ``alternate_roots`` and
    ``chain_length`` are the number of alternate chains and of intermediates in a chain;
    ``config`` adds members to "pebble" in its configuration file; ``program`` is another Pebble
    than the installed one (see ``sid``); ``dns_port`` is that of ``names``.  ``settings`` are
    those of certificates from it.

    ``directory`` is the directory's URL, ``ca_file`` holds the CA of its HTTPS certificate;
    ``host`` is where it is reached, at loopback or at the end of a line (see ``far``).
    It validates http-01 at ``http_port`` of 127.0.0.1, whatever the name (see ``names``).
    """

    def __init__(self, *, nosleep: bool = False, sleeptime: int | None = None,
                 noncereject: int | None = None, authzreuse: int | None = None,
                 strict: bool = True, always_valid: bool = False, alternate_roots: int = 0,
                 chain_length: int = 1, http_port: int = 0, tls_port: int = 0,
                 config: dict[str, Any] | None = None, env: dict[str, str] | None = None,
                 dns_server: str = "", program: Path = INSTALLED,
                 host: str = "127.0.0.1", dns_port: int = 0) -> None:
        knobs = {"PEBBLE_VA_NOSLEEP": int(nosleep) or None, "PEBBLE_VA_SLEEPTIME": sleeptime,
                 "PEBBLE_VA_ALWAYS_VALID": int(always_valid) or None,
                 "PEBBLE_WFE_NONCEREJECT": noncereject, "PEBBLE_AUTHZREUSE": authzreuse,
                 "PEBBLE_ALTERNATE_ROOTS": alternate_roots, "PEBBLE_CHAIN_LENGTH": chain_length}
        self._env = {name: str(value) for name, value in knobs.items() if value is not None}
        self._env.update(env or {})
        self._config = config or {}
        self._program = program
        # Debian 12's suggests nothing, those after it do: tests that know of it take the newest
        self.settings = {"ari": "no"} if program == INSTALLED else {}
        self._strict = strict
        self._dns_server = dns_server    # "": ``names``
        self._dns_port = dns_port
        self._alternate_roots = alternate_roots
        listen, self._management, free_http, free_tls = free_ports(4)
        self._port = listen
        self._certified = tuple(dict.fromkeys([*LOOPBACK, host]))
        self._listen = "127.0.0.1" if host == "127.0.0.1" else ""
        self.http_port = http_port or free_http
        self.tls_port = tls_port or free_tls
        self.directory = f"https://{host}:{listen}/dir"
        self.management = f"https://127.0.0.1:{self._management}"

    def __enter__(self) -> "Pebble":
        self._temporary = tempfile.TemporaryDirectory(prefix="pebble-")
        path = Path(self._temporary.name)
        path.chmod(0o755)  # children without privilege read the CA files
        ca = CA(path, "Pebble's HTTPS")
        self.ca_file = ca.root
        chain, key = ca.server(self._certified)
        config = path / "config.json"
        config.write_text(json.dumps({"pebble": {
            "listenAddress": f"{self._listen}:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(chain), "privateKey": str(key),
            "httpPort": self.http_port, "tlsPort": self.tls_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": False, **self._config}}))
        self.names = Names(path, self._dns_port)
        try:
            self._daemon = Daemon(
                [str(self._program), "-config", str(config), "-dnsserver",
                 self._dns_server or self.names.address,
                 f"-strict={str(self._strict).lower()}"],
                path / "pebble.log", [self._port, self._management],
                env=self._env)
        except BaseException:
            self.names.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self.names.stop()
        self._temporary.cleanup()

    @property
    def log(self) -> str:
        """What Pebble wrote."""
        return self._daemon.text()

    def set_a(self, name: str, *addresses: str) -> None:
        """Let ``name`` have these IPv4 addresses; with none, 127.0.0.1 again."""
        self.names.set_a(name, addresses)

    def get(self, path: str) -> bytes:
        """GET a ``path`` of the management interface; raises urllib.error.HTTPError."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
                                             urllib.request.HTTPSHandler(context=context))
        with opener.open(f"{self.management}/{path}", timeout=10) as response:
            body: bytes = response.read()
        return body

    def root(self, number: int = 0) -> Path:
        """Return the path of one root, in PEM; those after 0 are the alternates'."""
        return self._save(f"roots/{number}")

    def roots(self) -> Path:
        """Return the path of a PEM file with all roots that Pebble issues under."""
        path = Path(self._temporary.name, "roots.pem")
        path.write_bytes(b"".join(self.get(f"roots/{number}")
                                  for number in range(self._alternate_roots + 1)))
        return path

    def intermediate(self, number: int = 0) -> Path:
        """Return the path of one issuing certificate, in PEM."""
        return self._save(f"intermediates/{number}")

    def intermediate_key(self, number: int = 0) -> Path:
        """Return the path of the key of ``intermediate(number)``, in PEM."""
        return self._save(f"intermediate-keys/{number}")

    def certificate_status(self, serial: str) -> dict[str, Any] | None:
        """Return what Pebble knows of a certificate by its serial number in hexadecimal.

        Members: Certificate, Serial, Status ("Valid", "Revoked") and, if revoked, Reason and
        RevokedAt.  None if Pebble never issued it.
        """
        try:
            status: dict[str, Any] = json.loads(self.get(f"cert-status-by-serial/{serial}"))
        except urllib.error.HTTPError as exc:
            if exc.code == http.client.NOT_FOUND:
                return None
            raise
        return status

    def _save(self, path: str) -> Path:
        file = Path(self._temporary.name, path.replace("/", "-") + ".pem")
        file.write_bytes(self.get(path))
        return file


@contextlib.contextmanager
def newest(**options: Any) -> Iterator[Pebble]:
    """Run the Pebble of Debian sid, 2.10 or later: it knows profiles, dns-persist-01 and when to
    renew.  What needs it is skipped where it can't be had."""
    import pytest
    from . import sid
    try:
        program = sid.program("pebble")
    except (OSError, subprocess.SubprocessError) as exc:
        pytest.skip(f"pebble of Debian sid can't be had: {exc}")
    with Pebble(nosleep=True, program=program, **options) as server:
        yield server
