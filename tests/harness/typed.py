"""A host on which commands are typed as they stand in a document: nothing is configured for tests.

It has files of its own where the machine has /etc, /root and what the package keeps, so that
anything may be typed: a mount namespace.  Let's Encrypt is a Pebble behind nginx, found by
/etc/hosts and trusted as any CA is; systemctl only writes down what it was told.

>>> with Host(prefix, pebble) as host:
...     done = host.type("sudo letsencrypt-tiny add example.org", answers="yes\\n")
"""

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from . import terminal
from .ca import CA
from .daemon import Daemon
from .frontends import nginx
from .pebble import Pebble
from .run import ENVIRONMENT, PARENT, SIGNER_USER, Prefix, Result

HOSTS = "acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org"
ADDRESS = "127.0.0.2"     # where they are: our own servers have the ports of the other addresses
SYSTEMCTL = Path("/usr/bin/systemctl")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# What is mounted there is seen nowhere else; the root of a chroot may be no mount point
_PRIVATE = "mount --make-rprivate / 2>/dev/null || ! grep -q ' shared:' /proc/self/mountinfo"

_GATEWAY = nginx("""\
    server {{
        listen {address}:443 ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        location / {{ proxy_pass https://127.0.0.1:{port}; proxy_set_header Host $host; }}
        location = /directory {{
            proxy_pass https://127.0.0.1:{port}/dir;
            proxy_set_header Host $host;
        }}
    }}
""")


class Host:
    """The machine of whoever types; ``etc`` is what is /etc there, ``home`` what is /root.

    ``server`` has to validate at port 80; its names are those of the host, too.
    """

    def __init__(self, prefix: Prefix, server: Pebble) -> None:
        self.prefix = prefix
        self.server = server
        installed = prefix.master == Path("/usr/sbin/letsencrypt-tiny")
        self.root = Path("/") if installed else prefix.path
        self.path = Path(tempfile.mkdtemp(prefix="typed-", dir=PARENT))
        self.path.chmod(0o755)
        self.etc, self.home = self.path / "etc", self.path / "home"
        self.conf = self.etc / "letsencrypt-tiny" if installed else self.path / "conf"
        self.lib, self.told = self.path / "lib", self.path / "told"

    def __enter__(self) -> "Host":
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.path)
            self._make()
            stack.callback(self._answered().stop)
            self._holder = self._entered()
            stack.callback(self._holder.stop)
            self._wait()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._stack.close()

    def _make(self) -> None:
        shutil.copytree("/etc", self.etc, symlinks=True)
        if self.root != Path("/"):
            shutil.copytree(self.root / "etc/letsencrypt-tiny", self.conf)
        shutil.rmtree(self.etc / "letsencrypt", ignore_errors=True)
        for directory in (self.home, self.path / "bin", self.lib, self.lib / "certs",
                          self.lib / "state", self.lib / "accountd", self.path / "run"):
            directory.mkdir()
        for private in ("state", "accountd"):
            (self.lib / private).chmod(0o700)
        signer = pwd.getpwnam(SIGNER_USER)
        os.chown(self.lib / "accountd", signer.pw_uid, signer.pw_gid)
        for name, text in (("sudo", 'exec "$@"'), ("systemctl", f'echo "$*" >>{self.told}')):
            (self.path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.path / "bin" / name).chmod(0o755)
        (self.etc / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {' '.join(HOSTS)}\n")
        (self.etc / "resolv.conf").unlink(missing_ok=True)
        (self.etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")

    def _answered(self) -> Daemon:
        """Return what is Let's Encrypt here; its CAs, and no others, are those that are trusted."""
        (self.path / "ca").mkdir()
        made = CA(self.path / "ca", "Before Pebble")
        chain, key = made.server(HOSTS)
        trusted = self.etc / "ssl/certs/ca-certificates.crt"
        trusted.write_text(made.root.read_text() + self.server.roots().read_text())
        (self.path / "gateway").mkdir()
        config = self.path / "gateway/nginx.conf"
        config.write_text(_GATEWAY.format(
            path=config.parent, chain=chain, key=key, address=ADDRESS,
            port=self.server.directory.split(":")[2].partition("/")[0]))
        return Daemon(["/usr/sbin/nginx", "-e", "stderr", "-c", str(config)],
                      config.with_name("gateway.log"), [])

    def _entered(self) -> Daemon:
        """Return the process whose mount namespace is the host's."""
        lib, run = (self.root / "var/lib/letsencrypt-tiny"), (self.root / "run/letsencrypt-tiny")
        seen = {self.etc: Path("/etc"), self.home: Path("/root"), self.lib: lib,
                self.path / "run": run, self.path / "bin/systemctl": SYSTEMCTL}
        if self.root != Path("/"):
            seen[self.conf] = self.root / "etc/letsencrypt-tiny"
        lines = [_PRIVATE, *(f"mount --bind {ours} {there}" for ours, there in seen.items()),
                 f"touch {self.path}/ready", "exec sleep infinity"]
        for there in (lib, run):
            there.mkdir(parents=True, exist_ok=True)
        return Daemon(["/usr/bin/unshare", "--mount", "--propagation=unchanged", "--",
                       "/bin/sh", "-ec", "\n".join(lines)], self.path / "holder.log", [])

    def _wait(self) -> None:
        while not (self.path / "ready").exists():
            if self._holder.ended():
                raise RuntimeError(f"no host to type on: {self._holder.text()}")
            time.sleep(0.01)

    def argv(self, *argv: str) -> list[str]:
        """Return the argv of what is to run there."""
        there = f"/proc/{self._holder.pid}"   # whose root may be that of a chroot
        return ["/usr/bin/nsenter", f"--mount={there}/ns/mnt", f"--root={there}/root", "--",
                "/usr/bin/env", "--chdir=/root", *argv]

    def write(self, path: str, lines: str) -> None:
        """Add lines to a file below /etc, as in an editor."""
        below = Path(path).relative_to("/etc")
        file = self.conf / below.relative_to("letsencrypt-tiny") \
            if below.parts[0] == "letsencrypt-tiny" else self.etc / below
        with open(file, "a", encoding="utf-8") as text:
            text.write(lines)

    def type(self, command: str, answers: str = "", timeout: float = 90) -> "Result[str]":
        """Type a command line at a terminal of 80 columns, and what it asks for.

        Returns its status and, as standard output, what the terminal has shown, without colours.
        """
        path = f"{self.root / 'sbin'}:{self.root / 'bin'}:{self.path / 'bin'}:" \
            + ENVIRONMENT["PATH"]
        status, text = terminal.shown(
            self.argv("/bin/bash", "-o", "pipefail", "-c", command),
            {**ENVIRONMENT, "PATH": path, "TERM": "linux"}, 80, answers, timeout)
        shown = ESCAPES.sub("", text).replace("\r\n", "\n")
        return subprocess.CompletedProcess(command, status, shown, "")
