"""Debian's other ACME clients: each gets an account and certificates from a Pebble, by itself.

What they leave is what “letsencrypt-tiny import” is for.  Some of it is kept in tests/data/foreign;
to make that anew, with a Pebble and below BASE as there:

    cd tests && python3 -B -m harness.foreign data/foreign
"""

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import ca
from .daemon import Daemon
from .lacme import Lacme
from .pebble import Pebble
from .run import ENVIRONMENT, ROOT, run

BASE = Path("/srv/letsencrypt-tiny-foreign")   # that the data in the tree was made below
PROGRAMS = {"certbot": "/usr/bin/certbot", "lacme": "/usr/sbin/lacme",
            "dehydrated": "/usr/bin/dehydrated", "acme-tiny": "/usr/bin/acme-tiny",
            "lego": "/usr/bin/lego", "acme.sh": "/usr/bin/acme-tiny"}   # see below
# what import is told, of what Foreign makes
DIRECTORIES = {"certbot": "etc", "lacme": "etc", "dehydrated": "etc", "acme-tiny": "acme",
               "lego": ".lego", "acme.sh": ".acme.sh"}
DATA = ROOT / "tests/data/foreign"
MAIL = "root@foreign.example"


def installed(client: str) -> bool:
    """Say whether a client is on this machine."""
    return os.path.exists(PROGRAMS[client])


