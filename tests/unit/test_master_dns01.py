"""How the master has dns-01 answered: the task, secret and journal that a process is given."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.responder import Host
from letsencrypt_tiny.common.errors import ConfigError, Error, LocalProtocolError
from letsencrypt_tiny.common.wire import dns as wire
from letsencrypt_tiny.common.wire.responder import Duty
from letsencrypt_tiny.master.responders import table
from letsencrypt_tiny.master.responders.dns01 import Dns01
from letsencrypt_tiny.master.settings import main as configuration
from letsencrypt_tiny.master.store.records import Records

pytestmark = pytest.mark.root
KEY = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
# What it was given, and what it was told; it ends when its door has closed
STANDIN = """\
#!/usr/bin/python3 -IS
import json, os, socket, sys
given = dict(word[2:].split("=") for word in sys.argv[1:] if word[2:6] in ("task", "jour", "secr"))
doors = [int(word[7:]) for word in sys.argv[1:] if word.startswith("--door=")]
told = {"argv": sys.argv[1:], "uid": os.getuid(),
        "task": os.read(int(given["task"]), 100000).decode(),
        "secret": os.read(int(given["secret"]), 1000).decode() if "secret" in given else None}
journal = int(given["journal"])
told["journal"] = os.pread(journal, 1000, 0).decode()
with open(f"DIRECTORY/{os.getpid()}.new", "w") as file:
    json.dump(told, file)
os.rename(f"DIRECTORY/{os.getpid()}.new", f"DIRECTORY/{os.getpid()}")
if not doors:
    os.ftruncate(journal, 0)
for door in doors:
    socket.socket(fileno=door).recv(1)
"""


class DnsHost(Host):
    """A host whose updater is a stand-in."""

    def dns(self, settings: str) -> Dns01:
        """Return a responder, not yet opened; each zone's own settings, and its secret."""
        self.told = self.path / "told"
        self.told.mkdir(exist_ok=True)
        self.told.chmod(0o777)
        program = self.path / "dns"
        program.write_text(STANDIN.replace("DIRECTORY", str(self.told)))
        program.chmod(0o755)
        key = self.path / "key"
        key.write_text("a secret")
        key.chmod(0o600)
        (self.path / "main.conf").write_text(
            f"run-directory = {self.run}\nlibrary-directory = {self.path}\n" + settings.replace(
                "COMMON", f"server = ns.example\ncommand = {program}\nuser = daemon\n"
                f"group = daemon\nkey-file = {key}\nupdate-timeout = 1\n"))
        self.config = configuration.load(str(self.path / "main.conf"))
        return Dns01(self.config, lambda name: os.dup(2))

    def reports(self, count: int) -> list[dict[str, object]]:
        """Wait for what ``count`` processes tell, in the order of their start."""
        deadline = time.monotonic() + 10
        while len(found := [path for path in self.told.iterdir() if path.name.isdigit()]) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return [json.loads(path.read_text()) for path in sorted(
            found, key=lambda path: int(path.name))]

    @property
    def state(self) -> Path:
        """Where journals are."""
        return Path(self.config.state_directory)


@pytest.fixture
def host() -> Iterator[DnsHost]:
    with DnsHost() as made:
        assert isinstance(made, DnsHost)
        yield made


TWO = "[dns]\nCOMMON[dns b.example]\nCOMMONnameservers = 192.0.2.1\n"


def test_a_process_for_each_zone(host: DnsHost) -> None:
    """… of which there are names; each is told of its own, and nothing else."""
    responder = host.dns(TWO + "[dns c.example]\nCOMMON")
    responder.open({("dns", "a.example"), ("dns", "x.b.example"), ("dns", "b.example")})
    doors = responder.doors()
    assert [(door.type, door.zone) for door in doors] == [("dns-01", ""), ("dns-01", "b.example")]
    responder.serve([KEY])
    told = host.reports(2)
    tasks = {task.zone: task for task in (wire.parse_task(str(one["task"]).encode())
                                          for one in told)}
    assert tasks[""].duty == Duty(frozenset({("dns", "a.example")}), frozenset({KEY}))
    assert tasks["b.example"].duty.identifiers == {("dns", "b.example"), ("dns", "x.b.example")}
    assert tasks["b.example"].nameservers == ("192.0.2.1",) and tasks[""].nameservers == ()
    for one in told:
        assert one["secret"] == "a secret" and one["uid"] == 1 and one["journal"] == ""
        argv = one["argv"]
        assert isinstance(argv, list) and {word.partition("=")[0] for word in argv} <= {
            "--confine", "--task", "--journal", "--secret", "--door", "--debug"}
    for door in doors:
        os.close(door.descriptor)
    with pytest.raises(LocalProtocolError):
        responder.serve([KEY])
    responder.close()
    responder.close()
    assert list(host.state.glob("dns-*")) == []


