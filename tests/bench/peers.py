"""How each program is set up and started for a list of names.

Each trusts the system's CA store, Pebble's CA being in it (``ground.trusted``), answers http-01
in its best way (a web server of its own, or files for one that runs anyway), and finds its
account registered.  Private keys of certificates are made beforehand where the program can be
given one.  A peer gets its list in one shell loop, or by its own command for that; nobody is
asked to show more than usual.
"""

import shlex
import shutil
from contextlib import ExitStack
from pathlib import Path
from collections.abc import Sequence
from typing import NamedTuple

from harness import ca, sid
from harness.lacme import Lacme
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, Prefix, Result, Site, run

from letsencrypt_tiny import __version__

from . import chroot

MAIL = "mailto:root@bench.example"


class Job(NamedTuple):
    """A command that is to obtain certificates."""

    argv: list[str]
    env: dict[str, str]
    results: list[Path]   # the files that are there when it has done so


class Program:
    """One that obtains certificates."""

    name = ""
    package = ""                 # of Debian
    scripted = True              # runs in an interpreter
    honours_retry_after = True   # to the full, or waits for longer than that
    web_root = True              # needs a web server for its files; else it has its own
    executable = Path()
    remark = ""

    def __init__(self, server: Pebble, path: Path, web: Path) -> None:
        self.server = server
        self.path = path         # a directory of its own
        self.challenges = web    # where a web server finds challenge files
        self.env = dict(ENVIRONMENT)

    @classmethod
    def where(cls) -> Path:
        """Return the program's path, whether it is there or not."""
        return cls.executable

    def version(self) -> str:
        """Return the version."""
        return sid.version(self.package)

    def set_up(self) -> None:
        """Configure it and register the account.  Raises RuntimeError."""
        raise NotImplementedError

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        """Prepare everything for certificates of these names; return what is to be timed."""
        raise NotImplementedError

    def tidy(self) -> None:
        """Remove what is not below ``path``."""

    def _loop(self, commands: Sequence[str], results: list[Path]) -> Job:
        script = self.path / "loop.sh"
        script.write_text("\n".join(commands) + "\n")
        return Job(self._argv("/bin/sh", str(script)), self.env, results)

    def _do(self, *argv: str) -> None:
        _checked(run(self._argv(*argv), env=self.env))

    def _argv(self, *argv: str) -> list[str]:
        """Where it runs: here."""
        return list(argv)


class Tiny(Program):
    """letsencrypt-tiny from this tree, all certificates in one run."""

    name = "letsencrypt-tiny"
    web_root = False
    honours_retry_after = False  # scouts look ahead of it (client/pace.py)
    account_kind = "rsa:2048"    # as the peers'

    def __init__(self, server: Pebble, path: Path, web: Path, prefix: Prefix) -> None:
        super().__init__(server, path, web)
        self.prefix = prefix
        self.site = Site(prefix)
        self._key = ca.genkey()

    def version(self) -> str:
        return str(__version__)

    def set_up(self) -> None:
        self.site.use(self.server)
        del self.site.main["client"]["ca-file"]
        self.site.genkey(self.account_kind)
        _checked(self.site.register())

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        self.site.certs.clear()
        for names in certificates:
            self.site.certificate(names[0], names)
            directory = self.site.file(names[0]).parent
            directory.mkdir()
            _private(directory / "privkey.pem", self._key)
        return Job(self.site.command("newOrder"), self.env,
                   [self.site.file(names[0]) for names in certificates])

    def renewal(self) -> Job:
        """Once more all of the last job, with the keys that there are."""
        for settings in self.site.certs.values():
            settings["reuse-key"] = "yes"
        return Job(self.site.command("newOrder", "--force"), self.env,
                   [self.site.file(section) for section in self.site.certs])

    def tidy(self) -> None:
        self.site.remove()


