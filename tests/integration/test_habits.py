"""Habits of administrators: files of lacme, names of a network, odd places, strange locales."""

import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import judge
from harness.hostile import Hostile
from harness.judge import INSTALLED, NEW, expect
from harness.run import USERS, Site, run
from harness.verdict import errors, only_error, refused

FIRST = [rf"x: {NEW}", r"x: generating the private key \S+ \(ec:P-256\)", f"x: {INSTALLED}"]
NOBODY = pwd.getpwnam("nobody")


def orders(server: Hostile) -> int:
    """Return how many orders were asked for."""
    return len(server.asked("newOrder"))


# --- one bad section ------------------------------------------------------------------------------

@pytest.mark.alike(2)
@pytest.mark.parametrize("settings, told", [
    ({"owner": "nosuchuser"}, "owner = nosuchuser: there is no user “nosuchuser”"),
    ({"names": ""}, "no names"), ({"names": "b..example"}, "names = b..example"),
    ({"mode": "0666"}, "mode = 0666"), ({"name": "b.example"}, "did you mean “names”?"),
    ({"CAfile": "/nonexistent.pem"}, "CAfile = /nonexistent.pem")])
def test_a_bad_section_stops_only_itself(settings: dict[str, str], told: str, good: Site,
                                         server: Hostile) -> None:
    good.certs = {"bad": {"names": "bad.example", **settings}, **good.certs}
    for arguments in (("--force",), ("--force", "bad", "a")):
        server.requests.clear()
        done = good.run("newOrder", *arguments)
        assert done.returncode == 1 and len(errors(done)) == 1, done.stderr
        line = errors(done)[0]
        assert line.startswith(f"error: {good.etc}/certs.conf, [bad]: ") and told in line
        assert f"a: {INSTALLED.partition(',')[0]}" in done.stderr and orders(server) == 1
    assert good.run("newOrder", "--force", "a").returncode == 0, "nobody asked for the other"
    done = good.run("check")
    assert done.returncode == 1 and len(errors(done)) == 1 and told in errors(done)[0]
    if "CAfile" in settings:   # that is looked for when it is needed
        return
    done = good.run("status")
    assert done.returncode == 1 and done.stderr == "" and told in done.stdout
    assert "\na " in done.stdout and "\nbad " in done.stdout
    assert f'"fault": "{good.etc}/certs.conf, [bad]: ' in good.run("status", "--json").stdout


def test_a_name_of_a_section_that_there_is_not(good: Site) -> None:
    done = good.run("newOrder", "--force", "nosuch", "a")
    assert done.returncode == 1 and f"a: {INSTALLED.partition(',')[0]}" in done.stderr
    assert [line.partition(" in ")[0] for line in errors(done)] == \
        ["error: there is no section [nosuch]"]
    done = good.run("status", "nosuch", "a")
    assert done.returncode == 1 and "there is no section [nosuch]" in done.stdout
    assert "\na " in done.stdout


@pytest.mark.parametrize("text", ["[b]\nnonsense\n", "[b]\nnames = b.example\nnames = c.example\n"])
def test_what_cannot_be_read_stops_all(text: str, good: Site) -> None:
    good.main[""]["config-certs"] = "certs.conf certs.conf.d/"
    (good.etc / "certs.conf.d").mkdir(exist_ok=True)
    (good.etc / "certs.conf.d/b.conf").write_text(text)
    try:
        refused(good, 2, expected="certs.conf.d/b.conf, line [23]: ")
    finally:
        shutil.rmtree(good.etc / "certs.conf.d")


def test_hidden_and_backup_files(good: Site) -> None:
    good.main[""]["config-certs"] = "certs.conf certs.conf.d/"
    directory = good.etc / "certs.conf.d"
    directory.mkdir()
    (directory / ".#a.conf").symlink_to("root@host.example.12345:1700000000")
    for name in ("#a.conf#", ".b.conf", "a.conf~", "a.conf.dpkg-new", "a.conf.dpkg-dist"):
        (directory / name).write_text("nonsense\n")
    try:
        expect(good.run("newOrder"), 0, "a: valid until .*")
    finally:
        shutil.rmtree(directory)


