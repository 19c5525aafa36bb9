"""What each of the four processes is, has and may, as /proc has it while a validation runs."""

import http.client
import json
import os
import pwd
import re
import subprocess
import textwrap
import time
from pathlib import Path
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from harness import ca, memory, proc
from harness.hostile import Default, Hostile, Request, Response
from harness.run import ENVIRONMENT, USERS, Prefix, Site, as_user
from harness.verdict import tidy

from letsencrypt_tiny.common import ways

MASTER, SIGNER, CLIENT, WEBSERVER = ("letsencrypt-tiny", "letsencrypt-tiny-accountd", "client",
                                     "webserver")
USER = dict(zip((SIGNER, CLIENT, WEBSERVER), USERS))
MODES = ("auto", "required", "no")
CAP_SYS_RESOURCE = 24   # capabilities(7)
GROUPS = (0, 6, 42)     # root, disk, shadow: supplementary ones that a login may have given root

# Of the one who starts the master: the first three are for children, the rest is for nobody.
OURS = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1", "TERM": "vt100"}
THEIRS = {"PYTHONPATH": "/nonexistent", "PYTHONINSPECT": "1", "LD_LIBRARY_PATH": "/nonexistent",
          "OPENSSL_CONF": "/nonexistent", "HTTP_PROXY": "http://127.0.0.1:9", "PASSWORD": "x",
          "BASH_ENV": "/nonexistent", "XDG_RUNTIME_DIR": "/nonexistent"}

# Run by each user against every process; nothing but the standard library, and ctypes.
OUTSIDER = """
    import ctypes, errno, json, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    def attempt(action):
        try:
            action()
        except OSError as exc:
            return errno.errorcode[exc.errno]
        return "did"
    def call(function, *arguments):
        if function(*arguments) < 0:
            raise OSError(ctypes.get_errno(), "")
    def peek(pid):
        data = ctypes.create_string_buffer(8)
        entry = (ctypes.c_void_p * 2)(ctypes.addressof(data), 8)
        call(libc.process_vm_readv, pid, entry, 1, entry, 1, 0)
    print(json.dumps({pid: {
        **{name: attempt(lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
           for name in ("mem", "environ", "maps")},
        "fd": attempt(lambda: os.listdir(f"/proc/{pid}/fd")),
        "cwd": attempt(lambda: os.readlink(f"/proc/{pid}/cwd")),
        "ptrace": attempt(lambda: call(libc.ptrace, 0x4206, int(pid), 0, 0)),   # PTRACE_SEIZE
        "process_vm_readv": attempt(lambda: peek(int(pid)))} for pid in sys.argv[1:]}))
"""


class Seen(NamedTuple):
    """A process at its settled moment."""

    process: proc.Process
    threads: list[dict[str, str]]    # /proc/PID/task/*/status
    session: int
    terminal: int
    sockets: dict[int, str]          # descriptor -> "listen PORT", "tcp PORT", "unix"
    secrets: frozenset[str]          # names of those found in its memory
    namespace: str                   # its network's


class Moment(NamedTuple):
    """All of them, and what others may do to them."""

    of: dict[str, Seen]
    others: dict[str, Any]           # user -> pid -> attempt -> result


def _status(pid: int, task: str) -> dict[str, str]:
    text = Path(f"/proc/{pid}/task/{task}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _sockets(process: proc.Process) -> dict[int, str]:
    kinds = {}
    # Ours, and the master's: inherited sockets don't follow a process to another namespace
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        local, remote = (int(words[i].split(":")[1], 16) for i in (1, 2))
        kinds[f"socket:[{words[9]}]"] = f"listen {local}" if words[3] == "0A" else f"tcp {remote}"
    for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]:
        kinds[f"socket:[{line.split()[6]}]"] = "unix"
    return {fd: kinds.get(target, "unknown") for fd, target in process.fds.items()
            if target.startswith("socket:")}


def _look(pid: int, secrets: dict[str, list[bytes]]) -> Seen:
    process = proc.read(pid)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    found = b"\0".join(memory.read(pid))
    return Seen(process, [_status(pid, task) for task in os.listdir(f"/proc/{pid}/task")],
                int(stat[3]), int(stat[4]), _sockets(process),
                frozenset(name for name, forms in secrets.items()
                          if any(form in found for form in forms)),
                os.readlink(f"/proc/{pid}/ns/net"))


