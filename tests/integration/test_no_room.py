"""Nothing is ordered whose result could not be installed: small file systems, real runs."""

import subprocess
from pathlib import Path

import pytest

from harness.hostile import Hostile
from harness.run import ENVIRONMENT, Prefix, Result, Site
from harness.verdict import errors


def with_small(site: Site, directory: Path, options: str) -> "Result[str]":
    """Order while a directory is a small tmpfs of its own; it is copied there and back."""
    script = """
        set -e; copy="$1.copy"; cp -a "$1" "$copy"; mount -t tmpfs -o "mode=755,$2" none "$1"
        cp -a "$copy/." "$1"; directory="$1"; shift 2
        status=0; "$@" || status=$?
        rm -r "$copy"; cp -a "$directory" "$copy"; exit $status"""
    return subprocess.run(
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh", directory, options,
         *site.command("--quiet", "newOrder")], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, env=ENVIRONMENT, check=False)


def orders(hostile: Hostile) -> int:
    return len(hostile.orders)


@pytest.fixture(name="opened")
def _opened(prefix: Prefix, hostile: Hostile) -> Site:
    site = Site(prefix)
    site.open_account(hostile)
    return site


@pytest.mark.parametrize("options", ["nr_inodes=4", "size=24k"])
def test_room_for_some(options: str, opened: Site, hostile: Hostile) -> None:
    """Each alone would find room; those are ordered that do so together."""
    out = opened.path / "out"
    out.mkdir()
    for name in "abcde":
        opened.certificate(name, [f"{name}.example"], certificate=str(out / f"{name}.pem"),
                           certificate_key=str(opened.path / f"{name}.key"))
    done = with_small(opened, out, options)
    assert done.returncode == 1 and len(errors(done)) == 1, done.stderr
    assert f"error: d, e: {out}: no room for its files beside those" in done.stderr
    assert orders(hostile) == 3
    assert {path.name for path in Path(f"{out}.copy").iterdir()} == {"a.pem", "b.pem", "c.pem"}
    opened.remove()


@pytest.mark.parametrize("options", ["nr_inodes=4", "size=28k"])
def test_no_room_to_remember(options: str, opened: Site, hostile: Hostile) -> None:
    """What is ordered must be remembered: one line for all, and the CA hears nothing."""
    requests = len(hostile.requests)
    for name in "ab":
        opened.certificate(name, [f"{name}.example"])
    done = with_small(opened, opened.lib / "state", options)
    told = errors(done)
    assert done.returncode == 1 and len(told) == 1, done.stderr
    assert str(opened.lib / "state") in told[0] and "nothing is ordered" in told[0], told
    assert len(hostile.requests) == requests
    opened.remove()
