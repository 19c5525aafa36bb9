"""Another key for the account (RFC 8555 §7.3.5): killed anywhere, one of the two works."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ca, sid, soak
from harness.hostile import Default, Hostile, Request, Response
from harness.judge import INSTALLED, NEW, expect
from harness.mortal import Mortal, mortal as made_mortal
from harness.net import await_socket
from harness.pebble import Pebble
from harness.run import ENVIRONMENT, SIGNER_USER, Result, Site, Users

SHOWN = (r"Terms of Service: \S+", r"Key ID: https://\S+")
CHANGED = (*SHOWN, r"the account key's thumbprint is \S+ now: .*")
JSON = r"\{\n.*\n\}\n"
UNFINISHED = ("warning: a change of the account key is not finished: run “letsencrypt-tiny account "
              "--rollover”")


@pytest.fixture(scope="module")
def sids() -> Iterator[Pebble]:
    """Pebble of Debian sid."""
    with Pebble(nosleep=True, noncereject=0, always_valid=True,
                program=sid.newest("pebble")) as running:
        yield running


@pytest.fixture
def host(site: Site, sids: Pebble) -> Site:
    """A site with an account and a section."""
    return ready(site, sids)


def ready(site: Site, server: Pebble | Hostile) -> Site:
    """The site, with an account and a section."""
    site.open_account(server)
    site.certificate("a", ["a.rollover.example"])
    return site


def key(site: Site, suffix: str = "") -> str:
    """A file of the account key manager's; "" if it isn't there."""
    path = Path(f"{site.account_key}{suffix}")
    return path.read_text() if path.exists() else ""


def url(done: "Result[str]") -> str:
    """The account's URL."""
    found = re.search(r"^Key ID: (\S+)$", done.stderr, re.M)
    assert found is not None, done.stderr
    return found.group(1)


def orders(site: Site) -> None:
    """Fail unless a certificate can be had."""
    done = site.run("--quiet", "newOrder", "--force")
    assert (done.returncode, done.stderr) == (0, "")


def test_rollover(host: Site, sids: Pebble) -> None:
    """The new key has the account that the old one had, and is where that was."""
    old, account = key(host), url(host.run("account"))
    done = host.run("account", "--rollover")
    expect(done, 0, *CHANGED, stdout=JSON)
    assert url(done) == account and json.loads(done.stdout)["status"] == "valid"
    assert key(host) not in ("", old) and key(host, ".old") == old and not key(host, ".next")
    assert len(list(host.account_key.parent.iterdir())) == 2
    assert "P-256" in ca.openssl("pkey", "-text", "-noout", stdin=key(host).encode()).decode()
    orders(host)
    assert url(host.run("account")) == account
    new = host.run("account", "--thumbprint").stdout.strip()
    assert new in done.stderr
    # what the CA knows
    shutil.copy2(f"{host.account_key}.old", host.account_key)
    shutil.chown(host.account_key, SIGNER_USER)
    assert "has no account" in host.run("account").stderr


def test_again_and_other_kinds(host: Site) -> None:
    """The kind of the key stays, unless the next key was made before."""
    for kind in ("ec:P-384", "rsa:2048"):
        subprocess.run(host.signer(f"--genkey={kind}", "--next"), check=True, env=ENVIRONMENT,
                       capture_output=True)
        following = key(host, ".next")
        orders(host)    # it is of no use yet, and no hindrance
        expect(host.run("account", "--rollover"), 0, *CHANGED, stdout=JSON)
        assert key(host) == following
    expect(host.run("account", "--rollover"), 0, *CHANGED, stdout=JSON)
    assert "2048 bit" in ca.openssl("pkey", "-text", "-noout", stdin=key(host).encode()).decode()
    orders(host)


# --- killed --------------------------------------------------------------------------------------