class LacmePeer(Program):
    """One run for all; a client process for each certificate, its own web server."""

    name = package = "lacme"
    executable = Path("/usr/sbin/lacme")
    web_root = False

    def set_up(self) -> None:
        self._lacme = Lacme(self.server)
        del self._lacme.main["client"]["command"]
        _checked(self._lacme.register())

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        self._lacme.certs.clear()
        results = [self._lacme.certificate(names[0], names) for names in certificates]
        return Job(self._lacme.command("newOrder"), self.env, results)

    def tidy(self) -> None:
        if hasattr(self, "_lacme"):
            self._lacme.__exit__()


class AcmeTiny(Program):
    """A process for each certificate.  It is spared its own look at the challenge file."""

    name = package = "acme-tiny"
    executable = Path("/usr/bin/acme-tiny")
    honours_retry_after = False

    def set_up(self) -> None:
        _private(self.path / "account.key", ca.genkey("rsa:2048"))

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        key, commands, results = ca.genkey(), [], []
        for names in certificates:
            csr, result = self.path / f"{names[0]}.csr", self.path / f"{names[0]}.pem"
            csr.write_text(ca.request(names, key))
            results.append(result)
            commands.append(
                f"acme-tiny --quiet --disable-check --account-key {self.path}/account.key "
                f"--csr {csr} --acme-dir {self.challenges} "
                f"--directory-url {self.server.directory} >{result}")
        return self._loop(commands, results)


class Dehydrated(Program):
    """One run for all, by its list of domains."""

    name = package = "dehydrated"
    executable = Path("/usr/bin/dehydrated")

    def set_up(self) -> None:
        settings = {
            "CA": self.server.directory, "BASEDIR": str(self.path), "KEY_ALGO": "prime256v1",
            "WELLKNOWN": str(self.challenges), "PRIVATE_KEY_RENEW": "no",
            "ACCOUNT_KEYSIZE": "2048", "DOMAINS_TXT": str(self.path / "domains.txt")}
        self._config = self.path / "config"
        self._config.write_text("".join(f"{name}={shlex.quote(value)}\n"
                                        for name, value in settings.items()))
        self._do("dehydrated", "-f", str(self._config), "--register", "--accept-terms")

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        (self.path / "domains.txt").write_text(
            "".join(" ".join(names) + "\n" for names in certificates))
        key = ca.genkey()
        for names in certificates:
            directory = self.path / "certs" / names[0]
            directory.mkdir(parents=True)
            _private(directory / "privkey.pem", key)
        return Job(["dehydrated", "-f", str(self._config), "--cron"], self.env,
                   [self.path / "certs" / names[0] / "fullchain.pem" for names in certificates])


class Certbot(Program):
    """A ``certbot certonly`` for each certificate, in a root directory of its own."""

    name = package = "certbot"
    executable = chroot.PROGRAM

    def __init__(self, server: Pebble, path: Path, web: Path) -> None:
        super().__init__(server, path, web)
        self._stack = ExitStack()

    def version(self) -> str:
        return chroot.version()

    def _argv(self, *argv: str) -> list[str]:
        return chroot.inside(*argv)

    def tidy(self) -> None:
        self._stack.close()

    def set_up(self) -> None:
        self._stack.enter_context(chroot.shared(self.path.parent))
        self._options = ["--non-interactive", "--quiet", "--server", self.server.directory,
                         *(f"--{name}-dir={self.path / name}"
                           for name in ("config", "work", "logs"))]
        self._do("certbot", "register", *self._options, "--agree-tos", "--no-eff-email",
                 "--email", MAIL.partition(":")[2])

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        options = shlex.join(self._options)
        webroot = self.challenges.parents[1]
        return self._loop(
            [f"certbot certonly {options} --key-type ecdsa --webroot --webroot-path {webroot} "
             f"--cert-name {names[0]} --domains {','.join(names)}" for names in certificates],
            [self.path / "config/live" / names[0] / "fullchain.pem" for names in certificates])