class Foreign:
    """Where one client puts its files: below ``path``, which is made."""

    def __init__(self, client: str, server: Pebble, path: Path) -> None:
        self.client = client
        self.server = server
        self.path = path
        self.directory = path / DIRECTORIES[client]
        self.web = path / "web"
        self.env = {**ENVIRONMENT, **{name: str(server.ca_file) for name in (
            "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "LEGO_CA_CERTIFICATES",
            "PERL_LWP_SSL_CA_FILE")}}
        (self.web / ".well-known/acme-challenge").mkdir(parents=True)
        path.chmod(0o755)

    def obtain(self) -> None:
        """Have it register and obtain certificates."""
        getattr(self, f"_{re.sub('[-.]', '_', self.client)}")()

    @property
    def challenges(self) -> Path:
        """The directory of challenges."""
        return self.web / ".well-known/acme-challenge"

    def _do(self, *argv: str) -> str:
        done = run(list(argv), env=self.env, timeout=120)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def _served(self) -> Iterator[None]:
        """A web server that has the port, and the directory of challenges."""
        server = Daemon(["/usr/bin/python3", "-I", "-m", "http.server", "--bind", "127.0.0.1",
                         "--directory", str(self.web), str(self.server.http_port)],
                        self.path / "web.log", [self.server.http_port])
        try:
            yield
        finally:
            server.stop()
            (self.path / "web.log").unlink()

    def _certbot(self) -> None:
        common = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--no-eff-email",
                  "--email", MAIL, "--server", self.server.directory,
                  "--disable-hook-validation",   # of systemctl, which not every machine has
                  "--config-dir", str(self.directory), "--work-dir", str(self.path / "work"),
                  "--logs-dir", str(self.path / "logs")]
        with self._served():
            self._do(*common, "--webroot", "--webroot-path", str(self.web),
                     "--key-type", "ecdsa", "--deploy-hook", "systemctl reload nginx || true",
                     "-d", "certbot.example", "-d", "www.certbot.example")
        self._do(*common, "--standalone", "--http-01-address", "127.0.0.1", "--http-01-port",
                 str(self.server.http_port), "--key-type", "rsa", "--rsa-key-size", "2048",
                 "--reuse-key", "--must-staple", "--cert-name", "mail", "-d",
                 "mail.certbot.example")

    def renew_with_certbot(self, name: str) -> None:
        """Have certbot renew a certificate of its own."""
        self._do("certbot", "renew", "--cert-name", name, "--force-renewal", "--config-dir",
                 str(self.directory), "--work-dir", str(self.path / "work"), "--logs-dir",
                 str(self.path / "logs"), "--no-random-sleep-on-renew")

    def _lacme(self) -> None:
        with Lacme(self.server) as lacme:
            for section, names in (("web", ["lacme.example", "www.lacme.example"]),
                                   ("mail", ["mail.lacme.example"])):
                lacme.certificate(section, names)
            lacme.certs["mail"] |= {"notify": "true", "min-days": "14", "mode": "0640"}
            assert lacme.register().returncode == 0
            done = lacme.run("newOrder")
            assert done.returncode == 0, done.stderr
            shutil.copytree(lacme.path, self.directory)
        for file in self.directory.iterdir():   # to where they would have been all the time
            file.write_text(file.read_text().replace(str(lacme.path), str(self.directory)))
        (self.directory / "certs.conf").rename(self.directory / "lacme-certs.conf")
        # on a host that trusts the CA anyway, neither would have been set
        for file in self.directory.glob("*.conf"):
            text = re.sub(r"(?m)^(CAfile|command) = .*\n", "", file.read_text())
            file.write_text(text.replace(f"{self.directory}/certs.conf", "lacme-certs.conf"))

    def _dehydrated(self) -> None:
        (self.directory / "conf.d").mkdir(parents=True)
        hook = self.directory / "hook.sh"
        hook.write_text("#!/bin/sh\nexit 0\n")
        hook.chmod(0o755)
        config = self.directory / "config"
        config.write_text(
            f"# as Debian's, and some more\nCONFIG_D={self.directory}/conf.d\n"
            f"BASEDIR={self.path}/lib\nWELLKNOWN=\"{self.challenges}\"\n"
            f"DOMAINS_TXT=\"{self.directory}/domains.txt\"\nHOOK=\"$CONFIG_D/../hook.sh\"\n")
        (self.directory / "conf.d/local.sh").write_text(
            f"CA='{self.server.directory}'\nKEY_ALGO=prime256v1 # for all\n"
            f"export CONTACT_EMAIL={MAIL}\n")
        (self.directory / "domains.txt").write_text(
            "dehydrated.example www.dehydrated.example\n# a comment\n"
            "mail.dehydrated.example > mail\n")
        own = self.path / "lib/certs/mail"
        own.mkdir(parents=True)
        (own / "config").write_text("KEY_ALGO=rsa\nKEYSIZE=2048\nPRIVATE_KEY_RENEW=no\n")
        with self._served():
            self._do("dehydrated", "-f", str(config), "--register", "--accept-terms")
            self._do("dehydrated", "-f", str(config), "--cron")

    def _acme_tiny(self) -> None:
        self.directory.mkdir()
        _private(self.directory / "account.key", ca.genkey("rsa:2048"))
        with self._served():
            for stem, kind, names in (
                    ("domain", "rsa:2048", ["acme-tiny.example", "www.acme-tiny.example"]),
                    ("mail", "ec:P-256", ["mail.acme-tiny.example"])):
                self._by_request(self.directory / stem, kind, names, "account.key", ".crt")

    def _by_request(self, place: Path, kind: str, names: list[str], account: str, ending: str
                    ) -> str:
        """Have acme-tiny get a certificate; return the account's URL, which it says."""
        key, csr = ca.genkey(kind), place.with_name(f"{place.name}.csr")
        _private(place.with_name(f"{place.name}.key"), key)
        csr.write_text(ca.request(names, key))
        done = run(["acme-tiny", "--disable-check", "--account-key",
                    str(self.directory / account), "--csr", str(csr), "--acme-dir",
                    str(self.challenges), "--directory-url", self.server.directory],
                   env=self.env, timeout=60)
        assert done.returncode == 0, done.stderr
        place.with_name(f"{place.name}{ending}").write_text(done.stdout)
        return done.stderr.partition("Account ID: ")[2].split()[0]

    def _acme_sh(self) -> None:
        if shutil.which("acme.sh", path=self.env["PATH"]) is None:
            self._laid_out_as_acme_sh_does()
            return
        common = ["acme.sh", "--home", str(self.directory), "--config-home", str(self.directory),
                  "--server", self.server.directory]
        self._do(*common, "--register-account", "-m", MAIL)
        with self._served():
            self._do(*common, "--issue", "-d", "acmesh.example", "-d", "www.acmesh.example",
                     "--webroot", str(self.web), "--keylength", "ec-256")
        self._do(*common, "--install-cert", "-d", "acmesh.example", "--ecc", "--key-file",
                 str(self.path / "key.pem"), "--fullchain-file", str(self.path / "cert.pem"),
                 "--reloadcmd", "systemctl reload nginx || true")
        self._do(*common, "--issue", "-d", "mail.acmesh.example", "--standalone", "--httpport",
                 str(self.server.http_port), "--keylength", "2048")

    def _laid_out_as_acme_sh_does(self) -> None:
        """Debian 12 has no acme.sh: its files as its source makes them, around what acme-tiny has
        got."""
        host, _, path = self.server.directory.partition("://")[2].partition("/")
        account = Path("ca", host.partition(":")[0], path, "account.key")
        (self.directory / account).parent.mkdir(parents=True)
        _private(self.directory / account, ca.genkey("rsa:2048"))
        (self.directory / "account.conf").write_text(
            f"\n#LOG_FILE=\"{self.directory}/acme.sh.log\"\n#LOG_LEVEL=1\n\nAUTO_UPGRADE='0'\n"
            f"ACCOUNT_EMAIL='{MAIL}'\nSAVED_CF_Token='a-secret'\nUPGRADE_HASH='4a8f'\n")
        reload = base64.b64encode(b"systemctl reload nginx\n").decode()
        with self._served():
            for name, names, kind, length, more in (
                    ("acmesh.example_ecc", ["acmesh.example", "www.acmesh.example"], "ec:P-256",
                     "ec-256", f"Le_ReloadCmd='__ACME_BASE64__START_{reload}__ACME_BASE64__END_'\n"
                     "Le_RealKeyPath='/etc/nginx/key.pem'\n"
                     "Le_RealFullChainPath='/etc/nginx/cert.pem'\n"),
                    ("mail.acmesh.example", ["mail.acmesh.example"], "rsa:2048", "2048", "")):
                place = self.directory / name / names[0]
                place.parent.mkdir()
                url = self._by_request(place, kind, names, str(account), ".cer")
                place.with_name("fullchain.cer").write_text(
                    place.with_name(f"{names[0]}.cer").read_text())
                place.with_name(f"{names[0]}.conf").write_text(
                    f"Le_Domain='{names[0]}'\nLe_Alt='{','.join(names[1:]) or 'no'}'\n"
                    f"Le_Webroot='{self.web}'\nLe_PreHook=''\nLe_PostHook=''\nLe_RenewHook=''\n"
                    f"Le_API='{self.server.directory}'\nLe_Keylength='{length}'\n"
                    f"Le_OrderFinalize='{self.server.directory}/x'\nLe_CertCreateTime='1795769675'"
                    f"\nLe_NextRenewTime='1800867275'\n{more}")
        (self.directory / account).with_name("ca.conf").write_text(
            f"CA_EMAIL='{MAIL}'\nACCOUNT_URL='{url}'\nCA_KEY_HASH='x'\n")

    def _lego(self) -> None:
        common = ["lego", "--accept-tos", "--server", self.server.directory, "--email", MAIL,
                  "--path", str(self.directory), "--http", "--http.port",
                  f"127.0.0.1:{self.server.http_port}"]
        self._do(*common, "--key-type", "ec256", "--domains", "lego.example", "--domains",
                 "www.lego.example", "run")
        self._do(*common, "--key-type", "rsa2048", "--domains", "mail.lego.example", "run")


