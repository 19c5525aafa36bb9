"""Each child, compromised: what it can reach, what it can make the master do (SECURITY.md, B, C).

``harness/redteam.py`` stands in for the program; the real master starts it.
"""

import http.client
import json
import os
import pwd
import shlex
import signal
import socket
import threading
import time
from pathlib import Path
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness import ca, infiltrate, misbehaviour, proc, soak, words
from harness.actor import Word
from harness.hostile import Default, Request, Response
from harness.infiltrate import SECTION, USER, Field, play
from harness.net import Listener
from harness.run import Prefix, as_user, run
from harness.verdict import errors, only_error, snapshot, tidy
from harness.words import Spoken
from letsencrypt_tiny.common.wire import order
from letsencrypt_tiny.common.wire.order import Failed, Log, Progress

TEMPORARY = {"create in /tmp", "create in /var/tmp", "create in /dev/shm"}
NETWORK = {"connect elsewhere", "connect fast", "send a datagram", "connect to an abstract socket",
           "listen", "bind", "bind UDP"}
PUBLIC = {"read a public file", "look at a public file"}

# All that is granted.  Confined by the kernel: what its work needs, and no more …
CONFINED: dict[str, set[str]] = {
    "client": {"create a file"}, "webserver": set(), "signer": set(), "tlsserver": set(),
    "dns": set()}

# … and where the kernel can't: what any user may, but to become or to look into another.
UNCONFINED: dict[str, set[str]] = {
    "client": TEMPORARY | NETWORK | PUBLIC | {
        "create a file", "create a symlink", "create a FIFO", "create a directory",
        "create a socket", "create a setuid file", "link within", "rename within",
        "list the directory", "chmod the directory", "fork"},
    "webserver": TEMPORARY | NETWORK | PUBLIC,    # RLIMIT_NPROC: no fork
    "tlsserver": TEMPORARY | NETWORK | PUBLIC | {"list the directory"},   # it is /
    "dns": TEMPORARY | NETWORK | PUBLIC | {"list the directory", "fork"},
    "signer": TEMPORARY | NETWORK | PUBLIC | {
        "read account key", "write account key", "create in accountd",   # its own home
        "list the directory"}}                                           # the former is /

REFUSED = {"EACCES", "EPERM"}


@pytest.fixture(scope="module")
def field(prefix: Prefix, hostile_ca: ca.CA) -> Iterator[Field]:
    """Where the red team plays."""
    with infiltrate.field(prefix, hostile_ca) as made:
        yield made


# --- what it was given, and what it can reach ----------------------------------------------------

@pytest.mark.alike(2)
@pytest.mark.parametrize("mode", ["required", "no"])
@pytest.mark.parametrize("role", SECTION)
def test_reach(role: str, mode: str, field: Field) -> None:
    """Every attack is refused but those granted, and none because its target isn't there."""
    before = snapshot(field.site.lib / "certs", field.site.etc, field.site.lib / "accountd")
    done, report = play(field, role, mode)
    assert "end" in report and report["siblings"] == 2, (done, report)
    assert report["descriptors"] == {
        "client": {"0": "REG", "1": "FIFO", "2": "FIFO", "3": "FIFO", "4": "SOCK"},
        "webserver": {"0": "CHR", "1": "FIFO", "2": "FIFO", "3": "SOCK"},
        "tlsserver": {"0": "CHR", "1": "FIFO", "2": "FIFO", "3": "REG", "4": "SOCK", "5": "SOCK"},
        # task, journal, the secret that it will close, and a door
        "dns": {"0": "CHR", "1": "FIFO", "2": "FIFO", "3": "REG", "4": "REG", "5": "REG",
                "6": "SOCK"},
        "signer": {"0": "SOCK", "1": "SOCK", "2": "FIFO"}}[role]
    assert set(report["environment"]) - {"LC_CTYPE"} == {"PATH", "USER", "LOGNAME", "HOME", "SHELL",
                                                         "LANG"}
    attacks = {name: result for name, result in report.items() if isinstance(result, str)}
    granted = {name for name, result in attacks.items() if result.startswith("did")}
    assert granted == (CONFINED if mode == "required" else UNCONFINED)[role]
    for name in set(attacks) - granted:
        expected = set(REFUSED)
        if name.startswith("replace in /"):
            expected.add("EBUSY")   # a mount point
        elif role in ("signer", "tlsserver", "dns") and "the lock" in name:
            expected.add("ENOENT")   # it isn't in the run directory
        elif name == "fork":
            expected.add("EAGAIN")
        elif name == "type on the terminal":
            expected.add("ENXIO")   # there is none
        elif name == "make a large file":
            expected.add("EFBIG")
        assert attacks[name] in expected, (name, attacks[name])
    assert len(attacks) > 75
    if role == "client":
        assert only_error(done) == "error: a: the ACME client ended before its work was done"
    else:
        assert done.returncode == 0, done.stderr
    if role == "client":
        assert snapshot(field.site.lib / "certs", field.site.etc,
                        field.site.lib / "accountd").keys() == before.keys()
        assert {path for path, entry in snapshot(field.site.lib / "certs").items()
                if before[path] != entry} == set()
    tidy(field.site)


