"""systemd's units and AppArmor's profiles, beside what a real run does.

The kernel that runs the tests need not have AppArmor, and a test can't start units where systemd
doesn't run.  So strace tells what the programs do, and what the units and profiles grant is
computed from their text: files, mappings and system calls.  Where AppArmor is on, the installation
has loaded the profiles, and the other tests of this directory run under them.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from harness import tlsserver, updater
from harness.bind import PRIMARY, Bind
from harness.net import await_socket
from harness.run import ENVIRONMENT, ROOT
from letsencrypt_tiny.common.wire.responder import Ready, format_duty

pytestmark = pytest.mark.root

PROFILES = {"letsencrypt-tiny-accountd": "usr.bin.letsencrypt-tiny-accountd",
            "letsencrypt-tiny-client": "usr.libexec.letsencrypt-tiny.client",
            "letsencrypt-tiny-webserver": "usr.libexec.letsencrypt-tiny.webserver",
            "letsencrypt-tiny-tlsserver": "usr.libexec.letsencrypt-tiny.tlsserver",
            "letsencrypt-tiny-dns": "usr.libexec.letsencrypt-tiny.dns"}
MASTER = "/usr/sbin/letsencrypt-tiny"
SIGNER = "/usr/bin/letsencrypt-tiny-accountd"
CLIENT = "/usr/libexec/letsencrypt-tiny/client"
WEBSERVER = "/usr/libexec/letsencrypt-tiny/webserver"
TLSSERVER = "/usr/libexec/letsencrypt-tiny/tlsserver"
UPDATER = "/usr/libexec/letsencrypt-tiny/dns"
CONFINED = dict(zip((SIGNER, CLIENT, WEBSERVER, TLSSERVER, UPDATER), PROFILES))
UPDATERS = "letsencrypt-tiny-dns"   # the administrator's commands run in it, too
PARSER = ("/usr/sbin/apparmor_parser", "--skip-kernel-load", "--skip-cache",
          # as the kernel that the abi file describes: this one may have no AppArmor
          "--features-file=/etc/apparmor.d/abi/3.0")


def run(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=ENVIRONMENT, check=False, timeout=300)
    assert done.returncode == 0, (argv, done)
    return done.stdout


# --- what strace saw ---

class Call(NamedTuple):
    """A system call that succeeded."""

    programs: tuple[str, ...]   # what the process executes, and what its ancestors did
    name: str
    text: str


def _calls(trace: str) -> Iterator[Call]:
    """Yield the calls, in order; one that was interrupted by another process's line as a whole."""
    parents = {child: line.partition(" ")[0] for line in trace.splitlines()
               for child in re.findall(r"(?:clone3?\(|v?fork\(|<\.\.\. (?:clone3?|v?fork)).*"
                                       r"= (\d+)$", line)}
    program: dict[str, tuple[str, ...]] = {}
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        pid, _, text = line.partition(" ")
        text = text.lstrip()
        if pid not in program:
            program[pid] = program.get(parents.get(pid, ""), ())
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>")
            continue
        if text.startswith("<... "):
            text = begun.pop(pid, "") + text.partition(">")[2]
        found = re.match(r"(\w+)\(.* = (?:0x)?[0-9a-f]", text)
        if found is None:
            continue
        if found.group(1) == "execve":
            program[pid] = (*program[pid], text.split('"')[1])
        yield Call(program[pid], found.group(1), text)


