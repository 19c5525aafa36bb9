"""What the commands make of signers and clients: each section ends once, and for itself.

Whole runs, on a machine of stand-ins; those that need less patience, in the test's own process.
"""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ca, words
from harness.machine import SERVER, Machine
from harness.words import Spoken
from letsencrypt_tiny.common import log
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire import signer as wire
from letsencrypt_tiny.common.wire.order import (Account, AccountObject, AccountUpdate, Failed,
                                                Issued, Progress, Revoked, format_answer)
from letsencrypt_tiny.master.commands.account import account
from letsencrypt_tiny.master.commands.check import check
from letsencrypt_tiny.master.commands.new_order import Options, new_order
from letsencrypt_tiny.master.commands import revoke
from letsencrypt_tiny.master.peers import signer as signers
from letsencrypt_tiny.master.settings import certificates, main as settings
from letsencrypt_tiny.master.settings.main import Config
from letsencrypt_tiny.master.store.journal import Journal

pytestmark = pytest.mark.root

KEY = words.GREETING.thumbprint
ORDER = "https://ca.example/order/1"
GREETED = wire.format_greeting(words.GREETING)


class Ground:
    """A machine with sections a and b, whose keys are there, and certificates for them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.authority = ca.CA(machine.path)
        self.chains: dict[str, str] = {}
        for section in "ab":
            machine.section(section, CAfile=str(self.authority.root))
            key = ca.genkey()
            self.chains[section] = self.authority.issue(ca.request([f"{section}.example"], key)) \
                + self.authority.intermediate.read_text()
            machine.file(section, "").mkdir()
            machine.file(section, "privkey.pem").write_text(key)
            machine.file(section, "privkey.pem").chmod(0o600)
        self.journal = Journal(f"{machine.lib}/state")

    def issued(self, section: str) -> bytes:
        """Return the line with a good certificate."""
        return format_answer(Issued(section, self.chains[section]))

    def run(self, *spoken: Spoken, status: int = 1, arguments: tuple[str, ...] = ()) -> str:
        """Run newOrder with a client that does this; return what is told of it."""
        self.machine.client.plays(words.receive(), *spoken)
        done = self.machine.run("newOrder", *arguments)
        assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
        self.machine.clean()
        return done.stderr

    def installed(self) -> set[str]:
        """Return the sections that have their certificate, whole."""
        found = set()
        for section, chain in self.chains.items():
            if self.machine.file(section).exists():
                assert self.machine.file(section).read_text() == chain
                found.add(section)
        return found


@pytest.fixture
def ground(machine: Machine) -> Ground:
    """What newOrder needs."""
    return Ground(machine)


def ends(text: str) -> dict[str, list[str]]:
    """Return how each section ended: “installed”, or the errors."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = re.match(r"(?:error: )?([ab](?:, [ab])*): (certificate installed|.*)", line)
        if match is not None and (line.startswith("error: ") or "installed" in match.group(2)):
            for section in match.group(1).split(", "):
                found.setdefault(section, []).append(match.group(2))
    return found


# --- each section ends once ----------------------------------------------------------------------

HALF = b'{"answer":"Issued","section":"b"'


@pytest.mark.parametrize("bad, reason", [
    (lambda ground: b"junk\n", "the ACME client broke the protocol: .*"),
    (lambda ground: ground.issued("a"), "the ACME client broke the protocol: .*not asked for"),
    (lambda ground: format_answer(Failed("a", "no", "refused")),
     "the ACME client broke the protocol: .*not asked for"),
    (lambda ground: format_answer(Progress("c", "new")),
     "the ACME client broke the protocol: .*not asked for"),
    (lambda ground: format_answer(Revoked("b")),
     "the ACME client broke the protocol: .*not asked for"),
    (lambda ground: HALF,
     "the ACME client broke the protocol: the ACME client ended in the middle .*"),
    (lambda ground: b"", "the ACME client ended before its work was done")], ids=range(7))
def test_a_good_chain_and_then_a_bad_line(ground: Ground, bad: Callable[[Ground], bytes],
                                          reason: str) -> None:
    """In one write.  What was good holds; what is left fails, once."""
    text = ground.run(words.say(ground.issued("a") + bad(ground)))
    assert ground.installed() == {"a"}
    found = ends(text)
    assert list(map(len, found.values())) == [1, 1] and found["a"] == ["certificate installed"]
    assert re.fullmatch(reason, found["b"][0]) and "1 installed, 1 failed" in text
    assert not left_to_do(ground, "a")


@pytest.mark.parametrize("end", [[words.leave(3)], [words.die()], [words.close("answers"),
                                                                   words.leave(4)]])
def test_a_good_chain_and_then_a_bad_end(ground: Ground, end: list[Spoken]) -> None:
    found = ends(ground.run(words.say(ground.issued("a")), *end))
    assert ground.installed() == {"a"} and found["a"] == ["certificate installed"]
    assert len(found["b"]) == 1 and found["b"][0].startswith("the ACME client ended with status ")