@pytest.mark.alike(3)
@pytest.mark.parametrize("mode", ["required", "no"])
@pytest.mark.parametrize("role", SECTION)
def test_nobody_types_on_the_terminal(role: str, mode: str, field: Field,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the signer, which has it for as long as a passphrase may be asked for."""
    def on_a_terminal(*args: str, timeout: float = 30) -> Any:
        command = shlex.join(field.site.command(*args))
        return run(["/usr/bin/script", "-qec", command, "/dev/null"], timeout=timeout)
    monkeypatch.setattr(field.site, "run", on_a_terminal)
    _, report = play(field, role, mode, only=["type on the terminal"], siblings=False)
    assert report["type on the terminal"] in ({"EACCES", "EPERM"} if mode == "required" else
                                              {"ENXIO"})


@pytest.mark.alike(2)
@pytest.mark.parametrize("attack", ["execute", "ptrace", "process_vm_readv", "unshare", "setuid"])
@pytest.mark.parametrize("role", SECTION)
def test_fatal(role: str, attack: str, field: Field) -> None:
    """What only an attacker would try ends the process, and the run in one line."""
    done, report = play(field, role, "required", only=[attack], siblings=False)
    assert "descriptors" in report   # it began …
    assert attack not in report and "end" not in report   # … and didn't get to the next line
    lines = (field.site.path / "report").read_text().splitlines()
    assert all(line.startswith("[") for line in lines), "a program ran"
    if role in ("webserver", "tlsserver", "dns"):
        # The hostile server validates nothing: it isn't missed
        assert done.returncode in (0, 1)
    elif role == "client":
        status = 128 + signal.SIGSYS
        assert only_error(done) == f"error: a: the ACME client ended with status {status}"
    else:
        assert only_error(done).startswith("error: a: ")
    tidy(field.site)


def test_behind_a_proxy_its_port_is_the_only_one(field: Field) -> None:
    """The server's own is refused, then."""
    proxy = int(field.setup["trap"])
    server = urlsplit(field.server.directory).port
    field.site.main["client"]["proxy"] = f"http://127.0.0.1:{proxy}"
    try:
        for port, result in ((proxy, "did"), (server, "EACCES")):
            _, report = play(field, "client", "required", only=["connect elsewhere"],
                             siblings=False, trap=port)
            assert report["connect elsewhere"] == result
    finally:
        del field.site.main["client"]["proxy"]


@pytest.mark.parametrize("role", SECTION)
def test_unconfined_it_still_cannot_become_another(role: str, field: Field) -> None:
    """No system call, and no set-user-ID program of root's, gives it another user's rights."""
    _, report = play(field, role, only=["ptrace", "process_vm_readv", "setuid", "setgroups"])
    assert {attack: report[attack] for attack in
            ("ptrace", "process_vm_readv", "setuid", "setgroups")} == {
        "ptrace": "EPERM", "process_vm_readv": "EPERM", "setuid": "EPERM", "setgroups": "EPERM"}
    play(field, role, only=["execute"], siblings=False)
    uid = int((field.site.path / "report").read_text().splitlines()[-1])
    outside = run(as_user(USER[role], [field.setup["setuid"], "-u"]))
    assert outside.stdout == "0\n"   # without no_new_privs it would
    assert uid != 0


def test_the_port_is_limited_the_host_is_not(field: Field) -> None:
    """Landlock knows no addresses: the server's port is open on every host."""
    port = urlsplit(field.server.directory).port
    assert port is not None
    with Listener("127.0.0.2", port):
        _, report = play(field, "client", "required", only=["connect elsewhere"], siblings=False,
                         trap=port, host="127.0.0.2")
    assert report["connect elsewhere"] == "did"


# --- B: what a client can make the master do -----------------------------------------------------

def line(kind: str, **members: Any) -> Word:
    """Return the word that writes an answer, or what resembles one (common/wire/order.py)."""
    return words.line(json.dumps({"answer": kind, **members}).encode())


def failing(field: Field, *spoken: Spoken) -> str:
    """Let the client say this; return the error, all files being as they were."""
    before = snapshot(field.site.lib / "certs", field.site.etc, field.site.lib / "accountd")
    field.site.configure()
    done, _ = play(field, "client", only=["list the directory"], siblings=False,
                   words=words.spell(spoken))
    text = only_error(done)
    after = snapshot(field.site.lib / "certs", field.site.etc, field.site.lib / "accountd")
    assert {path: before[path][3] for path in before if "/etc" not in path} == {
        path: after[path][3] for path in after if "/etc" not in path}
    tidy(field.site)
    return text


def chain(field: Field, section: str) -> str:
    return field.site.file(section, "fullchain.pem").read_text()


@pytest.mark.once
def test_certificates_that_are_not_the_sections(field: Field, hostile_ca: ca.CA) -> None:
    """Another section's, one for another key, one of another CA, a key, nothing at all (B 32)."""
    other_key = field.server.issue(ca.request(["a.example"], ca.genkey()))
    key = field.site.file("a", "privkey.pem").read_text()
    other_name = field.server.issue(ca.request(["a.example", "b.example"], key))
    for text, expected in (
            (chain(field, "b"), "for another key"), (other_key, "for another key"),
            (other_name, "for other names: a.example, b.example"),
            (chain(field, "a") + key, "malformed"), ("", "malformed"), ("\x1b[2J", "malformed"),
            (hostile_ca.root.read_text(), "for another key"),
            (chain(field, "a").partition("-----END CERTIFICATE-----\n")[0], "malformed"),
            (chain(field, "a").split("-----END CERTIFICATE-----\n")[0]
             + "-----END CERTIFICATE-----\n", "does not chain"),
            (chain(field, "a") * 6, "malformed")):
        told = failing(field, line("Issued", section="a", chain=text, alternates=[]))
        assert told.startswith("error: a: the new certificate is not installed: "), told
        assert expected in told, told


@pytest.mark.alike(2)
@pytest.mark.once
@pytest.mark.parametrize("word, expected", [
    (line("Issued", section="b", chain="", alternates=[]), "not asked for"),
    (line("Issued", section="../../etc/x", chain="", alternates=[]), "not asked for"),
    (line("Failed", section="", message="x", outcome="lost"), "not asked for"),
    (line("Progress", section="\x1b[2J", state="new", url=None, wait=0), "not asked for"),
    (line("Revoked", section="a"), "not asked for"),
    (line("AccountObject", url="x", account={}), "not asked for"),
    (line("Command", command="id"), "unknown answer"),
    (line("Issued", section="a", chain=17, alternates=[]), "broke the protocol"),
    (line("Issued", section="a", chain="x" * 300_000, alternates=[]), "broke the protocol"),
    (line("Progress", section="a", state="new", wait=1 << 70), "broke the protocol"),
    (words.line(b"junk \x1b[2J\xff\0"), "broke the protocol"),
    (words.line(b"[" * 100_000), "broke the protocol"),
    (words.say(b'{"answer":"Failed","section":"a"'), "in the middle of an answer"),
    (words.leave(3), "ended with status 3"), (words.die(), "ended with status 137"),
    (words.die(signal.SIGSEGV), "ended with status 139"),
], ids=range(16))
def test_other_answers_are_refused(word: Word, expected: str, field: Field) -> None:
    assert expected in failing(field, word)


@pytest.mark.once
def test_what_it_says_of_a_failure_is_shown_printable(field: Field) -> None:
    told = failing(field, line("Failed", section="a", message=misbehaviour.CONTROL,
                               outcome="refused", type="x\n"))
    assert told.startswith(r"error: a: \x1b[31mred")


@pytest.mark.once
def test_one_answer_a_section(field: Field) -> None:
    """A second one is not asked for; what the first installed stays."""
    answer = words.spell([Failed("a", "first of all", "refused")])
    done, _ = play(field, "client", only=["list the directory"], siblings=False,
                   words=[*answer, *answer])
    assert done.returncode == 1
    assert errors(done)[0] == "error: a: first of all"


@pytest.mark.once
@pytest.mark.parametrize("to, piece, expected", [
    ("answers", b"x", "longer than"),
    ("answers", order.format_answer(Log("info", "all is well")), "without end"),
    ("answers", order.format_answer(Log("debug", "x" * 60_000)), "without end"),
    ("answers", order.format_answer(Progress("a", "x", wait=86400)), "without end"),
    ("answers", b"\n", "broke the protocol"),
    ("messages", b"error: forged\x1b[2J\n", "before its work was done"),
    ("messages", b"\0", "before its work was"),
], ids=["line", "log", "long-log", "progress", "empty", "stderr", "stderr-line"])
def test_a_gigabyte(to: str, piece: bytes, expected: str, field: Field) -> None:
    """It is capped, and the master doesn't grow (B 31)."""
    before = snapshot(field.site.lib / "certs")
    peak: list[int] = []

    def watch() -> None:
        while not stop.wait(0.02):
            for pid in proc.descendants(os.getpid()):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                    if proc.read(pid).program == "letsencrypt-tiny":
                        peak.append(int(status.partition("VmHWM:")[2].split()[0]))
                except (OSError, IndexError, ProcessLookupError):
                    pass
    stop = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done, report = play(field, "client", only=["list the directory"], siblings=False,
                            words=[words.flood(piece, to)])
    finally:
        stop.set()
        watcher.join()
    lines = errors(done)
    assert done.returncode == 1 and len(lines) == 1 and expected in lines[0], lines
    # of lines that are short enough, and not too many, in all 32 MB are read
    assert report.get("flooded", 0) < 40 << 20
    assert len(piece) < 1000 or report["flooded"] >= 24 << 20, "it could have been less"
    assert len(done.stderr) < 1 << 20
    assert max(peak) < 120 << 10   # KiB
    assert snapshot(field.site.lib / "certs") == before
    tidy(field.site)


@pytest.mark.once
def test_silence_with_its_output_closed(field: Field) -> None:
    """It is ended, after a moment of grace."""
    began = time.monotonic()
    assert "does not end" in failing(field, *words.MISBEHAVIOUR["closes and stays"])
    assert time.monotonic() - began < 15


@pytest.mark.once
def test_what_is_remembered_of_it_harms_no_later_run(field: Field) -> None:
    """A false account or order costs the next run a few requests at most."""
    key, less = "x" * 43, soak.stride(9)
    assert field.site.run("newOrder", "--force", "a").returncode == 0    # it has a certificate
    for url in ("https://evil.example/order/1", "http://127.0.0.1/", "\x1b",
                *map(field.server.url, ("directory", "newNonce", "account/0", "order/77", "authz/0",
                                        "challenge/0-1", "certificate/0")))[::less]:
        failing(field, line("Progress", section="a", state="pending", url=url, wait=0))
        assert field.site.run("newOrder", "--force", "a").returncode == 0
    remembered = field.site.lib / "state/accounts.json"
    for url in ("https://evil.example/account/1", "\x1b[2J",
                *map(field.server.url, ("directory", "order/1", "account/x", "account/7777",
                                        "account/77")))[::less]:
        [thumbprint] = json.loads(remembered.read_text())[field.server.directory]
        for known in key, thumbprint:
            failing(field, line("Account", url=url, key=known))
            asked = len(field.server.asked("newAccount"))
            misbehaviour.boulder(field.server)
            done = field.site.run("newOrder", "--force", "a")
            assert done.returncode == 0, (url, done.stderr)
            assert len(field.server.asked("newAccount")) == asked + (known == thumbprint)


def test_the_challenge_directory_is_removed_with_all_that_is_in_it(field: Field) -> None:
    """Symbolic links are followed neither by the master nor by the web server (B 23, C 36, 37)."""
    site = field.site
    key, certs = site.file("a", "privkey.pem"), site.lib / "certs"
    before = snapshot(certs, site.account_key, site.path / "public")
    answers: dict[str, int] = {}
    slow: list[float] = []

    def ask() -> None:
        deadline = time.monotonic() + 10
        while not list(site.rundir.glob("challenges-*/json.py")) and time.monotonic() < deadline:
            time.sleep(0.01)
        for name in ("key", "public", "dangling", "etc", "fifo", "deep", "socket", "huge", "plain"):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", field.server.http_port, timeout=5)
            connection.request("GET", f"/.well-known/acme-challenge/{name}")
            answers[name] = connection.getresponse().status
            connection.close()
            slow.append(time.monotonic() - began)
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        failing(field, infiltrate.plant({
            "key": str(key), "public": str(site.path / "public"), "dangling": "/nonexistent",
            "etc": "/etc", "certs": str(certs), "lock": "../lock"}), words.sleep(1))
    finally:
        thread.join()
    assert set(answers.values()) == {404} and len(answers) == 9
    assert max(slow) < 1
    assert snapshot(certs, site.account_key, site.path / "public") == before


@pytest.mark.once
def test_it_validates_no_account_of_its_own(field: Field) -> None:
    """What it writes for another account's key is not given out (RFC 8555 §8.1): else whoever
    has taken it over gets certificates for the configured names, of any CA, for his own key."""
    [own] = json.loads((field.site.lib / "state/accounts.json").read_text())[
        field.server.directory]
    contents = {"own": f"own.{own}", "foreign": f"foreign.{'x' * 43}", "bare": own,
                "other": f"own.{own}", "more": f"more.{own}\n"}
    answers: dict[str, int] = {}

    def ask() -> None:
        deadline = time.monotonic() + 10
        while not list(field.site.rundir.glob("challenges-*/last")) \
                and time.monotonic() < deadline:
            time.sleep(0.01)
        for token in contents:
            connection = http.client.HTTPConnection("127.0.0.1", field.server.http_port, timeout=5)
            connection.request("GET", f"/.well-known/acme-challenge/{token}")
            answers[token] = connection.getresponse().status
            connection.close()
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        failing(field, *(words.write(*pair) for pair in contents.items()),
                words.write("last", ""), words.sleep(2))
    finally:
        thread.join()
    assert answers == {token: 200 if token == "own" else 404 for token in contents}


def test_it_leaves_no_process(field: Field) -> None:
    """Without seccomp it can fork, and nobody tells such a process that the run is over."""
    failing(field, infiltrate.survive(20))
    uid = pwd.getpwnam(USER["client"]).pw_uid
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            assert f"\nUid:\t{uid}\t" not in path.read_text() \
                or str(field.site.path) not in (path.parent / "cmdline").read_text()
        except OSError:
            pass


@pytest.mark.once
def test_no_nest_is_too_deep(field: Field) -> None:
    """Of directories, which only a client that isn't confined can make."""
    failing(field, infiltrate.dig(3000))


@pytest.mark.parametrize("mode", ["required", "no"])
def test_nothing_comes_back_while_it_is_removed(mode: str, field: Field) -> None:
    """The client still runs when the master, which has heard enough, cleans up."""
    field.site.configure()
    done, _ = play(field, "client", mode, only=["open the lock"], siblings=False,
                   words=[infiltrate.refill(2, b"junk\n")])
    assert "broke the protocol" in only_error(done)
    tidy(field.site)


# --- C: the web server, asked by the world -------------------------------------------------------

def test_500_slow_connections_and_one_validation(field: Field) -> None:
    """The validation is answered at once (C 38)."""
    # An order that an earlier test left may have been validated: it would be taken up
    (field.site.lib / "state/cert-a.json").unlink(missing_ok=True)
    idle: list[socket.socket] = []
    answers: list[bytes] = []

    def challenge(_request: Request, default: Default) -> Response:
        response = default()
        token = response.object()["token"]
        address = ("127.0.0.1", field.server.http_port)
        for number in range(500):
            sock = socket.create_connection(address, timeout=5)
            sock.sendall(b"GET /.well-known/acme-challenge/"[:number % 32])
            idle.append(sock)
        began = time.monotonic()
        connection = http.client.HTTPConnection(*address, timeout=5)
        connection.request("GET", f"/.well-known/acme-challenge/{token}")
        answers.append(connection.getresponse().read())
        connection.close()
        assert time.monotonic() - began < 2
        return response
    field.server.on["challenge"] = challenge
    try:
        assert field.site.run("newOrder", "--force", "a").returncode == 0
    finally:
        field.server.on.clear()
        for sock in idle:
            sock.close()
    assert len(answers) == 1 and b"." in answers[0]
