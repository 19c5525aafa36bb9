"""The command line: exit statuses, options at any place, and a process that cleans up."""

import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from harness import ca, daemon, words
from harness.machine import Machine
from letsencrypt_tiny import __version__
from letsencrypt_tiny.common import paths
from letsencrypt_tiny.master import main
from letsencrypt_tiny.master.store.journal import Journal

pytestmark = pytest.mark.root

TREE = Path(__file__).resolve().parents[2]
SLOW = words.ignore(signal.SIGINT), words.silence()


def refused(machine: Machine, *arguments: str, status: int = 2, **more: Any) -> str:
    """Run the program, which must fail with one line and nothing on standard output."""
    done = machine.run(*arguments, **more)
    assert done.returncode == status and done.stdout == "", done
    lines = done.stderr.splitlines()
    assert lines and "Traceback" not in done.stderr
    assert lines[-1].startswith(("error: ", "letsencrypt-tiny: error: ")), lines
    return lines[-1].partition("error: ")[2]


def started(machine: Machine) -> bool:
    """Tell whether a child was."""
    return bool(machine.client.pids or machine.webserver.pids)


def test_nothing_due(machine: Machine) -> None:
    done = machine.run("newOrder")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "no certificate is configured: run “letsencrypt-tiny add example.org”, or add a section "
        f"[example.org] with names = example.org to {machine.path}/certs.conf\n"), \
        "not a word less, and not one more"
    done = machine.run("--quiet", "newOrder")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = machine.run("status")
    assert done.returncode == 0 and "no certificate is configured: " in done.stderr
    assert json.loads(machine.run("status", "--json").stdout)["sections"] == []
    assert not started(machine)


def test_version_and_help(machine: Machine) -> None:
    for arguments in (["--version"], ["newOrder", "--version"]):
        done = machine.run(*arguments)
        assert (done.returncode, done.stdout) == (0, f"letsencrypt-tiny {__version__}\n")
    for word in ("-V", "version"):
        assert machine.run(word).stdout == done.stdout
    for option in ("-h", "--help", "help"):
        done = machine.run(option)
        assert done.returncode == 0 and done.stderr == ""
        for word in ("account", "newOrder", "revokeCert", "status", "check", "--min-days"):
            assert word in done.stdout


@pytest.mark.parametrize("command", sorted(main.OPTIONS))
def test_help_of_a_command(machine: Machine, command: str) -> None:
    """Its options, each with what it does, and no other command's."""
    done = machine.run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == machine.run("help", command).stdout
    assert done.stdout.startswith(f"usage: letsencrypt-tiny [OPTION ...] {command}")
    general = {"--config", "--socket", "--quiet", "--debug", "--help", "--version"}
    lines = re.findall(r"^  (?:-\w, )?(--[-a-z]+)(?: [A-Z]+)?(?:  +|\n {10,})(\w)", done.stdout,
                       re.M)
    assert {name for name, _ in lines} == general | {
        f"--{name.replace('_', '-')}" for name in main.OPTIONS[command]}


def test_help_of_no_command(machine: Machine) -> None:
    assert "did you mean “check”?" in refused(machine, "chek", "--help")
    assert "did you mean “check”?" in refused(machine, "help", "chek")
    assert not set(re.findall(r"^  (?:-\w, )?(--\S+)(?: [A-Z]+)?$(?!\n {10})",
                              machine.run("--help").stdout, re.M)), "each is explained"
    text = machine.run("--help").stdout
    for command in main.OPTIONS:
        assert re.search(rf"^  {command} .*- [A-Z]", text, re.M), "so is each command"
    assert max(map(len, text.splitlines())) <= 80


def test_who_is_not_root_is_told(machine: Machine) -> None:
    """Of what the right is lacking for; root, who lacks none, is not."""
    hidden = machine.path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "x.conf").write_text("")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-IS",
         "-B", "-c", f"import sys; sys.path.insert(0, {str(TREE)!r})\n"
         "from letsencrypt_tiny.master.main import main\nsys.exit(main(sys.argv[1:]))",
         f"--config={hidden}/x.conf", "status"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert done.stderr.endswith("Permission denied (you are not root: run it as root)\n"), done
    assert "root" not in refused(machine, f"--config={hidden}/none.conf", "status")
    done = subprocess.run([*done.args[:-2], "status"], capture_output=True, text=True,
                          env={"HOME": "/nonexistent"})
    assert (done.returncode, done.stderr) == (
        2, "error: /nonexistent/.config/letsencrypt-tiny/letsencrypt-tiny.conf: no such file, and "
        f"you are not root: run it as root, whose is {paths.CONFIG_DIR}/letsencrypt-tiny.conf\n")


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["--nonsense", "newOrder"], ["order"], ["newOrder", "--min-day=3"],
    ["newOrder", "--min-days=x"], ["newOrder", "--min-days"], ["--config"], ["newOrder", "-x"],
    ["newOrder", "--force=yes"]])