def _validate(server: Hostile, challenge: dict[str, str]) -> None:
    """Ask the web server as the CA would; when it answers it is settled."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    connection.request("GET", f"/.well-known/acme-challenge/{challenge['token']}")
    body = connection.getresponse().read()
    connection.close()
    assert body.startswith(challenge["token"].encode() + b".")


def _wait_until_idle(state: Path) -> None:
    """Wait until the master has written down the order's URL, which it does meanwhile."""
    deadline = time.monotonic() + 10
    while not any("order/" in path.read_text() for path in state.glob("cert-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)   # the directory is synced


@pytest.fixture(scope="module", params=MODES)
def moment(request: Any, prefix: Prefix, hostile_ca: ca.CA) -> Iterator[Moment]:
    """The second run of a section, which has its key already, in the middle of its validation."""
    mode = request.param
    site = Site(prefix)
    with Hostile(authority=hostile_ca) as server:
        site.use(server)
        for section in "client", "webserver", "accountd":
            site.main[section]["confine"] = mode
        site.genkey()
        site.certificate("a", ["a.example"])
        assert site.register().returncode == 0 and site.run("newOrder").returncode == 0
        secrets = {"account": memory.forms(site.account_key.read_text()),
                   "server": memory.forms(site.file("a", "privkey.pem").read_text())}
        found: list[Moment] = []

        def challenge(_request: Request, default: Default) -> Response:
            response = default()
            _validate(server, response.object())
            _wait_until_idle(site.lib / "state")
            seen = {}
            for pid in proc.descendants(os.getpid()):
                try:
                    program = proc.read(pid).program
                except ProcessLookupError:   # of an earlier test, and not collected yet
                    continue
                if program in (MASTER, *USER):
                    seen[program] = _look(pid, secrets)
            pids = [str(one.process.pid) for one in seen.values()]
            argv = ["/usr/bin/python3", "-IS", "-c", textwrap.dedent(OUTSIDER), *pids]
            found.append(Moment(seen, {user: json.loads(subprocess.run(
                as_user(user, argv), stdout=subprocess.PIPE, check=True).stdout)
                for user in (*USERS, "nobody")}))
            return response
        server.on["challenge"] = challenge
        groups = os.getgroups()
        os.setgroups(GROUPS)   # the master's, then
        try:
            done = site.run("newOrder", "--force", env={**OURS, **THEIRS})
        finally:
            os.setgroups(groups)
        assert done.returncode == 0, done.stderr
    tidy(site)
    assert len(found) == 1 and set(found[0].of) == {MASTER, *USER}
    yield found[0]
    site.remove()


def confined(moment: Moment) -> bool:
    """Tell whether the processes were to be confined."""
    return "--confine=no" not in moment.of[WEBSERVER].process.argv


@pytest.mark.parametrize("program", USER)
def test_identity(program: str, moment: Moment) -> None:
    """The child's own user and group four times over, no other group, no capability."""
    seen = moment.of[program]
    user = pwd.getpwnam(USER[program])
    for status in seen.threads:
        assert status["Uid"].split() == [str(user.pw_uid)] * 4
        assert status["Gid"].split() == [str(user.pw_gid)] * 4
        assert status["Groups"].split() == [str(user.pw_gid)]   # none of the master's
        for field in "CapInh", "CapPrm", "CapEff", "CapAmb":
            assert int(status[field], 16) == 0, field
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == ("2" if confined(moment) else "0")
    assert seen.process.owner == 0   # not dumpable: /proc/PID belongs to root
    assert seen.process.umask == 0o022
    assert seen.process.limits["Max core file size"] == "0"
    assert seen.process.ppid == moment.of[MASTER].process.pid


def test_identity_of_the_master(moment: Moment) -> None:
    master = moment.of[MASTER].process
    assert set(master.uids) | set(master.gids) == {0}
    assert master.groups == GROUPS   # or nothing is proved of the others
    assert master.umask == 0o022 and master.threads == 1


def test_environment(moment: Moment) -> None:
    """Exactly the list, whatever the master was started with."""
    for program, name in USER.items():
        user = pwd.getpwnam(name)
        expected = {"PATH": "/usr/bin:/bin", "USER": name, "LOGNAME": name, "HOME": user.pw_dir,
                    "SHELL": user.pw_shell, "LANG": "C.UTF-8"}
        for variable in {CLIENT: ("https_proxy", "no_proxy"), SIGNER: ("TERM",)}.get(program, ()):
            expected[variable] = OURS[variable]
        assert dict(moment.of[program].process.environ) == expected, program
    assert set(moment.of[MASTER].process.environ) == {*ENVIRONMENT, *OURS, *THEIRS}


def test_the_signers_memory_is_locked(moment: Moment) -> None:
    """If the master may raise the limit; otherwise that is too low for a whole process."""
    if not proc.read(os.getpid()).capabilities >> CAP_SYS_RESOURCE & 1:
        pytest.skip("not even root may raise RLIMIT_MEMLOCK here")
    assert moment.of[SIGNER].process.limits["Max locked memory"] == str(256 << 20)
    assert int(moment.of[SIGNER].threads[0]["VmLck"].split()[0]) > 1000   # kB


def test_descriptors_of_the_signer(moment: Moment) -> None:
    seen = moment.of[SIGNER]
    fds = seen.process.fds
    assert set(fds) == {0, 1, 2}
    assert fds[0] == fds[1] and seen.sockets == {0: "unix", 1: "unix"}
    assert fds[2].startswith("pipe:")


def test_descriptors_of_the_client(moment: Moment) -> None:
    """What it read, 0, is closed; a connection to the ACME server may have its number.  On 3, where
    its configuration came from, the master says what is written down."""
    seen = moment.of[CLIENT]
    fds = seen.process.fds
    assert fds[1].startswith("pipe:") and fds[2].startswith("pipe:") and fds[1] != fds[2]
    assert seen.sockets.pop(4) == "unix"
    assert set(fds) == {1, 2, 3, 4, *seen.sockets} and fds[3].startswith("pipe:")
    assert len(set(seen.sockets.values())) == 1   # the one connection is to …
    assert moment.of[WEBSERVER].sockets[3].split()[1] not in seen.sockets.values()


def test_descriptors_of_the_webserver(moment: Moment) -> None:
    seen = moment.of[WEBSERVER]
    fds = dict(seen.process.fds)
    assert fds.pop(0) == "/dev/null"
    visits, messages = fds.pop(1), fds.pop(2)
    assert visits.startswith("pipe:") and messages.startswith("pipe:") and visits != messages
    assert [fd for fd in seen.sockets if seen.sockets[fd].startswith("listen")] == [3]
    assert [target for fd, target in fds.items() if fd not in seen.sockets] == [
        "anon_inode:[eventpoll]"]
    assert len(seen.sockets) <= 2   # the validation's own may not be closed yet


def test_descriptors_of_the_master(moment: Moment) -> None:
    """Pipes from its children, the lock, and places of few directories that it has walked to
    (common/ways.py): no key, no other file, and not one socket."""
    fds = moment.of[MASTER].process.fds
    assert moment.of[MASTER].sockets == {}
    rest = [target for fd, target in fds.items() if fd > 2 and not target.startswith("pipe:")]
    lock, = (target for target in rest if not os.path.isdir(target))
    assert lock.endswith("/lock")
    assert len(rest) <= 1 + ways.MOST


def test_working_directory(moment: Moment) -> None:
    """Of client and web server the challenge directory, of the signer none in particular."""
    client = moment.of[CLIENT].process.cwd
    assert re.search(r"/run/challenges-[0-9a-f]{16}$", client)
    assert moment.of[WEBSERVER].process.cwd == client
    assert moment.of[SIGNER].process.cwd == "/"


def test_session(moment: Moment) -> None:
    """Each has a session of its own: none has the terminal of whoever started the master.

    The signer gives it up when it has asked for the passphrase.
    """
    for program in CLIENT, WEBSERVER, SIGNER:
        seen = moment.of[program]
        assert seen.session == seen.process.pid and seen.terminal == 0


def test_network(moment: Moment) -> None:
    """Signer and web server have none, but for the sockets they were given."""
    ours = os.readlink("/proc/self/ns/net")
    namespaces = {program: moment.of[program].namespace for program in moment.of}
    assert namespaces[MASTER] == namespaces[CLIENT] == ours
    without = {namespaces[SIGNER], namespaces[WEBSERVER]}
    assert without == {ours} if not confined(moment) else len(without - {ours}) == 2


def test_keys_are_where_they_belong(moment: Moment) -> None:
    """The account's in the signer alone; the server's in no child (openssl had it, and root may).
    """
    assert {program: moment.of[program].secrets for program in USER} == {
        SIGNER: frozenset({"account"}), CLIENT: frozenset(), WEBSERVER: frozenset()}
    assert "account" not in moment.of[MASTER].secrets


@pytest.mark.parametrize("user", (*USERS, "nobody"))
def test_nobody_looks_into_them(user: str, moment: Moment) -> None:
    """Neither another user nor, once it is settled, the process's own (D 45)."""
    for pid, attempts in moment.others[user].items():
        assert len(attempts) == 7
        assert set(attempts.values()) <= {"EACCES", "EPERM"}, (pid, attempts)


# --- the master's network ------------------------------------------------------------------------

def test_the_master_connects_to_nobody(site: Site, hostile: Hostile, tmp_path: Path) -> None:
    """It listens, for the web server; what it sends goes to nobody on a network."""
    site.use(hostile)
    site.genkey()
    site.certificate("a", ["a.example"])
    assert site.register().returncode == 0
    trace = tmp_path / "trace"   # of the master alone
    done = subprocess.run(
        ["/usr/bin/strace", "-qq", "-o", trace, "-e", "signal=none", "-e",
         "trace=bind,connect,sendto,sendmsg,sendmmsg", "--", *site.command("newOrder")],
        stdin=subprocess.DEVNULL, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    network = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    assert len(network) == 1 and re.match(r"bind\(.*sin_port=htons\(%d\)" % hostile.http_port,
                                          network[0]), network