def test_without_a_section(host: DnsHost) -> None:
    responder = host.dns("")
    with pytest.raises(ConfigError, match=r"the challenge dns-01 needs a section \[dns\]"):
        responder.open({("dns", "a.example")})


@pytest.mark.parametrize("mode, owner, expected", [
    (0o640, 0, "others than root can read it"), (0o604, 0, "others than root"),
    (0o600, 1, "others than root can")])
def test_a_secret_of_others(mode: int, owner: int, expected: str, host: DnsHost) -> None:
    responder = host.dns("[dns]\nCOMMON")
    (host.path / "key").chmod(mode)
    os.chown(host.path / "key", owner, 0)
    assert [expected in str(fault) for fault in responder.faults()] == [True]
    with pytest.raises(Error, match=expected):
        responder.open({("dns", "a.example")})
    responder.close()


def test_a_zone_without_its_secret(host: DnsHost) -> None:
    """The others' names can be proved all the same; nothing is left of it."""
    other = host.path / "other"
    responder = host.dns(f"[dns]\nCOMMON[dns b.example]\nserver = x\nkey-file = {other}\n")
    names = {("dns", "a.example"), ("dns", "b.example")}
    unable = responder.open(names)
    assert unable.keys() == {("dns", "b.example")} and "no such file" in str(
        unable["dns", "b.example"])
    doors = responder.doors()
    assert [door.zone for door in doors] == [""]
    for door in doors:
        os.close(door.descriptor)
    responder.serve([KEY])
    told, = host.reports(1)
    assert "b.example" not in str(told["task"])
    responder.close()
    assert list(host.state.glob("dns-*")) == []


def test_a_secret_that_is_not_there(host: DnsHost) -> None:
    responder = host.dns("[dns]\nCOMMON")
    (host.path / "key").unlink()
    assert ["no such file" in str(fault) for fault in responder.faults()] == [True]
    responder.close()


def leave(records: Records, zone: str) -> None:
    """A run is killed that has published something in a zone."""
    file = records.open(zone)
    os.write(file, b"something\n")
    os.close(file)


def test_what_a_killed_run_left(host: DnsHost, capfd: pytest.CaptureFixture[str]) -> None:
    """A process without doors tidies up; of a zone that is not configured any more one is told."""
    host.dns(TWO)
    records = Records(host.config.state_directory)
    for zone in ("b.example", "gone.example"):
        leave(records, zone)
    assert sorted(records.left()) == ["b.example", "gone.example"]
    table.remove_stale(host.config)
    told, = host.reports(1)
    assert told["journal"] == "something\n" and told["secret"] == "a secret"
    assert wire.parse_task(str(told["task"]).encode()).duty.identifiers == frozenset()
    assert records.left() == ["gone.example"]
    error = capfd.readouterr().err
    assert "may be left below gone.example" in error and records.path("gone.example") in error


def test_what_a_killed_run_left_without_any_section(host: DnsHost,
                                                    capfd: pytest.CaptureFixture[str]) -> None:
    """It is not forgotten when the last [dns] has gone."""
    host.dns("")
    records = Records(host.config.state_directory)
    leave(records, "")
    table.remove_stale(host.config)
    assert "may be left below some zone, which no section" in capfd.readouterr().err
    assert records.left() == [""]


def test_nobody_to_tidy_up(host: DnsHost, capfd: pytest.CaptureFixture[str]) -> None:
    """A run goes on whatever is wrong with the section."""
    host.dns("[dns b.example]\nserver = ns.example\nuser = nobody-of-that-name\n")
    records = Records(host.config.state_directory)
    leave(records, "b.example")
    table.remove_stale(host.config)
    assert "records of an earlier run are left: " in capfd.readouterr().err
    assert records.left() == ["b.example"]


def test_a_journal_that_is_a_link(host: DnsHost, tmp_path: Path) -> None:
    """It is not followed."""
    host.dns(TWO)
    records = Records(host.config.state_directory)
    os.close(records.open("b.example"))
    path = Path(records.path("b.example"))
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    path.symlink_to(tmp_path / "victim")
    with pytest.raises(Error, match="cannot open it"):
        records.open("b.example")
    assert not (tmp_path / "victim").exists()
