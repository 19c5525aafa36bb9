"""The installed programs, in a prefix of their own, and a configuration for each test."""

import fcntl
import grp
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from . import ca, proc
from .later import later

ROOT = Path(__file__).resolve().parents[2]
USERS = SIGNER_USER, CLIENT_USER, WEBSERVER_USER, DNS_USER, TLSSERVER_USER = (
    "_letsencrypt-accountd", "_letsencrypt-client", "_letsencrypt-www", "_letsencrypt-dns",
    "_letsencrypt-tls")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}

# Where runs of the suite meet, whatever else they have of their own
_COMMON = Path("/srv")

# Not /tmp: the programs refuse directories below one that others may write to.  TEST_PARENT is for
# another file system than that of /srv (BENCHMARKS.md)
PARENT = Path(os.environ.get("TEST_PARENT", _COMMON))
_COMMENT = "test suite of letsencrypt-tiny"

# What tests that don't say otherwise run with; “make soak” runs them with "no", too.
CONFINE = os.environ.get("CONFINE", "required")


class Server(Protocol):
    """What Pebble, CaddyACME and Hostile have in common."""

    directory: str
    ca_file: Path
    http_port: int

    def roots(self) -> Path:
        """Return the path of a PEM file with the roots it issues under."""


class Users:
    """The system users, made if absent, removed if a test run made them.

    A lock held by every run that needs them keeps one from removing them under another.
    """

    def __enter__(self) -> "Users":
        self._lock = os.open(_COMMON, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        for name in USERS:
            try:
                pwd.getpwnam(name)
            except KeyError:
                done = subprocess.run(
                    ["/usr/sbin/useradd", "--system", "--user-group", "--no-create-home",
                     "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin",
                     "--comment", _COMMENT, name], capture_output=True, text=True, check=False)
                if done.returncode not in (0, 9):  # 9: another run was faster
                    raise RuntimeError(f"useradd {name}: {done.stderr}") from None
        return self

    def __exit__(self, *_: object) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._remove()
        except BlockingIOError:
            pass  # the other run removes them
        finally:
            os.close(self._lock)

    @staticmethod
    def _remove() -> None:
        for name in USERS:
            try:
                if pwd.getpwnam(name).pw_gecos != _COMMENT:
                    continue
            except KeyError:
                continue
            subprocess.run(["/usr/sbin/userdel", name], capture_output=True, check=True)


class Prefix:
    """The tree, installed by ``make install`` into a new directory below /srv.

    The four directories of common/paths.py are given to make in GNU's names; nothing is
    written outside ``path``.  Raises RuntimeError with make's output if it fails.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="letsencrypt-tiny-", dir=PARENT))
        self.path.chmod(0o755)
        done = subprocess.run(
            ["make", "-C", str(root), "install", "DESTDIR=", f"prefix={self.path}",
             f"sysconfdir={self.path}/etc", f"localstatedir={self.path}/var",
             f"runstatedir={self.path}/run"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, check=False)
        if done.returncode != 0:
            self.remove()
            raise RuntimeError(f"make install failed:\n{done.stdout}")
        self.master = self.path / "sbin/letsencrypt-tiny"
        self.accountd = self.path / "bin/letsencrypt-tiny-accountd"
        self.client = self.path / "libexec/letsencrypt-tiny/client"
        self.webserver = self.path / "libexec/letsencrypt-tiny/webserver"
        self.tlsserver = self.path / "libexec/letsencrypt-tiny/tlsserver"
        self.dns = self.path / "libexec/letsencrypt-tiny/dns"
        self.package = self.path / "share/letsencrypt-tiny/letsencrypt_tiny"

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self.path)


class Installed(Prefix):
    """The programs where the Debian package has them; ``path`` is for sites only."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="letsencrypt-tiny-", dir=PARENT))
        self.path.chmod(0o755)
        self.master = Path("/usr/sbin/letsencrypt-tiny")
        self.accountd = Path("/usr/bin/letsencrypt-tiny-accountd")
        self.client = Path("/usr/libexec/letsencrypt-tiny/client")
        self.webserver = Path("/usr/libexec/letsencrypt-tiny/webserver")
        self.tlsserver = Path("/usr/libexec/letsencrypt-tiny/tlsserver")
        self.dns = Path("/usr/libexec/letsencrypt-tiny/dns")
        self.package = Path("/usr/share/letsencrypt-tiny/letsencrypt_tiny")


Result = subprocess.CompletedProcess  # of str


class Site:
    """A host, as far as one test needs one: configuration, account key, state, certificates.

    ``main``, ``certs`` and ``accountd`` are the three configuration files, {section: {setting:
    value}}, "" being the part before the first section; they're written before each run.  A file
    that a test wrote itself with ``write`` is left alone.

    >>> site.use(pebble)
    >>> site.genkey("rsa:2048")
    >>> site.certificate("a", ["a.example", "b.example"], notify="touch /srv/x")
    >>> assert site.register().returncode == 0
    >>> assert site.run("newOrder", "a").returncode == 0
    >>> site.file("a", "fullchain.pem").read_text()
    """

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix
        self.path = Path(tempfile.mkdtemp(prefix="site-", dir=prefix.path))
        self.path.chmod(0o755)
        self.etc, self.lib, self.rundir = (self.path / name for name in ("etc", "lib", "run"))
        accountd = pwd.getpwnam(SIGNER_USER)
        for directory, mode in ((self.etc, 0o755), (self.lib, 0o755), (self.rundir, 0o755),
                                (self.lib / "certs", 0o755), (self.lib / "state", 0o700),
                                (self.lib / "accountd", 0o700)):
            directory.mkdir()
            directory.chmod(mode)
        os.chown(self.lib / "accountd", accountd.pw_uid, accountd.pw_gid)
        self.account_key = self.lib / "accountd/account.key"
        self.config = self.etc / "letsencrypt-tiny.conf"
        self.main: dict[str, dict[str, str]] = {
            "": {"config-certs": "certs.conf", "library-directory": str(self.lib),
                 "run-directory": str(self.rundir)},
            "client": {"timeout": "60", "confine": CONFINE}, "webserver": {"confine": CONFINE},
            "accountd": {"config": str(self.etc / "accountd.conf"), "confine": CONFINE}}
        self.certs: dict[str, dict[str, str]] = {}
        self.accountd: dict[str, dict[str, str]] = {"": {"privkey": f"file:{self.account_key}"}}
        self._written: list[str] = []
        self.at_once = False
        self._ca_file: Path | None = None
        self._settings: dict[str, str] = {}

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self.path)

    def use(self, server: Server) -> None:
        """Take certificates from this server, and be validated by it."""
        self.main["client"].update({"server": server.directory, "ca-file": str(server.ca_file)})
        self.main["webserver"]["listen"] = f"127.0.0.1:{server.http_port}"
        self._ca_file = server.roots()
        self._settings = getattr(server, "settings", {})
        for settings in self.certs.values():
            settings.update(self._settings, CAfile=str(self._ca_file))

    def certificate(self, section: str, names: Sequence[str] = (), **settings: str) -> None:
        """Configure a certificate; ``min_days="7"`` sets min-days."""
        self.certs[section] = {name.replace("_", "-"): value for name, value in settings.items()}
        if names:
            self.certs[section]["names"] = ", ".join(names)
        if self._ca_file is not None:
            self.certs[section].setdefault("CAfile", str(self._ca_file))
        self.certs[section] = {**self._settings, **self.certs[section]}

    def file(self, section: str, name: str = "fullchain.pem") -> Path:
        """Return the path of a file of a certificate that is configured in the short form."""
        return self.lib / "certs" / section / name

    def genkey(self, kind: str = "ec:P-256") -> None:
        """Make the account key, by openssl, mode 0600, owned by the signer's user."""
        user = pwd.getpwnam(SIGNER_USER)
        self.account_key.unlink(missing_ok=True)
        fd = os.open(self.account_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w", encoding="ascii") as file:
            file.write(ca.genkey(kind))
            os.fchown(fd, user.pw_uid, user.pw_gid)

    def write(self, name: str, text: str) -> Path:
        """Write ``etc/NAME`` as a test wants it; return its path."""
        self._written.append(name)
        path = self.etc / name
        path.write_text(text)
        return path

    def configure(self) -> None:
        """Write the configuration files that the test didn't write itself."""
        for name, sections in (("letsencrypt-tiny.conf", self.main), ("certs.conf", self.certs),
                               ("accountd.conf", self.accountd)):
            if name not in self._written:
                (self.etc / name).write_text(ini(sections))

    def command(self, *args: str) -> list[str]:
        """Write the configuration; return the argv of ``letsencrypt-tiny ARGS``.

        It is days later than the last time, for what has failed, unless ``at_once``.
        """
        self.configure()
        if not self.at_once:
            later(self.lib / "state")
        return [str(self.prefix.master), f"--config={self.config}", *args]

    def run(self, *args: str, timeout: float = 90, env: Mapping[str, str] | None = None,
            stdin: str = "") -> "Result[str]":
        """Run ``letsencrypt-tiny ARGS``; return its status and what it wrote.

        Raises subprocess.TimeoutExpired, with everything killed, after ``timeout`` seconds.
        """
        return run(self.command(*args), timeout=timeout, env=env, stdin=stdin)

    def open_account(self, server: Server, **others: Server) -> None:
        """Make an account key, and an account at this server, which is the one to use, and at the
        ``others``, which are [ca NAME]."""
        self.use(server)
        for name, other in others.items():
            self.main[f"ca {name}"] = {"server": other.directory, "ca-file": str(other.ca_file)}
        self.genkey()
        servers = (server, *others.values())
        if all(hasattr(one, "adopt") for one in servers):    # most tests begin so: it is quick
            self._adopted(servers)
            return
        done = self.register()
        assert done.returncode == 0, done.stderr

    def _adopted(self, servers: Sequence[Any]) -> None:
        """Leave servers and state as a registration would, of which others test that it works."""
        from letsencrypt_tiny.master.store.journal import Journal
        from letsencrypt_tiny.signer import account_key
        key = account_key.load(self.account_key.read_bytes(), "", lambda _: b"")
        journal = Journal(str(self.lib / "state"))
        for server in servers:
            journal.remember_account(server.directory, key.thumbprint, server.adopt(key.jwk))

    def register(self) -> "Result[str]":
        """Register the account."""
        return self.run("account", "--register", "--tos-agreed")

    def watch(self, *args: str, timeout: float = 90, **popen: Any) -> proc.Watched:
        """Run ``letsencrypt-tiny ARGS`` under ``proc.watch``."""
        popen.setdefault("env", ENVIRONMENT)
        return proc.watch(self.command(*args), timeout, **popen)

    def executed(self, *args: str, timeout: float = 120, **popen: Any
                 ) -> tuple["Result[str]", list[list[str]]]:
        """Run ``letsencrypt-tiny ARGS`` under ``proc.executed`` (strace)."""
        popen.setdefault("env", ENVIRONMENT)
        return proc.executed(self.command(*args), timeout, **popen)

    def popen(self, *args: str, **popen: Any) -> "subprocess.Popen[str]":
        """Start ``letsencrypt-tiny ARGS`` (to signal it, say); use as a context manager."""
        popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                 "stderr": subprocess.PIPE, "env": ENVIRONMENT, "text": True, **popen}
        return subprocess.Popen(_deathsig(self.command(*args)), **popen)

    def signer(self, *args: str) -> list[str]:
        """Return the argv of ``letsencrypt-tiny-accountd ARGS`` as the signer's user."""
        self.configure()
        return as_user(SIGNER_USER, [str(self.prefix.accountd),
                                     f"--config={self.etc / 'accountd.conf'}", *args])


