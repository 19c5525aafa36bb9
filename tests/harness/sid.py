"""Programs of Debian sid, for what the installed release is too old for."""

import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import netns
from .run import ENVIRONMENT, ROOT

OUT = ROOT / "build/sid"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_PROGRAMS = {"pebble": "usr/bin/pebble", "lego": "usr/bin/lego"}


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(text, file=sys.stderr, flush=True)


@functools.lru_cache(None)
def program(package: str) -> Path:
    """Return the program of a ``package`` of Debian sid, unpacked below build/sid.

    It is fetched if it isn't there yet, with an apt configuration of its own, so that the
    machine's sources, lists and packages stay as they are.  Raises OSError,
    subprocess.SubprocessError where it can't be had.
    """
    path = OUT / _PROGRAMS[package]
    if not path.exists():
        _fetch(package)
    try:   # does it run here?
        subprocess.run([path, "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        path.unlink(missing_ok=True)
        raise
    return path


@functools.lru_cache(None)
def newest(package: str) -> Path:
    """Return the same, or the installed one where it can't be had."""
    try:
        return program(package)
    except (OSError, subprocess.SubprocessError) as exc:
        say(f"{package} of Debian sid can't be had ({exc}): the installed one is taken")
        return Path("/", _PROGRAMS[package])


def mirror() -> str:
    """Return the URL of Debian's archive that the machine's own apt sources name.

    Raises FileNotFoundError if they name none.
    """
    done = subprocess.run([ROOT / "tests/mirror.sh"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FileNotFoundError(done.stderr.strip())
    return done.stdout.strip()


def _fetch(package: str) -> None:
    archive = mirror()
    say(f"fetching {package} of Debian sid into {OUT}")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="apt-", dir=OUT) as directory:
        work = Path(directory)
        for name in ("lists/partial", "archives/partial"):
            (work / name).mkdir(parents=True)
        (work / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {archive} sid main\n")
        # A mirror that stands still has an index past its date.  The signature is verified all
        # the same, and an older Pebble is no danger to anybody.
        (work / "apt.conf").write_text(f"""
            Dir::Etc::sourcelist "{work}/sources.list";
            Dir::Etc::sourceparts "/dev/null";
            Dir::Etc::preferences "/dev/null";
            Dir::Etc::preferencesparts "/dev/null";
            Dir::State "{work}";
            Dir::State::status "/dev/null";
            Dir::Cache "{work}";
            Acquire::Check-Valid-Until "false";
            Acquire::Languages "none";
            APT::Sandbox::User "root";
            """)
        env = {**os.environ, **ENVIRONMENT, "APT_CONFIG": f"{work}/apt.conf"}
        for words in ("update", f"download {package}"):
            done = subprocess.run([*netns.outside(), "apt-get", "-q", *words.split()], cwd=work,
                                  env=env, text=True, capture_output=True, timeout=300,
                                  check=False)
            if done.returncode != 0:
                raise OSError(f"apt-get {words}: {done.stderr.strip().splitlines()[-1:]}")
        package_file, = work.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", package_file, OUT], check=True)
        (OUT / f"{package}.version").write_text(package_file.name.split("_")[1] + "\n")


def version(package: str, path: Path | None = None) -> str:
    """Return the version of a package, the one of sid if ``path`` is; without revision."""
    note = OUT / f"{package}.version"
    if path is not None and OUT in path.parents and note.exists():
        text = note.read_text().strip()
    else:
        text = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], text=True,
                              capture_output=True, check=False).stdout
    return re.sub(r"^\d+(:|%3a)|[+-].*", "", text.strip())
