"""Debian's lacme(8) and lacme-accountd(1), for the tests of interoperation."""

import os
import tempfile
from pathlib import Path
from collections.abc import Sequence

from . import ca
from .run import PARENT, Result, Server, ini, run


class Lacme:
    """A configuration of lacme in a directory of its own: ``main`` and ``certs`` as in Site.

    It spawns lacme-accountd with its own account key (``account_key``), unless the test sets
    another command in ``main["accountd"]``, or removes that section to use ``--socket``.
    """

    def __init__(self, server: Server) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="lacme-", dir=PARENT)
        self.path = Path(self._temporary.name)
        self.path.chmod(0o755)
        self.account_key = self.path / "account.key"
        self._private(self.account_key, ca.genkey("rsa:2048"))
        accountd = self.path / "accountd.conf"
        accountd.write_text(f"privkey = file:{self.account_key}\n")
        self._roots = server.roots()
        self.main: dict[str, dict[str, str]] = {
            "": {"config-certs": str(self.path / "certs.conf")},
            # LWP has no setting for this in lacme.conf, and lacme cleans the environment.
            "client": {"command": f"/usr/bin/env PERL_LWP_SSL_CA_FILE={server.ca_file} "
                                  "/usr/libexec/lacme/client",
                       "server": server.directory, "timeout": "60"},
            "webserver": {"listen": f"127.0.0.1:{server.http_port}"},
            "accountd": {"config": str(accountd)}}
        self.certs: dict[str, dict[str, str]] = {}

    def __enter__(self) -> "Lacme":
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def certificate(self, section: str, names: Sequence[str]) -> Path:
        """Configure a certificate; return the path of its chain to be."""
        key, chain = self.path / f"{section}.key", self.path / f"{section}.pem"
        self._private(key, ca.genkey())
        self.certs[section] = {
            "certificate-key": str(key), "certificate-chain": str(chain),
            "subject": f"/CN={names[0]}",
            "subjectAltName": ", ".join(f"DNS:{name}" for name in names),
            "CAfile": str(self._roots)}
        return chain

    def command(self, *args: str) -> list[str]:
        """Write the configuration; return the argv of ``lacme ARGS``."""
        config = self.path / "lacme.conf"
        config.write_text(ini(self.main))
        (self.path / "certs.conf").write_text(ini(self.certs))
        return ["/usr/sbin/lacme", f"--config={config}", *args]

    def run(self, *args: str, timeout: float = 120) -> "Result[str]":
        """Run ``lacme ARGS``."""
        return run(self.command(*args), timeout=timeout)

    def register(self) -> "Result[str]":
        """Register the account.  Without a contact, Pebble refuses lacme's empty update."""
        return self.run("account", "--register", "--tos-agreed", "mailto:root@harness.example")

    @staticmethod
    def _private(path: Path, text: str) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
