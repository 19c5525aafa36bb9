"""A hostile ACME server, or who stands in for it (SECURITY.md, A), and the installed programs.

A failed order never harms another: so most of it is one run with a section for each misbehaviour,
each of which has an old certificate to lose, and one section that the server treats well.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from harness import ca, misbehaviour as m
from harness.hostile import Hostile
from harness.net import Listener
from harness.run import Background, Prefix, Result, Site
from harness.threats import CASES, METADATA, ORDERING, REQUEST, TIMEOUT, WHOLE, Misbehave
from harness.verdict import as_read, Tree, errors, only_error, snapshot, tidy

SLOW = 60   # seconds for the run that has slow answers


class Outcome(NamedTuple):
    """What became of the run."""

    site: Site
    server: Hostile
    done: "Result[str]"
    seconds: float
    before: Tree              # of all files …
    after: Tree               # … and when the run was over
    left: list[str]           # in the run directory
    tokens: list[str]         # names of files seen in challenge directories
    trapped: list[bytes]      # what came to a forbidden address
    slow: "Result[str]"       # a run at the same time, whose directory never comes
    slow_seconds: float

    def errors(self, section: str) -> list[str]:
        """Return the error lines of a section."""
        return [line for line in errors(self.done)
                if section in line.removeprefix("error: ").partition(": ")[0].split(", ")]


def _site(prefix: Prefix, server: Hostile) -> Site:
    site = Site(prefix)
    site.use(server)
    site.main["client"].update(timeout=str(TIMEOUT), jobs="64")
    site.genkey()
    site.certificate("good", ["good.example"], reuse_key="yes")
    assert site.register().returncode == 0
    done = site.run("newOrder")
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture(scope="module")
def server(hostile_ca: ca.CA) -> Iterator[Hostile]:
    with Hostile(authority=hostile_ca) as running:
        yield running


@pytest.fixture(scope="module")
def victim(prefix: Prefix, server: Hostile) -> Iterator[Site]:
    """A site with an old certificate in each section, all due."""
    made = _site(prefix, server)
    for section in CASES:
        made.certificate(section, [f"{section}.example"], reuse_key="yes",
                         notify=f"echo {section} >>{made.path}/notified")
        if section != "good":
            shutil.copytree(made.file("good", ""), made.file(section, ""))
    yield made
    made.remove()


@pytest.fixture(scope="module")
def outcome(prefix: Prefix, victim: Site, server: Hostile, hostile_ca: ca.CA) -> Iterator[Outcome]:
    subprocess.run(["/usr/sbin/ip", "address", "add", f"{METADATA}/32", "dev", "lo"], check=True)
    second = Hostile(authority=hostile_ca)
    with Listener(METADATA, 443) as trap, Listener("127.0.0.1", 1) as other, second:
        late = _site(prefix, second)
        m.silence(second, "directory")
        m.divide(server, {f"{name}.example": case.misbehave for name, case in CASES.items()})
        # a list may show the order whose answer is too slow, and it would be gone on with
        server.edit("account", lambda account: account.pop("orders"))
        for site in (victim, late):
            site.main["client"]["answer-timeout"] = str(REQUEST)
            site.configure()
        before = as_read(snapshot(victim.lib, victim.etc))
        slow = Background(late, "newOrder", "--force")
        run = Background(victim, "newOrder", "--force")
        done, slow_done = run.result(SLOW), slow.result(SLOW)
        server.on.clear()
        yield Outcome(victim, server, done, run.seconds, before,
                      as_read(snapshot(victim.lib, victim.etc)), os.listdir(victim.rundir),
                      run.tokens, trap.received + other.received, slow_done, slow.seconds)
        late.remove()
    subprocess.run(["/usr/sbin/ip", "address", "delete", f"{METADATA}/32", "dev", "lo"], check=True)


@pytest.mark.parametrize("section", CASES)
def test_section(section: str, outcome: Outcome) -> None:
    """The error is told in one line and nothing is installed, or a certificate is."""
    expected = CASES[section].error
    lines = outcome.errors(section)
    directory = str(outcome.site.file(section, ""))
    before, after = ({path: entry for path, entry in tree.items()
                      if path == directory or path.startswith(f"{directory}/")}
                     for tree in (outcome.before, outcome.after))
    assert len(before) == 5   # a directory with four files
    if expected is None:
        assert lines == []
        assert set(before) == set(after)
        assert [path for path in before if before[path] == after[path]] == [
            path for path in before if path in (directory, f"{directory}/privkey.pem")]
    else:
        assert len(lines) == 1 and re.search(expected, lines[0]), lines
        assert before == after


def test_the_run(outcome: Outcome) -> None:
    """It takes no longer than its slowest answer, tells of nothing else, and tidies up."""
    failing = [section for section, case in CASES.items() if case.error is not None]
    assert outcome.done.returncode == 1
    assert len(errors(outcome.done)) == len(failing), outcome.done.stderr
    assert outcome.seconds < 2 * REQUEST + 15    # a new order is asked for twice
    assert outcome.left == ["lock"]
    tidy(outcome.site)
    notified = (outcome.site.path / "notified").read_text().split()
    assert sorted(notified) == sorted(set(CASES) - set(failing))
    for tree in outcome.before, outcome.after:   # keys, configuration, the account key
        for path in [path for path in tree if "/lib/certs" in path or "/state" in path]:
            if not path.endswith("privkey.pem"):
                del tree[path]
    assert outcome.before == outcome.after


def test_a1_no_file_is_written(outcome: Outcome) -> None:
    assert outcome.tokens   # of others
    for token in outcome.tokens:
        assert re.fullmatch("[A-Za-z0-9_-]{43}", token), token
    responded = {outcome.server.name(request) for request in outcome.server.asked("challenge")}
    assert "good.example" in responded
    assert not [name for name in responded if name and name.startswith("a1-")]


def test_a5_a6_nobody_else_is_asked(outcome: Outcome) -> None:
    assert outcome.trapped == []
    assert outcome.server.asked("elsewhere") == []


def test_a10_bad_nonces_are_retried_for_a_while(outcome: Outcome) -> None:
    for resource in ORDERING:
        tries = [request for request in outcome.server.asked(resource)
                 if outcome.server.name(request) == f"a10-nonce-{resource}.example".lower()]
        assert 3 <= len(tries) <= 12, resource


def test_a8_silent_directory(outcome: Outcome) -> None:
    assert re.search(f"no complete answer within {REQUEST} seconds", only_error(outcome.slow))
    assert REQUEST - 1 < outcome.slow_seconds < REQUEST + 5


# --- what concerns a whole run ---------------------------------------------------------------

@pytest.fixture
def good(victim: Site, server: Hostile) -> Iterator[Site]:
    """The site; the server behaves until told otherwise."""
    server.on.clear()
    server.requests.clear()
    yield victim
    server.on.clear()


def refused(site: Site, *args: str, env: dict[str, str] | None = None) -> str:
    """Run a command that must fail and change nothing; return its error."""
    state = site.lib / "state"
    # what the one before has left: its directory is believed, its order looked for
    (state / "outages.json").unlink(missing_ok=True)
    journal = json.loads((state / "cert-good.json").read_text())
    journal.pop("asked", None)
    (state / "cert-good.json").write_text(json.dumps(journal))
    site.configure()
    before = snapshot(site.lib, site.etc)
    done = site.run(*args, timeout=20, env=env)
    line = only_error(done)
    after = snapshot(site.lib, site.etc)
    assert {path for path in before if before[path] != after.get(path)} <= {
        str(state), *map(str, state.iterdir())}
    assert not {path for path in set(after) - set(before) if not path.startswith(str(state))}
    tidy(site)
    return line


@pytest.mark.alike(3)
@pytest.mark.parametrize("name", WHOLE)
def test_whole_run(name: str, good: Site, server: Hostile) -> None:
    misbehave, expected = WHOLE[name]
    misbehave(server)
    line = refused(good, "newOrder", "--force", "good")
    assert line.startswith("error: good: ") and re.search(expected, line), line
    assert not server.asked("elsewhere") and not server.asked("newOrder")


@pytest.mark.alike(2)
@pytest.mark.parametrize("misbehave, expected", [
    (lambda server: m.problem(server, "newAccount"), r"\\x1b\[31mred"),
    (lambda server: m.http_urls(server, "newAccount"), "not an https URL"),
    (lambda server: m.foreign_urls(server, "newAccount"), "another origin"),
    (lambda server: m.redirect(server, "newAccount"), "redirect"),
    (lambda server: m.nested_json(server, "newAccount"), "nested too deeply"),
    (lambda server: m.endless_body(server, "newAccount"), "more than [0-9]+ bytes"),
    (lambda server: m.bad_nonce(server, "newAccount"), "badNonce"),
], ids=["a3", "a4", "a5", "a6", "a16", "a7", "a10"])
def test_account(misbehave: Misbehave, expected: str, good: Site, server: Hostile) -> None:
    misbehave(server)
    line = refused(good, "account", "--register", "--tos-agreed", "mailto:admin@example.org")
    assert re.search(expected, line), line


def test_a3_account_with_control_characters(good: Site, server: Hostile) -> None:
    """JSON on the standard output escapes them."""
    server.edit("newAccount", lambda account: account.update(contact=[m.CONTROL], **{"\x9b": 1}))
    server.edit("directory", lambda directory: directory["meta"].update(termsOfService=m.CONTROL))
    done = good.run("account", "--debug")
    assert done.returncode == 0 and errors(done) == []
    assert "\\u001b[31mred" in done.stdout and r"\x1b[31mred" in done.stderr


def test_a3_debug_and_log_file(good: Site, server: Hostile) -> None:
    """With --debug and in the signer's log file too, nothing raw is shown."""
    log = good.lib / "accountd/log"
    good.accountd[""]["logfile"] = str(log)
    try:
        m.problem(server, "authz")
        server.edit("newOrder", lambda order: order.update(note=m.CONTROL))
        done = good.run("newOrder", "--force", "good", "--debug")
    finally:
        del good.accountd[""]["logfile"]
    assert done.returncode == 1 and len(errors(done)) == 1
    text = log.read_text()
    log.unlink()
    assert "SIGNED" in text
    errors(subprocess.CompletedProcess([], 1, text, ""))


