"""Bad input: one clear line on standard error, the right exit status, and nothing changed."""

import datetime
import grp
import os
import pwd
import re
import socket
import stat
import subprocess
from pathlib import Path
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import ca
from harness.hostile import Hostile
from harness.net import free_port
from harness.run import ENVIRONMENT, USERS, Prefix, Site, as_user, run
from harness.verdict import errors, only_error, snapshot, tidy

LONG = "x" * 300

# Bad values by setting; each is refused by a message with file, section and setting.
MAIN: dict[str, dict[str, list[str]]] = {
    "": {"config-certs": ["%z"],
         "library-directory": ["relative", "/", "/srv/../etc", "."],
         "run-directory": ["relative", "/", "/srv/../etc"],
         "openssl": ["openssl", "./openssl"]},
    "client": {"user": ["nosuchuser", "0x", "root root"], "group": ["nosuchgroup"],
               "command": ["./client", "bin/client"],
               "server": ["http://127.0.0.1/", "https://", "127.0.0.1", "https://a b", "file:///",
                          "https://user@host/", "https://host:0/", "https://host:99999/",
                          "https://host/#fragment", "ftp://host/"],
               "timeout": ["-1", "1.5", "soon", "86401", "9" * 20, "0x10", "٣", "1_0"],
               "SSL_verify": ["maybe", "2", "yes no"],
               "SSL_version": ["SSLv3", "TLSv9", "!TLSv1_2", "TLSv1_2:TLSv1:!", "TLSv1,TLSv1_3"],
               "SSL_cipher_list": ["NOSUCHCIPHER"],
               "ca-file": ["relative.pem"],
               "proxy": ["https://proxy:1/", "proxy", "http://", "http://a b/", "http://p:99999/",
                         "http://user:s3cret@a b/"],
               "jobs": ["0", "65", "-1", "many"], "confine": ["maybe", "Auto", "1"]},
    "webserver": {"listen": ["80", "127.0.0.1:0", "127.0.0.1:65536", "[::1", "[::g]:80",
                             "256.0.0.1:80", "localhost:80", "relative.sock", "/" + LONG],
                  "challenge-directory": ["relative", "%z/x", "/nonexistent/directory"],
                  "user": ["nosuchuser"], "group": ["nosuchgroup"],
                  "command": ["./webserver"], "iptables": ["maybe"], "confine": ["maybe"]},
    "accountd": {"user": ["nosuchuser"], "group": ["nosuchgroup"], "command": ["./accountd"],
                 "quiet": ["maybe"], "confine": ["maybe"]}}

CERTS: dict[str, list[str]] = {
    "names": ["nodots", "a..b", "-a.example", "a_b.example", "*.example", "a.example.",
              "b\u00fccher.example", "a.example/x", "$(id).example", "DNS:a.example",
              "999.1.1.1", "::g", "x" * 64 + ".example", "a.example;b.example"],
    "certificate": ["relative.pem", "/srv/", "/srv/../x"],
    "certificate-chain": ["relative.pem", "/srv/x/."],
    "certificate-key": ["relative.key", "/srv/../x"],
    "min-days": ["soon", "1.5", "100001", "9" * 30], "CAfile": ["relative.pem", "/nonexistent.pem"],
    "hash": ["sha0", "$(id)"], "keyUsage": ["sign", "critical, $ENV::HOME"],
    "subject": ["CN=a.example", "/XX=a", "/CN=a=b", "/CN=", "/CN=$ENV::HOME", "/CN=" + LONG],
    "subjectAltName": ["a.example", "DNS:$ENV::HOME", "email:a@b.example", "DNS:", "IP:a.example",
                       "DNS:a.example\\,DNS:b.example"],
    "tlsfeature": ["stapling", "24"], "owner": ["nosuchuser", "root:nosuchgroup", ":root", "a:b:c"],
    "chown": ["nosuchuser"], "mode": ["rw-r--r--", "888", "4755", "0666", "0o644"],
    "chmod": ["0777"], "key-type": ["rsa:1024", "dsa", "ec:P-224", "ec:"]}

