"""The firewall when others change it, or something goes wrong: nothing of ours is left."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from collections.abc import Callable, Iterator

import pytest

from harness.packetfilter import (ANY4, IPTABLES_DROP, LO4, LO6, PORT, Messages, V4, command,
                                  drop_with_iptables, drop_with_nft, in_namespace, marker,
                                  reachable, rules, tagged, without)
from letsencrypt_tiny.common import paths
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.responders import firewall, firewall_tools
from letsencrypt_tiny.master.responders.firewall import Firewall
from letsencrypt_tiny.master.responders.firewall_tools import Opening

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture(autouse=True)
def nothing_of_the_host() -> Iterator[None]:
    before = command("nft", "list", "ruleset")
    yield
    assert command("nft", "list", "ruleset") == before


def test_rules_of_others_survive() -> None:
    def run() -> None:
        messages = Messages()
        for drop, insert in (
                (drop_with_iptables, "iptables -w -I INPUT -s 192.0.2.7 -j DROP"),
                (drop_with_nft, "nft insert rule inet filter input ip saddr 192.0.2.7 drop")):
            drop()
            fire = Firewall()
            fire.open([LO4])
            command(*insert.split())
            with_both = rules()
            fire.close()
            assert "192.0.2.7" in rules() and rules() != with_both
            assert not reachable(LO4)
            command("nft", "flush", "ruleset")
        assert messages.warnings == []
    in_namespace(run)


def test_flushed_meanwhile() -> None:
    """Somebody reloads the firewall during the run: nothing is left to remove."""
    def run() -> None:
        messages = Messages()
        for drop in (drop_with_iptables, drop_with_nft):
            drop()
            fire = Firewall()
            fire.open([LO4, LO6])
            command("nft", "flush", "ruleset")
            drop()
            before = rules()
            fire.close()
            assert rules() == before and not marker() and messages.warnings == []
            command("nft", "flush", "ruleset")
    in_namespace(run)


@pytest.mark.parametrize("drop", [drop_with_iptables, drop_with_nft])
def test_after_kill(drop: Callable[[], None]) -> None:
    def run() -> None:
        drop()
        before = rules()
        pid = os.fork()
        if pid == 0:
            Firewall().open([LO4, LO6])
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        assert reachable(LO4) and marker()
        assert firewall.remove_stale() in (4, 6)
        assert rules() == before and not marker()
        assert firewall.remove_stale() == 0
    in_namespace(run)


def test_killed_at_any_moment() -> None:
    """Wherever the first run dies, the second finds what is left."""
    def run() -> None:
        drop_with_iptables()
        drop_with_nft()
        before = rules()
        real, left = firewall_tools.run, set()
        for last in range(1, 16):
            pid = os.fork()
            if pid == 0:
                count = 0

                def dying(command: list[str]) -> str:
                    nonlocal count
                    count += 1
                    output = real(command)
                    if count == last:
                        os._exit(9)
                    return output

                firewall_tools.run = dying
                fire = Firewall()
                fire.open([LO4, LO6])
                fire.close()
                os._exit(0)
            os.waitpid(pid, 0)
            left.add(firewall.remove_stale())
            assert rules() == before and not marker()
        assert left == set(range(11))  # 4 of iptables and ip6tables, 6 of nft
    in_namespace(run)


def test_a_failure_removes_the_rest() -> None:
    def run() -> None:
        drop_with_iptables()
        before = rules()
        with pytest.raises(Error) as caught:
            Firewall().open([LO4, Opening(V4, "127.0.0.1", 70000)])
        message = str(caught.value)
        assert "\n" not in message and "70000" in message and "iptables = no" in message
        assert rules() == before and not marker()
    in_namespace(run)


def test_a_signal_removes_the_rest() -> None:
    class Stop(BaseException):
        pass

    def run() -> None:
        drop_with_iptables()
        before = rules()
        real = firewall_tools.run

        def interrupted(command: list[str]) -> str:
            output = real(command)
            if "-I" in command and command[0] == firewall_tools.IP6TABLES:
                firewall_tools.run = real
                raise Stop
            return output

        firewall_tools.run = interrupted
        with pytest.raises(Stop):
            Firewall().open([LO4, LO6])
        assert rules() == before and not marker()
    in_namespace(run)


def test_what_can_not_be_removed_is_named_and_tried_again() -> None:
    def run() -> None:
        messages = Messages()
        drop_with_iptables()
        before = rules()
        fire = Firewall()
        fire.open([LO4])
        real = firewall_tools.run

        def failing(command: list[str]) -> str:
            if "-D" in command and "OUTPUT" in command:
                raise Error("no")
            return real(command)

        firewall_tools.run = failing
        fire.close()
        assert len(messages.warnings) == 1 and "-A OUTPUT -s 127.0.0.1/32" in messages.warnings[0]
        assert marker()
        firewall_tools.run = real
        assert firewall.remove_stale() == 1
        assert rules() == before and not marker()
    in_namespace(run)


def test_what_can_not_be_looked_for_is_tried_again() -> None:
    def run() -> None:
        messages = Messages()
        drop_with_iptables()
        before = rules()
        fire = Firewall()
        fire.open([LO4])
        real = firewall_tools.run

        def blind(command: list[str]) -> str:
            raise Error("no")

        firewall_tools.run = blind
        fire.close()
        assert messages.warnings == ["cannot look for firewall rules to remove: no"] and marker()
        firewall_tools.run = real
        assert firewall.remove_stale() == 2
        assert rules() == before and not marker()
    in_namespace(run)


def test_marker_is_no_symbolic_link() -> None:
    def run() -> None:
        drop_with_iptables()
        before = rules()
        os.mkdir(paths.RUN_DIR)
        os.symlink("victim", f"{paths.RUN_DIR}/firewall")
        with pytest.raises(Error):
            Firewall().open([LO4])
        assert not os.path.exists(f"{paths.RUN_DIR}/victim") and rules() == before
    in_namespace(run)


def test_a_table_with_an_owner() -> None:
    """The table of firewalld, say: a warning, and the other tables are opened.

    nft 1.0.6 may print junk instead of the flag, even broken JSON: then nothing is opened.
    """
    def run() -> None:
        messages = Messages()
        with subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              text=True) as owner:
            assert owner.stdin
            owner.stdin.write("add table inet owned { flags owner; }\nadd chain inet owned input "
                              "{ type filter hook input priority 0; policy drop; }\n")
            owner.stdin.flush()
            for _ in range(100):
                if "policy drop" in command("nft", "list", "ruleset"):
                    break
                time.sleep(0.02)
            drop_with_nft()
            before = rules()
            fire = Firewall()
            fire.open([LO4, LO6])
            broken = "JSON" in messages.warnings[0]
            assert tagged() == (0 if broken else 6)
            assert len(messages.warnings) == 1
            assert broken or "nft table inet owned can only" in messages.warnings[0]
            fire.close()
            assert rules() == before and not marker()
            owner.stdin.close()
    in_namespace(run)


def test_waits_for_the_lock_of_iptables() -> None:
    """Another program is changing the rules right now."""
    def run() -> None:
        import fcntl
        directory = os.path.dirname(paths.RUN_DIR)
        firewall_tools.IPTABLES = f"{directory}/iptables"
        os.symlink("/usr/sbin/iptables-legacy", firewall_tools.IPTABLES)
        without("IP6TABLES", "NFT")
        command("iptables-legacy-restore", data=IPTABLES_DROP)
        real = firewall_tools.run
        with open("/run/xtables.lock", "a", encoding="ascii") as lock:
            timer = threading.Timer(0.3, fcntl.flock, (lock, fcntl.LOCK_UN))

            def contended(command: list[str]) -> str:
                if "-I" in command:
                    firewall_tools.run = real
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    timer.start()
                return real(command)

            firewall_tools.run = contended
            start = time.monotonic()
            Firewall().open([LO4])
            assert time.monotonic() - start > 0.25
            timer.join()
        assert reachable(LO4)
        assert firewall.remove_stale() == 2
    if not Path("/usr/sbin/iptables-legacy").exists():
        pytest.skip("no iptables-legacy")
    in_namespace(run)


def test_another_run_directory_has_rules_of_its_own() -> None:
    """Two installations, two locks: neither may close what the other opened."""
    def run() -> None:
        command("iptables", "-w", "-P", "INPUT", "DROP")
        other = f"{os.path.dirname(paths.RUN_DIR)}/other"
        ours, theirs = Firewall(), Firewall(other)
        ours.open([ANY4])
        theirs.open([ANY4])
        assert command("iptables", "-S").count("-A INPUT") == 2
        ours.close()
        assert firewall.remove_stale() == 0
        assert command("iptables", "-S").count("-A INPUT") == 1
        assert firewall.remove_stale(other) == 1
        theirs.close()
        assert not os.path.exists(f"{other}/firewall")
    in_namespace(run)


TLS4 = Opening(V4, "0.0.0.0", PORT + 1)


@pytest.mark.parametrize("drop", [drop_with_iptables, drop_with_nft])
def test_what_one_has_opened_no_other_closes(drop: Callable[[], None]) -> None:
    """Two processes of one run listen, at ports of their own or even at the same."""
    def run() -> None:
        drop()
        before = rules()
        for first, second in ("webserver", "tlsserver"), ("tlsserver", "webserver"):
            fires = {name: Firewall(section=name) for name in (first, second)}
            fires["webserver"].open([ANY4])
            with_web = rules()
            fires["tlsserver"].open([TLS4, ANY4])
            assert reachable(ANY4) and reachable(TLS4)
            fires[first].close()
            assert reachable(ANY4) and reachable(TLS4) == (second == "tlsserver")
            assert second == "tlsserver" or rules() == with_web
            fires[second].close()
            assert rules() == before and os.listdir(paths.RUN_DIR) == []
    in_namespace(run)


@pytest.mark.parametrize("drop", [drop_with_iptables, drop_with_nft])
def test_after_kill_with_two_open(drop: Callable[[], None]) -> None:
    """Whichever was killed between or after both: the next run closes what it finds."""
    def run() -> None:
        drop()
        before = rules()
        for sections in ("webserver", "tlsserver"), ("tlsserver",), ("tlsserver", "webserver"):
            pid = os.fork()
            if pid == 0:
                for section in sections:
                    Firewall(section=section).open([ANY4])
                os.kill(os.getpid(), signal.SIGKILL)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
            assert reachable(ANY4) and len(os.listdir(paths.RUN_DIR)) == len(sections)
            assert firewall.remove_stale() >= 2 * len(sections)
            assert rules() == before and os.listdir(paths.RUN_DIR) == []
            assert firewall.remove_stale() == 0
    in_namespace(run)


def test_which_setting_is_named() -> None:
    def run() -> None:
        drop_with_iptables()
        with pytest.raises(Error, match=r"set iptables = no in \[tlsserver\]"):
            Firewall(section="tlsserver").open([Opening(V4, "127.0.0.1", 70000)])
    in_namespace(run)