def test_usage(machine: Machine, arguments: list[str]) -> None:
    refused(machine, *arguments)


@pytest.mark.parametrize("arguments, match", [
    (["account", "--force"], "account has no option --force"),
    (["newOrder", "--json"], "newOrder has no option --json"),
    (["check", "--register"], "check has no option --register"),
    (["check", "x"], "check takes no argument"), (["status", "--force"], "no option --force"),
    (["newOrder", "--force", "--min-days=0"], "exclude each other"),
    (["newOrder", "nowhere"], "there is no section [nowhere]"),
    (["status", "nowhere"], "there is no section [nowhere]"),
    (["revokeCert"], "name the section, or the file, of a certificate"),
    (["revokeCert", "--reason=because", "/x"], "--reason=because: not one of unspecified (0)"),
    (["revokeCert", "--reason=2", "/x"], "--reason=2"), (["revoke-cert", "--reason=", "/x"], "not"),
    (["account", "admin@example.org"], "is not a contact URL"),
    (["account", "mailto:a b"], "is not a contact URL")])
def test_what_makes_no_sense(machine: Machine, arguments: list[str], match: str) -> None:
    assert match in refused(machine, *arguments)


@pytest.mark.parametrize("arguments, match", [
    (["--bogus"], "there is no option --bogus"), (["newOrder", "--bogus=3"], "no option --bogus"),
    (["newOrder", "--forse"], "no option --forse: did you mean “--force”?"),
    (["newOrder", "x", "-x", "y"], "no option -x"), (["newOder"], "did you mean “newOrder”?"),
    (["chek"], "did you mean “check”?"), (["certonly"], "did you mean “add”?"),
    (["certonly", "-d", "a.example"], "did you mean “add”?"),
    (["register"], "did you mean “account --register”?"), (["certs"], "did you mean “status”?"),
    (["frobnicate"], "there is no command “frobnicate” (valid: add, remove, account,"),
    ([], "no command: say"),
    (["newOrder", "exmaple.org"], "section [exmaple.org] in the certificates' configuration: "
                                  "did you mean “example.org”?")])
def test_words_that_are_not_known(machine: Machine, arguments: list[str], match: str) -> None:
    machine.section("example.org", ["example.org"])
    assert match in refused(machine, *arguments)


def test_options_at_any_place(machine: Machine) -> None:
    machine.section("a")
    machine.section("b")
    for arguments in (["status", "a", "b", "--json"], ["--json", "status", "a", "b"],
                      ["status", "a", "--json", "b"], ["status", "--json", "a", "-q", "b"],
                      [f"--config-certs={machine.path}/certs.conf", "status", "a", "--json", "b"]):
        done = machine.run(*arguments)
        assert [row["section"] for row in json.loads(done.stdout)["sections"]] == ["a", "b"], done
    done = machine.run("status", "--", "a")
    assert done.stdout.splitlines()[1].split()[:4] == ["a", "-", "-", "due:"]


def test_aliases(machine: Machine) -> None:
    for command in ("newOrder", "new-order", "new-cert", "neworder", "renew", "issue", "NEW_ORDER"):
        assert machine.run(command).returncode == 0
        assert "section [x]" in refused(machine, command, "x")
    for command in ("revoke-cert", "revokecert", "revoke"):
        assert "name the section, or the file" in refused(machine, command)
    assert machine.run("newOrder", "--min-days", "-1").returncode == 0


