"""The table of responders, and what a killed run left of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness import packetfilter
from harness.responder import TOKEN, Host
from letsencrypt_tiny.common.errors import ConfigError
from letsencrypt_tiny.master.responders.firewall import Firewall
from letsencrypt_tiny.master.responders.table import RESPONDERS, remove_stale, responders_for
from letsencrypt_tiny.master.settings.proofs import TYPES
from letsencrypt_tiny.master.store import lock

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    """A host without configuration."""
    with Host() as made:
        yield made


def test_what_a_killed_run_left(host: Host) -> None:
    host.run.mkdir()
    victim = host.path / "victim"
    victim.mkdir()
    (victim / "file").touch()
    for name in ("challenges-1", "challenges-2/dir/sub"):
        (host.run / name).mkdir(parents=True)
    (host.run / "challenges-1" / TOKEN).touch()
    (host.run / "challenges-2/link").symlink_to(victim)
    (host.run / "challenges-3").symlink_to(victim)
    (host.run / "lock").touch()
    remove_stale(host.config(""))
    assert os.listdir(victim) == ["file"] and (host.run / "lock").exists()
    assert not [name for name in os.listdir(host.run) if name[-1] in "12"]
    (host.run / "challenges-3").unlink()   # it was not followed, and is nobody's to remove


def test_firewall_rules_that_a_killed_run_left(host: Host) -> None:
    config = host.config("")

    def run() -> None:
        packetfilter.drop_with_iptables()
        before = packetfilter.rules()
        pid = os.fork()
        if pid == 0:
            Firewall(config.run_directory).open([packetfilter.LO4])
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        assert packetfilter.rules() != before and host.left() == ["firewall"]
        remove_stale(config)
        assert packetfilter.rules() == before and host.left() == []
    packetfilter.in_namespace(run)


def test_nothing_is_left(host: Host) -> None:
    remove_stale(host.config(""))   # no run directory
    assert not host.run.exists()
    (host.run / "challenge").mkdir(parents=True)
    for name in ("lock", "firewall-notes"):
        (host.run / name).touch()
    remove_stale(host.config(""))
    assert host.left() == ["challenge", "firewall-notes", "lock"]


def test_the_lock_removes_nothing(host: Host) -> None:
    """Whoever takes it does."""
    (host.run / "challenges-1").mkdir(parents=True)
    os.close(lock.acquire(host.config("")))
    assert host.left() == ["challenges-1", "lock"]
    (host.run / "challenges-1").rmdir()


def test_each_type_has_a_responder(host: Host) -> None:
    """Or needs none."""
    config = host.config("")
    assert set(RESPONDERS) == set(TYPES)
    assert [name for name, factory in RESPONDERS.items() if factory is None] == [
        "dns-persist-01", "stateless"]
    for name, factory in RESPONDERS.items():
        if factory is not None:
            made = factory(config, host.client, host.stderr)
            assert name in made.types
            assert all(RESPONDERS[other] is factory for other in made.types)


def test_each_is_there_once(host: Host) -> None:
    config = host.config("")
    for types in (["http-01"], ("http-01", "http-01"), iter({"http-01": 1}),
                  ("stateless", "http-01", "dns-persist-01")):
        made, = responders_for(types, config, host.client, host.stderr)
        assert made.types == ("http-01",)
    for types in (), ("stateless", "dns-persist-01"):
        assert responders_for(types, config, host.client, host.stderr) == []
    assert [made.types for made in responders_for(
        ("dns-01", "http-01", "tls-alpn-01", "dns-01"), config, host.client, host.stderr)] == [
            ("dns-01",), ("http-01",), ("tls-alpn-01",)]
    with pytest.raises(ConfigError, match=r"/main.conf: nothing answers challenges of type dns-9 "
                                          r"\(valid: http-01, .*stateless\)$"):
        responders_for(["http-01", "dns-9"], config, host.client, host.stderr)
    assert host.asked == [] and host.left() == []


def test_nothing_is_imported_before_it_is_needed(host: Host) -> None:
    """A run with nothing to do and nothing left behind pays for none of it."""
    host.config("")
    host.run.mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from letsencrypt_tiny.master.responders import table
from letsencrypt_tiny.master.settings import main
def loaded():
    return [n for n in sys.modules if n.startswith("letsencrypt_tiny.master.responders.")]
config = main.load("{host.path}/main.conf")
table.remove_stale(config)
print(*loaded())
table.responders_for(["http-01"], config, None, None)
print(*loaded())
"""
    done = subprocess.run([sys.executable, "-I", "-B", "-c", code], stdout=subprocess.PIPE,
                          text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "letsencrypt_tiny.master.responders.table"
    assert "letsencrypt_tiny.master.responders.http01" in second.split()
