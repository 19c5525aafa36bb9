"""CAs of one run are apart: the client of one can't touch another's account or answers."""

import json
import os
import pwd
import re
from pathlib import Path
from typing import Any

import pytest

from harness import ca
from harness.acme import order
from harness.hostile import Hostile
from harness.judge import expect
from harness.net import await_socket
from harness.run import CLIENT_USER, SIGNER_USER, WEBSERVER_USER, Prefix, Site
from test_failover import issuer
from test_policy_betrayed import STAND_IN

# Confined like the client whose place it takes, it writes down who may do what where
INTRUDER = """#!/usr/bin/python3 -IS
import json, os, sys, time
sys.path.insert(0, {tree!r})
from letsencrypt_tiny.client import main as client
from letsencrypt_tiny.common.sandbox import confine
report = os.open({report!r}, os.O_WRONLY | os.O_APPEND)
open("mine", "w").close()
own = os.path.basename(os.getcwd())
deadline = time.monotonic() + 20
while not os.path.exists(f"../{{1 - int(own)}}/mine") and time.monotonic() < deadline:
    time.sleep(0.01)
confine.warm_up()
confine.enter(client.confinement({confine!r}, (), 1))
tried = {{}}
for name, path in (("own", "token"), ("sibling", f"../{{1 - int(own)}}/foreign"),
                   ("above", "../token")):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                         | os.O_CLOEXEC, 0o644))
        tried[name] = "did"
    except OSError as exc:
        tried[name] = os.strerror(exc.errno)
try:
    os.unlink(f"../{{1 - int(own)}}/mine")
    tried["removes"] = "did"
except OSError as exc:
    tried["removes"] = os.strerror(exc.errno)
os.write(report, json.dumps(tried).encode() + b"\\n")
"""


@pytest.fixture
def apart(site: Site, hostile: Hostile, other: Hostile) -> Site:
    """A site with a section at each of two CAs, and its account there."""
    site.open_account(hostile, other=other)
    site.certificate("a", ["a.example"])
    site.certificate("b", ["b.example"], ca="other")
    return site


def stand_in(site: Site, text: str) -> None:
    """Let that be the client, of whichever CA."""
    (site.path / "client").write_text(text)
    (site.path / "client").chmod(0o755)
    site.main["client"]["command"] = str(site.path / "client")


def ask(server: Hostile, payload: Any, kid: str = "account/0") -> dict[str, Any]:
    """An attempt to have a request to a CA signed."""
    return {"url": server.url("newOrder"), "kid": server.url(kid), "jwk": False,
            "payload": payload}


def test_the_account_of_another(apart: Site, hostile: Hostile, other: Hostile) -> None:
    """Each client's signer signs for the CA of that client alone, and for its names."""
    stand_in(apart, STAND_IN.format(path=str(apart.path)))
    for server, name, lucky in ((hostile, "a.example", 1), (other, "b.example", 1),
                                (hostile, "b.example", 0), (other, "a.example", 0)):
        (apart.path / "attempts").write_text(json.dumps([ask(server, order(name))]))
        answers = re.findall(r"ANSWER (.*)", apart.run("newOrder").stderr)
        assert len(answers) == 2
        assert sum(not answer.startswith("NOSIGN") for answer in answers) == lucky, answers
    (apart.path / "attempts").write_text(json.dumps([
        ask(other, {"status": "deactivated"}), ask(hostile, {"status": "deactivated"})]))
    answers = re.findall(r"ANSWER (.*)", apart.run("newOrder").stderr)
    assert len(answers) == 4 and all(answer.startswith("NOSIGN") for answer in answers)


def test_the_policy_names_the_ca(apart: Site) -> None:
    done = apart.run("newOrder", "--debug")
    assert done.returncode == 0, done.stderr
    assert {match for match in re.findall(r"AUDIT policy=(\S+) ", done.stderr)} == {
        "auto", "auto:other"}


def test_the_answers_of_another(apart: Site, prefix: Prefix) -> None:
    """A client has a directory of its own, in which it is kept."""
    if apart.main["client"]["confine"] == "no":
        pytest.skip("without Landlock they are one user")
    report = apart.path / "report"
    report.touch()
    report.chmod(0o666)
    stand_in(apart, INTRUDER.format(tree=str(prefix.package.parent), report=str(report),
                                    confine=apart.main["client"]["confine"]))
    done = apart.run("newOrder")
    found = [json.loads(line) for line in report.read_text().splitlines()]
    assert found == [{"own": "did", "sibling": "Permission denied",
                      "above": "Permission denied", "removes": "Permission denied"}] * 2, done