def _strace(*argv: str) -> list[str]:
    return ["/usr/bin/strace", "-f", "-y", "-qq", "-s", "300", "-e", "signal=none", *argv]


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """An account, a certificate, a firewall rule, a notify command."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace", errors="replace") as trace:
        run(*_strace("-o", trace.name, "/usr/bin/python3", "-B", str(ROOT / "tests/demo.py")))
        made = list(_calls(trace.read()))
    for name in (MASTER, SIGNER, CLIENT, WEBSERVER):
        assert any(name in call.programs for call in made), name
    return made


@pytest.fixture(scope="module")
def server_calls() -> Iterator[list[Call]]:
    """What the signer does that listens on a socket, confined as its unit has it."""
    path = Path(tempfile.mkdtemp(prefix="letsencrypt-tiny-units-", dir="/srv"))
    try:
        key, trace, where = path / "account.key", path / "strace", path / "socket"
        run(SIGNER, "--genkey=ec:P-256", f"--privkey=file:{key}")
        with subprocess.Popen(_strace("-o", str(trace), SIGNER, f"--privkey=file:{key}",
                                      "--confine=required", f"--socket={where}"),
                              env=ENVIRONMENT, stdin=subprocess.DEVNULL) as process:
            await_socket(where, process)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(10)
                sock.connect(str(where))
                assert sock.recv(100)
            os.kill(int(trace.read_text().split()[0]), 15)
            assert process.wait(20) == 0
        yield list(_calls(trace.read_text()))
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def tls_calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """What the TLS server does for one challenge, confined."""
    path = tmp_path_factory.mktemp("tls")
    trace, duty = path / "strace", path / "duty"
    duty.write_text(json.dumps(format_duty(tlsserver.DUTY)))
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as sock, ours, theirs, open(duty, "rb") as told:
        fds = told.fileno(), theirs.fileno(), sock.fileno()
        with subprocess.Popen(
                _strace("-o", str(trace), TLSSERVER, "--confine=required", f"--duty={fds[0]}",
                        f"--door={fds[1]}", str(fds[2])),
                pass_fds=fds, env=ENVIRONMENT, stdin=subprocess.DEVNULL) as process:
            tlsserver.Client(ours, 20).present(tlsserver.challenge())
            assert tlsserver.validate(sock.getsockname(), "a.example").protocol
            os.kill(int(trace.read_text().split()[0]), 15)
            assert process.wait(20) == 0
    return list(_calls(trace.read_text()))


class Traced(updater.Updater):
    """The installed updater of DNS records, and what it does."""

    trace = Path()

    def argv(self, task: int, journal: int, secret: int, doors: Sequence[int]) -> list[str]:
        """Return how it is started with these descriptors."""
        arguments = super().argv(task, journal, secret, doors)
        return [*_strace("-o", str(self.trace), UPDATER),
                *arguments[arguments.index("--debug"):]]


@pytest.fixture(scope="module")
def updater_calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """What the updater does for one challenge each: by a command, and by dynamic updates."""
    made: list[Call] = []
    with tempfile.TemporaryDirectory(prefix="bind-", dir="/srv") as directory, \
            Bind(Path(directory, "b"), {"b.example": ""}) as bind:
        for update in ("command", "/bin/true"), ("rfc2136",):
            path = tmp_path_factory.mktemp("dns")
            with Traced(path, identifiers=["b.example"], update=update, server=PRIMARY,
                        secret=bind.key_file.read_text(), nameservers=[PRIMARY], propagation=0,
                        confine="required") as process:
                process.trace = path / "strace"
                door = process.door()
                process.start()
                about = door.present("b.example")
                assert door.hear() == Ready(about)
                door.close()
                assert process.end() == 0, process.said
            made += _calls(process.trace.read_text())
        assert bind.published() == []
    return made


# --- systemd ---

def _unit(name: str) -> str:
    installed = run("dpkg", "-L", "letsencrypt-tiny", "letsencrypt-tiny-accountd").split()
    path, = (path for path in installed if path.endswith(f"/system/{name}"))
    return Path(path).read_text()


def _expand(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    words = [line.split()[0] for line in run("systemd-analyze", "syscall-filter", name)
             .splitlines()[1:] if line.split() and not line.lstrip().startswith("#")]
    return set().union(*map(_expand, words))


def _allowed(unit: str) -> set[str]:
    """The system calls that SystemCallFilter= of the unit leaves; see systemd.exec(5)."""
    allowed = _expand("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)$", _unit(unit), re.M):
        named = set().union(*(_expand(word) for word in line.lstrip("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


@pytest.mark.parametrize("unit, most", [("letsencrypt-tiny.service", 3.0),
                                        ("letsencrypt-tiny-accountd.service", 0.5),
                                        ("letsencrypt-tiny-accountd@.service", 0.5)])
def test_exposure(unit: str, most: float) -> None:
    """systemd's own opinion, from 0 to 10."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / unit
        path.write_text(_unit(unit))
        text = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(path))
    assert float(re.findall(r"exposure level for \S+: ([0-9.]+) ", text)[-1]) <= most


CONFINEMENT = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp",
               "prctl", "prlimit64"}


