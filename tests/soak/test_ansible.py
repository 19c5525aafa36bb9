"""The role among the examples, by Debian's Ansible in a fresh Debian, from the packages to a
certificate from Pebble."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import judge
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, PARENT, ROOT
from harness.throwaway import Throwaway

pytestmark = pytest.mark.root
CERTS = "var/lib/letsencrypt-tiny/certs"


@pytest.fixture(scope="module")
def debian() -> Iterator[Throwaway]:
    """With Ansible, and an archive that has our packages; none is installed."""
    release = re.findall(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.M)[0]
    made = Throwaway(release, ["ansible-core", "python3-apt", "systemd"], tree=False)
    try:
        archive = made.path / "srv/archive"
        with tempfile.TemporaryDirectory(prefix="packages-", dir=PARENT) as directory:
            copy = Path(directory, "tree")
            shutil.copytree(ROOT, copy, symlinks=True,
                            ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
            built = subprocess.run(["make", "-s", "deb"], cwd=copy, env=ENVIRONMENT, timeout=600,
                                   stdin=subprocess.DEVNULL, capture_output=True, check=False)
            assert built.returncode == 0, built.stderr
            archive.mkdir()
            for package in (copy / "build").glob("*.deb"):
                shutil.copy(package, archive)
        listed = subprocess.run(["dpkg-scanpackages", "."], cwd=archive, env=ENVIRONMENT,
                                capture_output=True, check=True)
        (archive / "Packages").write_bytes(listed.stdout)
        (made.path / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/archive ./\n")
        shutil.copytree(ROOT / "examples/ansible", made.path / "srv/ansible")
        (made.path / "srv/play.yml").write_text("- hosts: all\n  roles: [letsencrypt_tiny]\n")
        assert made.run("apt-get", "-q", "update").returncode == 0
        yield made
    finally:
        made.remove()


def play(debian: Throwaway, settings: dict[str, Any], *options: str) -> dict[str, int]:
    """Run the role; return what Ansible counts."""
    (debian.path / "srv/vars.json").write_text(json.dumps(settings))
    done = debian.run(
        "env", "LC_ALL=C.UTF-8", "HOME=/root", "ANSIBLE_ROLES_PATH=/srv/ansible/roles",
        "ansible-playbook", "--inventory=localhost,", "--connection=local", "--diff",
        "--extra-vars=@/srv/vars.json", "--extra-vars=ansible_python_interpreter=/usr/bin/python3",
        *options, "/srv/play.yml", loopback=True)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", done.stdout)}
    assert counted["ok"] >= 3 and counted["failed"] == 0, done.stdout
    return counted


def test_the_role(debian: Throwaway) -> None:
    """Check mode changes nothing, nor does a second run; what is new is ordered."""
    with Pebble(nosleep=True, noncereject=0) as pebble:
        shutil.copy(pebble.ca_file, debian.path / "srv/ca.pem")
        shutil.copy(pebble.roots(), debian.path / "srv/roots.pem")
        section = {"names": "a.example, b.example", "CAfile": "/srv/roots.pem", "ari": "no"}
        settings: dict[str, Any] = {
            "letsencrypt_tiny_settings": {
                "client": {"server": pebble.directory, "ca-file": "/srv/ca.pem"},
                "webserver": {"listen": f"127.0.0.1:{pebble.http_port}"}},
            "letsencrypt_tiny_tos_agreed": True,
            "letsencrypt_tiny_certificates": {"a": section}}
        assert play(debian, settings, "--check")["changed"] == 1, "the packages"
        assert not (debian.path / "etc/letsencrypt-tiny").exists()

        assert play(debian, settings)["changed"] == 6
        chain = debian.path / CERTS / "a/fullchain.pem"
        assert judge.names(resolved(chain)) == {"a.example", "b.example"}
        before = resolved(chain)
        assert play(debian, settings)["changed"] == 0
        assert play(debian, settings, "--check")["changed"] == 0
        assert resolved(chain) == before

        section["names"] = "a.example"
        assert play(debian, settings, "--check")["changed"] == 1, "no command is run"
        assert resolved(chain) == before
        assert play(debian, settings)["changed"] == 2
        assert judge.names(resolved(chain)) == {"a.example"}

        settings = {**settings, "letsencrypt_tiny_certificates": {},
                    "letsencrypt_tiny_absent": ["a"]}
        assert play(debian, settings)["changed"] == 1
        assert play(debian, settings)["changed"] == 0
        assert not (debian.path / "etc/letsencrypt-tiny/certs.conf.d/a.conf").exists()
        assert resolved(chain).exists()


def resolved(path: Path) -> Path:
    """Where a file is; certs/NAME is a relative link."""
    return path.resolve()
