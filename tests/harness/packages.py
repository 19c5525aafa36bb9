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
