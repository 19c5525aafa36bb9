"""The program dns, and who speaks at its doors: the client may have been taken over."""

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import run
from harness.bind import PRIMARY, Bind
from harness.updater import Updater, challenge
from letsencrypt_tiny.common.wire import responder
from letsencrypt_tiny.common.wire.responder import Clean, Failed, Present, Ready, Waits
from letsencrypt_tiny.dns import doors
from letsencrypt_tiny.dns.records import value

pytestmark = pytest.mark.root
Make = Callable[..., Updater]


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with tempfile.TemporaryDirectory(prefix="bind-", dir=run.PARENT) as directory:
        with Bind(Path(directory, "b"), {"a.example": "", "b.example": ""}) as running:
            yield running


@pytest.fixture
def make(bind: Bind, tmp_path: Path) -> Iterator[Make]:
    """What makes an updater of b.example, whose server is asked at once."""
    made: list[Updater] = []

    def make_one(*identifiers: str, **more: Any) -> Updater:
        settings: dict[str, Any] = {"server": PRIMARY, "secret": bind.key_file.read_text(),
                                    "nameservers": [PRIMARY], **more}
        made.append(Updater(tmp_path, identifiers=identifiers or ("b.example",), **settings))
        return made[-1]
    yield make_one
    for updater in made:
        updater.__exit__()
    assert bind.published() == []


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("confine", ["required", "no"])
def test_what_is_said(confine: str, make: Make, bind: Bind) -> None:
    """Waits, Ready; two values at one name; taken back one by one, and with the door."""
    updater = make(confine=confine)
    door = updater.door()
    updater.start()
    one = door.present("b.example", "one")
    assert isinstance(door.hear(waits=True), Waits)
    assert door.hear() == Ready(one)
    assert bind.txt("_acme-challenge.b.example") == [value(one)]
    two = door.present("b.example", "two")
    assert door.hear() == Ready(two)
    assert bind.txt("_acme-challenge.b.example") == sorted([value(one), value(two)])
    door.clean(one)
    assert until(lambda: bind.txt("_acme-challenge.b.example") == [value(two)])
    assert value(one) in updater.journal.read_text()
    door.close()
    assert updater.end() == 0, updater.said
    assert updater.journal.read_text() == ""


def test_foreign_names_and_keys(make: Make, bind: Bind) -> None:
    """A lost client can publish nothing that the master has not named."""
    updater = make("b.example", "sub.b.example")
    door = updater.door()
    updater.start()
    foreign = [challenge(name) for name in (
        "a.example", "www.b.example", "example", "_acme-challenge.b.example",
        "b.example.a.example")]
    foreign += [challenge("b.example", thumbprint="A" * 43),
                responder.Challenge("dns-01", ("ip", "192.0.2.1"), "t", challenge("x").thumbprint),
                challenge("b.example")._replace(type="tls-alpn-01")]
    for about in foreign:
        door.say(Present(about))
        said = door.hear()
        assert isinstance(said, Failed) and said.challenge == about
    assert bind.published() == []
    assert door.present("sub.b.example") and isinstance(door.hear(), Ready)   # it is served on
    assert len(bind.published()) == 1


@pytest.mark.parametrize("junk", [
    b"\n", b"junk\n", b"x" * 5000, b'{"message":"Present"}\n', b"[" * 4000 + b"\n", b"\xff\n",
    b'{"message":"Ready","type":"dns-01","identifier":["dns","b.example"],"token":"t",'
    b'"thumbprint":"9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"}\n',
    b'{"message":"Present","type":"dns-01","identifier":["dns","b.example"],"token":"../t",'
    b'"thumbprint":"9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"}\n',
    b'{"message":"Present","type":"dns-01","identifier":["dns","*.b.example"],"token":"t",'
    b'"thumbprint":"9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"}\n'], ids=range(9))
def test_who_talks_nonsense_loses_its_door(junk: bytes, make: Make, bind: Bind) -> None:
    """… and its records, but no other's."""
    updater = make()
    bad, well = updater.door(), updater.door()
    updater.start()
    first = bad.present("b.example", "bad")
    assert bad.hear() == Ready(first)
    bad.socket.sendall(junk)
    assert bad.hear() is None
    about = well.present("b.example", "well")
    assert well.hear() == Ready(about)
    assert until(lambda: bind.txt("_acme-challenge.b.example") == [value(about)])


def test_two_want_the_same(make: Make, bind: Bind) -> None:
    """It stays until the last of them doesn't want it any more."""
    updater = make()
    one, two = updater.door(), updater.door()
    updater.start()
    about = one.present("b.example")
    assert one.hear() == Ready(about)
    two.present("b.example")
    assert two.hear() == Ready(about)
    one.close()
    time.sleep(0.5)
    assert bind.txt("_acme-challenge.b.example") == [value(about)]
    two.clean(about)
    two.clean(about)    # what isn't held is nobody's business
    assert until(lambda: not bind.published())
    two.present("b.example")    # and again
    assert two.hear() == Ready(about)


