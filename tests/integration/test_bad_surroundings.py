"""Bad signers, servers, proxies, clocks, environments: one clear line, and nothing changed."""

import datetime
import os
import pwd
import re
import signal
import socket
from pathlib import Path

import pytest

from harness import ca
from harness.evil import Evil
from harness.hostile import Hostile
from harness.net import free_port
from harness.run import SIGNER_USER, Site, run
from harness.verdict import errors, refused


# --- the signer ----------------------------------------------------------------------------------

@pytest.fixture
def external(good: Site) -> Site:
    """The site, with a signer that would run already."""
    del good.main["accountd"]
    return good


@pytest.mark.parametrize("kind, expected", [
    ("missing", "No such file"), ("file", "not a socket"), ("open", "others may use this socket"),
    ("group", "others may use this socket"), ("directory", "writable by others"),
    ("dead", "cannot connect to the account key manager"), ("silent", "cannot connect to the "
                                                                      "account key manager"),
    ("junk", "account key manager"), ("endless", "account key manager")])
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
        user = pwd.getpwnam(SIGNER_USER)
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
    for name in "cert-a.json", "issued-a.pem":   # it is kept, and would be tried again first
        (good.lib / "state" / name).unlink(missing_ok=True)


@pytest.mark.alike(2)
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
            try:
                while True:   # what was cut off is tried again
                    with listener.accept()[0] as connection:
                        connection.recv(4096)
                        connection.sendall(answer)
            finally:
                os._exit(0)
        try:
            told = refused(good, 1, expected=expected)
        finally:
            os.kill(child, signal.SIGKILL)
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


# --- environment and working directory (D 47) ----------------------------------------------------

def test_a_poisoned_environment_is_ignored(good: Site, tmp_path: Path) -> None:
    """Nothing is loaded, executed or believed because of it, or of the directory we're in.

    But for LD_PRELOAD, by the two that are started with it: setpriv and the master.
    """
    # not the same object: one that is there already is not loaded again
    library, preloaded = Evil(good.path / "evil"), Evil(good.path / "preloaded")
    evil, mark = library.directory, library.mark
    for module in ("json", "socket", "sitecustomize", "usercustomize", "letsencrypt_tiny", "os",
                   "configobj"):
        (evil / f"{module}.py").write_text(f"open({str(mark)!r}, 'a').write({module!r})\n")
    for name in ("openssl", "sh", "iptables", "file", "python3"):
        (evil / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\n")
        (evil / name).chmod(0o755)
    openssl = library.variables("provider")
    assert library.works(openssl)
    (evil / "bash_env").write_text(f"echo bash >>{mark}\n")
    (evil / "empty.pem").write_text("")
    poison = {
        "PATH": f"{evil}:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(evil),
        "PYTHONHOME": str(evil), "PYTHONSTARTUP": str(evil / "json.py"), "PYTHONINSPECT": "1",
        "PYTHONUSERBASE": str(evil), "PYTHONPLATLIBDIR": str(evil), "HOME": str(evil),
        **openssl, "OPENSSL_MODULES": str(evil), "OPENSSL_ENGINES": str(evil),
        "GCONV_PATH": str(evil), "LOCPATH": str(evil), "SSL_CERT_FILE": str(evil / "empty.pem"),
        "SSL_CERT_DIR": str(evil), "BASH_ENV": str(evil / "bash_env"),
        "ENV": str(evil / "bash_env"), "IFS": "/", "CDPATH": str(evil), "TMPDIR": str(evil),
        "XDG_RUNTIME_DIR": str(evil), "XDG_CONFIG_HOME": str(evil), "LC_ALL": "C", "LANG": "C",
        "http_proxy": "http://127.0.0.1:1", "SHELL": str(evil / "sh"), "USER": "nobody",
        "LD_LIBRARY_PATH": str(evil), "LD_PRELOAD": str(preloaded.library)}
    good.certs["a"]["notify"] = f"env >{good.path}/notified; pwd >>{good.path}/notified"
    done = run(good.command("newOrder", "--force"), env=poison, cwd=evil)
    assert done.returncode == 0, done.stderr
    assert library.told() == ""
    assert [line.split()[:2] for line in preloaded.told().splitlines()] == [["uid", "0:"]] * 2
    assert sorted(os.listdir(evil)) == sorted([
        "bash_env", "empty.pem", "evil.so", "file", "iptables", "mark", "openssl", "provider.cnf",
        "python3", "sh",
        *(f"{module}.py" for module in ("configobj", "json", "letsencrypt_tiny", "os",
                                        "sitecustomize", "socket", "usercustomize"))])
    assert str(evil) not in (good.path / "notified").read_text()


def test_a_poisoned_environment_of_the_signer(good: Site) -> None:
    """By hand, by its own user, in a directory of modules."""
    library = Evil(good.path / "evil-signer")
    evil, mark = library.directory, library.mark
    for module in ("json", "Cryptodome", "sitecustomize", "platform"):
        (evil / f"{module}.py").write_text(f"open({str(mark)!r}, 'a').write({module!r})\n")
    for name in ("file", "ldconfig", "gcc"):
        (evil / name).write_text(f"#!/bin/sh\necho {name} >>{mark}\n")
        (evil / name).chmod(0o755)
    done = run(good.signer("--stdio"), cwd=evil, env={
        **library.variables("engine"),
        "PYTHONPATH": str(evil), "PATH": f"{evil}:/usr/bin:/bin", "PYTHONHOME": str(evil)})
    assert done.returncode == 0 and done.stdout.startswith("1 OK ")
    assert mark.read_text() == ""
