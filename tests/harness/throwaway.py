"""A Debian that may be changed at will: a chroot with the tree, installed, and with daemons."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import netns, sid
from .run import ENVIRONMENT, PARENT, ROOT, Result

# What is mounted in it for each command; with that all end that it has started
_ENTER = """set -e
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=0755 tmpfs "$1/dev"
mount -t tmpfs -o mode=0755 tmpfs "$1/run"
for name in null zero full random urandom tty; do
    : >"$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
mkdir -m 1777 "$1/dev/shm" "$1/run/lock"
mkdir "$1/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
ln -s /proc/self/fd/0 "$1/dev/stdin"
ln -s /proc/self/fd/1 "$1/dev/stdout"
ln -s /proc/self/fd/2 "$1/dev/stderr"
root=$1; shift
# a shell is process 1, and buries the daemons that end
exec chroot "$root" /bin/sh -c '"$@"; exit $?' sh "$@"
"""
_BASIC = ("ca-certificates", "make", "openssl", "passwd", "pebble", "procps", "python3-configobj",
          "python3-pycryptodome", "python3-pytest", "python3-seccomp", "sysvinit-utils")


class Throwaway:
    """The chroot, of a ``release``, with these packages; what it holds of daemons is off.

    Without ``tree`` that is not in there; not ``installed``: for a package that is, later.
    """

    def __init__(self, release: str, packages: Sequence[str], tree: bool = True,
                 installed: bool = True) -> None:
        """Raises RuntimeError if it can't be made."""
        self.path = Path(tempfile.mkdtemp(prefix="letsencrypt-tiny-debian-", dir=PARENT))
        done = subprocess.run(
            [*netns.outside(), "/usr/bin/mmdebstrap", "--quiet", "--mode=root", "--variant=apt",
             "--aptopt=Acquire::Check-Valid-Until \"false\"",
             f"--include={','.join((*_BASIC, *packages))}", release, str(self.path), sid.mirror()],
            env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=1800, check=False)
        if done.returncode != 0:
            self.remove()
            raise RuntimeError(f"mmdebstrap failed:\n{done.stderr[-3000:]}")
        self.path.chmod(0o755)
        if tree:
            shutil.copytree(ROOT, self.path / "srv/tree", symlinks=True,
                            ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
            if installed:
                self._install()

    def _install(self) -> None:
        done = self.run("make", "-s", "-C", "/srv/tree", "install", "prefix=/usr", "DESTDIR=")
        if done.returncode != 0:
            self.remove()
            raise RuntimeError(f"make install failed:\n{done.stdout}{done.stderr}")

    def run(self, *argv: str, timeout: float = 900, network: bool = False,
            loopback: bool = False) -> "Result[str]":
        """Run a command in it; with ``network`` it is this machine's, with ``loopback`` that of
        the tests, else none at all."""
        where = netns.outside() if network else []
        return subprocess.run(
            [*where, "/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts",
             "--ipc", *(["--net"] if not network and not loopback else []), "--", "/bin/sh", "-c",
             _ENTER, "sh", str(self.path), *argv],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**ENVIRONMENT, "THROWAWAY": "yes", "DEBIAN_FRONTEND": "noninteractive"},
            timeout=timeout, check=False, errors="replace")

    def test(self, *arguments: str, timeout: float = 900) -> "Result[str]":
        """Run pytest in it, on files of the tree."""
        return self.run("/usr/bin/python3", "-B", "-m", "pytest", "-q", "-rs", "-c",
                        "/srv/tree/setup.cfg", "--rootdir=/srv/tree", *arguments, timeout=timeout)

    def remove(self) -> None:
        """Remove it; nothing is mounted there but for commands."""
        assert not os.path.ismount(self.path / "proc")
        shutil.rmtree(self.path)
