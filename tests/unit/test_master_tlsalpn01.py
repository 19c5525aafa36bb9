"""How the master has tls-alpn-01 answered: sockets, the duty, the doors; with a stand-in."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from harness import packetfilter
from harness.responder import Host
from letsencrypt_tiny.common.errors import Error, LocalProtocolError
from letsencrypt_tiny.common.wire.responder import Duty, parse_duty
from letsencrypt_tiny.master.responders.firewall import Firewall
from letsencrypt_tiny.master.responders.table import remove_stale, responders_for
from letsencrypt_tiny.master.responders.tlsalpn01 import TlsAlpn01
from letsencrypt_tiny.master.settings import main as configuration

pytestmark = pytest.mark.root

NAMES = {("dns", "a.example"), ("ip", "::1")}
KEY = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
# What it was given, and what it was told
REPORT = """\
#!/usr/bin/python3 -IS
import json, os, stat, sys, time
def kind(fd):
    mode = os.fstat(fd).st_mode
    return "socket" if stat.S_ISSOCK(mode) else "file" if stat.S_ISREG(mode) else "other"
fds = [int(name) for name in os.listdir("/proc/self/fd")]
known = dict()
for fd in sorted(fds):
    try:
        known[fd] = kind(fd)
    except OSError:
        pass
told = {"argv": sys.argv[1:], "duty": json.loads(os.read(3, 100000)), "fds": known,
        "uid": os.getuid(), "cwd": os.getcwd()}
with open("PATH.new", "w") as file:
    json.dump(told, file)
os.rename("PATH.new", "PATH")
time.sleep(60)
"""


class TlsHost(Host):
    """A host whose TLS server is a stand-in."""

    def tls(self, settings: str = "", script: str = "") -> TlsAlpn01:
        """Return a responder, not yet opened."""
        program = self.path / "tlsserver"
        self.told = self.path / "told/report"
        self.told.parent.mkdir(exist_ok=True)
        self.told.parent.chmod(0o777)
        program.write_text(script or REPORT.replace("PATH", str(self.told)))
        program.chmod(0o755)
        (self.path / "main.conf").write_text(
            f"run-directory = {self.run}\n[tlsserver]\ncommand = {program}\nuser = daemon\n"
            f"group = daemon\n{settings}\n{'' if 'iptables' in settings else 'iptables = no'}\n")
        config = configuration.load(str(self.path / "main.conf"))
        made, = responders_for(["tls-alpn-01"], config, self.client, self.stderr)
        assert isinstance(made, TlsAlpn01) and made.directory == "/"
        self.responders.append(made)   # type: ignore[arg-type]
        return made

    def report(self) -> "dict[str, object]":
        """Return what the stand-in was given."""
        deadline = time.monotonic() + 10
        while not self.told.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found: dict[str, object] = json.loads(self.told.read_text())
        return found


@pytest.fixture
def host() -> Iterator[TlsHost]:
    with TlsHost() as made:
        yield made


def test_its_life(host: TlsHost) -> None:
    """A door for each client, its duty, listening sockets, and nothing else; then nothing."""
    made = host.tls("listen = 127.0.0.1:4430, [::1]:4430")
    with pytest.raises(LocalProtocolError):
        made.serve([KEY])
    made.open(NAMES)
    doors = [*made.doors(), *made.doors()]
    clients = [socket.socket(fileno=door.descriptor) for door in doors]
    assert [door.type for door in doors] == ["tls-alpn-01"] * 2
    made.serve([KEY])
    made.check()
    told = host.report()
    assert told["argv"] == ["--confine=auto", "--duty=3", "--door=4", "--door=5", "6", "7"]
    assert told["duty"] == {"identifiers": [["dns", "a.example"], ["ip", "::1"]],
                            "thumbprints": [KEY]}
    assert parse_duty(told["duty"]) == Duty(frozenset(NAMES), frozenset([KEY]))  # type: ignore
    assert told["fds"] == {"0": "other", "1": "other", "2": "other", "3": "file",
                           **{str(number): "socket" for number in range(4, 8)}}
    assert told["cwd"] == "/" and told["uid"] != 0
    for address, family in ("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6):
        with socket.socket(family) as sock:
            sock.connect((address, 4430))
    made.close()
    made.close()
    for client in clients:
        assert client.recv(1) == b"", "somebody else has the other end"
        client.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", 4430), timeout=1)
    assert host.asked == ["tlsserver"]


def test_its_end_is_noticed(host: TlsHost) -> None:
    made = host.tls("listen = 127.0.0.1:4430", "#!/bin/sh\nexit 3\n")
    made.open(NAMES)
    made.serve([KEY])
    with pytest.raises(Error, match="ended with status 3"):
        for _ in range(500):
            made.check()
            time.sleep(0.01)


def test_auto(host: TlsHost, capfd: pytest.CaptureFixture[str]) -> None:
    """Port 443 if it is free, else the socket in the run directory, and who has it is told."""
    made = host.tls()
    made.open(NAMES)
    assert {sock.getsockname()[1] for sock in made._listener.sockets} == {443}
    made.close()
    host.run.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 443)):
        made = host.tls()
        made.open(NAMES)
        path = host.run / "tls.socket"
        assert [sock.getsockname() for sock in made._listener.sockets] and path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o666
        assert f"listens on port 443: tls-alpn-01 challenges are answered on {path}, " in \
            capfd.readouterr().err
        made.close()
    assert not path.exists()


def test_faults(host: TlsHost) -> None:
    """What check tells, and nothing is left of it."""
    assert list(host.tls().faults()) == list(host.tls("listen = 127.0.0.1:4430").faults()) == []
    with socket.create_server(("127.0.0.1", 4430)):
        fault, = host.tls("listen = 127.0.0.1:4430").faults()
    assert "[tlsserver]: cannot listen on 127.0.0.1:4430" in str(fault)
    assert "set listen" in str(fault)


def test_rules_that_a_killed_run_left(host: TlsHost) -> None:
    """Of this responder alone, and of both."""
    host.tls()
    config = configuration.load(str(host.path / "main.conf"))

    def run() -> None:
        packetfilter.drop_with_iptables()
        before = packetfilter.rules()
        for sections in ("tlsserver",), ("webserver", "tlsserver"):
            pid = os.fork()
            if pid == 0:
                for section in sections:
                    Firewall(config.run_directory, section).open([packetfilter.LO4])
                os.kill(os.getpid(), signal.SIGKILL)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
            assert packetfilter.rules() != before and len(host.left()) == len(sections)
            remove_stale(config)
            assert packetfilter.rules() == before and host.left() == []
    packetfilter.in_namespace(run)
