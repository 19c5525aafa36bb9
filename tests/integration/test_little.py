"""Where less is allowed than usual: memory, seccomp(2), Landlock.  One line, never a traceback."""

import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import accountd, ca, client as harness_client, soak, tlsserver
from harness.client import Master
from harness.hostile import Hostile
from harness.run import ENVIRONMENT, SIGNER_USER, Prefix, Site, Users
from letsencrypt_tiny.common import shortage
from letsencrypt_tiny.common.sandbox import seccomp
from letsencrypt_tiny.common.wire import order
from letsencrypt_tiny.common.wire.order import (Access, AccountObject, AccountUpdate, ClientConfig,
                                                Failed)
from letsencrypt_tiny.common.wire.responder import Ready, format_duty

Run = Callable[[list[str]], "subprocess.CompletedProcess[bytes]"]


def run(argv: list[str], data: bytes = b"", descriptors: tuple[int, ...] = (),
        timeout: float = 60) -> "subprocess.CompletedProcess[bytes]":
    """Run a program; one that still serves after ``timeout`` s has not failed."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, pass_fds=descriptors, env=ENVIRONMENT) as process:
        try:
            out, err = process.communicate(data, timeout)
            status = process.returncode
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate()
            status = 0
    return subprocess.CompletedProcess(argv, status, out, err)


# --- memory --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def programs(prefix: Prefix, hostile_ca: ca.CA) -> Iterator[dict[str, Run]]:
    """Each program at its work, behind a command that limits it."""
    site = Site(prefix)
    with Hostile(authority=hostile_ca) as server:
        site.use(server)
        site.genkey()
        site.certificate("a", ["a.example"])
        assert site.register().returncode == 0

        def client(limit: list[str]) -> "subprocess.CompletedProcess[bytes]":
            reading, writing = os.pipe()
            os.write(writing, order.format_config(ClientConfig(
                Access(server.directory, ca_file=str(server.ca_file)))))
            os.close(writing)
            try:
                return run([*limit, str(prefix.client), str(reading)],
                           order.format_request(AccountUpdate()), (reading,))
            finally:
                os.close(reading)

        def webserver(limit: list[str]) -> "subprocess.CompletedProcess[bytes]":
            with socket.create_server(("127.0.0.1", 0)) as sock:
                return run([*limit, str(prefix.webserver), str(sock.fileno())], b"",
                           (sock.fileno(),), 1.0)

        made: dict[str, Run] = {
            "client": client, "webserver": webserver,
            "signer": lambda limit: run([*limit, *site.signer("--stdio")], b"NOSIGN\r\n")}
        for command in ("status", "check", "newOrder"):
            arguments = [command, "--force"][:1 + (command == "newOrder")]
            made[command] = lambda limit, arguments=arguments: run(   # type: ignore[misc]
                [*limit, *site.command(*arguments)])
        yield made
    site.remove()


def told(program: str, done: "subprocess.CompletedProcess[bytes]") -> list[str]:
    """Return what a program said: the client, once it has read its requests, by its answers."""
    lines = done.stderr.decode().splitlines()
    if program == "client" and done.returncode and not lines:
        answers = map(json.loads, done.stdout.splitlines())
        lines = list({f"error: {answer['message']}" for answer in answers})
    return lines


@pytest.mark.alike(3)
@pytest.mark.parametrize("megabytes", [24, 30, 60, 64])
@pytest.mark.parametrize("limit", ["as", "data"])
@pytest.mark.parametrize("program", ["client", "webserver", "signer", "status", "check",
                                     "newOrder"])
def test_little_memory(program: str, limit: str, megabytes: int,
                       programs: dict[str, Run]) -> None:
    done = programs[program](["prlimit", f"--{limit}={megabytes << 20}"])
    lines = told(program, done)
    assert not [line for line in lines if "Traceback" in line or "Exception" in line], lines
    if done.returncode != 0:
        assert [line for line in lines if f"error: {shortage.MESSAGE}" in line], lines
        # the master's children have their own line, and then it has its own
        assert len(lines) == 1 or program in ("check", "newOrder") and len(lines) <= 3
    else:
        assert b'"Failed"' not in done.stdout or shortage.MESSAGE.encode() in done.stdout \
            or b"no account key manager" in done.stdout


def test_there_is_too_little_somewhere(programs: dict[str, Run]) -> None:
    """Else the test above shows nothing."""
    for program in ("client", "signer", "newOrder"):
        done = programs[program](["prlimit", f"--as={24 << 20}"])
        assert done.returncode == 1 and told(program, done)


def test_a_policy_is_read_in_pieces(programs: dict[str, Run]) -> None:
    """What may be 64 MB needs no 64 MB."""
    assert programs["newOrder"](["prlimit", f"--data={30 << 20}"]).returncode == 0


def test_what_is_a_shortage() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise ImportError("x")
    except ImportError as exc:
        assert shortage.is_shortage(exc)
    for short in (OSError(12, "x"), OSError("Cannot load native module: failed to map segment"),
                  RuntimeError("can't start new thread"),
                  ImportError("libssl.so.3: failed to map segment from shared object")):
        assert shortage.is_shortage(short)
    for other in (None, OSError(13, "x"), ImportError("No module named x"), KeyError("x"),
                  RuntimeError("x")):
        assert not shortage.is_shortage(other)


# --- what another filter has taken away ----------------------------------------------------------

# A container's filter, say: these calls are refused
OUTER = """
import errno, os, sys
sys.path.append("/usr/lib/python3/dist-packages")
import seccomp
outer = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
for name in sys.argv[1].split(","):
    outer.add_rule(seccomp.ERRNO(getattr(errno, sys.argv[2])), name)