def server() -> str:
    """The directory's URL of the Pebble that the data in the tree is from."""
    return (DATA / "server").read_text().strip()


def copied(client: str, target: Path) -> Path:
    """Copy a client's data from the tree to ``target``, as if it had been made there; return the
    directory that import is told."""
    shutil.copytree(DATA / client, target, symlinks=True)
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = path.read_bytes()
            path.write_bytes(text.replace(str(BASE / client).encode(), str(target).encode()))
            path.chmod(0o600)
    return target / DIRECTORIES[client]


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def main(target: Path) -> None:
    """Make the data of the tree."""
    shutil.rmtree(target, ignore_errors=True)
    BASE.mkdir()
    try:
        with Pebble(nosleep=True, noncereject=0, authzreuse=0) as server:
            for client in PROGRAMS:
                made = Foreign(client, server, BASE / client)
                made.obtain()
                shutil.rmtree(made.web)
                for name in ("work", "logs"):
                    shutil.rmtree(made.path / name, ignore_errors=True)
            (BASE / "server").write_text(f"{server.directory}\n")
        shutil.copytree(BASE, target, symlinks=True)
    finally:
        shutil.rmtree(BASE)
    subprocess.run(["find", str(target), "-type", "f"], check=True)


if __name__ == "__main__":
    from . import netns
    netns.adopt_orphans()
    netns.enter()
    main(Path(sys.argv[1]))
