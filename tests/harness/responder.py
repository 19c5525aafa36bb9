"""Responders of a configuration, with a stand-in for the web server; and that nothing is left."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.peers.spawn import Identity
from letsencrypt_tiny.master.responders.http01 import Http01
from letsencrypt_tiny.master.settings import main as configuration

NOBODY = pwd.getpwnam("nobody")    # the client
DAEMON = pwd.getpwnam("daemon")    # the web server
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"


class Host:
    """A directory, not below a sticky one; at the end no descriptor or challenge is left."""

    client = Identity(NOBODY.pw_uid, NOBODY.pw_gid, "nobody", "/", "/bin/sh")

    def __init__(self) -> None:
        self.responders: list[Http01] = []
        self.asked: list[str] = []     # whose messages a descriptor was asked for

    def __enter__(self) -> "Host":
        self._before = set(os.listdir("/proc/self/fd"))
        self.path = Path(tempfile.mkdtemp(prefix="test-responder-", dir="/srv"))
        self.path.chmod(0o755)
        self.run = self.path / "run"
        return self

    def __exit__(self, *_: object) -> None:
        for responder in self.responders:
            responder.close()
            responder.close()
        left = [name for name in self.left() if name.startswith("challenges-")]
        shutil.rmtree(self.path)
        assert left == [] and set(os.listdir("/proc/self/fd")) == self._before

    def left(self) -> list[str]:
        """Return what lies in the run directory."""
        return sorted(os.listdir(self.run)) if self.run.exists() else []

    def config(self, settings: str, script: str = "exec sleep 60") -> configuration.Config:
        """Return a configuration whose web server is a shell script."""
        program = self.path / "webserver"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        (self.path / "main.conf").write_text(
            f"run-directory = {self.run}\n[webserver]\ncommand = {program}\nuser = daemon\n"
            f"group = daemon\n{settings}\n{'' if 'iptables' in settings else 'iptables = no'}\n")
        return configuration.load(str(self.path / "main.conf"))

    def stderr(self, name: str) -> int:
        """Return a descriptor for messages that nobody reads."""
        self.asked.append(name)
        return os.open("/dev/null", os.O_RDWR)

    def responder(self, settings: str, script: str = "exec sleep 60") -> Http01:
        """Return a responder, not yet opened."""
        made = Http01(self.config(settings, script), self.client, self.stderr)
        self.responders.append(made)
        return made

    def opened(self, settings: str, script: str = "exec sleep 60") -> Http01:
        """Return a responder that was opened."""
        made = self.responder(settings, script)
        made.open([])
        return made

    def serving(self, settings: str, script: str = "exec sleep 60") -> Http01:
        """Return a responder that serves, whatever account's."""
        made = self.opened(settings, script)
        made.serve([])
        return made

    def fails(self, settings: str, match: str, kind: type[Error] = Error) -> None:
        """Opening must fail with a message that matches, and leave nothing."""
        made = self.responder(settings)
        before = self.left()
        with pytest.raises(kind, match=match):
            try:
                made.open([])
            finally:
                made.close()
        assert self.left() == before