# --- names ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["intranet", "a_b.example", "_sip.example"])
def test_names_that_are_a_private_cas_business(name: str, good: Site, server: Hostile) -> None:
    good.certs = {}
    good.certificate(f"x{name.strip('_')}", [name])
    done = good.run("newOrder")
    assert done.returncode == 0, done.stderr
    assert judge.names(good.file(f"x{name.strip('_')}")) == {name}


# --- lacme's files -------------------------------------------------------------------------------

@pytest.fixture
def lacme(good: Site) -> Iterator[Path]:
    """Where lacme's files are: lacme.conf as Debian has it, but for what a test must set."""
    directory = good.path / "lacme"
    directory.mkdir()
    (directory / "lacme-certs.conf.d").mkdir()
    good.configure()
    yield directory
    shutil.rmtree(directory)


def configuration(good: Site, extra: str = "") -> str:
    """Return the text of a lacme.conf, in Latin-1, with every freedom of its syntax."""
    client, webserver = good.main["client"], good.main["webserver"]
    return f"""# f\u00fcr M\u00fcller
library-directory = {good.lib} ; here
run-directory = /nonexistent
run-directory = {good.rundir}
[client] ; f\u00fcr M\u00fcller
timeout = 30 ; seconds
server = {client['server']}
ca-file = {client['ca-file']}
[webserver]
listen = {webserver['listen']}
[accountd]
config = {good.etc}/accountd.conf ; of ours
[client]
SSL_verify = yes
{extra}"""


def test_lacme_conf_as_config(good: Site, lacme: Path, server: Hostile) -> None:
    (lacme / "lacme.conf").write_text(configuration(good), encoding="iso-8859-1")
    (lacme / "lacme-certs.conf").write_text("# nothing\n")
    (lacme / "lacme-certs.conf.d/x.conf").write_text(f"""[x] ; comment
certificate-key = {lacme}/x.key
certificate = {lacme}/x.crt
subject = /CN=old.example
subject = /CN=x.example ; f\u00fcr M\u00fcller
[x]
CAfile = {good.certs['a']['CAfile']}
notify = touch {lacme}/notified ; comment
""", encoding="iso-8859-1")
    argv = [str(good.prefix.master), f"--config={lacme}/lacme.conf"]
    expect(run([*argv, "newOrder"]), 0, *FIRST, r"running “touch \S+” for x")
    assert judge.names(lacme / "x.crt") == {"x.example"} and (lacme / "notified").exists()
    assert stat.S_IMODE((lacme / "x.key").stat().st_mode) == 0o600
    done = run([*argv, "check"])
    assert done.returncode == 0 and "1 certificate configured; nothing wrong" in done.stderr


def test_lacme_files_under_their_old_names(good: Site, lacme: Path) -> None:
    """Beside our own main configuration; where ours have a section, it is said that they wait."""
    shutil.copy(good.config, lacme / "letsencrypt-tiny.conf")
    text = (lacme / "letsencrypt-tiny.conf").read_text().replace("config-certs = certs.conf\n", "")
    (lacme / "letsencrypt-tiny.conf").write_text(text)
    (lacme / "certs.conf").write_text("# nothing\n")
    (lacme / "lacme.conf").write_text("[client]\n")
    (lacme / "lacme-certs.conf").write_text(
        f"[x]\nsubject = /CN=x.example ; y\nCAfile = {good.certs['a']['CAfile']}\n")
    argv = [str(good.prefix.master), f"--config={lacme}/letsencrypt-tiny.conf"]
    done = run([*argv, "check"])
    assert done.returncode == 0 and f"{lacme}/lacme.conf is not read" in done.stderr
    expect(run([*argv, "newOrder"]), 0, *FIRST)
    (lacme / "certs.conf").write_text("[y]\nnames = y.example\n")
    done = run([*argv, "check"])
    assert f"{lacme}/lacme-certs.conf is not read: " in done.stderr


def test_no_section_at_all(good: Site) -> None:
    good.certs = {}
    told = f"no certificate is configured: .* {good.etc}/certs.conf"
    expect(good.run("newOrder"), 0, told)
    expect(good.run("--quiet", "newOrder"), 0)
    done = good.run("check")
    assert done.returncode == 1 and len(errors(done)) == 1 and "no certificate" in errors(done)[0]
    expect(good.run("status"), 0, told, stdout="SECTION.*\n")