def test_configuration_errors(machine: Machine) -> None:
    machine.main["client"]["colour"] = "blue"
    for command in ("account", "newOrder", "status", "check"):
        assert f"{machine.config}, [client]: unknown setting “colour”" in refused(machine, command)
    assert "revokeCert" not in refused(machine, "revokeCert", "/x")
    del machine.main["client"]["colour"]
    machine.section("a", ["a_.b..example"])
    done = machine.run("newOrder")
    assert done.returncode == 1 and done.stderr.count("[a]") == 1
    assert f"error: {machine.path}/certs.conf, [a]: names = a_.b..example: “a_.b" in done.stderr
    done = machine.run("status")
    assert done.returncode == 1 and f"{machine.path}/certs.conf, [a]: names = a_.b" in done.stdout
    argv = machine.argv("newOrder")
    machine.config.unlink()
    done = subprocess.run(argv, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert "cannot read the configuration: No such file" in done.stderr
    assert not started(machine)


@pytest.mark.parametrize("setting, match", [
    ("user", "user = no-such-user: there is no such user"),
    ("group", "group = no-such-group: there is no such group")])
def test_nothing_is_touched_before_the_users_are_found(machine: Machine, setting: str, match: str
                                                       ) -> None:
    machine.section("a")
    for where in ("client", "webserver"):
        machine.main[where][setting] = f"no-such-{setting}"
        assert f"[{where}]: {match}" in refused(machine, "newOrder")
        machine.main[where][setting] = ""
        for directory in ("certs", "state"):
            assert os.listdir(machine.lib / directory) == []


def test_locked(machine: Machine) -> None:
    machine.run("newOrder")
    assert stat.S_IMODE((machine.rundir / "lock").stat().st_mode) == 0o600
    with open(machine.rundir / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["newOrder"], ["account"], ["revokeCert", "/x"]):
            assert f"another run is under way (it holds {machine.rundir}/lock)" in \
                refused(machine, *command, status=75)
        assert machine.run("status").returncode == 0, "who only looks needs no lock"
    assert machine.run("newOrder").returncode == 0


def test_lock_that_cannot_be_taken(machine: Machine) -> None:
    machine.section("a")   # with nothing to do it is no failure
    machine.rundir.mkdir()
    victim = machine.path / "victim"
    victim.write_text("old")
    (machine.rundir / "lock").symlink_to(victim)
    assert "lock: cannot open it: Too many levels" in refused(machine, "newOrder", status=1)
    (machine.rundir / "lock").unlink()
    (machine.rundir / "lock").symlink_to(machine.path / "new")
    refused(machine, "newOrder", status=1)
    assert victim.read_text() == "old" and not (machine.path / "new").exists()
    (machine.rundir / "lock").unlink()
    machine.rundir.chmod(0o777)
    assert "writable by everybody" in refused(machine, "newOrder", status=1)
    machine.main[""]["run-directory"] = f"{machine.path}/no/run"
    assert f"{machine.path}/no: no such directory" in refused(machine, "newOrder", status=1)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors(machine: Machine, closed: str) -> None:
    """No file of ours takes their place, and nothing fails because of them."""
    machine.section("a")
    script = f'exec "$@" {closed}'
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *machine.argv("status")], env={}, cwd="/",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0 and done.stderr == b""
    assert (b"a.example" in done.stdout) is ("1>&-" not in closed)
    done = subprocess.run(["/bin/sh", "-c", script, "sh", *machine.argv("newOrder", "x")], env={},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2 and done.stdout == b""
    assert (machine.rundir / "lock").read_bytes() == b"", "no message went into a file"


def test_nobody_reads(machine: Machine) -> None:
    for number in range(2000):
        machine.section(f"s{number}")
    for arguments, command in ((["status"], "exec 3>&1; { \"$@\"; echo $? >&3; } 2>&1 | true"),
                               (["--help"], "exec 3>&1; { \"$@\"; echo $? >&3; } 2>&1 | true")):
        done = subprocess.run(["/bin/sh", "-c", command, "sh", *machine.argv(*arguments)], env={},
                              capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stdout + done.stderr and "Exception" not in done.stdout
    with open("/dev/full", "w", encoding="ascii") as full:
        done = machine.run("status", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "error: cannot go on: standard output: No space left on device\n"


def test_umask_and_environment(machine: Machine) -> None:
    """A key is 0600, its directory 0755, whatever the umask and the environment."""
    evil = machine.path / "evil"
    evil.mkdir()
    (evil / "openssl.cnf").write_text("openssl_conf = x\n[x]\nengines = y\n[y]\nz = z\n[z]\n"
                                      "dynamic_path = /no/such.so\ninit = 1\n")
    for name in ("json", "argparse", "letsencrypt_tiny", "configobj", "sitecustomize"):
        (evil / f"{name}.py").write_text("raise SystemExit('imported')\n")
    machine.section("a")
    machine.signer.stops_listening()   # the run ends where it needs the signer
    done = machine.run("newOrder", "a", cwd=str(evil), umask=0, env={
        "PYTHONPATH": str(evil), "PYTHONHOME": str(evil), "PYTHONSTARTUP": f"{evil}/json.py",
        "OPENSSL_CONF": f"{evil}/openssl.cnf", "BASH_ENV": f"{evil}/x", "ENV": f"{evil}/x",
        "PATH": str(evil), "IFS": "/", "TMPDIR": str(evil), "HOME": str(evil)})
    assert done.returncode == 1 and "cannot connect to the account key manager" in done.stderr
    made = machine.path / "lib/certs/a"
    assert not os.listdir(made)    # it waits for its certificate
    key, = (machine.path / "lib/state").glob("key-*.pem")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    for path in (made, machine.rundir):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert sorted(os.listdir(machine.rundir)) == ["lock"] and not (machine.path / "www").exists()


class Running:
    """A run in the middle of its work: client and web server wait."""

    def __init__(self, machine: Machine, *shell: str) -> None:
        self.machine = machine
        machine.section("a")
        machine.client.plays(*SLOW)
        machine.webserver.plays(*SLOW)
        self.process = subprocess.Popen([*shell, *machine.argv("newOrder")], env={}, cwd="/",
                                        text=True, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        machine.client.wait_for("started")
        machine.webserver.wait_for("started")
        time.sleep(0.05)   # their signals are ignored by then
        assert machine.challenges() and (machine.path / "www").exists()

    def end(self) -> str:
        """Wait for it; return its messages."""
        _, text = self.process.communicate(timeout=20)
        return text


@pytest.mark.alike(2)
@pytest.mark.parametrize("number", [
    signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGXCPU, signal.SIGUSR1,
    signal.SIGUSR2, signal.SIGPWR])
def test_signal_during_a_run(machine: Machine, number: signal.Signals) -> None:
    running = Running(machine)
    assert machine.run("newOrder").returncode == 75
    running.process.send_signal(number)
    text = running.end()
    assert running.process.returncode == -number, "whoever waits for it sees why"
    assert text.splitlines()[-1].startswith(f"error: stopped by {number.name}; ")
    assert "Traceback" not in text
    machine.clean()


@pytest.mark.parametrize("pause", [0, 0.001, 0.02])
def test_many_signals_during_a_run(machine: Machine, pause: float) -> None:
    """systemd, for one, sends SIGTERM and SIGHUP at once."""
    running = Running(machine)
    if pause == 0:
        running.process.send_signal(signal.SIGSTOP)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCONT,
                   signal.SIGINT, signal.SIGHUP):
        running.process.send_signal(number)
        time.sleep(pause)
    assert running.end().count("stopped by") == 1
    assert -running.process.returncode in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    machine.clean()


def test_signals_that_end_nothing(machine: Machine) -> None:
    """A write that fails tells of them, where it matters."""
    running = Running(machine)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGWINCH, signal.SIGCHLD):
        running.process.send_signal(number)
    time.sleep(0.2)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGTERM)
    assert running.end().count("stopped by SIGTERM") == 1
    machine.clean()


def test_two_interrupts_stop_at_once(machine: Machine) -> None:
    running = Running(machine)
    running.process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    assert "stopped by SIGINT" in running.end()
    machine.clean()


def test_killed(machine: Machine) -> None:
    """Its children end with it; the next run removes what it left."""
    running = Running(machine)
    running.process.kill()
    running.end()
    machine.childless()
    assert machine.challenges()
    machine.certs.clear()
    assert machine.run("newOrder").returncode == 0
    assert machine.challenges() == []


def test_tidy(machine: Machine) -> None:
    """… removes it at once, and nothing of a run that is under way."""
    running = Running(machine)
    done = machine.run("tidy")
    assert done.returncode == 0 and "another run is under way" in done.stderr
    assert machine.challenges() and running.process.poll() is None
    running.process.kill()
    running.end()
    machine.childless()
    assert machine.challenges()
    done = machine.run("--quiet", "tidy")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.challenges() == []
    assert machine.run("tidy", "a").returncode == 2


def test_what_is_inherited_of_signals(machine: Machine) -> None:
    """SIGHUP that is ignored stays so (nohup); a blocked SIGTERM, an ignored SIGCHLD don't."""
    code = ("import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
            "signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
            "os.execv(sys.argv[1], sys.argv[1:])")
    running = Running(machine, "/usr/bin/python3", "-I", "-c", code)
    running.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM" in running.end()
    assert running.process.returncode == -signal.SIGTERM
    machine.clean()


def test_a_notification_that_was_not_delivered(machine: Machine) -> None:
    """The signal comes while the command runs; the next run delivers it."""
    machine.section("a", notify=f"echo $$ >{machine.path}/started; exec sleep 60")
    made = machine.file("a", "")
    made.mkdir()
    key = ca.genkey()
    text = ca.CA(machine.path).issue(ca.request(["a.example"], key))
    for name in ("privkey", "cert", "chain", "fullchain"):
        (made / f"{name}.pem").write_text(key if name == "privkey" else text)
        (made / f"{name}.pem").chmod(0o600)
    state = Journal(f"{machine.lib}/state")
    state.remember("a", state.section("a")._replace(notify=True))
    with machine.popen("newOrder") as process:
        deadline = time.monotonic() + 20
        while not (machine.path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        assert "stopped by SIGTERM" in process.communicate(timeout=20)[1]
    assert state.section("a").notify, "it is still owed"
    for pid in daemon.strays():
        os.waitpid(pid, 0)   # ended by its parent's death
    machine.section("a", notify=f"touch {machine.path}/delivered")
    assert machine.run("newOrder").returncode == 0
    assert (machine.path / "delivered").exists() and not state.section("a").notify


def test_debug_shows_where_an_error_comes_from(machine: Machine) -> None:
    done = machine.run("newOrder", "x", "--debug")
    assert done.returncode == 2 and "Traceback" in done.stderr and "section [x]" in done.stderr
