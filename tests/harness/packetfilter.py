"""A host with a firewall: real rules in a network namespace of its own, and whether one gets in."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable

from letsencrypt_tiny.common import log, paths
from letsencrypt_tiny.master.responders import firewall_tools
from letsencrypt_tiny.master.responders.firewall_tools import Opening

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
        setattr(firewall_tools, tool, "/nonexistent/tool")


class Messages:
    """Catches the warnings, without sending them anywhere."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        log.warning = lambda text: self.warnings.append(str(text))