ACCOUNTD: dict[str, list[str]] = {
    "privkey": ["account.key", "file:", "http://x/", "fd:x", "fd:999999", "file:%z"],
    "keyid": ["http://a.example/", "account"], "quiet": ["maybe"], "confine": ["maybe"],
    "logfile": ["/nonexistent/log", "%z"]}


@pytest.fixture(scope="module")
def server(hostile_ca: ca.CA) -> Iterator[Hostile]:
    with Hostile(authority=hostile_ca) as running:
        yield running


@pytest.fixture(scope="module")
def ready(prefix: Prefix, server: Hostile) -> Iterator[Site]:
    """A site with a certificate."""
    site = Site(prefix)
    site.use(server)
    site.genkey()
    site.certificate("a", ["a.example"])
    assert site.register().returncode == 0
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    yield site
    site.remove()


@pytest.fixture
def good(ready: Site, server: Hostile) -> Iterator[Site]:
    """The site; its configuration is restored after the test, and so is the server's behaviour."""
    def copy(sections: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        return {name: dict(settings) for name, settings in sections.items()}
    saved = copy(ready.main), copy(ready.certs), copy(ready.accountd)
    server.requests.clear()
    yield ready
    ready.main, ready.certs, ready.accountd = saved
    ready._written.clear()
    server.on.clear()


def refused(site: Site, status: int, *args: str, env: dict[str, str] | None = None,
            expected: str = "", command: tuple[str, ...] = ("newOrder", "--force")) -> str:
    """Run a command that must fail and change no file; return its error."""
    site.configure()
    before = snapshot(site.lib, site.etc)
    done = site.run(*(args or command), timeout=45, env=env)
    told = only_error(done, status)
    after = snapshot(site.lib, site.etc)
    state = str(site.lib / "state")
    assert {path for path in set(before) | set(after) if before.get(path) != after.get(path)
            and not path.startswith(state)} == set()
    tidy(site)
    assert re.search(expected, told), told
    return told


# --- configuration files -------------------------------------------------------------------------

@pytest.mark.parametrize("section, setting, value", [
    (section, setting, value) for section, settings in MAIN.items()
    for setting, values in settings.items() for value in values])
def test_main_configuration(section: str, setting: str, value: str, good: Site,
                            server: Hostile) -> None:
    if setting == "listen":   # for those that listen names a socket of another kind
        good.main[section].pop("challenge-directory", None)
    good.main[section][setting] = value
    told = refused(good, 2)
    assert f"{good.config}" in told and setting in told, told
    assert not section or f"[{section}]" in told, told
    assert not server.requests and "s3cret" not in told


@pytest.mark.parametrize("setting, value", [
    (setting, value) for setting, values in CERTS.items() for value in values])
def test_certificates(setting: str, value: str, good: Site, server: Hostile) -> None:
    good.certs["a"][setting] = value
    told = refused(good, 2)
    assert str(good.etc / "certs.conf") in told and "[a]" in told and setting in told, told
    assert not server.requests


@pytest.mark.parametrize("setting, value", [
    (setting, value) for setting, values in ACCOUNTD.items() for value in values])
def test_accountd(setting: str, value: str, good: Site, tmp_path: Path) -> None:
    good.accountd[""][setting] = value
    done = run(good.signer("--stdio"))
    told = only_error(done, 2)
    assert setting in told and str(good.etc / "accountd.conf") in told, told


@pytest.mark.parametrize("name, text, expected", [
    ("letsencrypt-tiny.conf", "[clent]\n", r"unknown section \[clent\]"),
    ("letsencrypt-tiny.conf", "timeout = 1\n", "unknown setting “timeout”"),
    ("letsencrypt-tiny.conf", "[client]\nTimeout = 1\n", r"\[client\]: unknown setting “Timeout”"),
    ("letsencrypt-tiny.conf", "[webserver]\nserver = x\n", r"\[webserver\]: unknown setting"),
    ("letsencrypt-tiny.conf", "[accountd]\nsocket = x\n", r"\[accountd\]: unknown setting"),
    ("letsencrypt-tiny.conf", "[client]\ntimeout\n", "line 2"),
    ("letsencrypt-tiny.conf", "[client]\ntimeout = 1\ntimeout = 2\n", "line 3.*given before"),
    ("letsencrypt-tiny.conf", "[client\n", "line 1"),
    ("letsencrypt-tiny.conf", "[[client]]\n", "line 1: sections cannot be nested"),
    ("letsencrypt-tiny.conf", "[client]\nserver = https://a\x1b[2J\n", "line 2.*control character"),
    ("letsencrypt-tiny.conf", "[client]\n[client]\n", "line 2"),
    ("certs.conf", "name = a.example\n", "unknown setting “name”"),
    ("certs.conf", "[a]\nname = a.example\n", r"\[a\]: unknown setting “name”"),
    ("certs.conf", "[a]\nnotify = x\n", r"\[a\]: no names"),
    ("certs.conf", "[../../etc]\nnames = a.example\n", r"\[../../etc\]: this name cannot name"),
    ("certs.conf", f"[{LONG}]\nnames = a.example\n", "longer than"),
    ("certs.conf", "[a]\nnames = a.example\n[b]\nnames = b.example\n"
     "certificate-key = /srv/k\ncertificate = /srv/c\ncertificate-chain = /srv/c\n",
     "is already the file of"),
    ("certs.conf", "[a]\nnames = a.example\ncertificate-key = /srv/k\ncertificate = /srv/k\n",
     "is the certificate-key of"),
    ("certs.conf", "[a]\nnames = '''a.example'''\n", "triple quotes"),
    ("certs.conf", "[a]\nnames = a.example,\n\tb.example\n", "line 3"),
    ("certs.conf", "[a]\nnames = " + ", ".join(f"n{i}.example" for i in range(1001)) + "\n",
     "more than 1000 names"),
], ids=range(21))
def test_malformed_files(name: str, text: str, expected: str, good: Site) -> None:
    good.write(name, text)
    told = refused(good, 2, expected=expected)
    assert str(good.etc / name) in told


@pytest.mark.parametrize("kind, name", [
    (kind, name) for kind in ("missing", "binary", "directory", "writable", "huge", "unreadable")
    for name in ("letsencrypt-tiny.conf", "certs.conf", "accountd.conf")
    if (kind, name) != ("directory", "certs.conf")])   # that is how many files are given
def test_unusable_files(kind: str, name: str, good: Site) -> None:
    path = good.etc / name
    good.configure()
    good._written += ["letsencrypt-tiny.conf", "certs.conf", "accountd.conf"]
    path.unlink()
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\0")
    elif kind == "directory":
        path.mkdir()
    elif kind == "writable":
        path.write_text("")
        path.chmod(0o666)
    elif kind == "huge":
        path.write_text("# comment\n" * 1_000_000)
    elif kind == "unreadable":
        path.symlink_to(path)
    try:
        if name == "accountd.conf":
            done = run(good.signer("--stdio"))
        else:
            done = good.run("newOrder", "--force")
        assert str(path) in only_error(done, 2)
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.touch(0o644)


def test_configuration_of_the_signer_through_the_master(good: Site) -> None:
    """The signer's own complaint, under its name, and the master's for the section."""
    good.accountd[""]["privkey"] = "nonsense"
    done = good.run("newOrder", "--force")
    assert done.returncode == 1
    assert re.search(r"^accountd: error: .*privkey = nonsense", done.stderr, re.M), done.stderr
    assert len(errors(done)) == 1


# --- command lines -------------------------------------------------------------------------------

@pytest.mark.parametrize("args", [
    (), ("frobnicate",), ("newOrder", "--frobnicate"), ("--frobnicate",), ("newOrder", "nosuch"),
    ("newOrder", "a", "nosuch"), ("status", "nosuch"), ("status", "--force"), ("check", "a"),
    ("newOrder", "--min-days"), ("newOrder", "--min-days=soon"), ("newOrder", "--register"),
    ("newOrder", "--force", "--min-days=3"), ("account", "--force"), ("account", "nocolon"),
    ("account", "mailto:a b"), ("revokeCert",), ("revokeCert", "--reason=whatever", "x"),
    ("revokeCert", "--reason=7", "x"), ("account", "--json"), ("--conf=x", "check"),
    ("newOrder", "--config-certs=/nonexistent.conf"), ("--config=/nonexistent.conf", "check"),
    ("newOrder", "\x1b[2J")], ids=lambda args: " ".join(args) or "none")
def test_command_lines(args: tuple[str, ...], good: Site) -> None:
    """Exit status 2 and a last line that says why; nothing is touched."""
    good.configure()
    before = snapshot(good.lib, good.etc)
    done = good.run(*args)
    assert done.returncode == 2 and done.stdout == ""
    assert len(errors(done)) <= 1   # argparse says “letsencrypt-tiny: error: …” below the usage
    assert re.match(r"(letsencrypt-tiny: )?error: .{10}", done.stderr.splitlines()[-1])
    assert snapshot(good.lib, good.etc) == before


@pytest.mark.parametrize("args", [
    ("--frobnicate",), ("x",), ("--stdio", "--genkey=ec:P-256"), ("--genkey=dsa",),
    ("--confine=x",), ("--stdio", "--privkey=nonsense"), ("--config=/nonexistent.conf",)],
    ids=" ".join)
def test_command_lines_of_the_signer(args: tuple[str, ...], good: Site) -> None:
    only_error(run(good.signer(*args)), 2)


@pytest.mark.parametrize("program", ["client", "webserver"])
@pytest.mark.parametrize("args", [(), ("--frobnicate",), ("x", "y"), ("3", "4"), ("-1",),
                                  ("9" * 30,)])
def test_command_lines_of_children(program: str, args: tuple[str, ...], good: Site) -> None:
    path = good.prefix.client if program == "client" else good.prefix.webserver
    done = run(as_user(USERS[1], [str(path), *args]))
    assert done.returncode in (1, 2)
    assert len(errors(done)) == 1, done.stderr


def test_check_changes_nothing(good: Site, server: Hostile) -> None:
    """Neither where all is well nor where a key is open to everybody; and nobody is asked."""
    good.certificate("later", ["later.example"])
    good.configure()
    key = good.file("a", "privkey.pem")
    for mode, status in ((0o600, 0), (0o644, 1)):
        key.chmod(mode)
        before = snapshot(good.lib, good.etc, good.rundir)
        done = good.run("check")
        after = snapshot(good.lib, good.etc, good.rundir)
        key.chmod(0o600)
        assert (done.returncode, len(errors(done))) == (status, status), done.stderr
        assert before == after
    assert not server.requests


# --- files, users, programs ----------------------------------------------------------------------

def test_a_key_that_others_can_read(good: Site) -> None:
    key = good.file("a", "privkey.pem")
    for mode in (0o604, 0o644, 0o601, 0o606):
        key.chmod(mode)
        try:
            refused(good, 1, expected=re.escape(f"{key}: the private key is open to everybody"))
        finally:
            key.chmod(0o600)


@pytest.mark.parametrize("content, expected", [
    (b"", "not a private key"), (b"x" * 100_000, "not a private key"), (b"junk\n", "cannot make"),
    (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot make")])
def test_a_key_that_is_none(content: bytes, expected: str, good: Site) -> None:
    key = good.file("a", "privkey.pem")
    saved = key.read_bytes()
    key.write_bytes(content)
    try:
        assert str(key) in refused(good, 1, expected=expected)
    finally:
        key.write_bytes(saved)


def test_a_key_that_is_no_plain_file(good: Site) -> None:
    key = good.file("a", "privkey.pem")
    saved = key.read_bytes()
    for make in (key.mkdir, lambda: os.mkfifo(key), lambda: key.symlink_to(key)):
        key.unlink()
        make()
        try:
            assert str(key) in refused(good, 1)
        finally:
            key.rmdir() if key.is_dir() and not key.is_symlink() else key.unlink()
            key.write_bytes(saved)
            key.chmod(0o600)


@pytest.mark.parametrize("what, prepare, expected", [
    ("of another user", lambda path: os.chown(path, pwd.getpwnam("nobody").pw_uid, 0),
     "belongs to uid"),
    ("world-writable", lambda path: path.chmod(0o777), "writable by everybody"),
    ("sticky", lambda path: path.chmod(0o1777), "writable by everybody"),
    ("of a group", lambda path: (os.chown(path, 0, grp.getgrnam("nogroup").gr_gid),
                                 path.chmod(0o775)), "writable by its group"),
    ("missing", lambda path: path.rmdir(), "no such directory"),
    ("a file", lambda path: (path.rmdir(), path.touch()), "cannot open it|not a directory"),
    ("below a bad one", lambda path: path.parent.chmod(0o777), "writable by everybody")],
    ids=lambda value: value if isinstance(value, str) else "")
def test_output_directory(what: str, prepare: Callable[[Path], Any], expected: str, good: Site,
                          server: Hostile) -> None:
    """Refused, so that no race can be won there (D 40, 42); and before the CA is troubled."""
    parent = good.path / f"out-{re.sub('[^a-z]', '', what)}"
    directory = parent / "tls"
    parent.mkdir()
    directory.mkdir()
    good.certs["a"]["certificate"] = str(directory / "cert.pem")
    good.certs["a"]["certificate-key"] = str(good.file("a", "privkey.pem"))
    prepare(directory)
    refused(good, 1, expected=expected)
    assert not directory.is_dir() or os.listdir(directory) == []
    assert not server.asked("finalize")


def test_the_owner_of_the_section_may_own_its_directory(good: Site) -> None:
    nobody = pwd.getpwnam("nobody")
    directory = good.path / "nobodys"
    directory.mkdir()
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    good.certs["a"].update({"certificate": str(directory / "cert.pem"), "owner": "nobody",
                            "certificate-key": str(good.file("a", "privkey.pem"))})
    assert good.run("newOrder", "--force").returncode == 0
    assert (directory / "cert.pem").stat().st_uid == nobody.pw_uid


def test_a_symbolic_link_is_replaced_not_followed(good: Site) -> None:
    """Its victim stays as it was (D 41); so does one on the way in somebody's own directory."""
    nobody = pwd.getpwnam("nobody")
    directory, victim = good.path / "links", good.path / "victim"
    directory.mkdir()
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    victim.mkdir()
    (victim / "file").write_text("precious")
    (directory / "cert.pem").symlink_to(victim / "file")
    (directory / "away").symlink_to(victim)
    good.certs["a"].update({"certificate": str(directory / "cert.pem"), "owner": "nobody",
                            "certificate-key": str(good.file("a", "privkey.pem"))})
    before = snapshot(victim)
    assert good.run("newOrder", "--force").returncode == 0
    assert not (directory / "cert.pem").is_symlink()
    good.certs["a"]["certificate"] = str(directory / "away/cert.pem")
    refused(good, 1, expected="symbolic link.*is not followed")
    assert snapshot(victim) == before


def test_a_target_that_is_a_directory(good: Site) -> None:
    """Nothing is replaced, then, not even what could be."""
    (good.path / "directory/cert.pem").mkdir(parents=True)
    good.certs["a"].update({"certificate": str(good.path / "directory/cert.pem"),
                            "certificate-chain": str(good.path / "directory/chain.pem"),
                            "certificate-key": str(good.file("a", "privkey.pem"))})
    refused(good, 1, expected="cert.pem: .*[Dd]irectory")
    assert os.listdir(good.path / "directory") == ["cert.pem"]


def test_a_lock_that_is_a_link(good: Site) -> None:
    """D 43."""
    victim = good.path / "locked"
    victim.write_text("precious")
    lock = good.rundir / "lock"
    lock.unlink()
    lock.symlink_to(victim)
    try:
        done = good.run("newOrder", "--force")
        assert str(lock) in only_error(done, 1)
    finally:
        lock.unlink()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("mode, owner", [(0o777, "root"), (0o755, "nobody")])
def test_a_run_directory_that_others_may_change(mode: int, owner: str, good: Site) -> None:
    good.rundir.chmod(mode)
    os.chown(good.rundir, pwd.getpwnam(owner).pw_uid, 0)
    try:
        told = only_error(good.run("newOrder", "--force"))
    finally:
        os.chown(good.rundir, 0, 0)
        good.rundir.chmod(0o755)
    assert str(good.rundir) in told


@pytest.mark.parametrize("section", ["client", "webserver", "accountd"])
@pytest.mark.parametrize("command", ["/nonexistent", "/etc/passwd", "/srv", "nosuchprogram"])
def test_missing_programs(section: str, command: str, good: Site) -> None:
    good.main[section]["command"] = command
    told = refused(good, 1)
    assert command in told and f"[{section}]" in told and str(good.config) in told


def test_missing_openssl(good: Site) -> None:
    good.main[""]["openssl"] = "/nonexistent/openssl"
    refused(good, 1, expected="/nonexistent/openssl")


def test_users_that_cannot_be_become(good: Site, prefix: Prefix) -> None:
    """Without root no other user's rights are to be had: it says so."""
    good.configure()
    done = run(as_user("nobody", good.command("check")))
    assert done.returncode == 2
    lines = errors(done)
    assert len([told for told in lines if "only root can run it as" in told]) == 3


# --- the signer ----------------------------------------------------------------------------------

@pytest.fixture
def external(good: Site) -> Site:
    """The site, with a signer that would run already."""
    del good.main["accountd"]
    return good


@pytest.mark.parametrize("kind, expected", [
    ("missing", "No such file"), ("file", "not a socket"), ("open", "others may use this socket"),
    ("group", "others may use this socket"), ("directory", "writable by others"),
    ("dead", "cannot connect to the signer"), ("silent", "signer .* failed|closed the connection"),
    ("junk", "signer"), ("endless", "signer")])
def test_signer_sockets(kind: str, expected: str, external: Site) -> None:
    directory = external.path / f"signer-{kind}"
    directory.mkdir()
    path = directory / "S"
    external.main["client"]["socket"] = str(path)
    sock = socket.socket(socket.AF_UNIX)
    child = None
    if kind == "file":
        path.touch(0o600)
    elif kind != "missing":
        sock.bind(str(path))
        path.chmod({"open": 0o666, "group": 0o620}.get(kind, 0o600))
        if kind != "dead":
            sock.listen()
    if kind == "directory":
        directory.chmod(0o777)
    if kind in ("silent", "junk", "endless"):
        child = os.fork()
        if child == 0:
            connection = sock.accept()[0]
            try:
                connection.sendall({"junk": b"\x1b[2J\r\n\r\n", "silent": b""}.get(
                    kind, b"x" * (8 << 20)))
            except OSError:
                pass
            os._exit(0)
    sock.close()
    try:
        refused(external, 1, expected=expected)
    finally:
        if child:
            os.waitpid(child, 0)


def test_a_signer_without_key(good: Site) -> None:
    good.accountd[""]["privkey"] = "file:/nonexistent/key"
    done = good.run("newOrder", "--force")
    assert done.returncode == 1 and len(errors(done)) == 1
    assert re.search("^accountd: error: .*/nonexistent/key", done.stderr, re.M)


def test_a_signer_with_a_key_that_its_user_cannot_read(good: Site) -> None:
    os.chown(good.account_key, 0, 0)
    try:
        done = good.run("newOrder", "--force")
    finally:
        user = pwd.getpwnam(USERS[0])
        os.chown(good.account_key, user.pw_uid, user.pw_gid)
    assert done.returncode == 1 and len(errors(done)) == 1
    assert re.search("^accountd: error: .*Permission denied", done.stderr, re.M)


# --- the network ---------------------------------------------------------------------------------

def test_nobody_listens(good: Site) -> None:
    good.main["client"]["server"] = f"https://127.0.0.1:{free_port()}/directory"
    refused(good, 1, expected="127.0.0.1.*[Cc]onnection refused")


def test_a_name_that_is_none(good: Site) -> None:
    good.main["client"]["server"] = "https://acme.invalid/directory"
    refused(good, 1, expected="cannot resolve acme.invalid")


def test_no_account(good: Site, server: Hostile) -> None:
    saved = good.account_key.read_bytes()
    good.genkey("ec:P-384")
    try:
        refused(good, 1, expected="account --register --tos-agreed")
    finally:
        good.account_key.write_bytes(saved)


@pytest.mark.parametrize("content", [None, "", "junk", "directory"])
def test_ca_files_of_the_server(content: str | None, good: Site) -> None:
    path = good.path / f"ca-{content}"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    good.main["client"]["ca-file"] = str(path)
    refused(good, 1, expected=re.escape(str(path)))


def test_a_root_that_the_ca_does_not_have(good: Site, tmp_path: Path) -> None:
    """CAfile: the certificate is not installed."""
    good.certs["a"]["CAfile"] = str(ca.CA(tmp_path, "Another").root)
    refused(good, 1, expected="does not chain to")


@pytest.mark.parametrize("answer, expected", [
    (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407"),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<h1>\x1b[2J</h1>", "502"),
    (b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n", "302"),
    (b"\x1b[2J" * 100, "proxy"), (b"", "proxy"), (b"HTTP/1.1 200 OK\r\n\r\nno TLS", "")])
def test_proxies_that_refuse(answer: bytes, expected: str, good: Site, server: Hostile) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        good.main["client"]["proxy"] = f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}"
        child = os.fork()
        if child == 0:
            connection = listener.accept()[0]
            connection.recv(4096)
            connection.sendall(answer)
            os._exit(0)
        try:
            told = refused(good, 1, expected=expected)
        finally:
            os.waitpid(child, 0)
    assert "secret" not in told and not server.requests


def test_a_proxy_that_is_not_there(good: Site) -> None:
    good.main["client"]["proxy"] = f"http://127.0.0.1:{free_port()}"
    refused(good, 1, expected="proxy.*[Cc]onnection refused")


def test_proxies_of_the_environment(good: Site) -> None:
    for value in ("nonsense://x", f"http://127.0.0.1:{free_port()}"):
        refused(good, 1, expected="proxy", env={"https_proxy": value})


def test_a_port_that_is_taken(good: Site, server: Hostile) -> None:
    with socket.create_server(("127.0.0.1", server.http_port)):
        refused(good, 1, expected=f"cannot listen on 127.0.0.1:{server.http_port}")


def test_an_address_that_is_not_ours(good: Site) -> None:
    good.main["webserver"]["listen"] = "192.0.2.1:80"
    refused(good, 1, expected="cannot listen on 192.0.2.1:80")


@pytest.mark.parametrize("days, expected", [(-10, "expired"), (10, "not yet valid")])
def test_a_clock_that_is_wrong(days: int, expected: str, good: Site, tmp_path: Path) -> None:
    """By it the server's certificate has expired, or isn't valid yet."""
    authority, key = ca.CA(tmp_path), ca.genkey()
    begin = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    (tmp_path / "key").write_text(key)
    (tmp_path / "chain").write_text(
        authority.issue(ca.request(ca.LOOPBACK, key), not_before=begin, days=5)
        + authority.intermediate.read_text())
    authority.server = lambda names: (tmp_path / "chain", tmp_path / "key")  # type: ignore
    path = good.path / f"clock-{days}.pem"
    path.write_text(authority.root.read_text())
    with Hostile(authority=authority) as other:
        good.main["client"].update({"server": other.directory, "ca-file": str(path)})
        refused(good, 1, expected=f"certificate is not trusted: .*{expected}")
        assert other.requests == []


# --- what surrounds it (D 47) --------------------------------------------------------------------

def test_a_poisoned_environment_is_ignored(good: Site, tmp_path: Path) -> None:
    """Nothing is loaded, executed or believed because of it, or of the directory we're in."""
    evil = good.path / "evil"
    evil.mkdir()
    mark = evil / "mark"
    for module in ("json", "socket", "sitecustomize", "usercustomize", "letsencrypt_tiny", "os",
                   "configobj"):
        (evil / f"{module}.py").write_text(f"open({str(mark)!r}, 'a').write({module!r})\n")
    for name in ("openssl", "sh", "iptables", "file", "python3"):
        (evil / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\n")
        (evil / name).chmod(0o755)
    (evil / "openssl.cnf").write_text("openssl_conf = nonsense\n[nonsense]\nengines = nothing\n")
    (evil / "bash_env").write_text(f"echo bash >>{mark}\n")
    (evil / "empty.pem").write_text("")
    poison = {
        "PATH": f"{evil}:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(evil),
        "PYTHONHOME": str(evil), "PYTHONSTARTUP": str(evil / "json.py"), "PYTHONINSPECT": "1",
        "PYTHONUSERBASE": str(evil), "PYTHONPLATLIBDIR": str(evil), "HOME": str(evil),
        "OPENSSL_CONF": str(evil / "openssl.cnf"), "OPENSSL_MODULES": str(evil),
        "OPENSSL_ENGINES": str(evil), "SSL_CERT_FILE": str(evil / "empty.pem"),
        "SSL_CERT_DIR": str(evil), "BASH_ENV": str(evil / "bash_env"),
        "ENV": str(evil / "bash_env"), "IFS": "/", "CDPATH": str(evil), "TMPDIR": str(evil),
        "XDG_RUNTIME_DIR": str(evil), "XDG_CONFIG_HOME": str(evil), "LC_ALL": "C", "LANG": "C",
        "http_proxy": "http://127.0.0.1:1", "SHELL": str(evil / "sh"), "USER": "nobody",
        "LD_LIBRARY_PATH": str(evil), "LD_PRELOAD": str(evil / "preload.so")}
    good.certs["a"]["notify"] = f"env >{good.path}/notified; pwd >>{good.path}/notified"
    done = run(good.command("newOrder", "--force"), env=poison, cwd=evil)
    assert done.returncode == 0, done.stderr
    assert not mark.exists(), mark.read_text()
    assert sorted(os.listdir(evil)) == sorted([
        "bash_env", "empty.pem", "file", "iptables", "openssl", "openssl.cnf", "python3", "sh",
        *(f"{module}.py" for module in ("configobj", "json", "letsencrypt_tiny", "os",
                                        "sitecustomize", "socket", "usercustomize"))])
    assert str(evil) not in (good.path / "notified").read_text()
    # the loader's complaint is that of the two that were started with it: setpriv and the master
    assert done.stderr.count("preload.so") == 2, done.stderr


def test_a_poisoned_environment_of_the_signer(good: Site) -> None:
    """By hand, by its own user, in a directory of modules."""
    evil = good.path / "evil-signer"
    evil.mkdir()
    mark = good.path / "marks"
    mark.touch(0o666)
    mark.chmod(0o666)
    for module in ("json", "Cryptodome", "sitecustomize", "platform"):
        (evil / f"{module}.py").write_text(f"open({str(mark)!r}, 'a').write({module!r})\n")
    for name in ("file", "ldconfig", "gcc"):
        (evil / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\n")
        (evil / name).chmod(0o755)
    done = run(good.signer("--stdio"), cwd=evil, env={
        "PYTHONPATH": str(evil), "PATH": f"{evil}:/usr/bin:/bin", "PYTHONHOME": str(evil)})
    assert done.returncode == 0 and done.stdout.startswith("1 OK ")
    assert mark.read_text() == ""


# --- a key is never wider than 0600, whatever the umask ------------------------------------------

@pytest.mark.parametrize("what", ["server key", "account key"])
def test_umask(what: str, good: Site) -> None:
    """From its first moment: strace shows the mode that each file is made with, and changes."""
    directory = good.lib / "accountd"
    if what == "server key":
        good.certificate("fresh", ["fresh.example"], key_type="ec:P-384")
        argv = good.command("newOrder", "fresh")
        key = good.file("fresh", "privkey.pem")
    else:
        key = directory / "new.key"
        argv = good.signer(f"--privkey=file:{key}", "--genkey=ec:P-256")
    trace = good.path / "umask.strace"
    done = subprocess.run(
        ["/usr/bin/strace", "-f", "-qq", "-y", "-s", "300", "-e", "signal=none", "-o", str(trace),
         "-e", "trace=open,openat,openat2,creat,mknod,mknodat,chmod,fchmod,fchmodat,mkdir,mkdirat",
         *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT,
        umask=0, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = []
    for call in trace.read_text().splitlines():
        if not re.search(re.escape(key.name), call):
            continue
        match = re.search(r"O_CREAT.*, 0([0-7]+)\)|fchmod\(.*, 0([0-7]+)\)|chmodat.*, 0([0-7]+)",
                          call)
        if match:
            made.append(next(group for group in match.groups() if group))
    assert made and set(made) == {"600"}, made
    names = re.findall(r'O_CREAT[^)]*\)', trace.read_text())
    assert not [name for name in names if re.search(r", 0[0-7]*[2367]\)", name)], names