def test_limits(make: Make, bind: Bind) -> None:
    updater = make(nameservers=["127.0.0.9"], propagation=3)
    door = updater.door()
    updater.start()
    most = doors.AT_ONCE * 2
    for number in range(most + 1):
        door.present("b.example", f"t{number}")
    said = door.hear()
    while isinstance(said, Ready):   # on a busy machine the first may have been waited for
        said = door.hear()
    assert isinstance(said, Failed) and said.why == "too many challenges at once"
    assert said.challenge.token == f"t{most}"


def test_a_limit_of_a_run(make: Make, bind: Bind) -> None:
    updater = make()
    door = updater.door()
    updater.start()
    for _ in range(doors.ALTOGETHER * 2):
        about = challenge("a.example")   # refused, and counted
        door.say(Present(about))
        assert isinstance(door.hear(), Failed)
    door.present("b.example")
    assert door.hear() == Failed(challenge("b.example"), "too many challenges in one run")


def test_who_asks_without_end(make: Make, bind: Bind) -> None:
    updater = make()
    door = updater.door()
    updater.start()
    line = responder.format_line(Present(challenge("a.example")))
    heard = 0
    for _ in range(doors.REFUSALS // 50 + 10):
        try:
            door.socket.sendall(line * 50)
            while heard % 50 != 49 and door.hear() is not None:
                heard += 1
        except OSError:   # the door is closed, perhaps with something of ours before it
            break
        heard += 1
    with pytest.raises((OSError, AssertionError)):
        while True:
            assert door.hear() is not None
    door.close()
    assert updater.end() == 0
    assert updater.said.count("is refused") == doors.TOLD
    assert "broke the protocol: it asks without end" in updater.said


def test_who_does_not_listen_loses_its_door(make: Make, bind: Bind) -> None:
    updater = make()
    deaf, well = updater.door(), updater.door()
    updater.start()
    line = responder.format_line(Present(challenge("a.example")))
    deaf.socket.settimeout(2)
    with pytest.raises(OSError):
        for _ in range(doors.REFUSALS // 10):
            deaf.socket.sendall(line * 10)
    about = well.present("b.example")
    assert well.hear() == Ready(about)
    deaf.close()
    well.close()
    assert updater.end() == 0
    assert "a client does not read what it is told" in updater.said


def test_taken_back_while_it_waits(make: Make, bind: Bind) -> None:
    updater = make(nameservers=[PRIMARY, "127.0.0.9"], propagation=60)
    door = updater.door()
    updater.start()
    about = door.present("b.example")
    assert until(lambda: bool(bind.published()))
    door.say(Clean(about))
    assert until(lambda: not bind.published())


def test_sigterm(make: Make, bind: Bind) -> None:
    updater = make(nameservers=[PRIMARY, "127.0.0.9"], propagation=60)
    door = updater.door()
    updater.start()
    door.present("b.example")
    assert until(lambda: bool(bind.published()))
    updater.signal(signal.SIGTERM)
    assert updater.end() == 0
    assert door.hear() is None and bind.published() == []


def test_without_doors_it_tidies_up(make: Make, bind: Bind) -> None:
    """After a kill -9, from the journal; half a line there is nothing that was published."""
    killed = make()
    door = killed.door()
    killed.start()
    about = door.present("b.example")
    assert door.hear() == Ready(about)
    killed.signal(signal.SIGKILL)
    assert killed.end() == -signal.SIGKILL
    assert bind.txt("_acme-challenge.b.example") == [value(about)]
    with open(killed.journal, "ab") as file:
        file.write(b'junk\n{"is":"published","name":"_acme-challenge.b.exa')
    following = make()
    following.start()
    assert following.end() == 0, following.said
    assert bind.published() == [] and following.journal.read_bytes() == b""


def test_what_stays_is_told(make: Make, bind: Bind) -> None:
    """… and remembered, if the server can't be reached any more."""
    killed = make()
    door = killed.door()
    killed.start()
    assert door.present("b.example") and isinstance(door.hear(), Ready)
    killed.signal(signal.SIGKILL)
    killed.end()
    lost = make(server="127.0.0.9")
    lost.start()
    assert lost.end() == 1
    assert "is left, the next run will try to take it back: 127.0.0.9" in lost.said
    following = make()
    following.start()
    assert following.end() == 0


def test_the_secret_is_not_kept_open(make: Make) -> None:
    """Nor is the task: confined, it has doors and journal."""
    updater = make()
    door = updater.door()
    updater.start()
    door.present("b.example")
    assert isinstance(door.hear(), Ready)
    assert updater.process is not None
    links = [path.readlink() for path in Path(f"/proc/{updater.process.pid}/fd").iterdir()]
    assert not [link for link in links if "deleted" in str(link)], links
