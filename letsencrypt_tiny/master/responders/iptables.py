"""Rules of iptables and ip6tables, in their own tables: nf_tables or legacy ones."""

import os
import socket
from collections.abc import Iterator, Sequence

from ...common import log
from ...common.errors import Error
from .packetfilter import Command, Opening, run

IPTABLES = "/usr/sbin/iptables"
IP6TABLES = "/usr/sbin/ip6tables"


def insertions(openings: Sequence[Opening], comment: str) -> tuple[list[Command], set[str]]:
    """Return the commands that open their chains, and the nft families that they look after.

    Changes nothing; what can't be inspected is warned about.
    """
    commands: list[Command] = []
    managed: set[str] = set()
    for tool, family, nft_family, tables in (
            (IPTABLES, socket.AF_INET, "ip", "/proc/net/ip_tables_names"),
            (IP6TABLES, socket.AF_INET6, "ip6", "/proc/net/ip6_tables_names")):
        if not os.path.exists(tool):
            log.debug(f"{tool} is not installed")
            continue
        legacy = os.path.realpath(tool).endswith("legacy-multi")
        if not legacy:
            managed.add(nft_family)
        wanted = [opening for opening in openings if opening.family == family]
        # To list an unused legacy table would create it.
        if wanted and not (legacy and not _has_filter(tables)):
            try:
                commands += _insertions(tool, wanted, comment)
            except Error as exc:
                log.warning(f"cannot inspect the firewall: {exc}")
    return commands, managed


def deletions(tool: str, comment: str) -> Iterator[tuple[str, Command]]:
    """Yield our rules, and for each the command that deletes it.  Raises Error."""
    for line in run([tool, "-w", "-S"]).splitlines():
        if line.startswith("-A ") and f" --comment {comment} -j ACCEPT" in line:
            yield line, [tool, "-w", "-D", *line.split()[1:]]


def _has_filter(names: str) -> bool:
    """Whether the legacy table ``filter`` exists, by that file in /proc."""
    try:
        with open(names, encoding="ascii") as file:
            return "filter" in file.read().split()
    except OSError:
        return False


def _insertions(tool: str, openings: Sequence[Opening],
                         comment: str) -> list[Command]:
    """Return the commands for the chains that don't just accept everything.  Raises Error."""
    commands: list[Command] = []
    listing = run([tool, "-w", "-S"]).splitlines()
    # Answers only: whatever opens a connection has SYN without ACK.
    answers = ["!", "--tcp-flags", "SYN,ACK", "SYN"]
    anything: list[str] = []
    for chain, address, port, flags in (("INPUT", "-d", "--dport", anything),
                                        ("OUTPUT", "-s", "--sport", answers)):
        rules = [line for line in listing if line.startswith((f"-P {chain} ", f"-A {chain} "))]
        if rules == [f"-P {chain} ACCEPT"]:
            continue
        for opening in openings:
            commands.append([tool, "-w", "-I", chain,
                             *([address, opening.destination] if opening.destination else []),
                             "-p", "tcp", port, str(opening.port), *flags,
                             "-m", "comment", "--comment", comment, "-j", "ACCEPT"])
    return commands
