"""The examples for servers, each with the real one, in a Debian of its own (soak/test_servers.py).

A certificate is issued, the server configured as the example says, and what it shows the world is
that certificate; it is renewed, and the server shows the new one, having been told by “notify”.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.net import is_listening
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, SIGNER_USER, Result, Users, run

pytestmark = [pytest.mark.root, pytest.mark.skipif(
    "THROWAWAY" not in os.environ, reason="changes the whole machine: see soak/test_servers.py")]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ETC, LIB = Path("/etc/letsencrypt-tiny"), Path("/var/lib/letsencrypt-tiny")
RELEASE = re.findall(r"^VERSION_ID=\"(\d+)\"", Path("/etc/os-release").read_text(), re.M)[0]


class Server(NamedTuple):
    """How a server is asked for its certificate."""

    port: int
    starttls: str = ""
    user: str = "root"        # who reads the key
    restarted: bool = False   # for want of another way to have it read again


SERVERS = {
    "nginx": Server(443), "apache2": Server(443), "haproxy": Server(443),
    "postfix": Server(25, "smtp"), "dovecot": Server(143, "imap"),
    "exim4": Server(25, "smtp", "Debian-exim"), "prosody": Server(5222, "xmpp", "prosody"),
    "postgresql": Server(5432, "postgres", "postgres"),
    "slapd": Server(389, "ldap", "openldap", restarted=True), "cockpit": Server(9090)}


def command(*argv: str, timeout: float = 120) -> "Result[str]":
    return run(argv, timeout=timeout)


def master(*argv: str) -> "Result[str]":
    return command("/usr/sbin/letsencrypt-tiny", *argv)


@pytest.fixture(scope="module")
def host(pebble: Pebble, users: Users) -> Iterator[None]:
    """Installed below /usr, with an account at Pebble."""
    for directory, mode in ((Path("/run/letsencrypt-tiny"), 0o755), (LIB, 0o755),
                            (LIB / "certs", 0o755), (LIB / "state", 0o700),
                            (LIB / "accountd", 0o700)):
        directory.mkdir(exist_ok=True)
        directory.chmod(mode)
    shutil.chown(LIB / "accountd", SIGNER_USER, SIGNER_USER)
    shutil.copy(pebble.ca_file, "/etc/letsencrypt-tiny/pebble.pem")
    shutil.copy(pebble.roots(), "/etc/letsencrypt-tiny/roots.pem")
    (ETC / "letsencrypt-tiny.conf.d/pebble.conf").write_text(
        f"[client]\nserver = {pebble.directory}\nca-file = {ETC}/pebble.pem\n"
        f"[webserver]\nlisten = 127.0.0.1:{pebble.http_port}\niptables = no\n")
    (ETC / "certs.conf.d/00-pebble.conf").write_text(f"CAfile = {ETC}/roots.pem\nari = no\n")
    done = command("/usr/bin/setpriv", f"--reuid={SIGNER_USER}", f"--regid={SIGNER_USER}",
                   "--clear-groups", "/usr/bin/letsencrypt-tiny-accountd", "--genkey=ec:P-256",
                   "--if-none", f"--privkey=file:{LIB}/accountd/account.key")
    assert done.returncode == 0, done.stderr
    done = master("account", "--register", "--tos-agreed")
    assert done.returncode == 0, done.stderr
    yield


class Example:
    """One of them, read as a person does it."""

    def __init__(self, name: str) -> None:
        self.path = EXAMPLES / f"certs-{name}.conf"
        text = self.path.read_text()
        self.section, = re.findall(r"^\[(.*)\]$", text, re.M)
        self.names, = re.findall(r"^names = (.*)$", text, re.M)
        self.steps: list[tuple[str, str]] = []
        self._before: dict[Path, bytes | None] = {}
        for block in re.finditer(r"^# ((?:File|Add to|Once).*):\n((?:#     .*\n)+)", text, re.M):
            lines = re.sub(r"^#     ", "", block[2], flags=re.M)
            self.steps.append((block[1], lines))

    def follow(self) -> None:
        """Do what it says."""
        for head, lines in self.steps:
            if "Debian 12" in head and RELEASE != "12" or "since Debian 13" in head \
                    and RELEASE == "12":
                continue
            if head.startswith("Once"):
                for line in lines.splitlines():
                    done = command("/bin/sh", "-c", line)
                    assert done.returncode == 0, (line, done)
                continue
            kind, path = re.findall(r"(File|Add to) (/[^ ,]+)", head)[0]
            if RELEASE != "12":
                path = path.replace("/postgresql/15/", "/postgresql/17/")
            self._before.setdefault(Path(path), Path(path).read_bytes()
                                    if Path(path).exists() else None)
            with open(path, "w" if kind == "File" else "a") as file:
                file.write(lines)

    def undo(self) -> None:
        """Leave the server as it came, for others that are for the same names."""
        for path, content in self._before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        for _, lines in self.steps:
            for source, link in re.findall(r"^ln -sf (\S+) (\S+)$", lines, re.M):
                os.unlink(os.path.join(link, os.path.basename(source)) if link.endswith("/")
                          else link)
        (ETC / "certs.conf.d" / self.path.name).unlink()
        for path in (*(LIB / "certs").iterdir(), *(LIB / "state").glob("cert-*")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def serial(path: Path) -> str:
    """Return the serial number of the first certificate in a file."""
    done = command("/usr/bin/openssl", "x509", "-noout", "-serial", "-in", str(path))
    return done.stdout.strip()


def shown(server: Server, name: str) -> str:
    """Return that of the certificate that a server shows, "" if it shows none."""
    argv = ["/usr/bin/openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername",
            name]
    if server.starttls:
        argv += ["-starttls", server.starttls]
    if server.starttls == "xmpp":
        argv += ["-xmpphost", name]
    try:
        done = subprocess.run(argv, input="", capture_output=True, text=True, timeout=20,
                              check=False, env=ENVIRONMENT, errors="replace")
    except subprocess.TimeoutExpired:
        return ""
    pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", done.stdout, re.S)
    if pem is None:
        return ""
    return subprocess.run(["/usr/bin/openssl", "x509", "-noout", "-serial"], input=pem[0],
                          capture_output=True, text=True, check=True).stdout.strip()


def wait_for(server: Server, name: str, wanted: str) -> None:
    """Wait until a server shows a certificate."""
    deadline = time.monotonic() + 30
    while (found := shown(server, name)) != wanted:
        assert time.monotonic() < deadline, f"{found} instead of {wanted}"
        time.sleep(0.5)


def service(name: str, verb: str) -> None:
    """Start, restart or stop a server, as an administrator does without systemd."""
    if name == "prosody":
        prosody(verb)
        return
    with tempfile.TemporaryFile("w+") as output:   # no pipe: a daemon may keep it
        done = subprocess.run(["/usr/sbin/service", name, verb], stdin=subprocess.DEVNULL,
                              stdout=output, stderr=output, timeout=120, check=False,
                              env=ENVIRONMENT)
        output.seek(0)
        assert done.returncode == 0 or verb == "stop", output.read()
    deadline = time.monotonic() + 20
    while verb == "stop" and is_listening(SERVERS[name].port) and time.monotonic() < deadline:
        time.sleep(0.2)


def prosody(verb: str) -> None:
    """Do what its unit has systemd do: the init script of Debian 12 looks for another program."""
    run_directory = Path("/run/prosody")
    if verb != "start":
        pid = int((run_directory / "prosody.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
    if verb != "stop":
        run_directory.mkdir(exist_ok=True)
        shutil.chown(run_directory, "prosody", "prosody")
        subprocess.run(["/usr/bin/setpriv", "--reuid=prosody", "--regid=prosody", "--init-groups",
                        "/usr/bin/prosody", "-D"], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    if verb == "restart":
        time.sleep(1)   # it comes back before it listens


@pytest.fixture
def example(request: pytest.FixtureRequest, host: None) -> Iterator[Example]:
    """Configured as a person copies it; the server runs, as it came."""
    name = request.param
    if not Path(f"/etc/init.d/{name}").exists():
        pytest.skip(f"{name} is not installed")
    made = Example(name)
    text = made.path.read_text().replace("service prosody reload",
                                         "kill -HUP $(cat /run/prosody/prosody.pid)")
    (ETC / "certs.conf.d" / made.path.name).write_text(text)
    service(name, "start")
    try:
        yield made
    finally:
        service(name, "stop")
        made.undo()


def order(section: str, *options: str) -> None:
    """Have a certificate installed, and whoever uses it told."""
    done = master("newOrder", *options, section)
    assert done.returncode == 0 and "certificate installed" in done.stderr, done.stderr


def check_rights(key: Path, user: str) -> None:
    """The server can read the key, and nobody else but root."""
    mode = key.stat().st_mode & 0o777
    assert mode == (0o600 if user == "root" else 0o640), oct(mode)
    for name, may in ((user, True), ("nobody", False)):
        account = pwd.getpwnam(name)
        done = command("/usr/bin/setpriv", f"--reuid={name}", f"--regid={account.pw_gid}",
                       "--init-groups", "/usr/bin/head", "-c1", str(key))
        assert (done.returncode == 0) is may, (name, done.stderr)


@pytest.mark.parametrize("example", [name for name in SERVERS if name != "cockpit"],
                         indirect=True)
def test_a_server_shows_what_is_renewed(example: Example, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["example"]
    server, host_name = SERVERS[name], example.names.split(",")[0]
    certificate = LIB / "certs" / example.section / "fullchain.pem"
    order(example.section, "--force")
    example.follow()
    service(name, "restart")
    first = serial(certificate)
    wait_for(server, host_name, first)
    main = pids(name) if not server.restarted else set()
    check_rights(LIB / "certs" / example.section / "privkey.pem", server.user)
    order(example.section, "--force")
    second = serial(certificate)
    assert second != first
    wait_for(server, host_name, second)
    check_rights(LIB / "certs" / example.section / "privkey.pem", server.user)
    assert server.restarted or main & pids(name) or name == "haproxy", "it was restarted"


def pids(name: str) -> set[int]:
    """Return the processes of a server, by the names of their programs."""
    program = {"postgresql": "postgres", "postfix": "master"}.get(name, name)
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            argv = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(program in os.fsdecode(word) for word in argv[:2]):
            found.add(int(path.name))
    return found


def test_cockpit(host: None) -> None:
    """What its unit runs before it starts copies the pair; so it does with the new one."""
    unit, own = Path("/lib/systemd/system/cockpit.service"), Path("/run/cockpit/tls/server")
    if not unit.exists():
        pytest.skip("cockpit is not installed")
    tool, = re.findall(r"^ExecStartPre=\+?(.*--for-cockpit-tls)$", unit.read_text(), re.M)
    made = Example("cockpit")
    text = made.path.read_text().replace(
        "systemctl try-restart cockpit.service",
        f"rm -rf {own} && RUNTIME_DIRECTORY={own.parent} {tool}")
    (ETC / "certs.conf.d" / made.path.name).write_text(text)
    own.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        order("cockpit", "--force")
        assert serial(own / "cert") == serial(Path("/etc/cockpit/ws-certs.d/example.org.cert"))
        public = [command("/usr/bin/openssl", *argv).stdout for argv in (
            ("pkey", "-pubout", "-in", str(own / "key")),
            ("x509", "-noout", "-pubkey", "-in", str(own / "cert")))]
        assert public[0] == public[1] and public[0]
    made.undo()
