"""Nothing due: what a daily run costs that finds every certificate valid for long.

On any day but the first: the files are older than what is remembered of them must be, and a run
before has seen that each certificate is for its key.
"""

import re
import subprocess
import tempfile
import time
from operator import attrgetter
from pathlib import Path
from collections.abc import Sequence
from typing import Any, NamedTuple

from harness import ca
from harness.lacme import Lacme
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, PARENT, Prefix, Site
from harness.sid import say
from letsencrypt_tiny.master.store.pairs import SETTLED

from . import measure as clock

LIMIT = 300.0  # seconds
MANY = 50000   # sections, of which one look is enough


class Scan(NamedTuple):
    """One line of the results."""

    program: str
    sections: int
    wall: float       # seconds
    cpu: float        # seconds
    first: float      # seconds of CPU time of the run before
    executed: int     # programs executed by the first one (a run of its own, under strace)
    internet: int     # sockets for IPv4 or IPv6 made (likewise)
    peak: int         # bytes of PSS (likewise)


def measure(server: Pebble, prefix: Prefix, sizes: Sequence[int], repeat: int,
            peers: Sequence[str] | None) -> list[dict[str, Any]]:
    """Let us look at as many sections as ``sizes`` say, and lacme at the fewest of these."""
    results = []
    with tempfile.TemporaryDirectory(prefix="scan-", dir=PARENT) as directory:
        make = Certificates(Path(directory))
        for size in sizes:
            results.append(_ours(server, prefix, make, size, repeat))
        if Path("/usr/sbin/lacme").exists() and (peers is None or "lacme" in peers):
            results.append(_lacme(server, make, sizes[0], repeat))
    return [result._asdict() for result in results]


class Certificates:
    """Certificates for names that differ.

    Issued once; in the copies the name is another, and the signature wrong therefore: it was
    verified before installation and nobody looks at it again.
    """

    PATTERN = "n000000.scan.bench.example"

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        authority = ca.CA(directory, "Scan")
        self.key = ca.genkey()
        self._der = ca.openssl("x509", "-outform", "DER", stdin=authority.issue(
            ca.request([self.PATTERN], self.key)).encode())
        self.chain = authority.intermediate.read_text()

    def name(self, number: int) -> str:
        """Return the name of certificate ``number``."""
        return f"n{number:06}.scan.bench.example"

    def certificate(self, number: int) -> str:
        """Return certificate ``number``, in PEM."""
        return ca.pem(self._der.replace(self.PATTERN.encode(), self.name(number).encode()),
                      "CERTIFICATE")


def nothing_due(site: Site, server: Pebble, make: Certificates, size: int, plain: bool = False
                ) -> list[str]:
    """Give a site so many certificates, all valid for long; return the argv of a daily run.

    Each is in a version of its section's directory, as it was installed; or in a ``plain`` one.
    """
    site.use(server)
    for number in range(size):
        name, pem = make.name(number), make.certificate(number)
        site.certificate(name, [name])
        directory = site.file(name).parent
        if not plain:
            version = directory.parent / f".{name}" / "2026-11-25T012644Z"
            version.mkdir(parents=True)
            directory.symlink_to(version.relative_to(directory.parent))
        else:
            directory.mkdir()
        key = directory / "privkey.pem"
        key.write_text(make.key)
        key.chmod(0o600)  # before the certificate is there: nobody changes a key afterwards
        for file, text in (("cert.pem", pem), ("chain.pem", make.chain),
                           ("fullchain.pem", pem + make.chain)):
            (directory / file).write_text(text)
    time.sleep(SETTLED + 1)
    return site.command("--quiet", "newOrder")


def _ours(server: Pebble, prefix: Prefix, make: Certificates, size: int, repeat: int) -> Scan:
    site = Site(prefix)
    try:
        return _scan("letsencrypt-tiny", nothing_due(site, server, make, size), size, repeat)
    finally:
        site.remove()


def _lacme(server: Pebble, make: Certificates, size: int, repeat: int) -> Scan:
    with Lacme(server) as lacme:
        key = lacme.path / "one.key"
        key.write_text(make.key)
        key.chmod(0o600)
        for number in range(size):
            name = make.name(number)
            chain = lacme.path / f"{name}.pem"
            chain.write_text(make.certificate(number) + make.chain)
            lacme.certs[name] = {
                "certificate-key": str(key), "certificate-chain": str(chain),
                "subject": f"/CN={name}", "subjectAltName": f"DNS:{name}"}
        return _scan("lacme", lacme.command("--quiet", "newOrder"), size, repeat)


def _scan(program: str, argv: list[str], size: int, repeat: int) -> Scan:
    def once() -> clock.Usage:
        usage = clock.run(argv, ENVIRONMENT, LIMIT)
        say(f"{program}: {size} sections, nothing due: {usage.wall:.3f} s, "
            f"CPU {usage.cpu:.3f} s")
        if usage.status != 0:
            raise RuntimeError(f"{program}: status {usage.status}: {usage.output[-500:]}")
        return usage
    first = once().cpu
    usage = clock.median(repeat if size < MANY else 1, once, attrgetter("wall"))
    peak = clock.run(argv, ENVIRONMENT, LIMIT, look=True).peak
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as trace:
        subprocess.run(["strace", "-f", "-qq", "-e", "trace=execve,execveat,socket",
                        "-e", "signal=none", "-o", trace.name, "--", *argv], env=ENVIRONMENT,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=LIMIT, check=True)
        text = trace.read()
    executed = len(re.findall(r"^\d+ +(?:execve(?:at)?\(|<\.\.\. exec).* = 0$", text, re.M))
    internet = len(re.findall(r"socket\(AF_INET6?,", text))
    return Scan(program, size, usage.wall, usage.cpu, first, executed - 1, internet, peak)