def test_rooms(apart: Site) -> None:
    """The directory above is root's; nothing is left of it."""
    seen: dict[str, tuple[int, int, int]] = {}

    def look() -> None:
        for top in apart.rundir.glob("challenges-*"):
            for path, _, _ in os.walk(top):    # what is gone meanwhile is no error
                try:
                    info = os.stat(path)
                except FileNotFoundError:
                    continue
                seen[re.sub("challenges-[0-9a-f]+", "", os.path.relpath(path, apart.rundir))] = (
                    info.st_uid, info.st_gid, info.st_mode & 0o7777)
    done = proc_watch(apart, look)
    assert done == 0
    client, www = pwd.getpwnam(CLIENT_USER), pwd.getpwnam(WEBSERVER_USER)
    assert {name: seen[name] for name in ("/0", "/1")} == dict.fromkeys(
        ("/0", "/1"), (client.pw_uid, www.pw_gid, 0o710))
    assert seen[""][0] == 0
    assert not list(apart.rundir.glob("challenges-*"))


def proc_watch(site: Site, look: Any) -> int:
    """Run newOrder and look at it meanwhile."""
    from harness import proc
    from harness.run import ENVIRONMENT
    return proc.watch(site.command("newOrder"), 60, look, env=ENVIRONMENT).returncode


def test_a_client_that_makes_files_without_end(apart: Site, hostile: Hostile, other: Hostile
                                               ) -> None:
    """It costs its own CA's certificates."""
    stand_in(apart, f"""#!/usr/bin/python3 -IS
import os, sys, time
if {hostile.directory!r} not in open(int(sys.argv[1]), closefd=False).readline():
    time.sleep(3)
    sys.exit(3)
for number in range(300):
    open(f"file{{number}}", "w").close()
time.sleep(60)
""")
    done = apart.run("newOrder", "a", "b")
    assert done.returncode == 1
    assert "error: a: the ACME client makes files without end" in done.stderr
    assert "error: b: the ACME client ended with status 3" in done.stderr


# --- a signer of its own -------------------------------------------------------------------------

def test_a_signer_of_its_own(apart: Site, hostile: Hostile, other: Hostile) -> None:
    """[ca NAME] has a socket: another key signs for that CA, and for no other."""
    key = apart.lib / "accountd/other.key"
    key.write_text(ca.genkey())
    user = pwd.getpwnam(SIGNER_USER)
    os.chown(key, user.pw_uid, user.pw_gid)
    key.chmod(0o600)
    directory = apart.path / "signer"
    directory.mkdir()
    os.chown(directory, user.pw_uid, user.pw_gid)
    socket = directory / "S"
    with Listening(apart, key, socket):
        apart.main["ca other"]["socket"] = str(socket)
        done = apart.run("account", "--thumbprint")
        assert done.returncode == 0 and len(set(done.stdout.split())) == 2, done
        assert apart.run("account", "--register", "--tos-agreed", "--ca=other").returncode == 0
        expect(apart.run("newOrder", "--quiet"), 0)
    assert (issuer(apart, "a"), issuer(apart, "b")) == (hostile.directory, other.directory)
    keys = {json.dumps(account["jwk"]) for account in hostile._accounts}
    assert len(keys) == 1 and len({json.dumps(account["jwk"]) for account in other._accounts}) == 2
    # it is gone: that is the matter of its CA's sections
    for name in ("a", "b"):
        for file in apart.file(name, "").glob("*cert.pem"):
            file.unlink()
    done = apart.run("newOrder")
    assert done.returncode == 1 and "a: certificate installed" in done.stderr
    assert re.search(rf"error: b: {socket}: .*", done.stderr)


class Listening:
    """A signer on a socket."""

    def __init__(self, site: Site, key: Path, socket: Path) -> None:
        self._argv = [*site.signer("--socket", str(socket)), f"--privkey=file:{key}"]
        self._socket = socket

    def __enter__(self) -> None:
        import subprocess
        self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        await_socket(self._socket, self._process)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._socket.unlink(missing_ok=True)
