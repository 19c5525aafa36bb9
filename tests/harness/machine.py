"""A machine for a test of the master alone: no users, no network, no CA, nothing installed.

>>> machine.section("a", ["a.example"])
>>> machine.client.plays(words.receive(), words.issue(authority))
>>> assert machine.run("newOrder").returncode == 0
>>> machine.file("a").read_text()

The programs that the configuration names are ``harness.standins``; the master is that of this
tree.  For the installed programs, real users and real servers there is ``run.Site``.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import run
from .later import later
from .standins import PATIENCE, Client, Signer, WebServer

SERVER = "https://ca.example/dir"


class Machine:
    """A directory below /srv, with what one run of the master needs.

    ``main``, ``certs`` and ``accountd`` are the configuration, {section: {setting: value}}; it is
    written before each run.  The signer listens at ``path / "S"``, unless ``spawns_signer`` was
    called.  All children run as the user of the test.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="machine-", dir=run.PARENT))
        self.path.chmod(0o755)
        self.lib, self.rundir = self.path / "lib", self.path / "run"
        for directory in (self.lib, self.lib / "certs", self.lib / "state"):
            directory.mkdir()
        self.client = Client(self.path)
        self.webserver = WebServer(self.path)
        self.signer = Signer(self.path)
        self.signer.listens(self.path / "S")
        self.config = self.path / "main.conf"
        self.program = self.path / "letsencrypt-tiny"
        source = (run.ROOT / "programs/letsencrypt-tiny").read_text()
        self.program.write_text(source.replace('"/usr/share/letsencrypt-tiny"',
                                               repr(str(run.ROOT))))
        self.program.chmod(0o755)
        nobody = {"user": "", "group": ""}
        self.main: dict[str, dict[str, str]] = {
            "": {"library-directory": str(self.lib), "run-directory": str(self.rundir),
                 "config-certs": "certs.conf"},
            "client": {"server": SERVER, "socket": f"{self.path}/S", "timeout": "20",
                       "command": str(self.client.command), **nobody},
            "webserver": {"command": str(self.webserver.command), "iptables": "no",
                          "listen": f"{self.path}/www", **nobody}}
        self.certs: dict[str, dict[str, str]] = {}
        self.at_once = False

    def spawns_signer(self, name: str = "") -> Signer:
        """From now on [accountd] starts the signer; ``letsencrypt-tiny-accountd`` gets a policy."""
        self.signer.end()
        if name:
            self.signer = Signer(self.path, name)
        self.main["client"].pop("socket", None)
        self.main["accountd"] = {"command": str(self.signer.command), "user": "", "group": ""}
        return self.signer

    def section(self, name: str, names: Sequence[str] = (), **settings: str) -> None:
        """Configure a certificate; ``min_days="7"`` sets min-days."""
        self.certs[name] = {"names": ", ".join(names or [f"{name}.example"]),
                            **{key.replace("_", "-"): value for key, value in settings.items()}}

    def file(self, section: str, name: str = "fullchain.pem") -> Path:
        """Return the path of a file of a certificate that is configured in the short form."""
        return self.lib / "certs" / section / name

    def configure(self) -> Path:
        """Write the configuration; return the main file's path."""
        self.config.write_text(run.ini(self.main))
        (self.path / "certs.conf").write_text(run.ini(self.certs))
        return self.config

    def argv(self, *arguments: str) -> list[str]:
        """Write the configuration; return the argv of ``letsencrypt-tiny ARGUMENTS``.

        It is days later than the last time, for what has failed, unless ``at_once``.
        """
        if not self.at_once:
            later(self.lib / "state")
        return ["/usr/bin/python3", "-I", "-B", str(self.program), f"--config={self.configure()}",
                *arguments]

    def run(self, *arguments: str, **more: Any) -> "run.Result[str]":
        """Run the program to its end; ``more`` is subprocess.run's."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
            "cwd": "/", "env": {}, "timeout": 3 * PATIENCE, "check": False, "text": True, **more}
        return subprocess.run(self.argv(*arguments), **options)

    def popen(self, *arguments: str, **more: Any) -> "subprocess.Popen[str]":
        """Start the program, to signal it, say; use as a context manager."""
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
            "cwd": "/", "env": {}, "text": True, **more}
        return subprocess.Popen(self.argv(*arguments), **options)

    def challenges(self) -> list[Path]:
        """Return the challenge directories."""
        return sorted(self.rundir.glob("challenges-*"))

    def clean(self) -> None:
        """Fail if a run left a child, a challenge directory or a socket."""
        assert self.challenges() == [] and not (self.path / "www").exists()
        self.childless()

    def childless(self) -> None:
        """Wait for the stand-ins of a run that is over to be gone."""
        deadline = time.monotonic() + PATIENCE
        for standin in (self.client, self.webserver, self.signer):
            for pid in standin.pids:
                while os.path.exists(f"/proc/{pid}"):
                    assert time.monotonic() < deadline, f"{standin.role} {pid} is left"
                    try:
                        os.waitpid(pid, os.WNOHANG)   # an orphan is ours
                    except ChildProcessError:
                        pass
                    time.sleep(0.002)

    def remove(self) -> None:
        """End all that is left, and remove the directory."""
        for standin in (self.client, self.webserver, self.signer):
            standin.end()
        shutil.rmtree(self.path)