def test_a3_revocation(good: Site, server: Hostile) -> None:
    """revokeCert fails in one line as well."""
    m.problem(server, "revokeCert")
    line = refused(good, "revokeCert", str(good.file("good", "cert.pem")))
    assert r"\x1b[31mred" in line


def test_huge_pem_is_capped_at_once(good: Site, server: Hostile) -> None:
    """50 MB of pathological PEM, without a Content-Length, cost less than 2 s."""
    began = time.monotonic()
    assert good.run("newOrder", "--force", "good").returncode == 0
    usual = time.monotonic() - began
    m.huge_pem(server)
    huge = server.on["certificate"]
    server.on["certificate"] = lambda request, default: huge(request, default)._replace(
        headers={"Content-Type": "application/pem-certificate-chain", "Content-Length": None})
    began = time.monotonic()
    line = refused(good, "newOrder", "--force", "good")
    assert time.monotonic() - began < usual + 2
    assert re.search("more than [0-9]+ bytes", line)


@pytest.mark.parametrize("who", ["untrusted", "other name", "trusted by the environment"])
def test_a19_untrusted_tls(who: str, good: Site, server: Hostile, hostile_ca: ca.CA,
                           tmp_path: Path) -> None:
    """No request, not even for the directory, reaches who can't prove to be the server."""
    settings = dict(good.main["client"])
    names = ["other.example"] if who == "other name" else list(ca.LOOPBACK)
    authority = hostile_ca
    if who != "other name":
        authority = ca.CA(tmp_path, "Other")
    with Hostile(names, authority) as stranger:
        good.main["client"]["server"] = stranger.directory
        env = {}
        if who == "trusted by the environment":
            env = {"SSL_CERT_FILE": str(authority.root), "SSL_CERT_DIR": str(tmp_path)}
        try:
            line = refused(good, "newOrder", "--force", "good", env=env)
        finally:
            good.main["client"].update(settings)
        assert "certificate is not trusted" in line, line
        assert stranger.requests == []


