"""The packages are the same, byte for byte, wherever, whenever and by whomever they are built."""

import hashlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.run import ROOT

pytestmark = pytest.mark.root

WAYS = {
    "here": {"LC_ALL": "C.UTF-8", "TZ": "UTC", "umask": "022", "user": "root"},
    "somewhere/quite-else": {"LC_ALL": "C", "TZ": "Pacific/Kiritimati", "umask": "077",
                             "user": "nobody", "LANGUAGE": "de", "HOME": "/nonexistent",
                             "DEB_BUILD_OPTIONS": "parallel=7"}}


def built(top: Path, where: str, way: "dict[str, str]") -> "dict[str, str]":
    """Build there; return file name -> SHA-256 of each package."""
    tree = top / where / "tree"
    shutil.copytree(ROOT, tree, symlinks=True,
                    ignore=shutil.ignore_patterns(".git", "build", "__pycache__", "debian/tmp"))
    day = 1_800_000_000 + len(where) * 10 ** 7    # of a check-out, after that of the changelog
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            os.utime(path, (day, day))
        os.chown(path, pwd.getpwnam(way["user"]).pw_uid, -1, follow_symlinks=False)
    shutil.chown(tree.parent, way["user"])
    environment = {name: value for name, value in way.items() if name.isupper()}
    done = subprocess.run(
        ["/usr/bin/setpriv", f"--reuid={way['user']}", "--clear-groups", "--",
         "/bin/sh", "-c", f"umask {way['umask']}; exec dpkg-buildpackage -b -us -uc"], cwd=tree,
        env={"PATH": os.defpath + ":/usr/sbin:/sbin", **environment}, check=False,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in tree.parent.glob("*.deb")}


def test_reproducible(top: Path) -> None:
    first, second = (built(top, where, way) for where, way in WAYS.items())
    assert first == second and len(first) == 2