def test_all_answers_and_then_a_bad_end(ground: Ground) -> None:
    """Nothing is left that could fail of it."""
    found = ends(ground.run(words.say(ground.issued("a") + ground.issued("b")), words.leave(3),
                            status=0))
    assert ground.installed() == {"a", "b"} and set(map(len, found.values())) == {1}


def test_what_has_come_is_installed_while_others_wait(ground: Ground) -> None:
    found = ends(ground.run(words.say(ground.issued("a")),
                            words.wait_for(ground.machine.file("a", "chain.pem")),
                            Failed("b", "at last", "refused")))
    assert found == {"a": ["certificate installed"], "b": ["at last"]}


def test_a_chain_that_is_another_sections(ground: Ground) -> None:
    found = ends(ground.run(words.say(
        format_answer(Issued("a", ground.chains["b"])) + ground.issued("b"))))
    assert ground.installed() == {"b"} and found["b"] == ["certificate installed"]
    assert len(found["a"]) == 1 and "is for another key" in found["a"][0]


def test_files_without_end(ground: Ground) -> None:
    """Of which some were there before: they are an administrator's."""
    directory = ground.machine.path / "challenges"
    directory.mkdir()
    for number in range(300):
        (directory / f"old{number}").touch()
    ground.machine.main["webserver"]["challenge-directory"] = str(directory)
    enough = [Failed(section, "enough", "unfinished") for section in "ab"]
    few = words.create("n", 100), Progress("a", "new"), words.sleep(0.3)
    assert "a, b: enough" in ground.run(*few, *enough)    # both alike, so in one line
    found = ends(ground.run(words.create("m", 1000), Progress("a", "new"), words.silence()))
    assert found == {section: ["the ACME client makes files without end"] for section in "ab"}


def test_files_that_were_made_before_anybody_greeted(ground: Ground) -> None:
    """They do not count as the administrator's."""
    machine = ground.machine
    machine.signer.plays(words.wait_for(machine.path / "made"), words.greet(), words.sign())
    machine.client.plays(words.create("n", 1000), words.write(machine.path / "made", ""),
                         words.receive(), words.silence())
    done = machine.run("newOrder")
    assert ends(done.stderr) == {section: ["the ACME client makes files without end"]
                                 for section in "ab"}
    machine.clean()


# --- what is remembered of it --------------------------------------------------------------------

def asked(ground: Ground, number: int = -1) -> dict[str, tuple[str | None, str]]:
    """Return the orders that a client was told to take up: section -> URL, account's key."""
    return {order["section"]: (order["url"], order["account"])
            for order in ground.machine.client.told("requests")[number]}


def pending(section: str) -> Progress:
    """An order is known by its URL."""
    return Progress(section, "pending", f"{ORDER}{section}")


def left_to_do(ground: Ground, name: str) -> bool:
    """Tell whether the journal has anything that the next run would go on with."""
    state = ground.journal.section(name)
    return any((state.order, state.finalize, state.installing, state.notify, state.kept,
                state.not_before))


def test_an_order_is_taken_up(ground: Ground) -> None:
    ground.run(pending("a"), pending("b"), Failed("a", "later", "unfinished"),
               Failed("b", "never", "refused"))
    assert asked(ground) == {"a": (None, ""), "b": (None, "")}
    state = ground.journal.section("a")
    assert (state.directory, state.account, state.order) == (SERVER, KEY, f"{ORDER}a")
    assert ground.journal.section("b").order is None
    ground.run(words.say(ground.issued("a") + ground.issued("b")), status=0)
    assert asked(ground) == {"a": (f"{ORDER}a", KEY), "b": (None, "")}
    assert not left_to_do(ground, "a")


def test_what_becomes_of_a_lost_order_is_for_the_next_run_to_see(ground: Ground) -> None:
    ground.run(pending("a"), pending("b"), Failed("a", "gone", "lost"), words.die())
    ground.run(words.leave(1))
    assert asked(ground) == {"a": (f"{ORDER}a", KEY), "b": (f"{ORDER}b", KEY)}


def test_a_server_that_is_busy_is_left_alone(ground: Ground) -> None:
    """Unless the administrator names the section; the order lives on."""
    ground.run(pending("a"), Failed("a", "later", "busy", retry_after=3600),
               Failed("b", "soon", "busy"))
    state = ground.journal.section("a")
    assert 3500 < state.not_before - time.time() <= 3600 and state.order == f"{ORDER}a"
    text = ground.run(Failed("b", "no", "refused"))
    assert asked(ground) == {"b": (None, "")}, "b had no moment to wait for"
    assert "a: there is no certificate yet, but the CA asked not to order again" in text
    ground.run(words.say(ground.issued("a")), arguments=("a",), status=0)
    assert asked(ground) == {"a": (f"{ORDER}a", KEY)}
    assert ground.journal.section("a").not_before == 0