@pytest.mark.parametrize("unit", ["letsencrypt-tiny.service", "letsencrypt-tiny-accountd.service",
                                  "letsencrypt-tiny-accountd@.service"])
def test_the_unit_lets_processes_confine_themselves(unit: str) -> None:
    """Else they would go on without, in silence: confine = auto."""
    assert not CONFINEMENT - _allowed(unit)


def test_the_renewal_unit_allows_every_system_call_of_a_run(calls: list[Call]) -> None:
    used = {call.name for call in calls if MASTER in call.programs}
    assert {"setresuid", "bind", "execve"} | CONFINEMENT < used
    assert not used - _allowed("letsencrypt-tiny.service")


def test_the_renewal_unit_allows_every_system_call_of_a_tls_server(tls_calls: list[Call]) -> None:
    used = {call.name for call in tls_calls if TLSSERVER in call.programs}
    assert {"memfd_create", "accept4"} | CONFINEMENT - {"landlock_add_rule"} < used
    assert not used - _allowed("letsencrypt-tiny.service")


def test_the_renewal_unit_allows_every_system_call_of_an_updater(
        updater_calls: list[Call]) -> None:
    used = {call.name for call in updater_calls if UPDATER in call.programs}
    assert {"socket", "ftruncate", "memfd_create", "setsid"} | CONFINEMENT < used
    assert not used - _allowed("letsencrypt-tiny.service")


def test_the_signers_unit_allows_every_system_call_of_it(server_calls: list[Call]) -> None:
    used = {call.name for call in server_calls if SIGNER in call.programs}
    assert {"bind", "mlockall", "accept4"} | CONFINEMENT < used
    for unit in "letsencrypt-tiny-accountd.service", "letsencrypt-tiny-accountd@.service":
        assert not used - _allowed(unit)


def test_a_policys_unit_is_the_signers() -> None:
    """But for what it is for; each has a socket that nobody else connects to."""
    def settings(name: str) -> set[str]:
        return {line for line in _unit(name).splitlines() if line and line[0] not in "#["}

    whole, policy = (settings(f"letsencrypt-tiny-accountd{at}.service") for at in ("", "@"))
    assert {line.partition("=")[0] for line in whole ^ policy} == {
        "Description", "Requires", "ExecStart", "Also"}
    start, = (line for line in whole if line.startswith("ExecStart="))
    assert f"{start} --policy=%i" in policy and "LoadCredential=" in " ".join(policy)
    for at, path in ("", "S.accountd"), ("@", "policy/%i"):
        assert {f"ListenStream=/run/letsencrypt-tiny-accountd/{path}", "SocketMode=0600",
                "SocketUser=_letsencrypt-accountd"} < settings(
                    f"letsencrypt-tiny-accountd{at}.socket")


def test_the_renewal_unit_allows_what_the_master_is_for() -> None:
    """Writing certificates, opening port 80, becoming other users, signals of notify commands."""
    unit = _unit("letsencrypt-tiny.service")
    capabilities = " ".join(re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.M)).split()
    for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETUID", "SETGID", "NET_ADMIN",
                 "NET_BIND_SERVICE"):
        assert f"CAP_{name}" in capabilities
    # LOCKED_MEMORY in master/peers/spawn.py: without CAP_SYS_RESOURCE nobody adds to it
    assert re.search(r"^LimitMEMLOCK=8M:256M$", unit, re.M)
    writable = re.findall(r"^ReadWritePaths=(.*)$", unit, re.M)[0].replace("-/", "/").split()
    assert {"/etc", "/srv", "/var", "/run"} <= set(writable)
    families = re.findall(r"^RestrictAddressFamilies=(.*)$", unit, re.M)[0].split()
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"} <= set(families)
    # after a run that was killed; as restricted as ExecStart=, and rules need CAP_NET_ADMIN
    assert re.search(r"^ExecStopPost=-?/usr/sbin/letsencrypt-tiny --quiet tidy$", unit, re.M)
    for setting in ("ProtectProc", "MemoryDenyWriteExecute", "PrivateUsers", "PrivateNetwork"):
        assert not re.search(rf"^{setting}=", unit, re.M)


# --- AppArmor ---

class Rule(NamedTuple):
    """A file rule, with its variables replaced."""

    pattern: "re.Pattern[str]"
    permissions: str
    deny: bool


