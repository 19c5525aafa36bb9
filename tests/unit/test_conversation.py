"""The master against clients that have gone over to somebody else: stand-ins in its place."""

import os
import resource
import signal

import pytest

from harness import daemon, words
from harness.machine import SERVER, Machine
from harness.talk import Talk
from harness.words import Spoken
from letsencrypt_tiny.common import log
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.common.wire import order as op
from letsencrypt_tiny.common.wire.order import Account, Failed, Issued, Log, Order, Progress
from letsencrypt_tiny.master.peers import messages, watchdog
from letsencrypt_tiny.master.peers.child import Child
from letsencrypt_tiny.master.peers.conversation import Answered
from letsencrypt_tiny.master.peers.identity import identity
from letsencrypt_tiny.master.peers.loop import Tick
from letsencrypt_tiny.master.settings.main import Program

pytestmark = pytest.mark.root

PENDING = Progress("a", "pending")
ENOUGH = Failed("a", "enough", "unfinished")   # every order has its answer


@pytest.fixture(autouse=True)
def level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "level", log.NORMAL)


def hasten(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """Let the master bear so many seconds of silence, with a timeout of 1 and answers of 1.

    For the tests of silence: others would fail on a machine that is busy for so long.  Nor would
    it bear a silence for ever, if it bore that.
    """
    monkeypatch.setattr(watchdog, "GRACE", patience - 1 - 2)
    monkeypatch.setattr(watchdog, "LONGEST", 10)


def converse(machine: Machine, *spoken: Spoken, timeout: int = 1) -> Talk:
    """Run a conversation about ``ORDER`` with a client that does this, to its end."""
    machine.client.plays(*spoken)
    with Talk(machine, timeout) as talk:
        talk.start()
        talk.run()
    return talk


def fails(machine: Machine, match: str, *spoken: Spoken) -> Talk:
    """Run a conversation that must fail with a message that matches, and leave nothing."""
    talk = converse(machine, *spoken)
    with pytest.raises(Error, match=match):
        raise talk.error or AssertionError("it did not fail")
    text = str(talk.error)
    assert text.isprintable() and len(text) < 500
    assert daemon.strays() == []
    return talk


def test_a_good_client(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    machine.client.plays(
        words.attempt(words.write("/proc/self/fd/0", "x")), words.receive(),
        words.message("sealed\n"), words.request("hello.signer"), Log("info", "told"),
        Log("debug", "not told"), Account("https://ca.example/a/2", "n" * 43),
        Progress("a", "new"), words.say(b'{"answer":"Issued","section":"a",'), words.sleep(0.05),
        words.say(b'"chain":"PEM","alternates":[]}\n'))
    with Talk(machine, 20) as talk:
        conversation = talk.start()
        events = list(talk.events("https://ca.example/a/1"))
        greeting = conversation.greeting
    answers = [event.answer for event in events if isinstance(event, Answered)]
    assert answers == [Account("https://ca.example/a/2", "n" * 43), Progress("a", "new"),
                       Issued("a", "PEM")]
    assert events[-1] == (conversation, None) and isinstance(events[0], Tick)
    client = machine.client
    assert client.told("started")[0]["argv"] == ["3", "4"]
    assert client.told("requests")[0][0]["identifiers"] == [["dns", "a.example"]]
    config = client.told("config")[0]
    assert config["access"]["server"] == SERVER and greeting == words.GREETING
    assert (config["account_url"], config["account_key"]) == (
        "https://ca.example/a/1", words.GREETING.thumbprint)
    assert client.told("attempt") == ["Operation not permitted"], "its requests are sealed"
    assert sorted(capfd.readouterr().err.splitlines()) == ["client: sealed", "told"]
    assert machine.signer.told("request") == ["hello.signer"]
    assert len(client.told("greeting")[0]) == 2, "it reads the greeting, too"


def test_a_client_that_knows_no_account(machine: Machine) -> None:
    converse(machine, words.receive(), ENOUGH, timeout=20)
    config = machine.client.told("config")[0]
    assert (config["account_url"], config["account_key"]) == ("", "")


def test_without_a_signer(machine: Machine) -> None:
    """What needs no signature needs no signer, and the client is told of none."""
    machine.client.plays(words.receive(), PENDING, ENOUGH)
    with Talk(machine, 20) as talk:
        conversation = talk.start(signer=False)
        assert not conversation.awaited and conversation.greeting is None
        assert talk.run() == [PENDING, ENOUGH] and talk.error is None
    started, = machine.client.told("started")
    assert started["argv"] == ["3"] and started["descriptors"] == [0, 1, 2, 3]
    assert machine.signer.told("connected") == []


def test_many_answers_at_once(machine: Machine) -> None:
    talk = converse(machine, words.say(op.format_answer(PENDING) * 500), ENOUGH)
    assert talk.answers == [PENDING] * 500 + [ENOUGH] and talk.error is None


@pytest.mark.parametrize("line", [
    b"junk", b"", b"{}", b"[]", b"\x1b[2J", b"\xff\xfe", b'{"answer":"Own3d"}', b"{" * 10000,
    b'{"answer":"Progress","section":"a","state":"x","wait":1e9}', b"\0" * 100,
    b'{"answer":"Log","level":"info","text":"' + b"x" * 70000 + b'"}'], ids=range(11))
def test_junk(machine: Machine, line: bytes) -> None:
    talk = fails(machine, "^the ACME client broke the protocol: ", PENDING, words.line(line),
                 words.silence())
    assert talk.answers == [PENDING] and talk.seconds < 5


@pytest.mark.parametrize("answers, match", [
    ([Failed("a", "x", "lost"), PENDING], "a section that it was not asked for"),
    ([ENOUGH, ENOUGH], "a section that it was not asked for"),
    ([Progress("b", "new")], "a section that it was not asked for"),
    ([op.Revoked("a")], "something that it was not asked for"),
    ([op.AccountObject("u", {})], "a section that it was not asked for")], ids=range(5))
def test_what_it_was_not_asked_for(machine: Machine, answers: list[op.Answer], match: str) -> None:
    talk = fails(machine, "^the ACME client broke the protocol: the ACME client answers "
                          f".*{match}$", *answers, words.silence())
    assert talk.answers == answers[:-1]


def memory() -> int:
    """Return the greatest size of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("piece", [b"x" * 65536, b'{"answer":' + b" " * 65536, b"\0" * 65536],
                         ids=range(3))
def test_an_endless_line(machine: Machine, piece: bytes) -> None:
    before = memory()
    talk = fails(machine, "the ACME client broke the protocol: a line longer than 1048576 bytes",
                 words.flood(piece))
    assert memory() - before < 16 << 10 and talk.seconds < 5


@pytest.mark.parametrize("answer, match", [
    (Issued("a", "x" * 200000, ("y" * 200000,) * 4), "a section that it was not asked for"),
    (PENDING, "answers without end"), (Log("debug", "x" * 60000), "answers without end"),
    (Account("", ""), "answers without end")], ids=range(4))
def test_a_gigabyte_of_answers(machine: Machine, answer: op.Answer, match: str) -> None:
    before = memory()
    talk = fails(machine, match, words.flood(op.format_answer(answer)))
    talk.answers.clear()
    assert memory() - before < 64 << 10 and talk.seconds < 15
    # what was kept is what this test kept


def test_a_gigabyte_on_standard_error(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    before = memory()
    for text, end in (b"x" * 100, b"\n"), (b"x" * 100, b""), (b"\x1b[31m", b"\n"):
        talk = converse(machine, words.flood(text * 700 + end, "messages"), PENDING, ENOUGH)
        assert talk.answers == [PENDING, ENOUGH] and talk.error is None
        shown = capfd.readouterr().err
        assert "client writes too much to standard error; the rest is dropped" in shown
        assert len(shown) < 2 * messages.MAX_CHATTER and "\x1b" not in shown
    assert memory() - before < 16 << 10


def test_chatter(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    converse(machine, words.message(b"one\ntwo \x1b[31mred\x1b[0m\x07\r\n\n   \n"),
             words.message("ü \u202e\n".encode() + b"\xff\xc3\nthree"), words.sleep(0.1),
             words.message(" four\nlast"), ENOUGH)
    assert capfd.readouterr().err == (
        "client: one\nclient: two \\x1b[31mred\\x1b[0m\\x07\nclient: ü \\u202e\n"
        "client: \ufffd\ufffd\nclient: three four\nclient: last\n")


SILENT = ("silent", "frozen", "deaf", "frozen and deaf", "chatters, but says nothing",
          "half a line")


@pytest.mark.parametrize("how", SILENT)
def test_silence(machine: Machine, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    hasten(monkeypatch, 0.5)
    talk = fails(machine, "^the ACME client has been silent for 0.5 seconds$",
                 *words.MISBEHAVIOUR[how])
    assert 0.5 <= talk.seconds < 5


def test_only_whole_lines_are_signs_of_life(machine: Machine, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:
    """One that dribbles a byte now and then says nothing; one that ends its lines does."""
    hasten(monkeypatch, 1.5)
    talk = fails(machine, "^the ACME client has been silent for 1.5 seconds$",
                 words.forever(words.say(b" "), words.sleep(0.05)))
    assert 1.5 <= talk.seconds < 5
    talk = converse(machine, words.times(9, PENDING, words.sleep(0.2)), ENOUGH)
    assert talk.error is None and talk.seconds > 1.5


def test_silence_of_a_child_of_its_own(machine: Machine, monkeypatch: pytest.MonkeyPatch
                                       ) -> None:
    """It holds on to the pipe; only the client itself can be ended."""
    hasten(monkeypatch, 0.5)
    talk = converse(machine, words.fork(words.sleep(2), session=True), words.silence())
    assert "silent for 0.5 seconds" in str(talk.error)
    for orphan in daemon.strays():   # which its confinement wouldn't let it have
        os.kill(orphan, signal.SIGKILL)
        os.waitpid(orphan, 0)


def test_announced_waits_are_granted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch, 1)   # and one more with a timeout of 2
    talk = converse(machine, Progress("a", "pending", wait=2), words.sleep(3), PENDING, ENOUGH,
                    timeout=2)
    assert len(talk.answers) == 3 and talk.error is None and talk.seconds >= 3


def test_a_wait_beyond_the_timeout_is_not(machine: Machine, monkeypatch: pytest.MonkeyPatch
                                          ) -> None:
    hasten(monkeypatch, 0.5)
    talk = fails(machine, "has been silent", Progress("a", "pending", wait=86400),
                 words.silence())
    assert talk.seconds < 4


def test_a_run_has_an_end(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch, 1.5)
    monkeypatch.setattr(watchdog, "LONGEST", 0.3)
    talk = fails(machine, "does not come to an end", words.forever(PENDING, words.sleep(0.1)))
    assert 1.8 <= talk.seconds < 5
    talk = fails(machine, "has been silent", words.forever(words.say(b" "), words.sleep(0.1)))
    assert talk.seconds < 5


@pytest.mark.parametrize("spoken, match", [
    (words.MISBEHAVIOUR["ends in the middle"], "the ACME client ended in the middle of an answer"),
    ([words.leave(3)], "the ACME client ended with status 3"),
    ([words.die()], "the ACME client ended with status 137"),
    ([PENDING, words.die()], "status 137"), ([ENOUGH, words.leave(3)], "status 3"),
    ([PENDING], "the ACME client ended before its work was done")], ids=range(6))
def test_ends(machine: Machine, spoken: list[Spoken], match: str) -> None:
    fails(machine, match, *spoken)


def test_closes_and_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = Child.wait
    monkeypatch.setattr(Child, "wait", lambda child, seconds: wait(
        child, None if seconds is None else min(seconds, 0.3)))
    fails(machine, "the ACME client closed its output but does not end",
          *words.MISBEHAVIOUR["closes and stays"])


def test_answers_after_its_death(machine: Machine) -> None:
    """Its own child goes on writing; it is as good as the client."""
    talk = converse(machine, words.fork(words.sleep(0.1), PENDING, ENOUGH), words.leave(0))
    assert talk.answers == [PENDING, ENOUGH] and talk.error is None
    for orphan in daemon.strays():   # root's are not ended
        os.waitpid(orphan, 0)


def test_a_client_that_cannot_be_started(machine: Machine) -> None:
    machine.client.command.unlink()
    with Talk(machine) as talk:
        with pytest.raises(Error, match=r"main.conf, \[client\]: cannot run .*client: No such"):
            talk.start()


def test_a_configuration_that_is_too_long(machine: Machine) -> None:
    """It must fit into a pipe: nobody reads it yet, and nobody waits."""
    machine.client.plays(words.silence())
    with Talk(machine) as talk:
        talk.start()
        with pytest.raises(Error, match="configuration of the ACME client is too long"):
            list(talk.events("https://ca.example/" + "x" * 70000))


def test_who_stops_listening_ends_the_client(machine: Machine) -> None:
    machine.client.plays(PENDING, words.silence())
    with Talk(machine, 20) as talk:
        talk.start()
        for event in talk.events():
            if isinstance(event, Answered):
                break
    assert daemon.strays() == []
    talk.close()   # again, which does nothing


def test_interrupt_and_tick(machine: Machine) -> None:
    machine.client.plays(words.on(signal.SIGINT, Progress("a", "valid"), ENOUGH, words.leave(0)),
                         PENDING, words.silence())
    ticks = []
    with Talk(machine, 20) as talk:
        conversation = talk.start()

        def watch(event: object) -> None:
            if isinstance(event, Tick):
                ticks.append(event.now)
            if isinstance(event, Answered) and event.answer == PENDING or len(ticks) == 3:
                conversation.interrupt()
        states = [item.state for item in talk.run(watch) if isinstance(item, Progress)]
    conversation.interrupt()   # there is none any more
    assert states == ["pending", "valid"] and talk.error is None and ticks
    assert machine.client.told("signal") == [signal.SIGINT]


def test_ticks_come_whatever_else_does(machine: Machine) -> None:
    """They come between answers that leave no pause, and where there are none."""
    machine.client.plays(words.times(60, PENDING, words.sleep(0.01)), words.sleep(0.45), ENOUGH)
    ticks: list[float] = []
    heard: list[int] = []           # the number of ticks before each answer
    with Talk(machine, 20) as talk:
        talk.start()

        def watch(event: object) -> None:
            if isinstance(event, Tick):
                ticks.append(event.now)
            elif isinstance(event, Answered):
                heard.append(len(ticks))
        talk.run(watch)
    gaps = [after - before for before, after in zip(ticks, ticks[1:])]
    assert min(gaps) >= 0.2 and heard[59] > heard[0] and heard[60] > heard[59]


# --- several at once -----------------------------------------------------------------------------

OTHER = "https://other.example/dir"


def test_two_at_once(machine: Machine) -> None:
    """Answers come as they are said, each from its own; one's failure is not the other's."""
    turn = [machine.path / f"turn{number}" for number in range(3)]
    last = Failed("b", "at last", "refused")
    machine.client.plays(words.receive(), words.choose({
        SERVER: [PENDING, words.wait_for(turn[1]), Progress("a", "ready"), words.line(b"junk"),
                 words.silence()],
        OTHER: [words.wait_for(turn[0]), Progress("b", "pending"),
                words.wait_for(turn[2]), Progress("b", "ready"), last]}))
    with Talk(machine, 20) as talk:
        first = talk.start()
        second = talk.start([Order("b", (("dns", "b.example"),), b"csr")], server=OTHER)

        def watch(event: object) -> None:
            # each speaks when the other was heard: what waits in two pipes has no order
            if isinstance(event, Answered) and event.answer == PENDING:
                turn[0].touch()
            if isinstance(event, Answered) and event.answer == Progress("b", "pending"):
                turn[1].touch()
            if isinstance(event, tuple) and event[0] is first and isinstance(event[1], Error):
                assert second.runs and not first.runs
                turn[2].touch()
        talk.run(watch)
    assert talk.answers == [PENDING, Progress("b", "pending"), Progress("a", "ready"),
                            Progress("b", "ready"), last]
    assert [(item.conversation, item.error is None) for item in talk.ended] == [
        (first, False), (second, True)]
    assert "broke the protocol" in str(talk.ended[0].error)
    assert len(machine.signer.told("connected")) == 2, "each has a signer of its own"


def test_the_end_of_one_is_not_that_of_another_of_the_same_user(machine: Machine) -> None:
    """What a client leaves is ended; another client is nothing that was left."""
    who = identity(Program("test", "nobody", "nogroup", (), "no"))
    machine.client.plays(words.receive(), words.choose({
        SERVER: [words.fork(words.close("answers"), words.silence(), session=True), ENOUGH],
        OTHER: [Failed("b", "begun", "busy"), words.sleep(0.5)]}))
    with Talk(machine, 20) as talk:
        first = talk.start(who=who)
        second = talk.start([Order("b", (("dns", "b.example"),), b"csr")], server=OTHER, who=who)
        gone = []

        def watch(event: object) -> None:
            if isinstance(event, tuple) and event[:1] == (first,) and not gone and \
                    not first.runs:
                first.close()
                gone.append(daemon.strays())
        talk.run(watch)
        second.close()
    assert [len(pids) for pids in gone] == [1], "the second client alone"
    assert {item.conversation: item.error for item in talk.ended} == {first: None, second: None}
    assert daemon.strays() == []
