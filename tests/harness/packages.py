"""Our Debian packages, built, and what may be done with them in a throwaway Debian."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from .run import ENVIRONMENT, PARENT, ROOT


def build(target: Path, source: Path = ROOT) -> list[Path]:
    """Build the packages of a tree as ``make deb`` does, and put them into a new directory.

    Raises RuntimeError with what make said.
    """
    with tempfile.TemporaryDirectory(prefix="packages-", dir=PARENT) as directory:
        copy = Path(directory, "tree")
        shutil.copytree(source, copy, symlinks=True,
                        ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
        done = subprocess.run(["make", "-s", "deb"], cwd=copy, env=ENVIRONMENT, timeout=600,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise RuntimeError(f"make deb failed:\n{done.stdout[-3000:]}")
        target.mkdir()
        return sorted(Path(shutil.copy(package, target))
                      for package in (copy / "build").glob("*.deb"))


def archive(directory: Path) -> None:
    """Make a directory with packages one that apt can take them from: ``deb [trusted=yes]
    file:/… ./``."""
    listed = subprocess.run(["dpkg-scanpackages", "--multiversion", "."], cwd=directory,
                            env=ENVIRONMENT, capture_output=True, check=True)
    (directory / "Packages").write_bytes(listed.stdout)


def before_the_split(target: Path) -> Path:
    """Write the newest tree of the history that made one package into a new directory.

    The account key manager was in letsencrypt-tiny then, version 1.0.  Raises LookupError where
    there is no such history.
    """
    try:
        split = _git("log", "--reverse", "--format=%H", "-SPackage: letsencrypt-tiny-accountd",
                     "--", "debian/control").split()
        tree = _git("archive", f"{split[0].decode()}^")
    except (OSError, IndexError, subprocess.CalledProcessError):
        raise LookupError("no git history here to build an earlier version of") from None
    target.mkdir()
    subprocess.run(["tar", "-x", "-C", str(target)], input=tree, check=True)
    return target


def _git(*argv: str) -> bytes:
    return subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), *argv],
                          capture_output=True, check=True).stdout
