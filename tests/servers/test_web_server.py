"""add --web-server where apache2 has port 80, as Debian has it (soak/test_servers.py)."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.net import is_listening
from harness.pebble import Pebble
from harness.run import SIGNER_USER, Users

from . import test_examples
from .test_examples import ETC, LIB, command, master, service

pytestmark = test_examples.pytestmark

APACHE = Path("/etc/apache2")
ENABLED, AVAILABLE = (APACHE / f"conf-{which}/letsencrypt-tiny.conf"
                      for which in ("enabled", "available"))


@pytest.fixture
def behind(users: Users) -> Iterator[None]:
    """Installed below /usr; the CA asks whoever has port 80.  All is put away again."""
    if not (APACHE / "conf-available").exists():
        pytest.skip("apache2 is not installed")
    directories = [(Path("/run/letsencrypt-tiny"), 0o755), (LIB, 0o755), (LIB / "certs", 0o755),
                   (LIB / "state", 0o700), (LIB / "accountd", 0o700)]
    for directory, mode in directories:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        directory.chmod(mode)
    shutil.chown(LIB / "accountd", SIGNER_USER, SIGNER_USER)
    main, certs = ETC / "letsencrypt-tiny.conf.d/pebble.conf", ETC / "certs.conf.d/00-pebble.conf"
    AVAILABLE.symlink_to(ETC / "apache2.conf")   # as debian/letsencrypt-tiny.links has it
    with Pebble(nosleep=True, http_port=80) as pebble:
        main.write_text(f"[client]\nserver = {pebble.directory}\nca-file = {pebble.ca_file}\n"
                        "[webserver]\niptables = no\n")
        roots = ETC / "roots.pem"
        shutil.copy(pebble.roots(), roots)
        certs.write_text(f"CAfile = {roots}\n")
        service("apache2", "start")
        try:
            yield
        finally:
            service("apache2", "stop")
            command("/usr/sbin/a2disconf", "-q", "letsencrypt-tiny")
            command("/usr/sbin/a2dismod", "-q", "proxy_http", "proxy")
            for path in (AVAILABLE, main, certs, roots, *ETC.glob("certs.conf.d/*.example.conf")):
                path.unlink()
            for directory, _ in reversed(directories):
                shutil.rmtree(directory, ignore_errors=True)


def test_apache2_is_told(behind: None) -> None:
    """By a2enconf, once; what apache2 would not start with is taken back."""
    before = {path for path in APACHE.rglob("*")}
    AVAILABLE.unlink()
    shutil.copy(ETC / "apache2.conf", AVAILABLE)
    with open(AVAILABLE, "a") as file:
        file.write("Nonsense yes\n")
    done = master("add", "--web-server", "--tos-agreed", "www.example")
    assert done.returncode == 1 and "Nonsense" in done.stderr, done.stderr
    assert not ENABLED.is_symlink() and is_listening(80)
    assert not (ETC / "certs.conf.d/www.example.conf").exists()
    AVAILABLE.unlink()
    AVAILABLE.symlink_to(ETC / "apache2.conf")

    done = master("add", "--web-server", "www.example")
    assert done.returncode == 0, done.stderr
    assert "web server: apache2 passes challenges on: “a2enconf letsencrypt-tiny”" in done.stderr
    assert "passes challenges on: it was tried" in done.stderr and ENABLED.is_symlink()
    new = {path for path in APACHE.rglob("*")} - before
    assert new <= {ENABLED, *APACHE.glob("mods-enabled/proxy*")}, new
    subject = subprocess.run(
        ["/usr/bin/openssl", "x509", "-noout", "-ext", "subjectAltName", "-in",
         LIB / "certs/www.example/cert.pem"], capture_output=True, text=True, check=True).stdout
    assert "DNS:www.example" in subject
    done = master("add", "--web-server", "other.example")
    assert done.returncode == 0 and "a2enconf" not in done.stderr, done.stderr
