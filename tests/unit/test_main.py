"""The command line: exit statuses, options at any place, and a process that cleans up."""

import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from collections.abc import Iterator
from typing import Any

import pytest

from harness import daemon
from letsencrypt_tiny import __version__
from letsencrypt_tiny.master.store.journal import Journal

TREE = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.root

# The client, the web server and the notification of a run that takes its time
SLOW = "#!/bin/sh\necho $$ >>{path}/started; trap '' INT; exec sleep 60\n"
Result = subprocess.CompletedProcess

GREETING = (b'1 OK {"alg":"ES256","jwk-thumbprint":"' + b"A" * 43
            + b'","kid":"https://ca.example/1"}\r\n{}\r\n')


class Host:
    """The program, and a directory with its configuration, state and certificates."""

    def __init__(self, path: Path) -> None:
        self.path = path
        source = (TREE / "programs/letsencrypt-tiny").read_text()
        self.program = path / "letsencrypt-tiny"
        self.program.write_text(source.replace('"/usr/share/letsencrypt-tiny"', repr(str(TREE))))
        self.program.chmod(0o755)
        self.run_directory = path / "run"
        for name in ("lib", "lib/certs", "lib/state"):
            (path / name).mkdir()
        self.configure()
        self.certs("")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{path}/S")
        self.listener.listen()
        os.chmod(path / "S", 0o600)

    def configure(self, main: str = "", client: str = "", webserver: str = "") -> None:
        """Write the main configuration; its children are slow and harmless."""
        slow = self.path / "slow"
        slow.write_text(SLOW.format(path=self.path))
        slow.chmod(0o755)
        self.config = self.path / "main.conf"
        self.config.write_text(
            f"library-directory = {self.path}/lib\nrun-directory = {self.run_directory}\n{main}\n"
            f"[client]\nsocket = {self.path}/S\nuser =\ngroup =\ncommand = {slow}\n{client}\n"
            f"[webserver]\nuser =\ngroup =\ncommand = {slow}\nlisten = {self.path}/www\n"
            f"iptables = no\n{webserver}\n")

    def certs(self, text: str) -> None:
        """Write the certificates' configuration."""
        (self.path / "certs.conf").write_text(text)

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return ["/usr/bin/python3", "-I", "-B", str(self.program), f"--config={self.config}",
                *arguments]

    def run(self, *arguments: str, **more: Any) -> "Result[str]":
        """Run the program to its end."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "cwd": "/", "env": {},
                   "stderr": subprocess.PIPE, "timeout": 30, "check": False, "text": True, **more}
        return subprocess.run(self.argv(*arguments), **options)

    def refused(self, *arguments: str, status: int = 2, **more: Any) -> str:
        """Run the program, which must fail with one line and nothing on standard output."""
        done = self.run(*arguments, **more)
        assert done.returncode == status and done.stdout == "", done
        lines = done.stderr.splitlines()
        assert lines and "Traceback" not in done.stderr
        assert lines[-1].startswith(("error: ", "letsencrypt-tiny: error: ")), lines
        return lines[-1].partition("error: ")[2]


@pytest.fixture
def host() -> Iterator[Host]:
    """A directory, not below a sticky one."""
    path = Path(tempfile.mkdtemp(prefix="test-main-", dir="/srv"))
    path.chmod(0o755)
    made = Host(path)
    yield made
    made.listener.close()
    shutil.rmtree(path)


def test_nothing_due(host: Host) -> None:
    done = host.run("newOrder")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "no certificate is configured: add a section such as [example.org] with names = "
        f"example.org to {host.path}/certs.conf\n"), "not a word less, and not one more"
    done = host.run("--quiet", "newOrder")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = host.run("status")
    assert done.returncode == 0 and "no certificate is configured: " in done.stderr
    assert json.loads(host.run("status", "--json").stdout) == []
    assert not (host.path / "started").exists()


def test_version_and_help(host: Host) -> None:
    for arguments in (["--version"], ["newOrder", "--version"]):
        done = host.run(*arguments)
        assert (done.returncode, done.stdout) == (0, f"letsencrypt-tiny {__version__}\n")
    assert host.run("-V").stdout == host.run("version").stdout == host.run("--version").stdout
    for option in ("-h", "--help", "help"):
        done = host.run(option)
        assert done.returncode == 0 and done.stderr == ""
        for word in ("account", "newOrder", "revokeCert", "status", "check", "--min-days"):
            assert word in done.stdout


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["--nonsense", "newOrder"], ["order"], ["newOrder", "--min-day=3"],
    ["newOrder", "--min-days=x"], ["newOrder", "--min-days"], ["--config"], ["newOrder", "-x"],
    ["newOrder", "--force=yes"]])
def test_usage(host: Host, arguments: list[str]) -> None:
    host.refused(*arguments)


@pytest.mark.parametrize("arguments, match", [
    (["account", "--force"], "account has no option --force"),
    (["newOrder", "--json"], "newOrder has no option --json"),
    (["check", "--register"], "check has no option --register"),
    (["check", "x"], "check takes no argument"), (["status", "--force"], "no option --force"),
    (["newOrder", "--force", "--min-days=0"], "exclude each other"),
    (["newOrder", "nowhere"], "there is no section [nowhere]"),
    (["status", "nowhere"], "there is no section [nowhere]"),
    (["revokeCert"], "name the file of a certificate"),
    (["revokeCert", "--reason=because", "/x"], "--reason=because: not one of unspecified (0)"),
    (["revokeCert", "--reason=2", "/x"], "--reason=2"), (["revoke-cert", "--reason=", "/x"], "not"),
    (["account", "admin@example.org"], "is not a contact URL"),
    (["account", "mailto:a b"], "is not a contact URL")])
def test_what_makes_no_sense(host: Host, arguments: list[str], match: str) -> None:
    assert match in host.refused(*arguments)


@pytest.mark.parametrize("arguments, match", [
    (["--bogus"], "there is no option --bogus"), (["newOrder", "--bogus=3"], "no option --bogus"),
    (["newOrder", "--forse"], "no option --forse: did you mean “--force”?"),
    (["newOrder", "x", "-x", "y"], "no option -x"), (["newOder"], "did you mean “newOrder”?"),
    (["chek"], "did you mean “check”?"), (["certonly"], "did you mean “newOrder”?"),
    (["register"], "did you mean “account --register”?"), (["list"], "did you mean “status”?"),
    (["frobnicate"], "there is no command “frobnicate” (valid: account,"), ([], "no command: say"),
    (["newOrder", "exmaple.org"], "section [exmaple.org] in the certificates' configuration: "
                                  "did you mean “example.org”?")])
def test_words_that_are_not_known(host: Host, arguments: list[str], match: str) -> None:
    host.certs("[example.org]\nnames = example.org\n")
    assert match in host.refused(*arguments)


def test_options_at_any_place(host: Host) -> None:
    host.certs("[a]\nnames = a.example\n[b]\nnames = b.example\n")
    for arguments in (["status", "a", "b", "--json"], ["--json", "status", "a", "b"],
                      ["status", "a", "--json", "b"], ["status", "--json", "a", "-q", "b"],
                      [f"--config-certs={host.path}/certs.conf", "status", "a", "--json", "b"]):
        done = host.run(*arguments)
        assert [row["section"] for row in json.loads(done.stdout)] == ["a", "b"], done
    done = host.run("status", "--", "a")
    assert done.stdout.splitlines()[1].split()[:3] == ["a", "-", "due:"]


def test_aliases(host: Host) -> None:
    for command in ("newOrder", "new-order", "new-cert", "neworder", "renew", "NEW_ORDER"):
        assert host.run(command).returncode == 0
        assert "section [x]" in host.refused(command, "x")
    for command in ("revoke-cert", "revokecert", "revoke"):
        assert "name the file" in host.refused(command)
    assert host.run("newOrder", "--min-days", "-1").returncode == 0


def test_configuration_errors(host: Host) -> None:
    host.configure(client="colour = blue")
    for command in ("account", "newOrder", "status", "check"):
        assert f"{host.config}, [client]: unknown setting “colour”" in host.refused(command)
    assert "revokeCert" not in host.refused("revokeCert", "/x")
    host.configure()
    host.certs("[a]\nnames = a_b.example\n")
    done = host.run("newOrder")
    assert done.returncode == 1 and done.stderr.count("[a]") == 1
    assert f"error: {host.path}/certs.conf, [a]: names = a_b.example: “a_b" in done.stderr
    done = host.run("status")
    assert done.returncode == 1 and f"{host.path}/certs.conf, [a]: names = a_b" in done.stdout
    host.config.unlink()
    assert "cannot read the configuration: No such file" in host.refused("newOrder")
    assert not (host.path / "started").exists()


@pytest.mark.parametrize("setting, match", [
    ("user = no-such-user", "user = no-such-user: there is no such user"),
    ("group = no-such-group", "group = no-such-group: there is no such group")])
def test_nothing_is_touched_before_the_users_are_found(host: Host, setting: str, match: str
                                                       ) -> None:
    host.certs("[a]\nnames = a.example\n")
    for where in ("client", "webserver"):
        host.configure()
        text = host.config.read_text()
        key = setting.partition(" ")[0]
        head, _, tail = text.partition(f"[{where}]")
        host.config.write_text(f"{head}[{where}]{tail.replace(f'{key} =', setting, 1)}")
        assert f"[{where}]: {match}" in host.refused("newOrder")
        assert os.listdir(host.path / "lib/certs") == os.listdir(host.path / "lib/state") == []


def test_locked(host: Host) -> None:
    host.run("newOrder")
    assert stat.S_IMODE((host.run_directory / "lock").stat().st_mode) == 0o600
    with open(host.run_directory / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["newOrder"], ["account"], ["revokeCert", "/x"]):
            assert f"another run is under way (it holds {host.run_directory}/lock)" in \
                host.refused(*command, status=75)
        assert host.run("status").returncode == 0, "who only looks needs no lock"
    assert host.run("newOrder").returncode == 0


def test_lock_that_cannot_be_taken(host: Host) -> None:
    host.run_directory.mkdir()
    victim = host.path / "victim"
    victim.write_text("old")
    (host.run_directory / "lock").symlink_to(victim)
    assert "lock: cannot open it: Too many levels" in host.refused("newOrder", status=1)
    (host.run_directory / "lock").unlink()
    (host.run_directory / "lock").symlink_to(host.path / "new")
    host.refused("newOrder", status=1)
    assert victim.read_text() == "old" and not (host.path / "new").exists()
    (host.run_directory / "lock").unlink()
    host.run_directory.chmod(0o777)
    assert "writable by everybody" in host.refused("newOrder", status=1)
    host.configure(main="")
    host.config.write_text(f"run-directory = {host.path}/no/run\n")
    assert f"{host.path}/no: no such directory" in host.refused("newOrder", status=1)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors(host: Host, closed: str) -> None:
    """No file of ours takes their place, and nothing fails because of them."""
    host.certs("[a]\nnames = a.example\n")
    script = f'exec "$@" {closed}'
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *host.argv("status")], env={}, cwd="/",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0 and done.stderr == b""
    assert (b"a.example" in done.stdout) is ("1>&-" not in closed)
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *host.argv("newOrder", "x")], env={},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2 and done.stdout == b""
    assert (host.run_directory / "lock").read_bytes() == b"", "no message went into a file"


def test_nobody_reads(host: Host) -> None:
    host.certs("".join(f"[s{n}]\nnames = a{n}.example\n" for n in range(2000)))
    for arguments, command in ((["status"], "exec 3>&1; { \"$@\"; echo $? >&3; } 2>&1 | true"),
                               (["--help"], "exec 3>&1; { \"$@\"; echo $? >&3; } 2>&1 | true")):
        done = subprocess.run(["/bin/sh", "-c", command, "sh", *host.argv(*arguments)], env={},
                              capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stdout + done.stderr and "Exception" not in done.stdout
    with open("/dev/full", "w", encoding="ascii") as full:
        done = host.run("status", stdout=full)
    assert done.returncode == 1 and done.stderr == "error: [Errno 28] No space left on device\n"


def test_umask_and_environment(host: Host) -> None:
    """A key is 0600, its directory 0755, whatever the umask and the environment."""
    evil = host.path / "evil"
    evil.mkdir()
    (evil / "openssl.cnf").write_text("openssl_conf = x\n[x]\nengines = y\n[y]\nz = z\n[z]\n"
                                      "dynamic_path = /no/such.so\ninit = 1\n")
    for name in ("json", "argparse", "letsencrypt_tiny", "configobj", "sitecustomize"):
        (evil / f"{name}.py").write_text("raise SystemExit('imported')\n")
    host.certs("[a]\nnames = a.example\n")
    host.listener.close()   # the run ends where it needs the signer
    done = host.run("newOrder", "a", cwd=str(evil), umask=0, env={
        "PYTHONPATH": str(evil), "PYTHONHOME": str(evil), "PYTHONSTARTUP": f"{evil}/json.py",
        "OPENSSL_CONF": f"{evil}/openssl.cnf", "BASH_ENV": f"{evil}/x", "ENV": f"{evil}/x",
        "PATH": str(evil), "IFS": "/", "TMPDIR": str(evil), "HOME": str(evil)})
    assert done.returncode == 1 and "cannot connect to the signer" in done.stderr
    made = host.path / "lib/certs/a"
    assert os.listdir(made) == ["privkey.pem"]
    assert stat.S_IMODE((made / "privkey.pem").stat().st_mode) == 0o600
    for path in (made, host.run_directory):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert sorted(os.listdir(host.run_directory)) == ["lock"] and not (host.path / "www").exists()


class Running:
    """A run in the middle of its work: client and web server wait."""

    def __init__(self, host: Host, *shell: str) -> None:
        host.certs("[a]\nnames = a.example\n")
        self.host = host
        self.process = subprocess.Popen([*shell, *host.argv("newOrder")], env={}, cwd="/",
                                        text=True, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        host.listener.settimeout(20)
        self.signer = host.listener.accept()[0]   # closed with the test
        self.signer.sendall(GREETING)
        deadline = time.monotonic() + 20
        started = host.path / "started"
        while not (started.exists() and len(started.read_text().split()) == 2):
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.01)
        self.children = [int(word) for word in started.read_text().split()]
        started.unlink()
        assert self.challenges() and (host.path / "www").exists()

    def challenges(self) -> list[str]:
        """Return the challenge directories."""
        return [name for name in os.listdir(self.host.run_directory) if name != "lock"]

    def end(self) -> str:
        """Wait for it; return its messages."""
        _, text = self.process.communicate(timeout=20)
        return text

    def clean(self) -> None:
        """All is as before."""
        assert self.challenges() == [] and not (self.host.path / "www").exists()
        self.no_child()

    def no_child(self) -> None:
        """The children end with their master, if it has not ended them before."""
        deadline = time.monotonic() + 5
        for child in self.children:
            while os.path.exists(f"/proc/{child}"):
                assert time.monotonic() < deadline
                try:
                    os.waitpid(child, os.WNOHANG)   # an orphan is ours (PR_SET_CHILD_SUBREAPER)
                except ChildProcessError:
                    pass
                time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_during_a_run(host: Host, number: signal.Signals) -> None:
    running = Running(host)
    assert host.run("newOrder").returncode == 75
    running.process.send_signal(number)
    text = running.end()
    assert running.process.returncode == 1
    assert text.splitlines()[-1].startswith(f"error: stopped by {number.name}; ")
    assert "Traceback" not in text
    running.clean()


@pytest.mark.parametrize("pause", [0, 0.001, 0.02])
def test_many_signals_during_a_run(host: Host, pause: float) -> None:
    """systemd, for one, sends SIGTERM and SIGHUP at once."""
    running = Running(host)
    if pause == 0:
        running.process.send_signal(signal.SIGSTOP)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCONT,
                   signal.SIGINT, signal.SIGHUP):
        running.process.send_signal(number)
        time.sleep(pause)
    assert running.end().count("stopped by") == 1 and running.process.returncode == 1
    running.clean()


def test_two_interrupts_stop_at_once(host: Host) -> None:
    running = Running(host)
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    assert "stopped by SIGINT" in running.end()
    running.clean()


def test_killed(host: Host) -> None:
    """Its children end with it; the next run removes what it left."""
    running = Running(host)
    running.process.kill()
    running.end()
    running.no_child()
    assert running.challenges()
    host.certs("")
    assert host.run("newOrder").returncode == 0
    assert running.challenges() == []


def test_what_is_inherited_of_signals(host: Host) -> None:
    """SIGHUP that is ignored stays so (nohup); a blocked SIGTERM, an ignored SIGCHLD don't."""
    code = ("import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
            "signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
            "os.execv(sys.argv[1], sys.argv[1:])")
    running = Running(host, "/usr/bin/python3", "-I", "-c", code)
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM" in running.end() and running.process.returncode == 1
    running.clean()


