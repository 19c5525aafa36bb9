"""What clients leave behind: whose it was ends it, what was started by the master is not that."""

import os
import pwd
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import daemon, words
from harness.machine import Machine
from harness.talk import Talk
from letsencrypt_tiny.common import log
from letsencrypt_tiny.common.wire.order import Failed
from letsencrypt_tiny.master.peers import child as children, orphans
from letsencrypt_tiny.master.peers.child import Child
from letsencrypt_tiny.master.peers.identity import identity
from letsencrypt_tiny.master.settings.main import Program

pytestmark = pytest.mark.root

NOBODY = pwd.getpwnam("nobody").pw_uid


def fork(uid: int, descendants: int = 0) -> int:
    """Start a process of ``uid`` that sleeps; each of its descendants is the last one's child."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(uid, uid, uid)
            while descendants and os.fork() == 0:
                descendants -= 1
            time.sleep(60)
        finally:
            os._exit(0)
    while f"Uid:\t{uid}\t" not in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.001)
    return pid


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Whatever the test started is ended after it."""
    yield
    while left := daemon.strays():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_those_of_one_user_end() -> None:
    his, others = fork(NOBODY), fork(NOBODY - 1)
    orphans.end(NOBODY)
    assert daemon.strays() == [others] and not os.path.exists(f"/proc/{his}")
    orphans.end(NOBODY)   # none is left


def test_what_they_leave_ends_too() -> None:
    """Each becomes ours when its parent is gone."""
    orphans.adopt()
    fork(NOBODY, 20)
    time.sleep(0.1)
    orphans.end(NOBODY)
    assert daemon.strays() == []


def test_those_that_ended_are_collected() -> None:
    pid = fork(NOBODY)
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.001)
    orphans.end(NOBODY)
    assert not os.path.exists(f"/proc/{pid}")


def test_roots_do_not() -> None:
    """An administrator who runs the client as root does not lose other children by it."""
    pid = fork(0)
    orphans.end(0)
    assert daemon.strays() == [pid]


def test_a_child_that_the_master_started_is_none_until_it_was_collected() -> None:
    pid = fork(NOBODY)
    child = Child(pid, "client")
    orphans.end(NOBODY)
    assert daemon.strays() == [pid] and pid in children.running
    assert child.stop() == 128 + signal.SIGTERM and pid not in children.running


def test_too_many(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """One that forks faster than it is killed does not keep the run from ending."""
    monkeypatch.setattr(log, "level", log.NORMAL)
    killed: list[int] = []
    monkeypatch.setattr(orphans, "_own_children", lambda: [1000000 + len(killed)])
    monkeypatch.setattr(orphans, "_uid", lambda pid: NOBODY)
    monkeypatch.setattr(orphans, "os", SimpleNamespace(
        kill=lambda pid, number: killed.append(pid), waitpid=lambda pid, options: (pid, 0)))
    orphans.end(NOBODY)
    assert len(killed) == len(set(killed)) == 1000
    assert capfd.readouterr().err == f"warning: processes of uid {NOBODY} are left\n"


def test_what_a_client_forks_ends_with_its_conversation(machine: Machine) -> None:
    machine.client.plays(words.receive(), words.fork(
        words.close("answers"), words.ignore(signal.SIGTERM), words.silence(), session=True),
        Failed("a", "enough", "unfinished"))
    with Talk(machine, 20) as talk:
        conversation = talk.start(who=identity(Program("test", "nobody", "nogroup", (), "no")))
        talk.run()
        assert talk.error is None and len(daemon.strays()) == 1
        conversation.close()
        assert daemon.strays() == []