outer.load()
os.execv(sys.argv[3], sys.argv[3:])
"""
REFUSED = [(call, error) for call in ("seccomp", "landlock_create_ruleset",
                                      "landlock_restrict_self", "landlock_add_rule")
           for error in ("EPERM", "ENOSYS", "EINVAL")]


def without(call: str, error: str) -> list[str]:
    return ["/usr/bin/python3", "-IS", "-c", OUTER, call, error]


def missing(call: str) -> str:
    return "seccomp (the kernel, or what this runs in, refuses seccomp(2))" \
        if call == "seccomp" else "landlock"


@pytest.fixture(autouse=True)
def _needs_seccomp() -> None:
    try:
        seccomp._load_module()
    except ImportError:
        pytest.skip("python3-seccomp is not installed")


@pytest.mark.alike(2)
@pytest.mark.parametrize("call, error", REFUSED)
def test_the_signer_without(call: str, error: str, good: Site) -> None:
    argv = [*without(call, error), *good.signer("--stdio", "--confine=auto", "--debug")]
    done = run(argv)
    assert done.returncode == 0 and done.stdout.startswith(b"1 OK "), done.stderr
    told = [line for line in done.stderr.decode().splitlines() if f"no {missing(call)}" in line]
    if call != "landlock_add_rule":    # it has no rule
        assert len(told) == 1 and told[0].startswith("confined: ")
        done = run([*argv[:-2], "--confine=required"])
        assert done.returncode == 1 and done.stdout == b""
        line, = done.stderr.decode().splitlines()
        assert line.startswith("error: accountd: confine = required, but there is no "
                               + missing(call))


@pytest.mark.parametrize("call, error", REFUSED)
def test_the_webserver_without(call: str, error: str, prefix: Prefix, tmp_path: Path) -> None:
    def start(*options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([*without(call, error), str(prefix.webserver), *options,
                                 str(sock.fileno())], pass_fds=[sock.fileno()], cwd=tmp_path,
                                stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)

    with socket.create_server(("127.0.0.1", 0)) as sock:
        with start("--debug", "--confine=auto") as process:
            connection = http.client.HTTPConnection(*sock.getsockname(), timeout=10)
            connection.request("GET", "/.well-known/acme-challenge/x")
            assert connection.getresponse().status == 404
            connection.close()
            process.terminate()
            assert process.stderr is not None
            told = [line for line in process.stderr.read().splitlines()
                    if f"no {missing(call)}" in line]
            assert len(told) == 1 and process.wait() == 0
        done = run([*without(call, error), str(prefix.webserver), "--confine=required",
                    str(sock.fileno())], b"", (sock.fileno(),), 5)
        assert done.returncode == 1
        line, = done.stderr.decode().splitlines()
        assert line.startswith("error: webserver: confine = required, but there is no "
                               + missing(call))


@pytest.mark.alike(2)
@pytest.mark.parametrize("call, error", REFUSED)
def test_the_tlsserver_without(call: str, error: str, prefix: Prefix, tmp_path: Path) -> None:
    (tmp_path / "duty").write_text(json.dumps(format_duty(tlsserver.DUTY)))
    ours, theirs = socket.socketpair()
    client = tlsserver.Client(ours)
    with socket.create_server(("127.0.0.1", 0)) as sock, ours, theirs:
        for mode in "auto", "required":
            with open(tmp_path / "duty", "rb") as duty:
                fds = [duty.fileno(), theirs.fileno(), sock.fileno()]
                argv = [*without(call, error), str(prefix.tlsserver), "--debug",
                        f"--confine={mode}", f"--duty={fds[0]}", f"--door={fds[1]}", str(fds[2])]
                with subprocess.Popen(argv, pass_fds=fds, stderr=subprocess.PIPE, text=True,
                                      env=ENVIRONMENT) as process:
                    assert process.stderr is not None
                    if mode == "auto":
                        assert isinstance(client.present(tlsserver.challenge()), Ready)
                        assert tlsserver.validate(sock.getsockname(), "a.example").protocol
                        process.terminate()
                    told = [line for line in process.stderr.read().splitlines()
                            if f"no {missing(call)}" in line]
                    if call == "landlock_add_rule":   # it has no rule
                        process.terminate()
                        break
                    assert len(told) == 1 and process.wait() == (mode == "required")
    assert mode == "auto" or told[0].startswith("error: tlsserver: confine = required, ")


@pytest.mark.parametrize("call, error", soak.some(REFUSED, 2))
def test_the_client_without(call: str, error: str, hostile: Hostile, users: Users,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness_client, "PROGRAM",
                        [*without(call, error), *harness_client.PROGRAM])
    with Master.made() as master:
        master.use(hostile)
        done = master.register()
        assert done.only(AccountObject).url
        assert done.stderr.count(f"no {missing(call)}") == 1
        master.config["confine"] = "required"
        refused = master.run(AccountUpdate())
        assert refused.only(Failed).message.startswith(
            f"client: confine = required, but there is no {missing(call)}")
        assert "Traceback" not in refused.stderr


@pytest.mark.alike(2)
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
@pytest.mark.parametrize("command", ["newOrder", "check", "status"])
def test_no_process_can_be_started(command: str, error: str, good: Site, server: Hostile) -> None:
    """One line that says so, and no order; then all is as it was."""
    before = good.file("a").read_bytes()
    arguments = [command, "--force"][:1 + (command == "newOrder")]
    done = run([*without("clone3,clone,fork,vfork", error), *good.command(*arguments)])
    lines = done.stderr.decode().splitlines()
    assert "Traceback" not in done.stderr.decode() and done.returncode == (command != "status")
    told = [line for line in lines if line.startswith("error: ")]
    assert len(lines) == len(told) + lines.count("a: forced") and "Exception" not in str(lines)
    assert len(told) == 1 or command != "newOrder", lines
    assert not server.asked("newOrder") and good.file("a").read_bytes() == before
    assert good.run(*arguments).returncode == 0


@pytest.mark.parametrize("mode", ["auto", "no"])
def test_limits_that_cannot_be_set(mode: str, prefix: Prefix) -> None:
    """They are no part of what may be missing."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        done = run([*without("prlimit64,setrlimit", "EPERM"), str(prefix.webserver),
                    f"--confine={mode}", str(sock.fileno())], b"", (sock.fileno(),), 5)
    assert (done.returncode, done.stderr) == (1, b"error: webserver: limits can't be set (EPERM)\n")