# where -> file of the package, the line before which somebody dies, and if what is the case
STEPS: dict[str, tuple[str, str, str]] = {
    "signer: nothing is written yet": (
        "signer/nextkey.py", "    keyfile.write_new(directory, path + _PART, text)\n", "True"),
    "signer: next key is not in its place": (
        "signer/nextkey.py", "        os.link(name + _PART, name, src_dir_fd=directory", "True"),
    "master: next key is made": (
        "master/commands/rollover.py",
        "    following = heard(config, issuer).next\n    if following is None:", "True"),
    "signer: asked for the inner JWS": (
        "signer/conversation.py", "        greeting = self.signer.greeting.as_next()", "True"),
    "client: about to ask the CA": (
        "client/rollover.py", "    jws = inner.flattened(", "True"),
    "client: the CA has agreed": (
        "client/rollover.py", "        found = yield from _find(session, patience, answer)\n"
        "        if not session.", "True"),
    "client: about to tell": (
        "client/rollover.py", "    answer(Account(session.kid, key))\n    account =",
        "signer.by_next"),
    "master: told": (
        "master/commands/asking.py", "        journal.learn_account(issuer.directory, answer.key",
        "answer.url and answer.key == keys[-1]"),
    "master: every CA has it": (
        "master/commands/rollover.py", "    _adopt(config, issuer)\n", "True"),
    "signer: old key is not kept yet": (
        "signer/nextkey.py", "        os.link(name, name + OLD + _PART", "True"),
    "signer: old key is linked": (
        "signer/nextkey.py", "        os.rename(name + OLD + _PART", "True"),
    "signer: old key is kept": (
        "signer/nextkey.py", "        os.rename(name + NEXT, name, ", "True"),
    "signer: the next key is in its place": (
        "signer/nextkey.py", "    except FileNotFoundError as exc:\n        raise Error(f\"{dir",
        "True"),
    "master: all is done": (
        "master/commands/rollover.py", "    log.info(f\"the account key's thumbprint", "True"),
}


def _edit(package: Path, where: Path) -> None:
    """What is to die reads its fate when it is loaded: later it is confined."""
    for name in {file for file, _, _ in STEPS.values()}:
        path = package / name
        source = path.read_text()
        for step, (file, line, condition) in STEPS.items():
            if file != name:
                continue
            assert source.count(line) == 1, step
            indent = " " * (len(line) - len(line.lstrip(" ")))
            if line.lstrip().startswith("except"):
                indent += "    "
            source = source.replace(line, f"{indent}_die({step!r}, {condition})\n{line}")
        path.write_text(f"""{source}

_FATE = open({str(where)!r}).read()

def _die(step: str, now: object) -> None:
    if now and step == _FATE:
        os = __import__("os")
        os._exit(137) if step[0] != "m" else os.kill(os.getpid(), 9)
""")


@pytest.fixture(scope="module")
def mortal(users: Users) -> Iterator[Mortal]:
    """One installation for all."""
    with made_mortal(_edit) as made:
        yield made


# after that one only the CA knows which key it is
@pytest.mark.parametrize("step", STEPS if soak.SOAK else ["client: the CA has agreed"])
def test_killed(step: str, mortal: Mortal, sids: Pebble) -> None:
    """The next run works, whichever key the CA has; the next rollover ends what was begun."""
    site = Site(mortal.prefix)
    try:
        ready(site, sids)
        old, account = key(site), url(site.run("account"))
        mortal.where.write_text(step)
        done = site.run("account", "--rollover")
        mortal.where.write_text("")
        assert done.returncode == (-9 if step.startswith("master") else 1), done
        assert key(site) and old in (key(site), key(site, ".old"))
        following = key(site, ".next")
        done = site.run("newOrder", "--force")
        assert done.returncode == 0, done.stderr
        steps = list(STEPS)
        agreed, placed = (steps.index(step) >= steps.index(name) for name in (
            "client: the CA has agreed", "signer: the next key is in its place"))
        assert (UNFINISHED in done.stderr) == (agreed and not placed)
        if not placed:
            done = site.run("account", "--rollover")
            expect(done, 0, *CHANGED, stdout=JSON)
            assert url(done) == account
            assert following in ("", key(site)), "what was made was not thrown away"
        assert key(site) not in ("", old) and key(site, ".old") == old and not key(site, ".next")
        orders(site)
        assert url(site.run("account")) == account
    finally:
        site.remove()


@pytest.mark.alike(2)
@pytest.mark.parametrize("call, times", [("linkat", 1), ("renameat", 2), ("fsync", 2),
                                         ("unlinkat", 2)])
