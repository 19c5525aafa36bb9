"""The firewall: real rules in network namespaces of their own; the host's are never touched."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from collections.abc import Callable, Iterator

import pytest

from letsencrypt_tiny.common import log, paths
from letsencrypt_tiny.common.errors import Error
from letsencrypt_tiny.master.responders import firewall
from letsencrypt_tiny.master.responders.firewall import Firewall, Opening

CLONE_NEWNET = 0x40000000
V4, V6 = socket.AF_INET, socket.AF_INET6
PORT = 8080
ANY4, ANY6 = Opening(V4, "0.0.0.0", PORT), Opening(V6, "::", PORT)
LO4, LO6 = Opening(V4, "127.0.0.1", PORT), Opening(V6, "::1", PORT)
# The ports of clients stay open, as conntrack would see to; everything else is dropped.
IPTABLES_DROP = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT DROP [0:0]
-A INPUT -p tcp -m tcp --dport 32768:65535 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "not letsencrypt-tiny" -j ACCEPT
-A OUTPUT -p tcp -m tcp --sport 32768:65535 -j ACCEPT
COMMIT
"""
NFT_DROP = """
table inet filter {
    set banned { type ipv4_addr; elements = { 192.0.2.1 } }
    chain input {
        type filter hook input priority filter; policy drop;
        ip saddr @banned drop
        tcp dport 32768-65535 accept comment "letsencrypt-tiny or not"
    }
    chain forward { type filter hook forward priority filter; policy drop; }
    chain output {
        type filter hook output priority filter; policy drop;
        tcp sport 32768-65535 accept
    }
    chain unhooked { tcp dport 1 drop; }
}
table ip my-second.table {
    chain in-put {
        type filter hook input priority filter + 5; policy accept;
        tcp dport 8080 counter drop
    }
}
table ip6 six {
    chain i {
        type filter hook input priority filter + 5; policy accept;
        tcp dport 8080 reject
    }
}
table inet open {
    chain input { type filter hook input priority -5; policy accept; }
}
table ip nat {
    chain p { type nat hook prerouting priority dstnat; tcp dport 1 redirect to :2; }
}
"""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def command(*argv: str, data: str = "") -> str:
    """Run a command that must succeed; return its output."""
    return subprocess.run(argv, input=data, check=True, stdout=subprocess.PIPE, text=True).stdout


def in_namespace(function: Callable[[], None]) -> None:
    """Call ``function`` in a child with a network namespace and run directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "unshare")
                command("ip", "link", "set", "lo", "up")
                paths.RUN_DIR = f"{directory}/run"  # not made yet
                signal.alarm(60)
                function()
                status = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0, "see standard error"


def marker() -> bool:
    """Whether the marker file exists."""
    return os.path.exists(f"{paths.RUN_DIR}/firewall")


def rules() -> str:
    """Return everything that is set up in this namespace, without counters of packets."""
    text = ""
    for argv in (["nft", "-s", "list", "ruleset"], ["iptables-save"], ["ip6tables-save"],
                 ["iptables-legacy-save"]):
        lines = command(*argv).splitlines()
        text += "\n".join(line.partition(" [")[0] for line in lines if line[:1] != "#") + "\n"
    return text


def tagged() -> int:
    """Return how many rules are ours."""
    saved = command("iptables-save") + command("ip6tables-save")
    return (saved.count(" --comment letsencrypt-tiny ")
            + command("nft", "list", "ruleset").count(' comment "letsencrypt-tiny"\n'))


def reachable(opening: Opening) -> bool:
    """Whether a connection to the port gets through on loopback."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(opening.address, opening.address)
    with socket.socket(opening.family) as listener, socket.socket(opening.family) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, opening.port))
        listener.listen()
        client.settimeout(0.1)
        try:
            client.connect((address, opening.port))
            listener.settimeout(1)
            with listener.accept()[0] as server:
                server.sendall(b"x")
                return client.recv(1) == b"x"
        except (socket.timeout, ConnectionError):
            return False


def drop_with_iptables() -> None:
    """Set up a host whose administrator uses iptables and drops everything."""
    command("iptables-restore", data=IPTABLES_DROP)
    command("ip6tables-restore", data=IPTABLES_DROP)