class Background:
    """A run in the background; ``tokens`` are the names seen in challenge directories."""

    def __init__(self, site: "Site", *args: str) -> None:
        self._site = site
        self._process = site.popen(*args)
        self._began = time.monotonic()
        self.tokens: list[str] = []
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while self._process.poll() is None:
            for directory in self._site.rundir.glob("challenges-*"):
                try:
                    self.tokens += set(os.listdir(directory)) - set(self.tokens)
                except FileNotFoundError:
                    pass
            time.sleep(0.005)
        self.seconds = time.monotonic() - self._began

    def result(self, timeout: float) -> "Result[str]":
        """Wait for the end; raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        with self._process as process:
            try:
                out, err = process.communicate(timeout=timeout)
            finally:
                process.terminate()
        self._thread.join()
        return subprocess.CompletedProcess([], process.returncode, out, err)


def ini(sections: Mapping[str, Mapping[str, str]]) -> str:
    """Return the text of an INI file; "" is the part before the first section."""
    lines = []
    for section in sorted(sections, key=bool):  # "" first, otherwise in order
        if section:
            lines.append(f"\n[{section}]")
        lines += [f"{name} = {value}" for name, value in sections[section].items()]
    return "\n".join(lines) + "\n"


def as_user(name: str, argv: Sequence[str]) -> list[str]:
    """Return an argv that runs ``argv`` as a user, with its group only."""
    gid = grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_gid
    return ["/usr/bin/setpriv", f"--reuid={name}", f"--regid={gid}", "--clear-groups", "--",
            *argv]


def _deathsig(argv: Sequence[str]) -> list[str]:
    return ["/usr/bin/setpriv", "--pdeathsig", "TERM", "--", *argv]


def run(argv: Sequence[str], timeout: float = 90, env: Mapping[str, str] | None = None,
        stdin: str = "", **popen: Any) -> "Result[str]":
    """Run a command with a small environment, ``env`` added; return status, stdout, stderr.

    On a timeout all its descendants are killed, not just the one we know.
    """
    with subprocess.Popen(_deathsig(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="backslashreplace",
                          env={**ENVIRONMENT, **(env or {})}, **popen) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException:
            proc.kill_tree(process.pid)
            raise
    return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)


def does_nothing(site: Site, trace: Path) -> None:
    """Fail unless newOrder is one process that makes no socket, changes no file and says nothing;
    ``trace`` is a file for strace(1)."""
    before = {path: path.stat().st_mtime_ns for path in site.lib.rglob("*")}
    done = run(["/usr/bin/strace", "-f", "-qq", "-o", str(trace), "-e", "signal=none", "-e",
                "trace=execve,execveat,fork,vfork,clone,clone3,socket,socketpair,connect,sendto",
                "--", *site.command("--quiet", "newOrder")])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
    calls = trace.read_text().splitlines()
    assert len(calls) == 1 and "execve(" in calls[0], calls
    assert {path: path.stat().st_mtime_ns for path in site.lib.rglob("*")} == before
