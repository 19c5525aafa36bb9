"""The master's end of the signer: its greeting, and the socket that it listens on."""

import os

import pytest

from harness import words
from harness.machine import Machine
from harness.standins import Signer
from harness.talk import Talk
from letsencrypt_tiny.common import log
from letsencrypt_tiny.common.errors import ConfigError, Error
from letsencrypt_tiny.common.wire import signer as wire
from letsencrypt_tiny.common.wire.access import Access
from letsencrypt_tiny.common.wire.order import AccountUpdate, Failed
from letsencrypt_tiny.master.peers import connecting, signer as signers
from letsencrypt_tiny.master.peers.conversation import greet
from letsencrypt_tiny.master.peers.loop import Loop
from letsencrypt_tiny.master.peers.signer import Heard
from letsencrypt_tiny.master.plan import signing

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs up is not tried again for a minute."""
    monkeypatch.setattr(connecting, "BUSY_SECONDS", 0.2)


GREETED = wire.format_greeting(words.GREETING)
ENOUGH = Failed("a", "enough", "unfinished")

CA = Access("https://ca.example/d")


# --- the greeting --------------------------------------------------------------------------------

def greeted(machine: Machine, *pieces: bytes) -> str:
    """Return the thumbprint that a signer told, which leaves all of it to the client."""
    machine.signer.plays(*(word for piece in pieces
                           for word in (words.greet(piece), words.sleep(0.05))), words.sign(1))
    machine.client.plays(words.receive(), words.request("a.b"), ENOUGH)
    with Talk(machine, 20) as talk:
        conversation = talk.start()
        talk.run()
        assert conversation.greeting is not None and talk.error is None
        lines = machine.client.told("greeting")[-1]
        assert "".join(lines).encode() == b"".join(pieces), "the client reads it, too"
        return conversation.greeting.thumbprint


def test_the_greeting_is_read_before_the_client_gets_it(machine: Machine) -> None:
    first = b'1 OK {"alg":"ES256","jwk-thumbprint":"%s"}\r\n' % (b"x" * 42 + b"w")
    for pieces in ([first + b"{}\r\n"], [first[:5], first[5:], b"{}\r", b"\n"]):
        with pytest.raises(Error, match="neither a public key nor"):
            greeted(machine, *pieces)
    first = first.replace(b"}", b',"kid":"https://ca.example/1"}')
    for pieces in ([first + b"{}\r\n"], [first[:5], first[5:], b"{}\r", b"\n"]):
        assert greeted(machine, *pieces) == "x" * 42 + "w"
    assert greeted(machine, GREETED) == words.GREETING.thumbprint


def test_a_greeting_of_the_greatest_size(machine: Machine, monkeypatch: pytest.MonkeyPatch
                                         ) -> None:
    monkeypatch.setattr(signers, "GREETING_SECONDS", 5)
    first, second = GREETED.splitlines()
    room = wire.MAX_ANSWER
    first = first[:-1] + b',"n":"' + b"y" * (room - len(first) - 7) + b'"}'
    second = second[:-1] + b',"n":"' + b"y" * (room - len(second) - 7) + b'"}'
    assert len(first) == len(second) == room
    assert len(greeted(machine, first + b"\r\n" + second + b"\r\n")) == 43


@pytest.mark.parametrize("pieces, match", [
    ([], r"^the account key manager \(letsencrypt-tiny-accountd\) failed: it closed the "
         r"connection$"),
    ([b"1 OK {}\r\n"], "does not answer|closed"),
    ([b"SSH-2.0-x\r\n\r\n"], "not that of protocol"), ([b"x" * 9000], "longer than 8192"),
    ([b"1 OK\r\n" + b"[" * 99 + b"\r\n"], "nested|JSON")], ids=range(5))
def test_greetings_that_are_none(machine: Machine, monkeypatch: pytest.MonkeyPatch,
                                 pieces: list[bytes], match: str) -> None:
    silent = match.startswith("does not answer")   # the others are never waited for
    monkeypatch.setattr(signers, "GREETING_SECONDS", 0.5 if silent else 60)
    machine.signer.plays(*map(words.greet, pieces), words.sleep(0.05))
    machine.client.plays(words.receive())
    with Talk(machine) as talk:
        talk.start()
        with pytest.raises(Error, match=match) as caught:
            talk.greet()
        assert str(caught.value).isprintable()


def test_a_silent_signer_is_waited_for_so_long_and_no_longer(
        machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
        ) -> None:
    """It is blamed by its name; what it has to say meanwhile is shown meanwhile."""
    monkeypatch.setattr(signers, "GREETING_SECONDS", 0.5)
    monkeypatch.setattr(log, "level", log.NORMAL)
    machine.spawns_signer().plays(words.message("the passphrase, please\n"), words.hear())
    with Talk(machine) as talk:
        conversation = talk.start()
        said = []
        for event in talk.loop.events(lambda: conversation.awaited):
            said.append(capfd.readouterr().err)
        assert isinstance(event, Heard) and said[-1] == ""
        assert "accountd: the passphrase, please\n" in said
        assert str(conversation.error) == \
            "the account key manager (letsencrypt-tiny-accountd) does not answer"
        assert conversation.greeting is None and not conversation.runs


def test_one_that_greeted_is_not_listened_to_while_others_are_awaited(
        machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its greeting stays there to be read: whoever looked again would do nothing else."""
    looks = []
    peek = signers._peek
    monkeypatch.setattr(signers, "_peek", lambda sock: looks.append(sock) or peek(sock))
    late = Signer(machine.path, "late")
    late.plays(words.sleep(0.5), words.greet(), words.sign())
    late.listens(machine.path / "L")
    machine.client.plays(words.receive())
    try:
        with Talk(machine, 20) as talk:
            first = talk.start()
            talk.config = talk.config._replace(client=talk.config.client._replace(
                socket=f"{machine.path}/L"))
            second = talk.start()
            talk.greet()
            assert first.greeting == second.greeting == words.GREETING
        assert 2 <= len(looks) < 10
    finally:
        late.end()