def test_an_account_is_learned_and_told(ground: Ground) -> None:
    """That of the key that signs, and of no other."""
    machine = ground.machine
    ground.run(Account("https://ca.example/evil", "n" * 43), words.leave(1))
    assert ground.journal.account(SERVER, "n" * 43) == ""
    ground.run(Account("https://ca.example/1", KEY), words.leave(1))
    machine.client.plays(words.receive(), Account("https://ca.example/2", KEY),
                         AccountObject("https://ca.example/2", {"status": "valid"}))
    assert machine.run("account").returncode == 0
    ground.run(words.leave(1))
    assert [config["account_url"] for config in machine.client.told("config")] == [
        "", "", "https://ca.example/1", "https://ca.example/2"]
    assert [config["account_key"] for config in machine.client.told("config")] == [
        "", "", KEY, KEY]


def test_an_account_that_cannot_be_remembered(ground: Ground) -> None:
    """A warning; the run goes on."""
    (ground.machine.lib / "state").rmdir()
    (ground.machine.lib / "state").touch()
    ground.machine.client.plays(words.receive(), Account("https://ca.example/1", KEY),
                                AccountObject("https://ca.example/1", {"status": "valid"}))
    done = ground.machine.run("account")
    assert done.returncode == 0 and "valid" in done.stdout
    assert done.stderr.startswith("warning: ")


# --- the signer's greeting: one wait, one limit, for every command -------------------------------

def order_it(config: Config) -> str:
    """newOrder: return what it says of section a."""
    assert new_order(config, certificates.load(config), Options(["a"])) == 1
    return ""


def ask_account(config: Config) -> str:
    """account: return the error."""
    with pytest.raises(Error) as caught:
        account(config, AccountUpdate())
    return str(caught.value)


def revoke_it(config: Config) -> str:
    """revokeCert: return the error."""
    with pytest.raises(Error) as caught:
        options = revoke.Options([str(Path(config.library_directory).parent / "cert.pem")],
                                 force=True)
        revoke.revoke(config, options, revoke.targets(config, options))
    return str(caught.value)


def check_it(config: Config) -> str:
    """check."""
    assert check(config) == 1
    return ""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """How long a signer is waited for, in seconds."""
    monkeypatch.setattr(signers, "GREETING_SECONDS", 1)
    monkeypatch.setattr(log, "level", log.NORMAL)
    yield 1


@pytest.mark.parametrize("existing", [False, True], ids=["own", "challenge-directory"])
@pytest.mark.parametrize("command", [order_it, ask_account, revoke_it, check_it])
def test_a_silent_signer_is_blamed_by_its_name(
        ground: Ground, impatient: float, capfd: pytest.CaptureFixture[str], existing: bool,
        command: Callable[[Config], str]) -> None:
    """Whatever the command, after the same while; no client is, which has done nothing yet."""
    machine = ground.machine
    (machine.path / "cert.pem").write_text(ground.chains["a"])
    machine.rundir.mkdir()
    if existing:
        (machine.path / "challenges").mkdir()
        machine.main["webserver"]["challenge-directory"] = f"{machine.path}/challenges"
    machine.spawns_signer().plays(words.message("the passphrase, please\n"), words.hear())
    machine.client.plays(words.receive(), words.tell("began"))
    begin = time.monotonic()
    told = command(settings.load(str(machine.configure())))
    assert impatient <= time.monotonic() - begin < impatient + 3
    lines = [*capfd.readouterr().err.splitlines(), told]
    blamed = [line for line in lines if "does not answer" in line]
    assert len(blamed) == 1 and blamed[0].endswith(
        "the account key manager (letsencrypt-tiny-accountd) does not answer")
    message = lines.index("accountd: the passphrase, please")
    assert message < lines.index(blamed[0]), "it was shown while it waited"
    assert not [line for line in lines if "client" in line]
    assert not [seen for seen in machine.client.told("config") if seen], "none was given its go"
    machine.clean()


@pytest.mark.parametrize("command", [order_it, ask_account, revoke_it, check_it])
def test_a_signer_that_takes_its_time(ground: Ground, impatient: float, command: Callable[
        [Config], str], capfd: pytest.CaptureFixture[str]) -> None:
    """Within the limit, in pieces."""
    machine = ground.machine
    (machine.path / "cert.pem").write_text(ground.chains["a"])
    machine.rundir.mkdir()
    machine.signer.plays(words.greet(b"1 OK "), words.sleep(0.4), words.greet(GREETED[5:]),
                         words.sign())
    machine.client.plays(words.receive(), words.each(Failed("", "not today", "refused")))
    config = settings.load(str(machine.configure()))
    try:
        command(config)
    except (AssertionError, pytest.fail.Exception):
        pass   # what they expect is an error
    text = capfd.readouterr().err
    assert "not today" in text or "the account key manager answers: ES256" in text, text
    machine.clean()