# --- no process, no thread -----------------------------------------------------------------------

SECTIONS = "abcd"


@pytest.mark.alike(3)
@pytest.mark.parametrize("call, works", [
    ("clone3", True), ("vfork", True), ("clone", False), ("clone,clone3,vfork,fork", False)])
@pytest.mark.parametrize("command", ["newOrder", "check", "account"])
def test_no_more_processes_or_threads(command: str, call: str, works: bool, good: Site) -> None:
    """As RLIMIT_NPROC or pids.max has it: without threads (clone3) it takes longer, without
    processes it is told what could not be run."""
    for section in SECTIONS:
        good.certificate(section, [f"{section}.example"])
    arguments = [command, "--force"][:1 + (command == "newOrder")]
    done = run([*without(call, "EAGAIN"), *good.command("--quiet", *arguments)])
    lines = done.stderr.decode().splitlines()
    assert (done.returncode == 0) is works, lines
    assert (lines == []) is works and len(set(lines)) == len(lines)
    assert not [line for line in lines if not line.startswith("error: ")
                or line.count("Resource temporarily unavailable") != 1], lines
    if command == "newOrder" and not works:
        assert [line.split()[1] for line in lines] == [f"{section}:" for section in SECTIONS]


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_a_signer_without_threads(options: list[str], good: Site) -> None:
    """On a socket it has none, and signs by itself where no process can do it beside it."""
    directory = good.path / "signer-run"
    directory.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(directory, SIGNER_USER)
    good.genkey("rsa:2048")
    argv = good.signer(f"--socket={directory}/S", *options)
    header = accountd.request(kid="https://ca.example/1")
    with subprocess.Popen([*without("clone3,clone", "EAGAIN"), *argv], stderr=subprocess.PIPE,
                          text=True, env=ENVIRONMENT) as process:
        said = ""
        try:
            assert process.stderr is not None
            while "listening" not in said:
                said += process.stderr.readline()
                assert process.poll() is None
            for _ in range(3):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(f"{directory}/S")
                    with accountd.Client(sock) as client:
                        client.sign(accountd.signing_input(header))
        finally:
            process.terminate()
        said += process.stderr.read()
    assert process.returncode == 0 and said.count("SIGNED") == 3 and "error" not in said
    assert said.count("warning: no process can be started to sign beside this one: "
                      "Resource temporarily unavailable") == (len(os.sched_getaffinity(0)) > 1)
