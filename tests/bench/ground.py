"""The ground that all stand on: the newest Pebble, its counters, and a web server for files."""

import contextlib
import ctypes
import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from collections.abc import Iterator
from typing import NamedTuple

from harness import netns
from harness.ca import openssl
from harness.daemon import Daemon
from harness.pebble import INSTALLED, Pebble
from harness.run import PARENT, ROOT

OUT = ROOT / "build/bench"
RETRY_AFTER = 1  # seconds, that Pebble asks for
SLOW = 3         # seconds at most, whole ones, that it takes to validate where it is slow
STORE = "/etc/ssl/certs"
CLONE_NEWNS = 0x20000


def leave_the_machine() -> None:
    """Move to a network and a mount namespace of our own; what is mounted there ends with us."""
    netns.adopt_orphans()
    netns.enter()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def pebble(program: Path, retry_after: int = RETRY_AFTER, slow: bool = False,
           host: str = "127.0.0.1") -> Pebble:
    """Return a Pebble, not yet started, that neither errs nor re-uses anything.

    It validates at once, or ``slow`` within ``SLOW`` seconds.
    """
    if program != INSTALLED and not os.path.samefile(program, INSTALLED):
        subprocess.run(["mount", "--bind", program, INSTALLED], check=True)
    return Pebble(nosleep=not slow, sleeptime=SLOW + 1 if slow else None, noncereject=0,
                  authzreuse=0, host=host, config={
                      "retryAfter": {"authz": retry_after, "order": retry_after},
                      "keyAlgorithm": "ecdsa"})


@contextlib.contextmanager
def trusted(server: Pebble) -> Iterator[None]:
    """Let the system's CA store, as this mount namespace sees it, hold the server's CA too.

    As update-ca-certificates(8) does it.  So every program does with Pebble what it does with
    Let's Encrypt: most read the whole store, some at each connection.
    """
    with tempfile.TemporaryDirectory(prefix="bench-ca-", dir=PARENT) as directory:
        store = Path(directory, "certs")
        shutil.copytree(STORE, store, symlinks=True)
        os.chmod(directory, 0o755)
        root = server.ca_file.read_text()
        with open(store / "ca-certificates.crt", "a", encoding="ascii") as bundle:
            bundle.write(root)
        digest = openssl("x509", "-noout", "-hash", stdin=root.encode()).decode().strip()
        (store / f"{digest}.0").write_text(root)
        subprocess.run(["mount", "--bind", store, STORE], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", STORE], check=True)


class Counts(NamedTuple):
    """What happened on the machine during a run."""

    connections: int         # TCP connections accepted by anybody
    acme: int | None         # … by the ACME server; None without nft
    requests: int            # that the ACME server handled


class Counters:
    """Connections and requests; ``start()`` before a run, ``read()`` after it."""

    def __init__(self, server: Pebble) -> None:
        self._server = server
        port = server.directory.split(":")[2].partition("/")[0]
        rules = ("table inet bench { counter acme { } ; chain in { "
                 "type filter hook input priority 0 ; "
                 f"tcp dport {port} tcp flags & (syn|ack) == syn counter name acme ; }} ; }}")
        try:
            self._nft = subprocess.run(["nft", rules], stderr=subprocess.DEVNULL,
                                       check=False).returncode == 0
        except FileNotFoundError:
            self._nft = False

    def start(self) -> None:
        """Count from here."""
        self._log = len(self._server.log)
        self._begin = self._connections()

    def read(self) -> Counts:
        """Return what was counted since ``start()``."""
        now, begin = self._connections(), self._begin
        acme = None if now[1] is None or begin[1] is None else now[1] - begin[1]
        requests = self._server.log[self._log:].count("-> calling handler()")
        return Counts(now[0] - begin[0], acme, requests)

    def _connections(self) -> "tuple[int, int | None]":
        with open("/proc/self/net/snmp", encoding="ascii") as file:
            names, values = (line.split() for line in file if line.startswith("Tcp:"))
        accepted = int(values[names.index("PassiveOpens")])
        if not self._nft:
            return accepted, None
        listing = json.loads(subprocess.run(
            ["nft", "-j", "list", "counter", "inet", "bench", "acme"], capture_output=True,
            check=True).stdout)
        packets, = (item["counter"]["packets"] for item in listing["nftables"]
                    if "counter" in item)
        return accepted, int(packets)


class WebRoot:
    """A small web server for challenge files, as those have who run one anyway."""

    def __init__(self, server: Pebble, parent: Path) -> None:
        self.path = parent / "www"
        self.challenges = self.path / ".well-known/acme-challenge"
        self.challenges.mkdir(parents=True)
        self._port = server.http_port
        self._log = parent / "www.log"

    def __enter__(self) -> "WebRoot":
        self._daemon = Daemon(
            ["/usr/bin/python3", "-I", "-m", "http.server", "--bind", "127.0.0.1",
             "--directory", str(self.path), str(self._port)], self._log, [self._port])
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = {line.partition(":")[2].strip() for line in file if line.startswith("model name")}
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=False)
    return {"processor": f"{os.cpu_count()} × {', '.join(sorted(models)) or platform.machine()}",
            "kernel": platform.release(), "system": _pretty_name(),
            "python": platform.python_version(),
            "openssl": " ".join(openssl.stdout.split()[:2]),
            "file system": _file_system(PARENT),
            "load before": "%.1f" % os.getloadavg()[0]}


def _file_system(path: Path) -> str:
    """Return the type of the file system that all is on, and whether it has a journal: without one
    ext4 looks at each inode that was deleted of late before it gives out another."""
    kind, source = subprocess.run(
        ["stat", "--file-system", "--format=%T", path], capture_output=True, text=True,
        check=True).stdout.strip(), subprocess.run(
        ["findmnt", "--noheadings", "--output=SOURCE", "--target", path], capture_output=True,
        text=True, check=False).stdout.strip()
    if not kind.startswith("ext"):
        return kind
    name = os.path.basename(os.path.realpath(source))
    journals = os.listdir("/proc/fs/jbd2") if os.path.isdir("/proc/fs/jbd2") else []
    has_one = any(journal.startswith(f"{name}-") for journal in journals)
    return f"ext4 with{'' if has_one else 'out'} a journal"


def _pretty_name() -> str:
    def lines() -> Iterator[str]:
        with open("/etc/os-release", encoding="utf-8") as file:
            yield from file
    names: list[str] = [line.partition("=")[2].strip().strip('"') for line in lines()
                        if line.startswith("PRETTY_NAME=")]
    return names[0] if names else "?"
