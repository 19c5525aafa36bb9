"""The rules of iptables and ip6tables, which look after their own tables: nf_tables or legacy."""

import os
from collections.abc import Iterator, Sequence

from ...common import log
from ...common.errors import Error
from . import firewall_tools as tools
from .firewall_tools import Command, Opening


def insertions(openings: Sequence[Opening], comment: str) -> tuple[list[Command], set[str]]:
    """Return the commands that open the tables, and the families of nft that are looked after.

    Changes nothing; a table that can't be inspected is warned about and left alone.
    """
    commands: list[Command] = []
    managed: set[str] = set()
    for tool, ipv4, family, tables in (
            (tools.IPTABLES, True, "ip", "/proc/net/ip_tables_names"),
            (tools.IP6TABLES, False, "ip6", "/proc/net/ip6_tables_names")):
        if not os.path.exists(tool):
            log.debug(f"{tool} is not installed")
            continue
        legacy = os.path.realpath(tool).endswith("legacy-multi")
        if not legacy:
            managed.add(family)
        wanted = [opening for opening in openings if opening.ipv4 == ipv4]
        # To list an unused legacy table would create it.
        if wanted and not (legacy and not _has_filter(tables)):
            try:
                commands += _chains(tool, wanted, comment)
            except Error as exc:
                log.warning(f"cannot inspect the firewall: {exc}")
    return commands, managed


def deletions(tool: str, comment: str) -> Iterator[tuple[str, Command]]:
    """Yield our rules, and for each the command that deletes it.  Raises Error."""
    for line in tools.run([tool, "-w", "-S"]).splitlines():
        if line.startswith("-A ") and f" --comment {comment} -j ACCEPT" in line:
            yield line, [tool, "-w", "-D", *line.split()[1:]]


def _has_filter(names: str) -> bool:
    """Whether the legacy table ``filter`` exists, by that file in /proc."""
    try:
        with open(names, encoding="ascii") as file:
            return "filter" in file.read().split()
    except OSError:
        return False


def _chains(tool: str, openings: Sequence[Opening], comment: str) -> list[Command]:
    """Return the commands for the chains that don't just accept everything.  Raises Error."""
    commands: list[Command] = []
    listing = tools.run([tool, "-w", "-S"]).splitlines()
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