def test_more_days_than_a_certificate_lives(good: Site, server: Hostile) -> None:
    """min-days = 100, and the CA's are for 90: a warning, and no order at each run."""
    good.certs["a"]["min-days"] = "100"
    told = r"warning: .*\[a\]: min-days = 100: certificates that are valid for 90 days would be " \
           "renewed at each run; it is taken as not set"
    for _ in range(2):
        expect(good.run("--quiet", "newOrder"), 0, told)
    assert orders(server) == 0
    done = good.run("status")
    assert done.returncode == 0 and "\na " in done.stdout and " valid " in done.stdout
    assert good.run("--quiet", "newOrder", "--min-days=100").returncode == 0
    assert orders(server) == 1, "who says so on the command line gets it"


# --- places --------------------------------------------------------------------------------------

def test_a_key_in_a_directory_of_the_owner(good: Site) -> None:
    directory = good.path / "postgres"
    directory.mkdir(mode=0o700)
    good.certs = {}
    good.certificate("x", ["x.example"], owner="nobody", certificate_key=f"{directory}/server.key",
                     certificate_chain=f"{directory}/server.crt")
    os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
    expect(good.run("newOrder"), 0, *FIRST)        # made there
    os.chown(directory / "server.key", NOBODY.pw_uid, NOBODY.pw_gid)
    expect(good.run("newOrder", "--force"), 0, "x: forced", f"x: {INSTALLED}")      # used there
    assert judge.matches(directory / "server.crt", directory / "server.key")
    assert good.run("check").returncode == 0
    good.certs["x"]["owner"] = "daemon"
    refused(good, 1, expected=f"{directory}: belongs to uid")
    done = good.run("check")
    assert done.returncode == 1 and f"{directory}: belongs to uid" in done.stderr


def test_a_sticky_parent(good: Site) -> None:
    parent = good.path / "sticky"
    parent.mkdir()
    parent.chmod(0o1777)
    good.main[""]["run-directory"] = str(parent / "run")
    for _ in ("made", "used"):
        expect(good.run("newOrder", "--force"), 0, "a: forced", f"a: {INSTALLED}")
    certs, good.certs = good.certs, {}
    assert good.run("newOrder").returncode == 0
    good.certs = certs
    os.chown(parent / "run", NOBODY.pw_uid, NOBODY.pw_gid)
    refused(good, 1, expected=f"{parent}/run: belongs to uid")


@pytest.mark.alike(3)
@pytest.mark.parametrize("section", ["client", "webserver", "accountd"])
@pytest.mark.parametrize("kind, told", [
    ("not for that user", "not an executable file"), ("not executable", "not an executable file"),
    ("no interpreter", "its interpreter /nonexistent/python3: not an executable file"),
    ("not by env", "its interpreter nosuchpython: not an executable file"),
    ("not readable", "cannot read this script"), ("no program", "neither a program")])
def test_check_finds_commands_that_cannot_work(section: str, kind: str, told: str, good: Site
                                               ) -> None:
    directory = good.path / "commands"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o700 if kind == "not for that user" else 0o755)
    command = directory / "program"
    command.unlink(missing_ok=True)
    command.write_text({"no interpreter": "#!/nonexistent/python3 -IS\n", "no program": "exit 0\n",
                        "not by env": "#!/usr/bin/env nosuchpython\n"}.get(kind, "#!/bin/sh\n"))
    command.chmod({"not executable": 0o644, "not readable": 0o711}.get(kind, 0o755))
    good.main[section]["command"] = str(command)
    done = good.run("check")
    lines = [line for line in errors(done) if f"[{section}]: command = {command}: " in line]
    assert done.returncode in (1, 2) and len(lines) == 1 and told in lines[0], done.stderr
    assert kind == "no program" or \
        USERS[("accountd", "client", "webserver").index(section)] in lines[0]


def test_a_command_is_named_as_it_is_run(good: Site) -> None:
    good.main["accountd"]["command"] = "/nonexistent/%u/accountd"
    path = f"/nonexistent/{USERS[0]}/accountd"
    refused(good, 1, expected=rf"\[accountd\]: cannot run {path}: No such file")


