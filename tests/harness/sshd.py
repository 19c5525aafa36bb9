"""OpenSSH's server on loopback, with keys and configuration of its own, and a client for it."""

import os
import subprocess
import tempfile
from pathlib import Path

from .daemon import Daemon
from .net import free_port
from .run import ENVIRONMENT, PARENT

# Compiled into Debian's sshd: where it confines itself before authentication.
_PRIVSEP = Path("/run/sshd")

_SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {path}/host
AuthorizedKeysFile {path}/authorized_keys
PidFile none
PermitRootLogin prohibit-password
AuthenticationMethods publickey
UsePAM yes
StreamLocalBindMask 0177
PermitUserRC no
PrintMotd no
PrintLastLog no
"""

_CLIENT = """\
Host signer
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {path}/identity
    IdentitiesOnly yes
    UserKnownHostsFile {path}/known_hosts
    GlobalKnownHostsFile /dev/null
    BatchMode yes
    LogLevel ERROR
"""


class SSHD:
    """A running sshd that lets root in with one key; ``options`` restrict what it may do.

    ``client`` is the beginning of an argv: ``[*sshd.client, "-T", "signer", "true"]``.
    Needs root.
    """

    def __init__(self, options: str = "") -> None:
        self._options = options

    def __enter__(self) -> "SSHD":
        self._temporary = tempfile.TemporaryDirectory(prefix="sshd-", dir=PARENT)
        path = Path(self._temporary.name)
        port = free_port()
        for name in ("host", "identity"):
            subprocess.run(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name],
                           cwd=path, env=ENVIRONMENT, stdin=subprocess.DEVNULL, check=True)
        (path / "authorized_keys").write_text(
            f"{self._options} {(path / 'identity.pub').read_text()}".lstrip())
        (path / "known_hosts").write_text(
            f"[127.0.0.1]:{port} {(path / 'host.pub').read_text()}")
        (path / "sshd_config").write_text(_SERVER.format(path=path, port=port))
        (path / "ssh_config").write_text(_CLIENT.format(path=path, port=port))
        self.client: list[str] = ["/usr/bin/ssh", "-F", str(path / "ssh_config")]
        self._made = not _PRIVSEP.exists()
        if self._made:
            os.mkdir(_PRIVSEP, 0o755)
        try:
            self._daemon = Daemon(["/usr/sbin/sshd", "-D", "-e", "-f", str(path / "sshd_config")],
                                  path / "sshd.log", [port])
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._clean_up()

    def stop(self) -> None:
        """Stop the server; what the client needs stays."""
        self._daemon.stop()

    def _clean_up(self) -> None:
        if self._made:
            os.rmdir(_PRIVSEP)
        self._temporary.cleanup()
