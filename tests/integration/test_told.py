"""Being told: nothing when all is well, the journal each time, a mail once a day."""

import datetime
import fcntl
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import judge
from harness.hostile import Default, Hostile, Request, Response
from harness.journald import Journald
from harness.later import later
from harness.net import await_socket
from harness.run import ROOT, Result, Site

HOUR = 3600
CRON = (ROOT / "debian/letsencrypt-tiny.cron.d").read_text()
UNATTENDED = ("--quiet", "newOrder", "--unattended")
ERROR, WARNING, NOTICE = "3", "4", "5"


@pytest.fixture(scope="module")
def journald() -> Iterator[Journald]:
    """One daemon for all."""
    with Journald() as daemon:
        yield daemon


@pytest.fixture
def host(site: Site, hostile: Hostile) -> Site:
    """A site with an account and two sections."""
    site.open_account(hostile)
    for name in "a", "b":
        site.certificate(name, [f"{name}.example"])
    site.at_once = True
    return site


def refuse(server: Hostile, detail: str = "No.", kind: str = "caa") -> None:
    """Refuse each order from now on."""
    def handler(_request: Request, _default: Default) -> Response:
        return Response.problem(kind, detail)
    server.on["newOrder"] = handler


def pass_by(site: Site, hours: float) -> None:
    """So many hours go by."""
    later(site.lib / "state", int(hours * HOUR))
    path = site.lib / "state/troubles.json"
    if path.exists():
        sections = json.loads(path.read_text())
        for failure in sections.values():
            failure["since"] -= int(hours * HOUR)
        path.write_text(json.dumps(sections))
    path = site.lib / "state/told.json"
    if path.exists():
        found = json.loads(path.read_text())
        for failure in found["sections"].values():
            for name in "since", "told", "again":
                failure[name] = max(0, failure[name] - int(hours * HOUR))
        found["lines"] = {line: moment - hours * HOUR // 1
                          for line, moment in found["lines"].items()}
        path.write_text(json.dumps(found).replace(".0", ""))


def cron(site: Site) -> "Result[str]":
    """Do what cron(8) does with the job that is shipped: /bin/sh, its environment, its line.

    The programs are those of the test's prefix, and nobody waits for the host's share of six hours.
    """
    settings = dict(re.findall(r"^([A-Z]+)=(.*)$", CRON, re.M))
    line, = re.findall(r"^[0-9][^#]* root (.*)$", CRON, re.M)
    line = line.replace("\\%", "%").replace("-d /run/systemd/system", "-d /nonexistent").replace(
        "/usr/sbin/letsencrypt-tiny", str(site.prefix.master))
    site.configure()
    functions = (f'sleep() {{ :; }}; letsencrypt-tiny() {{ {site.prefix.master} '
                 f'--config={site.config} "$@"; }}; ')
    functions = functions.replace("letsencrypt-tiny()", "letsencrypt_tiny()")
    line = re.sub(r"; letsencrypt-tiny --quiet", "; letsencrypt_tiny --quiet", line)
    assert "letsencrypt_tiny --quiet" in line
    done = subprocess.run([settings["SHELL"], "-c", functions + line], text=True, cwd="/root",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=90, check=False,
                          env={"PATH": settings["PATH"], "HOME": "/root", "LOGNAME": "root",
                               "SHELL": settings["SHELL"]})
    return done


def unwrapped(text: str) -> str:
    """Return what is told, a line each thing."""
    return text.replace("\n    ", " ")


def fields(entry: dict[str, Any]) -> tuple[object, ...]:
    """Return what an entry says of itself."""
    return (entry["PRIORITY"], entry.get("ACME_SECTION"), entry.get("ACME_CA"),
            entry.get("ACME_PROBLEM"))


def unexpected(entries: "list[dict[str, Any]]") -> "list[str]":
    """Return what logcheck(8) would tell of, of both forms that lines in /var/log may have."""
    rules = ROOT / "debian/letsencrypt-tiny.logcheck.ignore.server"
    lines = "".join(f"{when} host letsencrypt-tiny[12]: {entry['MESSAGE']}\n" for entry in entries
                    for when in ("Nov 27 14:07:43", "2026-11-27T14:07:43.123456+00:00"))
    found = subprocess.run(["/bin/grep", "-E", "-v", "-f", str(rules)], input=lines, text=True,
                           stdout=subprocess.PIPE, check=False)
    assert found.returncode < 2
    return found.stdout.splitlines()