def test_killed_at_any_system_call_of_the_adoption(call: str, times: int, host: Site) -> None:
    """There is always a key, and the old one."""
    old = key(host)
    for number in range(1, times + 2):
        if not key(host, ".next"):
            subprocess.run(host.signer("--genkey=ec:P-256", "--next"), check=True,
                           env=ENVIRONMENT, capture_output=True)
        following = key(host, ".next")
        done = subprocess.run(
            ["/usr/bin/strace", "-f", "-o", "/dev/null", "-e",
             f"inject={call}:signal=KILL:when={number}", *host.signer("--adopt-next")],
            env=ENVIRONMENT, check=False, capture_output=True)
        assert (done.returncode == 0) == (number > times), done
        assert key(host) in (old, following) and old in (key(host), key(host, ".old"))
        assert following in (key(host), key(host, ".next"))
        old = key(host)
    assert {path.name for path in host.account_key.parent.iterdir()} == {
        "account.key", "account.key.old"}


# --- refused, or lost ----------------------------------------------------------------------------

@pytest.fixture
def odd(site: Site, hostile: Hostile) -> Site:
    """A site of a server that can be told what to answer."""
    return ready(site, hostile)


KEPT = r"; the account keeps its key"


def test_refused(odd: Site, hostile: Hostile) -> None:
    """One line that says what to do; the account keeps its key, and works."""
    old = key(odd)
    for answer, line in (
            (Response.problem("badPublicKey", "No such curve.", 400),
             rf"keyChange: No such curve. \(badPublicKey\){KEPT} \(for a key of another kind "
             r"remove the next one, .* “privkey” of accountd.conf, .* --genkey=KIND\)"),
            (Response.problem("conflict", "The key has an account.", 409),
             rf"keyChange: The key has an account. \(conflict\){KEPT} .*"),
            (Response.problem("serverInternal", "Out of order.", 500),
             rf"keyChange: Out of order. \(serverInternal\){KEPT}")):
        hostile.on["keyChange"] = lambda _request, _default, answer=answer: answer
        expect(odd.run("account", "--rollover"), 1, f"error: {line}")
        assert key(odd) == old and key(odd, ".next")
        orders(odd)
    hostile.on.clear()
    expect(odd.run("account", "--rollover"), 0, *CHANGED, stdout=JSON)
    assert key(odd, ".old") == old
    orders(odd)


def test_a_ca_without_key_change(odd: Site, hostile: Hostile) -> None:
    hostile.edit("directory", lambda directory: directory.pop("keyChange"))
    expect(odd.run("account", "--rollover"), 1,
           rf"error: the CA at \S+ offers no key change{KEPT}")
    orders(odd)


def test_it_agrees_and_does_nothing(odd: Site, hostile: Hostile) -> None:
    """What it says is no proof."""
    old = key(odd)
    hostile.on["keyChange"] = lambda _request, _default: Response.json({})
    expect(odd.run("account", "--rollover"), 1,
           f"error: keyChange: the CA agreed, but knows the account by its old key only{KEPT}")
    assert key(odd) == old
    orders(odd)


def test_the_answer_is_lost(odd: Site, hostile: Hostile) -> None:
    """The second try is refused to the old key, and yet the new one has the account."""
    asked: list[Request] = []

    def change(request: Request, default: Default) -> Response:
        asked.append(request)
        if len(asked) > 1:
            return Response.problem("unauthorized", "Not your account.", 403)
        default()
        return Response(502, {"Retry-After": "1"}, b"")
    hostile.on["keyChange"] = change
    expect(odd.run("account", "--rollover"), 0, *CHANGED, stdout=JSON)
    assert len(asked) == 2
    orders(odd)


# --- elsewhere -----------------------------------------------------------------------------------

def test_a_signer_that_is_not_started_here(host: Site) -> None:
    """Whoever runs it makes the key, and puts it in its place."""
    old, path = key(host), host.lib / "accountd/S"
    command = host.signer("--quiet", f"--socket={path}")

    def running() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(command, env=ENVIRONMENT)
        await_socket(path, process)
        return process

    def manage(*words: str) -> None:
        subprocess.run(host.signer(*words), check=True, env=ENVIRONMENT, capture_output=True)

    def with_signer(*words: str) -> "Result[str]":
        process = running()
        try:
            return host.run(f"--socket={path}", *words)
        finally:
            process.terminate()
            process.wait()

    expect(with_signer("account", "--rollover"), 1,
           "error: the account key manager is not started here: make the next key where it is "
           r"\(letsencrypt-tiny-accountd --genkey=ec:P-256 --next\), .*")
    manage("--genkey=ec:P-256", "--next")
    expect(with_signer("account", "--rollover"), 0, *SHOWN,
           "warning: every CA has the next key now: .* --adopt-next” and start it again",
           CHANGED[-1], stdout=JSON)
    assert key(host) == old
    expect(with_signer("newOrder"), 0, f"a: {NEW}", "a: generating .*", UNFINISHED,
           f"a: {INSTALLED}")
    manage("--adopt-next")
    done = with_signer("--quiet", "newOrder", "--force")
    assert (done.returncode, done.stderr) == (0, "")