def test_one_that_fails_keeps_no_other_from_beginning(machine: Machine) -> None:
    machine.signer.plays()
    good = Signer(machine.path, "good")
    good.listens(machine.path / "G")
    machine.client.plays(words.receive(), ENOUGH)
    try:
        with Talk(machine, 20) as talk:
            first = talk.start()
            talk.config = talk.config._replace(client=talk.config.client._replace(
                socket=f"{machine.path}/G"))
            second = talk.start()
            greet(talk.loop, talk.conversations)
            assert "closed the connection" in str(first.error) and second.error is None
            second.begin("")
            for event in talk.loop.events(lambda: second.runs):
                pass
            assert event == (second, None) and not first.runs
    finally:
        good.end()


# --- how it is started ---------------------------------------------------------------------------

def test_what_a_signer_of_ours_is_given(machine: Machine) -> None:
    """Its policy, and for a revocation by the certificate's key that key: no more."""
    signer = machine.spawns_signer("letsencrypt-tiny-accountd")
    machine.main["accountd"].update({"privkey": "file:/k", "config": "/c", "confine": "required",
                                     "quiet": "no"})
    for key, arguments in ((None, ["--stdio", "--privkey=file:/k", "--config=/c",
                                   "--confine=required", "--policy=fd:3"]),
                           (os.open("/dev/null", os.O_RDONLY), [
                               "--stdio", "--privkey=fd:3", "--config=/c", "--confine=required",
                               "--policy=fd:4"])):
        with Talk(machine) as talk:
            made = signers.connect(talk.config, talk.messages.pipe,
                                   signing.derive(CA, [AccountUpdate()]), key)
            seen = signer.wait_for("started")
            made.close()
            assert made.child is not None and made.child.wait(5) == 0
        assert seen["argv"] == arguments
        assert seen["policy"]["operations"] == ["lookup", "read"]
        assert seen["descriptors"] == list(range(4 + (key is not None)))
        signer.forget()
        if key is not None:
            os.close(key)   # which is the caller's


def test_what_another_program_is_given(machine: Machine) -> None:
    """It would not know a policy."""
    signer = machine.spawns_signer()
    with Talk(machine) as talk:
        made = signers.connect(talk.config, talk.messages.pipe,
                               signing.derive(CA, []))
        seen = signer.wait_for("started")
        made.close()
        assert made.child is not None and made.child.wait(5) == 0
    assert seen["argv"] == ["--stdio", "--quiet"] and seen["descriptors"] == [0, 1, 2]


def test_no_other_key_for_a_signer_that_is_there_already(machine: Machine) -> None:
    with Talk(machine) as talk, pytest.raises(ConfigError, match=r"--certificate-key needs \[acc"):
        signers.connect(talk.config, talk.messages.pipe, signing.derive(CA, []), 0)


# --- its socket ----------------------------------------------------------------------------------

def connect(machine: Machine) -> None:
    """Try to connect, as a conversation does."""
    with Talk(machine) as talk:
        signers.connect(talk.config, talk.messages.pipe, signing.derive(CA, [])).close()


def test_a_socket_that_nobody_else_may_use(machine: Machine) -> None:
    connect(machine)
    assert machine.signer.wait_for("connected") == 0


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o620, 0o602, 0o777])
def test_socket_that_others_may_use(machine: Machine, mode: int) -> None:
    os.chmod(machine.path / "S", mode)
    with pytest.raises(Error, match=f"^{machine.path}/S: others may use this socket"):
        connect(machine)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_socket_in_a_directory_of_others(machine: Machine, mode: int) -> None:
    place = machine.path / "place"
    place.mkdir()
    place.chmod(mode)
    os.rename(machine.path / "S", place / "S")
    machine.main["client"]["socket"] = f"{place}/S"
    with pytest.raises(Error, match=f"^{place}: writable by others"):
        connect(machine)


def test_no_socket(machine: Machine) -> None:
    machine.signer.stops_listening()
    with pytest.raises(Error, match=f"^{machine.path}/S: cannot connect .*Connection refused"):
        connect(machine)
    (machine.path / "S").unlink()
    with pytest.raises(Error, match=f"^{machine.path}/S: No such file .*accountd"):
        connect(machine)
    (machine.path / "S").write_text("")
    (machine.path / "S").chmod(0o600)
    with pytest.raises(Error, match=f"^{machine.path}/S: not a socket"):
        connect(machine)


def test_a_loop_of_none(machine: Machine) -> None:
    """Nobody is waited for."""
    greet(Loop(), [])