def drop_with_nft() -> None:
    """Set up a host whose administrator uses nft and drops everything."""
    command("nft", "-f", "-", data=NFT_DROP)


def without(*tools: str) -> None:
    """Pretend that tools are not installed."""
    for tool in tools:
        setattr(firewall, tool, "/nonexistent/tool")


class Messages:
    """Catches the warnings, without sending them anywhere."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        log.warning = lambda text: self.warnings.append(str(text))


# --- opened and closed -------------------------------------------------------------------------

def check_open_and_close(openings: list[Opening], other: list[Opening], added: int) -> None:
    """Open and close; ``other`` must stay unreachable, ``added`` rules be there meanwhile."""
    messages = Messages()
    before = rules()
    assert not any(map(reachable, openings + other))
    fire = Firewall()
    assert not marker() and rules() == before
    fire.open(openings)
    assert marker()
    assert tagged() == added
    assert all(map(reachable, openings))
    assert not any(map(reachable, other))
    fire.close()
    fire.close()
    assert not marker() and rules() == before
    assert not any(map(reachable, openings + other))
    assert messages.warnings == []


OTHERS = [Opening(V4, "127.0.0.1", 8081), Opening(V6, "::1", 8081)]


@pytest.mark.parametrize("wildcard", [False, True])
def test_iptables(wildcard: bool) -> None:
    def run() -> None:
        drop_with_iptables()
        other = OTHERS if wildcard else OTHERS + [Opening(V4, "127.0.0.2", PORT)]
        check_open_and_close([ANY4, ANY6] if wildcard else [LO4, LO6], other, 4)
    in_namespace(run)


def test_only_one_family() -> None:
    def run() -> None:
        drop_with_iptables()
        check_open_and_close([LO4], [LO6, *OTHERS], 2)
    in_namespace(run)


@pytest.mark.parametrize("wildcard", [False, True])
@pytest.mark.parametrize("iptables", [False, True], ids=["nft only", "iptables installed"])
def test_nft(wildcard: bool, iptables: bool) -> None:
    def run() -> None:
        drop_with_nft()
        if not iptables:
            without("IPTABLES", "IP6TABLES")
        # Two in each of inet's chains, one in ip's, one in ip6's.
        check_open_and_close([ANY4, ANY6] if wildcard else [LO4, LO6], OTHERS, 6)
    in_namespace(run)


def test_tables_of_iptables_without_iptables() -> None:
    def run() -> None:
        drop_with_iptables()
        without("IPTABLES", "IP6TABLES")
        before = rules()
        fire = Firewall()
        fire.open([LO4, LO6])
        assert reachable(LO4) and reachable(LO6)
        fire.close()
        assert rules() == before and not reachable(LO4)
    in_namespace(run)


def test_both_at_once() -> None:
    """iptables and nft each drop: a rule in one of them is not enough."""
    def run() -> None:
        drop_with_iptables()
        drop_with_nft()
        before = rules()
        fire = Firewall()
        fire.open([LO4, LO6])
        assert reachable(LO4) and reachable(LO6)
        fire.close()
        assert rules() == before and not marker()
    in_namespace(run)


def test_legacy_tables() -> None:
    def run() -> None:
        directory = os.path.dirname(paths.RUN_DIR)
        firewall.IPTABLES = f"{directory}/iptables"
        os.symlink("/usr/sbin/iptables-legacy", firewall.IPTABLES)
        without("IP6TABLES", "NFT")
        fire = Firewall()
        fire.open([LO4])
        assert Path("/proc/net/ip_tables_names").read_text() == ""  # not even loaded
        assert not marker() and reachable(LO4)
        command("iptables-legacy-restore", data=IPTABLES_DROP)
        before = rules()
        fire.open([LO4])
        assert reachable(LO4)
        fire.close()
        assert rules() == before and not reachable(LO4)
    if not Path("/usr/sbin/iptables-legacy").exists():
        pytest.skip("no iptables-legacy")
    in_namespace(run)


def test_outgoing_connections_stay_closed() -> None:
    """The rule for the answers must not let this host connect to others from that port."""
    def run() -> None:
        for drop in (drop_with_iptables, drop_with_nft):
            drop()
            Firewall().open([ANY4])
            with socket.socket() as listener, socket.socket() as client:
                listener.bind(("127.0.0.1", 40000))  # a port that INPUT accepts
                listener.listen()
                client.bind(("127.0.0.1", PORT))
                client.settimeout(0.1)
                with pytest.raises((socket.timeout, PermissionError)):
                    client.connect(("127.0.0.1", 40000))
            assert firewall.remove_stale() > 0
            command("nft", "flush", "ruleset")
    in_namespace(run)


# --- nothing to do -----------------------------------------------------------------------------

def test_no_footprint_without_a_firewall() -> None:
    def run() -> None:
        assert command("nft", "list", "ruleset") == ""
        fire = Firewall()
        fire.open([ANY4, ANY6, LO4])
        assert not marker()
        fire.close()
        assert command("nft", "list", "ruleset") == ""
        assert Path("/proc/net/ip_tables_names").read_text() == ""
    in_namespace(run)


def test_only_input_is_filtered() -> None:
    def run() -> None:
        command("iptables", "-w", "-P", "INPUT", "DROP")
        Firewall().open([LO4])
        assert "-A OUTPUT" not in command("iptables", "-S")
        assert command("iptables", "-S").count("-A INPUT") == 1
        assert firewall.remove_stale() == 1
    in_namespace(run)


def test_no_process_without_a_marker() -> None:
    def run() -> None:
        drop_with_iptables()
        command("iptables", "-I", "INPUT", "-m", "comment", "--comment", "letsencrypt-tiny",
                "-j", "ACCEPT")
        before = rules()
        firewall._run = None  # type: ignore[assignment]
        assert firewall.remove_stale() == 0
        Firewall().close()
        assert rules() == before
    in_namespace(run)


def test_no_tool_is_installed() -> None:
    def run() -> None:
        drop_with_iptables()
        without("IPTABLES", "IP6TABLES", "NFT")
        messages = Messages()
        before = rules()
        fire = Firewall()
        fire.open([LO4, LO6])
        fire.close()
        assert rules() == before and messages.warnings == [] and not marker()
    in_namespace(run)


# --- others, accidents -------------------------------------------------------------------------

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
        real, left = firewall._run, set()
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

                firewall._run = dying
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
        real = firewall._run

        def interrupted(command: list[str]) -> str:
            output = real(command)
            if "-I" in command and command[0] == firewall.IP6TABLES:
                firewall._run = real
                raise Stop
            return output

        firewall._run = interrupted
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
        real = firewall._run

        def failing(command: list[str]) -> str:
            if "-D" in command and "OUTPUT" in command:
                raise Error("no")
            return real(command)

        firewall._run = failing
        fire.close()
        assert len(messages.warnings) == 1 and "-A OUTPUT -s 127.0.0.1/32" in messages.warnings[0]
        assert marker()
        firewall._run = real
        assert firewall.remove_stale() == 1
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
        firewall.IPTABLES = f"{directory}/iptables"
        os.symlink("/usr/sbin/iptables-legacy", firewall.IPTABLES)
        without("IP6TABLES", "NFT")
        command("iptables-legacy-restore", data=IPTABLES_DROP)
        real = firewall._run
        with open("/run/xtables.lock", "a", encoding="ascii") as lock:
            timer = threading.Timer(0.3, fcntl.flock, (lock, fcntl.LOCK_UN))

            def contended(command: list[str]) -> str:
                if "-I" in command:
                    firewall._run = real
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    timer.start()
                return real(command)

            firewall._run = contended
            start = time.monotonic()
            Firewall().open([LO4])
            assert time.monotonic() - start > 0.25
            timer.join()
        assert reachable(LO4)
        assert firewall.remove_stale() == 2
    if not Path("/usr/sbin/iptables-legacy").exists():
        pytest.skip("no iptables-legacy")
    in_namespace(run)


@pytest.fixture(autouse=True)
def nothing_of_the_host() -> Iterator[None]:
    before = command("nft", "list", "ruleset")
    yield
    assert command("nft", "list", "ruleset") == before


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
