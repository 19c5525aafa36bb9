"""The firewall opened and closed: real rules; those of the host are never touched."""

import os
import socket
from pathlib import Path
from collections.abc import Iterator

import pytest

from harness.packetfilter import (ANY4, ANY6, IPTABLES_DROP, LO4, LO6, Messages, PORT, V4, V6,
                                  command, drop_with_iptables, drop_with_nft, in_namespace, marker,
                                  reachable, rules, tagged, without)
from letsencrypt_tiny.common import paths
from letsencrypt_tiny.master.responders import firewall, firewall_tools
from letsencrypt_tiny.master.responders.firewall import Firewall
from letsencrypt_tiny.master.responders.firewall_tools import Opening

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture(autouse=True)
def nothing_of_the_host() -> Iterator[None]:
    before = command("nft", "list", "ruleset")
    yield
    assert command("nft", "list", "ruleset") == before


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


def test_nft_that_drops_without_a_rule() -> None:
    def run() -> None:
        command("nft", "-f", "-", data="table inet t { chain c { type filter hook input "
                                       "priority filter; policy drop; }; }")
        before = rules()
        fire = Firewall()
        fire.open([LO4, LO6])
        assert tagged() == 2
        fire.close()
        assert rules() == before
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
        firewall_tools.IPTABLES = f"{directory}/iptables"
        os.symlink("/usr/sbin/iptables-legacy", firewall_tools.IPTABLES)
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
        firewall_tools.run = None
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
