"""A root directory of its own for certbot, whose timer would renew on this machine.

Debian's, of the release that runs here, with its Python: made once by mmdebstrap, kept in
build/certbot.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import sid
from harness.run import ENVIRONMENT, ROOT
from harness.sid import say

from .ground import STORE

WHERE = ROOT / "build/certbot"
PROGRAM = WHERE / "usr/bin/certbot"
PYTHON = WHERE / "usr/bin/python3"


def certbot() -> Path | None:
    """Return the root directory, made if it isn't there yet; None where it can't be made.

    To be called while there is a network.
    """
    if not PROGRAM.exists():
        try:
            _make()
        except (OSError, subprocess.SubprocessError) as exc:
            shutil.rmtree(WHERE, ignore_errors=True)
            say(f"certbot: no root directory for it: {exc}")
            return None
    return WHERE


def version() -> str:
    """Return certbot's version."""
    done = subprocess.run(["dpkg-query", f"--admindir={WHERE}/var/lib/dpkg", "-W",
                           "-f", "${Version}", "certbot"], text=True, capture_output=True,
                          check=False)
    return done.stdout.partition("-")[0]


@contextlib.contextmanager
def shared(*directories: Path) -> Iterator[None]:
    """Let what runs in there see these directories, at the same paths, and the CAs trusted here."""
    mounted: list[Path] = []
    try:
        for directory in (Path("/dev"), Path("/proc"), Path(STORE), *directories):
            there = WHERE / directory.relative_to("/")
            there.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--rbind", directory, there], check=True)
            mounted.append(there)
        yield
    finally:
        for there in reversed(mounted):
            subprocess.run(["umount", "--recursive", "--lazy", there], check=True)


def inside(*argv: str) -> list[str]:
    """Return the argv of a command in there."""
    return ["/usr/sbin/chroot", str(WHERE), *argv]


def _make() -> None:
    say(f"making a root directory for certbot: {WHERE}")
    release = _release()
    WHERE.parent.mkdir(parents=True, exist_ok=True)
    new = WHERE.with_name("certbot.new")
    _run(["mmdebstrap", "--quiet", "--mode=root", "--variant=essential",
          "--include=ca-certificates,certbot", "--aptopt=Acquire::Check-Valid-Until \"false\"",
          release, str(new), sid.mirror()])
    new.rename(WHERE)


def _release() -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return "sid"


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise OSError(" / ".join(done.stderr.strip().splitlines()[-3:]) or "mmdebstrap failed")