def test_a_notification_that_was_not_delivered(host: Host) -> None:
    """The signal comes while the command runs; the next run delivers it."""
    from harness import ca
    host.certs(f"[a]\nnames = a.example\nnotify = echo $$ >{host.path}/started; exec sleep 60\n")
    made = host.path / "lib/certs/a"
    made.mkdir()
    with tempfile.TemporaryDirectory() as directory:
        key = ca.genkey()
        text = ca.CA(Path(directory)).issue(ca.request(["a.example"], key))
    for name in ("privkey", "cert", "chain", "fullchain"):
        (made / f"{name}.pem").write_text(key if name == "privkey" else text)
        (made / f"{name}.pem").chmod(0o600)
    state = Journal(f"{host.path}/lib/state")
    state.remember("a", state.section("a")._replace(notify=True))
    process = subprocess.Popen(host.argv("newOrder"), env={}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (host.path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    assert "stopped by SIGTERM" in process.communicate(timeout=20)[1]
    assert state.section("a").notify, "it is still owed"
    for pid in daemon.strays():
        os.waitpid(pid, 0)   # ended by its parent's death
    host.certs(f"[a]\nnames = a.example\nnotify = touch {host.path}/delivered\n")
    assert host.run("newOrder").returncode == 0
    assert (host.path / "delivered").exists() and not state.section("a").notify


def test_debug_shows_where_an_error_comes_from(host: Host) -> None:
    done = host.run("newOrder", "x", "--debug")
    assert done.returncode == 2 and "Traceback" in done.stderr and "section [x]" in done.stderr