class CertbotRenew(Certbot):
    """All in one run by ``certbot renew``, as its timer does every day."""

    name = "certbot renew"

    def set_up(self) -> None:
        super().set_up()
        # One certificate shows what a renewal configuration looks like
        _checked(run(super().job([["first.bench.example"]]).argv, env=self.env))
        self._first = (self.path / "config/renewal/first.bench.example.conf").read_text()
        authority = self.path / "old-ca"
        authority.mkdir()
        self._authority = ca.CA(authority, "Old")

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        config, key = self.path / "config", ca.genkey()
        shutil.rmtree(config / "renewal")
        (config / "renewal").mkdir()
        chain = self._authority.intermediate.read_text()
        for names in certificates:  # a lineage whose certificate is about to expire
            archive, live = config / "archive" / names[0], config / "live" / names[0]
            archive.mkdir()
            live.mkdir()
            old = self._authority.issue(ca.request(names, key), days=1)
            for kind, text in (("cert", old), ("chain", chain), ("fullchain", old + chain),
                               ("privkey", key)):
                _private(archive / f"{kind}1.pem", text)
                (live / f"{kind}.pem").symlink_to(f"../../archive/{names[0]}/{kind}1.pem")
            (config / "renewal" / f"{names[0]}.conf").write_text(
                self._first.replace("first.bench.example", names[0]))
        return Job(self._argv("certbot", "renew", *self._options, "--no-random-sleep-on-renew"),
                   self.env,
                   [config / "archive" / names[0] / "fullchain2.pem" for names in certificates])


class Lego(Program):
    """A ``lego run`` for each certificate, its own web server."""

    name = package = "lego"
    executable = Path("/usr/bin/lego")
    scripted = False
    web_root = False
    honours_retry_after = False

    @classmethod
    def where(cls) -> Path:
        newest = sid.OUT / "usr/bin/lego"
        return newest if newest.exists() else cls.executable

    def version(self) -> str:
        return sid.version(self.package, self.where())

    def set_up(self) -> None:
        self._command = (
            f"{self.where()} --accept-tos --server {self.server.directory} "
            f"--email {MAIL.partition(':')[2]} --path {self.path} --key-type ec256 "
            f"--http --http.port 127.0.0.1:{self.server.http_port}")
        # It registers with its first certificate
        self._do(*self._command.split(), "--domains", "first.bench.example", "run")

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        return self._loop(
            [f"{self._command} {' '.join(f'--domains {name}' for name in names)} run"
             for names in certificates],
            [self.path / "certificates" / f"{names[0]}.crt" for names in certificates])


class Uacme(Program):
    """A process for each certificate, and its package's hook."""

    name = package = "uacme"
    executable = Path("/usr/bin/uacme")
    scripted = False

    def set_up(self) -> None:
        self.env["UACME_CHALLENGE_PATH"] = str(self.challenges)
        self._command = (f"uacme --yes --confdir {self.path} --acme-url {self.server.directory} "
                         "--type EC --hook /usr/share/uacme/uacme.sh")
        self._do(*self._command.split(), "new", MAIL.partition(":")[2])
        # Pebble 2.10 offers a challenge type without token, which uacme 1.7 takes for an error
        self._do(*self.job([["first.bench.example"]]).argv)

    def job(self, certificates: Sequence[Sequence[str]]) -> Job:
        key = ca.genkey()
        for names in certificates:
            directory = self.path / "private" / names[0]
            directory.mkdir(parents=True)
            _private(directory / "key.pem", key)
        return self._loop([f"{self._command} issue {' '.join(names)}" for names in certificates],
                          [self.path / names[0] / "cert.pem" for names in certificates])


PEERS: list[type[Program]] = [LacmePeer, AcmeTiny, Dehydrated, Certbot, CertbotRenew, Lego, Uacme]


def installed(names: Sequence[str] | None) -> list[type[Program]]:
    """Return the peers with these names, all if None, that are there; say which are not."""
    chosen = [peer for peer in PEERS if names is None or peer.package in names]
    for peer in chosen:
        if not peer.where().exists():
            sid.say(f"{peer.name}: not installed, skipped")
    return [peer for peer in chosen if peer.where().exists()]


def _checked(done: "Result[str]") -> None:
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise RuntimeError(f"status {done.returncode}: {' / '.join(lines[-3:])}")


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
