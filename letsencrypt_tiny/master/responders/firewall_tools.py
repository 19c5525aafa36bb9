"""What the rooms of the firewall have in common: an opening, the tools, and how one is run."""

import socket
from typing import NamedTuple

from ...common import log
from ...common.errors import Error

IPTABLES = "/usr/sbin/iptables"
IP6TABLES = "/usr/sbin/ip6tables"
NFT = "/usr/sbin/nft"

TIMEOUT = 60  # seconds for one command; -w waits for others who change the rules

Command = list[str]


class Opening(NamedTuple):
    """A TCP socket that listens, as getsockname() tells; 0.0.0.0 and :: mean every address.

    A socket of AF_INET6 that serves IPv4 too needs a second opening for AF_INET.
    """

    family: int  # socket.AF_INET or socket.AF_INET6
    address: str
    port: int

    @property
    def destination(self) -> str:
        """The address without a zone, or "" for every address."""
        address = self.address.partition("%")[0]
        return "" if address in ("0.0.0.0", "::") else address

    @property
    def ipv4(self) -> bool:
        """Whether IPv4 is what comes in by it."""
        return self.family == socket.AF_INET


def run(command: Command) -> str:
    """Run a command and return its standard output.  Raises Error with its first complaint."""
    import subprocess
    try:
        # A session of its own: Ctrl-C must not kill the command that removes a rule.
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, cwd="/",
                                start_new_session=True, timeout=TIMEOUT,
                                encoding="utf-8", errors="replace")
    except subprocess.TimeoutExpired:
        raise Error(f"{command[0]}: no end after {TIMEOUT} s") from None
    except OSError as exc:
        raise Error(f"{command[0]}: {exc.strerror}") from exc
    if result.returncode != 0:
        complaint = result.stderr.strip().partition("\n")[0] or f"status {result.returncode}"
        raise Error(f"{command[0]}: {log.printable(complaint, 300)}")
    return result.stdout