# --- A2: strace sees every program that runs ---------------------------------------------------

def test_a2_nothing_but_openssl_and_hooks_is_executed(good: Site, server: Hostile) -> None:
    """Whatever words of the shell, of openssl or of Python are in its strings."""
    mark = good.path / "executed"
    cases: dict[str, Misbehave] = {"good": lambda part: None}
    for number, words in enumerate(m.SHELL_WORDS):
        evil = words.format(mark)
        resource = ORDERING[number % 5]
        cases[f"words-{number}"] = lambda part, r=resource, e=evil: m.shell_words(part, r, e)
        cases[f"keep-{number}"] = lambda part, r=resource, e=evil: m.shell_words(
            part, r, e, ("status", "value", "type", "token"))
        cases[f"problem-{number}"] = lambda part, r=resource, e=evil: m.problem(
            part, r, e, type_=e)
        cases[f"pem-{number}"] = lambda part, e=evil: m.junk_in_pem(part, f"{e}\n")
        cases[f"subject-{number}"] = lambda part, e=evil: _subject(part, e)
    certs = dict(good.certs)
    good.certs.clear()
    for section in cases:
        good.certificate(section, [f"{section}.example"], notify=": hook")
    server.edit("directory", lambda directory: directory["meta"].update(
        termsOfService=f"`touch {mark}`", website=f"$(touch {mark})"))
    m.divide(server, {f"{name}.example": misbehave for name, misbehave in cases.items()})
    try:
        done, executed = good.executed("newOrder", "--force")
    finally:
        good.certs.clear()
        good.certs.update(certs)
    assert done.returncode == 1
    told = {name for line in errors(done) for name in line.split(": ")[1].split(", ")}
    # what the server answers to a challenge's response is of no interest
    assert {name for name in set(cases) - told if not name.startswith("keep-")} == {
        "good", "words-2", "words-7"}
    assert not mark.exists()
    prefix = good.prefix
    programs = [str(path) for path in (prefix.master, prefix.accountd, prefix.client,
                                       prefix.webserver)]
    for program in programs:
        assert len([argv for argv in executed if argv[0] == program]) == 1, program
    for argv in executed:
        if argv[0] == "/usr/bin/openssl":
            assert not [word for word in argv if "touch" in word or "ENV" in word], argv
        elif argv[0] == "/bin/sh":
            assert argv[1:] == ["-c", ": hook"]
        else:
            assert argv[0] in programs, argv
    shutil.rmtree(good.lib / "certs/words-0")


def _subject(part: Hostile, words: str) -> None:
    """Let the certificate have these words in its subject, and in a name."""
    def issuer(_csr: str, names: list[str]) -> str:
        subject = words.replace("/", "\\/").replace("\n", " ")
        csr = ca.openssl("req", "-new", "-config", "/dev/null", "-key", "/dev/stdin", "-subj",
                         f"/CN={subject}", "-addext", "subjectAltName=DER:" + _names(words),
                         stdin=ca.genkey().encode()).decode()
        return part.issue(csr)
    part.issuer = issuer


def _names(words: str) -> str:
    """Return a SubjectAltName with one dNSName in DER, in hexadecimal (RFC 5280 §4.2.1.6)."""
    name = words.encode()[:100]
    general = bytes([0x82, len(name)]) + name
    return base64.b16encode(bytes([0x30, len(general)]) + general).decode()