# --- the journal ---

def test_entries_of_a_service(host: Site, hostile: Hostile, journald: Journald) -> None:
    """What was installed, by section; native entries, and none of the stream's."""
    done = journald.run(host.command(*UNATTENDED), service=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = journald.entries("SYSLOG_IDENTIFIER=letsencrypt-tiny")
    assert sorted(map(fields, found), key=str) == [(NOTICE, "a", None, None),
                                                   (NOTICE, "b", None, None)]
    assert all("certificate installed, valid until" in entry["MESSAGE"] for entry in found)
    assert {entry["_TRANSPORT"] for entry in found} == {"journal"}
    done = journald.run(host.command(*UNATTENDED), service=True)
    assert done.returncode == 0 and journald.entries("SYSLOG_IDENTIFIER=letsencrypt-tiny") == found
    assert not journald.entries("SYSLOG_IDENTIFIER=stream")
    assert unexpected(found) == []


def test_nothing_is_forged(host: Site, hostile: Hostile, journald: Journald) -> None:
    """Neither by what the server says nor by what it calls it."""
    forged = "\nPRIORITY=0\nMESSAGE=forged\nACME_SECTION\n\x04\0\0\0\0\0\0\0evil\nX=1"
    refuse(hostile, f"No{forged}", f"caa{forged}")
    before = len(journald.entries())
    done = journald.run(host.command("newOrder", "a"), service=True)
    assert done.returncode == 1
    found = [entry for entry in journald.entries()[before:] if entry["PRIORITY"] < "6"]
    assert len(found) == 1, found
    name = hostile.directory.split("/")[2]
    assert fields(found[0])[:3] == (ERROR, "a", name)
    assert found[0]["MESSAGE"].startswith(
        "error: a: newOrder: No\\x0aPRIORITY=0\\x0aMESSAGE=forged")
    assert found[0]["ACME_PROBLEM"] == f"caa{forged}"[:200] or \
        bytes(found[0]["ACME_PROBLEM"]).decode() == f"caa{forged}"
    assert "X" not in found[0] and not journald.entries("MESSAGE=forged")
    assert not journald.entries("ACME_SECTION=evil")


def test_one_entry_names_all_sections(host: Site, hostile: Hostile, journald: Journald) -> None:
    """A CA that is down has failed them all."""
    hostile.on["directory"] = lambda _request, _default: Response.problem("x", "Broken.", 500)
    before = len(journald.entries())
    assert journald.run(host.command(*UNATTENDED), service=True).returncode == 1
    found = journald.entries()[before:]
    assert len(found) == 1 and sorted(found[0]["ACME_SECTION"]) == ["a", "b"]
    assert found[0]["PRIORITY"] == ERROR and found[0]["ACME_CA"]


def test_what_confined_processes_say(host: Site, hostile: Hostile, journald: Journald) -> None:
    """They hand it to the master, with its priority; the signer on a socket has its own way."""
    host.main["client"].pop("ca-file")
    host.main["client"]["SSL_verify"] = "no"
    before = len(journald.entries())
    assert journald.run(host.command(*UNATTENDED), service=True).returncode == 0
    found = [entry for entry in journald.entries()[before:] if "is not verified" in
             entry["MESSAGE"]]
    assert [entry["PRIORITY"] for entry in found] == [WARNING]
    path = host.path / "signer"
    path.mkdir(mode=0o755)
    argv = host.signer("--confine=required", f"--socket={path}/S")
    argv[argv.index("--") + 1:argv.index("--") + 1] = ["/usr/bin/python3", "-B"]
    owner = host.account_key.owner()
    subprocess.run(["/bin/chown", owner, str(path)], check=True)
    with subprocess.Popen(journald.inside(*argv, service=True), stdin=subprocess.DEVNULL
                          ) as process:
        try:
            await_socket(path / "S", process)
            subprocess.run(["/usr/bin/python3", "-c", (
                "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
                "s.recv(1000); s.sendall(b'nonsense\\r\\n'); s.recv(1000)"), str(path / "S")],
                check=True, timeout=20)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    found = journald.entries("SYSLOG_IDENTIFIER=letsencrypt-tiny-accountd")
    assert found and {entry["_TRANSPORT"] for entry in found} == {"journal"}
    assert any(entry["PRIORITY"] <= WARNING for entry in found), found


def test_syslog_elsewhere(host: Site, hostile: Hostile, journald: Journald) -> None:
    """Where the journal has no socket: the same lines, by syslog(3)."""
    journald.run(["/bin/mv", "/run/systemd/journal/socket", "/run/systemd/journal/moved"])
    try:
        refuse(hostile, "No\n<0>forged")
        before = len(journald.entries())
        done = journald.run(host.command(*UNATTENDED))
        assert done.returncode == 1 and "No\\x0a<0>forged" in done.stderr
        found = journald.entries()[before:]
        assert {entry["_TRANSPORT"] for entry in found} == {"syslog"}
        assert [(entry["PRIORITY"], entry["MESSAGE"]) for entry in found] == [
            (ERROR, "error: a, b: newOrder: No\\x0a<0>forged (caa)")]
        assert len(unexpected(found)) == 2
        assert {entry["SYSLOG_IDENTIFIER"] for entry in found} == {"letsencrypt-tiny"}
    finally:
        journald.run(["/bin/mv", "/run/systemd/journal/moved", "/run/systemd/journal/socket"])


# --- the mail ---

def test_silent_when_well(host: Site, hostile: Hostile) -> None:
    for _ in range(2):
        done = cron(host)
        assert (done.returncode, done.stdout) == (0, "")
    assert judge.matches(host.file("a"), host.file("a", "privkey.pem"))
    assert not (host.lib / "state/told.json").exists()


def test_one_mail_a_day(host: Site, hostile: Hostile) -> None:
    """Of a failure that lasts three days, with since when and until when; then of none."""
    assert cron(host).stdout == ""
    for name in "a", "b":
        host.certs[name]["names"] = f"{name}.example, more.{name}.example"
    refuse(hostile, "Order https://ca.example/order/1 is no good.")
    mails = []
    for number in range(12):
        if number:
            pass_by(host, 6)
        done = cron(host)
        if done.stdout:
            mails.append((number, done.stdout))
    assert [number for number, _ in mails][:1] == [0] and 3 <= len(mails) <= 4, mails
    assert all(after - before >= 4 for (before, _), (after, _) in zip(mails, mails[1:]))
    first, last = mails[0][1], mails[-1][1]
    assert re.match(r"a, b: newOrder: Order https://ca\.example/order/1 is no good\. \(caa\)",
                    first)
    assert first.count("no good") == 1, "what is alike is told once"
    expiry = datetime.datetime.strptime(
        judge.x509(host.file("a"), "-enddate").strip(), "notAfter=%b %d %H:%M:%S %Y GMT"
    ).strftime("%Y-%m-%d %H:%M UTC")
    assert f"the first certificate of them expires {expiry}, in 89 days" in unwrapped(first)
    since = [re.search(r"since (\S+ \S+) UTC", text) for text in (first, last)]
    assert since[0] and since[1] and since[1][1] < since[0][1]
    assert re.search(r"tried again by the (next run|first run after \S+ \S+ UTC)",
                     unwrapped(first))
    # another one begins to fail: that is told at once, and the others with it
    host.certificate("c", ["c.example"])
    pass_by(host, 1)
    done = cron(host)
    assert "c: " in done.stdout or "b, c" in done.stdout
    assert "there is no valid certificate" in done.stdout or "one has no" in done.stdout
    hostile.on.clear()
    pass_by(host, 30)
    assert (cron(host).stdout, cron(host).stdout) == ("", "")
    assert not (host.lib / "state/told.json").exists()


def test_a_run_that_cannot_be(host: Site, hostile: Hostile) -> None:
    """Told once a day, too, and where it was told is found without any configuration."""
    state = host.prefix.path / "var/lib/letsencrypt-tiny/state"
    state.mkdir(parents=True, mode=0o700)
    try:
        good = host.command("newOrder")
        host.write("letsencrypt-tiny.conf", host.config.read_text() + "[nonsense]\n")
        done = cron(host)
        assert done.returncode == 2 and "unknown section [nonsense]" in done.stdout
        assert "tried again by the next run" in done.stdout
        done = cron(host)
        assert (done.returncode, done.stdout) == (2, "")
        assert "unknown section [nonsense]" in host.run("failures").stdout
        host.write("letsencrypt-tiny.conf", host.config.read_text().replace("[nonsense]\n", ""))
        assert cron(host).returncode == 0 and good
        assert host.run("failures").returncode == 0
        assert not (state / "told.json").exists()
    finally:
        shutil.rmtree(state.parent)


def test_a_lock_that_is_held(host: Site, hostile: Hostile) -> None:
    """No failure: the other run does the work."""
    with open(host.rundir / "lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        texts = [cron(host) for _ in range(2)]
    assert [done.returncode for done in texts] == [75, 75]
    assert "another" in texts[0].stdout and texts[1].stdout == ""
    assert host.run("failures").returncode == 0


def test_notification_that_fails(host: Site, hostile: Hostile) -> None:
    """Once a day; the command itself is run each time."""
    host.certs = {}
    host.certificate("a", ["a.example"], notify=f"echo >> {host.path}/notified; exit 3")
    done = cron(host)
    assert done.stdout.startswith("a: the notification failed: “echo"), done.stdout
    text = unwrapped(done.stdout)
    assert "exit 3” ended with status 3" in text and "tried again by the next run" in text
    for _ in range(3):
        pass_by(host, 6)
        assert cron(host).stdout == ""
    pass_by(host, 6)
    assert "since " in cron(host).stdout
    assert (host.path / "notified").read_text() == "\n" * 5
    host.certs["a"]["notify"] = "true"
    assert cron(host).stdout == "" and host.run("failures").stdout == ""


def test_the_command_says_the_same(host: Site, hostile: Hostile) -> None:
    assert host.run("failures").returncode == 0
    refuse(hostile)
    told = cron(host).stdout
    done = host.run("failures")
    assert (done.returncode, done.stdout) == (1, told) and "a, b: newOrder: No. (caa)" in told
    assert host.run("failures", "x").returncode == host.run("failures", "--json").returncode == 2
    host.write("letsencrypt-tiny.conf", "nonsense = 1\n")
    assert host.run("failures").returncode == 0, "of another state directory"


# --- many at once ---

def hook(site: Site, name: str, text: str) -> Path:
    """Write a program into the directory of hooks."""
    directory = site.path / "hooks"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    site.main[""]["run-hooks"] = str(directory)
    return path


def test_one_reload_for_many(host: Site, hostile: Hostile) -> None:
    """And the hooks once, after that; neither where nothing has changed."""
    out = host.path / "out"
    for number in range(5):
        host.certificate(f"n{number}", [f"n{number}.example"],
                         notify=f'echo "reload $LETSENCRYPT_TINY_SECTIONS" >>{out}')
    hook(host, "first", f'echo "hook $LETSENCRYPT_TINY_SECTIONS" >>{out}')
    hook(host, "second", f"echo second >>{out}")
    hook(host, "not.run", f"echo wrong >>{out}")
    assert cron(host).stdout == ""
    assert out.read_text() == "reload n0 n1 n2 n3 n4\nhook a b n0 n1 n2 n3 n4\nsecond\n"
    assert cron(host).stdout == ""
    assert out.read_text().count("\n") == 3


def test_hooks_that_fail(host: Site, hostile: Hostile) -> None:
    """They are run again, the notification isn't; others are not kept from theirs."""
    out = host.path / "out"
    host.certificate("a", ["a.example"], notify=f"echo reload >>{out}")
    path = hook(host, "fails", f"echo hook $LETSENCRYPT_TINY_SECTIONS >>{out}; exit 2")
    hook(host, "later", f"echo later >>{out}")
    done = host.run("newOrder")
    assert done.returncode == 1 and "run-hooks = " in done.stderr, done.stderr
    assert out.read_text() == "reload\nhook a b\nlater\n"
    path.write_text(f"#!/bin/sh\necho again $LETSENCRYPT_TINY_SECTIONS >>{out}\n")
    done = host.run("newOrder")
    assert done.returncode == 0 and out.read_text().endswith("later\nagain a b\nlater\n")
    assert host.run("newOrder").returncode == 0 and out.read_text().count("again") == 1


@pytest.mark.parametrize("place", ["hooks", "hooks/hook"])
def test_hooks_of_others(host: Site, hostile: Hostile, place: str) -> None:
    """Nothing is run that somebody else could have written, and the certificates are there."""
    out = host.path / "out"
    hook(host, "hook", f"echo wrong >>{out}")
    (host.path / place).chmod(0o777)
    done = host.run("newOrder")
    assert done.returncode == 1 and f"{place}: writable by everybody" in done.stderr
    assert not out.exists() and host.file("a").exists()
    (host.path / place).chmod(0o755)
    assert host.run("newOrder").returncode == 0 and out.read_text() == "wrong\n"