_RULE = re.compile(r"^\s*(?:audit )?(deny )?(?:owner )?([/@]\S*)\s+([rwaklmixuPUcC]+),", re.M)
_GLOB = re.compile(r"\*\*|\*|\?|\{|\}|,|\[[^]]*\]|.")


def _rules(profile: str) -> list[Rule]:
    """The file rules of an installed profile and of all it includes."""
    text = run(*PARSER, "--preprocess", f"/etc/apparmor.d/{PROFILES[profile]}")
    variables: dict[str, list[str]] = {}
    for name, values in re.findall(r"^@\{(\w+)\}\s*\+?=\s*(.*)$", text, re.M):
        variables.setdefault(name, []).extend(values.replace('"', "").split())
    return [Rule(re.compile(_regex(glob, variables)), permissions, bool(deny))
            for deny, glob, permissions in _RULE.findall(text)]


def _regex(glob: str, variables: dict[str, list[str]]) -> str:
    """apparmor.d(5), "Globbing"; a path component that is * or ** has a character at least."""
    while (found := re.search(r"@\{(\w+)\}", glob)) is not None:
        values = [value.rstrip("/") for value in variables.get(found.group(1), ["<none>"])]
        glob = glob.replace(found.group(0), "{" + ",".join(values) + "}")
    translated, depth = "", 0
    for found in _GLOB.finditer(glob):
        token = found.group()
        depth += {"{": 1, "}": -1}.get(token, 0)
        if token in ("*", "**"):
            alone = glob[:found.start()].endswith("/") and glob[found.end():][:1] in ("", "/")
            translated += ("[^/]" if alone else "") + ("[^/]*" if token == "*" else ".*")
        elif token == "," and depth:
            translated += "|"
        else:
            translated += {"?": "[^/]", "{": "(?:", "}": ")"}.get(
                token, token if token.startswith("[") else re.escape(token))
    return translated + r"\Z"


def _granted(rules: list[Rule], path: str) -> set[str]:
    matching = [rule for rule in rules if rule.pattern.match(path)]
    granted = {letter for rule in matching if not rule.deny for letter in rule.permissions}
    granted -= {letter for rule in matching if rule.deny for letter in rule.permissions}
    return granted if "x" in granted else granted - set("iuUpPcC")   # how, not whether


@pytest.mark.parametrize("name", PROFILES.values())
def test_the_profile_compiles(name: str) -> None:
    run(*PARSER, f"/etc/apparmor.d/{name}")
    local = Path(f"/etc/apparmor.d/local/{name}")
    assert local.is_file() and f"include if exists <local/{name}>" in Path(
        f"/etc/apparmor.d/{name}").read_text()


def test_what_the_updaters_profile_allows() -> None:
    """Programs and what they read and keep; of ours its journal, and no key."""
    rules, state = _rules(UPDATERS), "/var/lib/letsencrypt-tiny"
    assert _granted(rules, f"{state}/state/dns-example.org.records") >= {"r", "w"}
    for path in ("/usr/bin/curl", "/usr/bin/sh", "/usr/local/bin/hook",
                 "/usr/share/doc/letsencrypt-tiny/examples/dns-acme.sh"):
        assert _granted(rules, path) >= {"r", "i", "x"} and "w" not in _granted(rules, path)
    assert "r" in _granted(rules, "/etc/letsencrypt-tiny/tsig.key")
    for path in (f"{state}/accountd/account.key", f"{state}/certs/a/privkey.pem",
                 f"{state}/state/accounts.json", f"{state}/state/key-x.pem",
                 f"{state}/state/issued-x.pem", "/etc/shadow", "/proc/1/mem"):
        assert not _granted(rules, path), path


def _accesses(calls: list[Call], program: str) -> Iterator[tuple[str, str]]:
    """Each path that the program opened or mapped for execution, and the permission for it."""
    for call in calls:
        if not call.programs or call.programs[-1] != program:
            continue
        if call.name in ("open", "openat") and "O_PATH" not in call.text:
            path = re.search(r"= \d+<(/[^>]*)>$", call.text)
            if path:
                name = path.group(1) + ("/" if "O_DIRECTORY" in call.text else "")
                if "O_RDWR" in call.text or "O_RDONLY" in call.text:
                    yield name, "r"
                if re.search("O_RDWR|O_WRONLY|O_CREAT", call.text):
                    yield name, "w"
        elif call.name == "mmap" and "PROT_EXEC" in call.text:
            path = re.search(r", \d+<(/[^>]*)>, ", call.text)
            if path:
                yield path.group(1), "m"