def test_who_has_the_port_is_said(good: Site) -> None:
    """check says it, and so does the run."""
    good.main["webserver"].pop("listen")
    done = good.run("check")
    assert done.returncode == 0 and "listens on port 80" not in done.stderr, done
    with socket.create_server(("127.0.0.1", 80)):
        done = good.run("check")   # which tries it: nobody answers there
        assert done.returncode == 1 and re.search(
            rf"error: \S+ \(process {os.getpid()}\) listens on port 80, and a challenge for "
            r"a\.example does not reach us through it", done.stderr), done
        told = (rf"\(process {os.getpid()}\) listens on port 80: .*{good.rundir}/www.socket.*"
                "nginx.conf")
        assert re.search(told, done.stderr), done
        done = good.run("newOrder", "--force")
        assert re.search(told, done.stderr), done
        done = good.run("--quiet", "newOrder", "--force")
        assert not re.search(told, done.stderr), done


# --- locales -------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def latin(ready: Site) -> dict[str, str]:
    """The environment of an administrator whose terminal is not of UTF-8."""
    path = ready.path / "locales"   # where the signer's user can read it
    path.mkdir()
    done = subprocess.run(["/usr/bin/localedef", "-i", "tr_TR", "-f", "ISO-8859-9",
                           str(path / "tr_TR.ISO-8859-9")], capture_output=True, check=False)
    if done.returncode not in (0, 1):   # 1: with warnings
        pytest.skip("needs the package locales")
    return {"LOCPATH": str(path), "LANG": "tr_TR.ISO-8859-9"}


def test_file_names_are_those_of_utf8(good: Site, latin: dict[str, str]) -> None:
    directory = good.path / "f\u00fcr Stra\u00dfe"
    directory.mkdir()
    good.certs = {}
    good.certificate("\u00fc", ["x.example"], certificate_key=f"{directory}/\u00fc.key",
                     certificate_chain=f"{directory}/\u00fc.crt",
                     notify=f"touch '{directory}/\u00fc.notified'")
    first = good.run("newOrder", env=latin)
    assert first.returncode == 0, first.stderr
    names = {"\u00fc.key", "\u00fc.crt", "\u00fc.notified"}
    assert set(os.listdir(directory)) == names
    assert not [name for name in os.listdir(good.path) if "Stra" in name and name != directory.name]
    for environment in ({}, latin):
        expect(good.run("newOrder", env=environment), 0, "\u00fc: valid until .*")
    expect(good.run("newOrder", "--force", "\u00fc", env=latin), 0, "\u00fc: forced",
           f"\u00fc: {INSTALLED}", "running .*")
    assert set(os.listdir(directory)) == names
    # as that terminal sends it
    argument = "\u00fc".encode("iso-8859-9").decode("utf-8", "surrogateescape")
    expect(good.run("newOrder", argument, env=latin), 0, "\u00fc: valid until .*")


def test_the_signers_file_names_too(good: Site, latin: dict[str, str]) -> None:
    """One that is started by hand makes, and reads, the key that the master's does."""
    directory = good.lib / "accountd"
    old, key = good.account_key, directory / "Schl\u00fcssel"
    good.accountd[""]["privkey"] = f"file:{key}"
    as_sent = f"--privkey=file:{key}".encode("iso-8859-9").decode("utf-8", "surrogateescape")
    before = set(os.listdir(directory))
    try:
        done = run(good.signer("--genkey=ec:P-256"), env=latin)
        assert done.returncode == 0 and done.stdout.startswith(f"{key}: "), done
        assert set(os.listdir(directory)) == {*before, key.name}
        for argv in (good.signer("--genkey=ec:P-256"),
                     good.signer(f"--privkey=file:{key}", "--genkey=ec:P-256"),
                     good.signer(as_sent, "--genkey=ec:P-256")):
            done = run(argv, env=latin)
            assert done.returncode == 1 and f"{key}: " in only_error(done, 1), "it is there"
        for environment in (latin, {}):
            done = run(good.signer("--stdio"), env=environment)
            assert done.returncode == 0 and done.stdout.startswith("1 OK "), done
        shutil.copyfile(old, key)
        expect(good.run("newOrder", "--force", env=latin), 0, "a: forced", f"a: {INSTALLED}")
        assert set(os.listdir(directory)) == {*before, key.name}
    finally:
        key.unlink(missing_ok=True)