def test_no_account(site: Site, sids: Pebble) -> None:
    """There is nothing to change then; what was made is used once there is one."""
    site.use(sids)
    site.genkey()
    expect(site.run("account", "--rollover"), 1, "error: the account key has no account at .*")
    following = key(site, ".next")
    assert following and site.register().returncode == 0
    expect(site.run("account", "--rollover"), 0, *CHANGED, stdout=JSON)
    assert key(site) == following


def test_what_cannot_be_changed(host: Site) -> None:
    """It is said before a key is made."""
    account = url(host.run("account"))
    host.accountd[""]["keyid"] = account
    expect(host.run("account", "--rollover"), 1, "error: .* has “keyid” in its accountd.conf, .*")
    del host.accountd[""]["keyid"]
    encrypted = ca.openssl("pkey", "-aes256", "-passout", "pass:x", stdin=key(host).encode())
    host.account_key.write_bytes(encrypted)
    done = subprocess.run(host.signer("--genkey=ec:P-256", "--next"), env=ENVIRONMENT, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1 and "is encrypted, which a new key would not be" in done.stderr
    expect(host.run("account", "--rollover", "--register"), 2,
           "error: account: --rollover stands alone")
    assert not key(host, ".next")


def test_a_next_key_that_is_damaged(host: Site) -> None:
    """It is no hindrance."""
    path = Path(f"{host.account_key}.next")
    path.write_text("-----BEGIN PRIVATE KEY-----\n")
    shutil.chown(path, SIGNER_USER)
    path.chmod(0o600)
    done = host.run("newOrder")
    assert done.returncode == 0 and "the next account key is not used" in done.stderr


def test_a_client_gone_over_to_somebody_else(host: Site, sids: Pebble) -> None:
    """The signer signs a key change during account --rollover only, and to its next key."""
    origin = sids.directory.rpartition("/")[0]
    subprocess.run(host.signer("--genkey=ec:P-256", "--next"), check=True, env=ENVIRONMENT,
                   capture_output=True)
    (host.path / "client").write_text(STAND_IN.format(origin=origin, path=str(host.path)))
    (host.path / "client").chmod(0o755)
    host.main["client"]["command"] = str(host.path / "client")
    inner, outer, foreign = "inner by next", "outer", "outer to another key"
    for command, allowed in ((["account", "--rollover"], {inner, outer}), (["account"], set()),
                             (["newOrder", "--force"], set())):
        done = host.run(*command)
        found = dict(re.findall(r"ANSWER ([a-z ]+): (\S+)", done.stderr))
        assert found.keys() >= {inner, outer, foreign}, done.stderr
        assert {name for name, answer in found.items() if answer != "NOSIGN"} == allowed
    assert key(host, ".next") and not key(host, ".old")


STAND_IN = """#!/usr/bin/python3 -IS
import base64, json, os, socket, sys
config = json.loads(open(int(sys.argv[1]), "rb").readline())
sock = socket.socket(fileno=int(sys.argv[2]))
lines = sock.makefile("rb")
greeting = json.loads(lines.readline()[5:])
own, following = json.loads(lines.readline()), greeting["next"]["jwk"]
sock.sendall(b"NOSIGN\\r\\n")
def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
def part(value):
    return b64(json.dumps(value).encode())
kid, url = "{origin}/my-account/1", "{origin}/rollover-account-key"
def jws(jwk):
    return part({{"alg": "ES256", "jwk": jwk, "url": url}}) + "." + part(
        {{"account": kid, "oldKey": own}})
def ask(name, line):
    sock.sendall(line.encode() + b"\\r\\n")
    os.write(2, f"ANSWER {{name}}: ".encode() + lines.readline())
ask("inner by next", "NEXT " + jws(following))
for name, jwk in ("outer", following), ("outer to another key", own):
    protected, payload = jws(jwk).split(".")
    ask(name, part({{"alg": "ES256", "nonce": "abcd", "url": url, "kid": kid}}) + "." + part(
        {{"protected": protected, "payload": payload, "signature": "AAAA"}}))
"""