def test_what_the_signers_profile_allows_of_credentials() -> None:
    """Root owns them; those of its units, and of no other."""
    rules = _rules("letsencrypt-tiny-accountd")
    for unit in "letsencrypt-tiny-accountd", "letsencrypt-tiny-accountd@web1":
        assert _granted(rules, f"/run/credentials/{unit}.service/account.key.next") >= {"r"}
    text = Path(f"/etc/apparmor.d/{PROFILES['letsencrypt-tiny-accountd']}").read_text()
    assert re.findall(r"^ *@\{run\}/credentials/.*$", text, re.M) == [
        "  @{run}/credentials/letsencrypt-tiny-accountd{,@*}.service/* r,"]


@pytest.mark.parametrize("program", CONFINED)
def test_the_profile_allows_every_file_of_a_run(program: str, calls: list[Call],
                                                server_calls: list[Call],
                                                tls_calls: list[Call],
                                                updater_calls: list[Call]) -> None:
    rules = _rules(CONFINED[program])
    # What has no path AppArmor doesn't judge
    seen = [*calls, *server_calls, *tls_calls, *updater_calls]
    wanted = {(path, letter) for path, letter in _accesses(seen, program)
              if not path.startswith("/memfd:")}
    assert len(wanted) > 50, wanted
    assert not sorted((path, letter) for path, letter in wanted
                      if letter not in _granted(rules, path))


def test_what_the_profiles_do_not_allow() -> None:
    """The least of it: keys for those that hold none, foreign files, programs."""
    run_directory = "/run/letsencrypt-tiny/challenges-0123456789abcdef"
    state = "/var/lib/letsencrypt-tiny"
    for profile in PROFILES:
        rules = _rules(profile)
        for path in ("/etc/shadow", "/root/secret", "/home/a/b", "/proc/1/mem", "/proc/1/environ"):
            owner = profile == "letsencrypt-tiny-accountd"   # whose “owner” rules are wider
            assert owner and not path.startswith("/proc") or not _granted(rules, path) or (
                profile == UPDATERS and path.startswith("/home")), path
        assert "w" not in _granted(rules, "/usr/share/letsencrypt-tiny/letsencrypt_tiny/x.py")
        assert profile == UPDATERS or not _granted(rules, "/usr/bin/sh")
        if profile == "letsencrypt-tiny-accountd":
            continue
        for path in (f"{state}/accountd/account.key", f"{state}/certs/a/privkey.pem",
                     f"{state}/state/key-a.pem", f"{state}/state/issued-a.pem"):
            assert not _granted(rules, path), path
        for path in ("/usr/bin/gpg", "/usr/bin/openssl", "/usr/bin/python3.11",
                     f"{run_directory}/x"):
            assert profile == UPDATERS and path.startswith("/usr") or not {
                "x", "i", "u", "U", "P"} & _granted(rules, path), path
        assert ("r" in _granted(rules, f"{run_directory}/token")) == (
            profile not in ("letsencrypt-tiny-tlsserver", UPDATERS))
        assert ("w" in _granted(rules, f"{run_directory}/token")) == profile.endswith("client")
        assert not _granted(rules, f"{run_directory}/")


def test_a_loaded_profile_is_the_child_s() -> None:
    """The kernel attaches it by the script's path, though an interpreter runs."""
    if subprocess.run(["/usr/bin/aa-enabled", "--quiet"], check=False).returncode != 0:
        pytest.skip("this kernel has no AppArmor: the profiles were compiled, not enforced")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        os.set_inheritable(listener.fileno(), True)
        process = subprocess.Popen([WEBSERVER, str(listener.fileno())], env=ENVIRONMENT, cwd="/",
                                   pass_fds=[listener.fileno()])
        try:
            with socket.create_connection(listener.getsockname(), 10) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert sock.recv(100).startswith(b"HTTP/1.1 404")
            label = Path(f"/proc/{process.pid}/attr/current").read_text().strip()
            assert label == "letsencrypt-tiny-webserver (enforce)"
        finally:
            process.kill()
            process.wait()
