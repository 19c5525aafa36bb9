"""Rules of nft, in whatever base chain could drop the packets: see libnftables-json(5)."""

import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from ...common import log
from ...common.errors import Error
from .packetfilter import Command, Opening, run

NFT = "/usr/sbin/nft"


def insertions(openings: Sequence[Opening], managed: set[str], comment: str) -> list[Command]:
    """Return the commands that open its chains; changes nothing.

    ``managed``: the families whose usual tables iptables and ip6tables look after.  What can't be
    inspected is warned about.
    """
    if not os.path.exists(NFT):
        log.debug(f"{NFT} is not installed")
        return []
    try:
        return _insertions(openings, managed, comment) if openings else []
    except Error as exc:
        log.warning(f"cannot inspect the firewall: {exc}")
        return []


def deletions(comment: str) -> Iterator[tuple[str, Command]]:
    """Yield our rules, and for each the command that deletes it.  Raises Error."""
    for kind, item in _ruleset():
        if kind == "rule" and item.get("comment") == comment:
            place = {key: item[key] for key in ("family", "table", "chain", "handle")}
            yield " ".join(map(str, place.values())), _command("delete", place)


def _ruleset() -> list[tuple[str, dict[str, Any]]]:
    """Return all that exists, as (kind, properties); sets without elements.  Raises Error."""
    import json
    try:
        items = json.loads(run([NFT, "-j", "-t", "list", "ruleset"]))["nftables"]
        return [pair for item in items for pair in item.items()]
    except (ValueError, KeyError, AttributeError) as exc:
        raise Error(f"{NFT}: cannot understand its JSON output") from exc


def _command(verb: str, rule: dict[str, Any]) -> Command:
    """JSON needs no quoting of names, and means the same to every version."""
    import json
    return [NFT, "-j", json.dumps({"nftables": [{verb: {"rule": rule}}]})]


def _insertions(openings: Sequence[Opening], managed: set[str],
                    comment: str) -> list[Command]:
    """Return the commands for the base chains that don't just accept everything.

    ``managed``: the families whose usual tables iptables and ip6tables look after.  Raises Error.
    """
    ruleset = _ruleset()
    used = {(item["family"], item["table"], item["chain"])
            for kind, item in ruleset if kind == "rule"}
    # Besides "dormant" there is only "owner" (with "persist"), which nft 1.0.6 prints as junk.
    owned = {(item["family"], item["name"]) for kind, item in ruleset
             if kind == "table" and item.get("flags") not in (None, "dormant", ["dormant"])}
    commands: list[Command] = []
    for kind, chain in ruleset:
        if kind != "chain" or chain.get("type") != "filter":
            continue
        family, table, name, hook = (chain["family"], chain["table"], chain["name"], chain["hook"])
        if family not in ("inet", "ip", "ip6") or hook not in ("input", "output"):
            continue
        if chain.get("policy") == "accept" and (family, table, name) not in used:
            continue
        if (family in managed and name == hook.upper()
                and table in ("filter", "mangle", "raw", "security")):
            continue
        wanted = [o for o in openings
                  if family in ("inet", "ip" if o.family == socket.AF_INET else "ip6")]
        if wanted and (family, table) in owned:
            # firewalld's, for instance: nobody else may change the table.
            log.warning(f"nft table {family} {table} can only be changed by the program that owns "
                        f"it: open TCP port {wanted[0].port} there, and set iptables = no in "
                        "[webserver]")
            continue
        commands += [_command("insert", {"family": family, "table": table, "chain": name,
                                             "comment": comment,
                                             "expr": _rule(o, family, hook)})
                     for o in wanted]
    return commands


def _rule(opening: Opening, family: str, hook: str) -> list[dict[str, Any]]:
    """Return the rule for one opening in a chain of that family and hook."""
    def match(left: dict[str, Any], right: object, operator: str = "==") -> dict[str, Any]:
        return {"match": {"op": operator, "left": left, "right": right}}

    def field(protocol: str, name: str) -> dict[str, Any]:
        return {"payload": {"protocol": protocol, "field": name}}

    protocol, version = ("ip", "ipv4") if opening.family == socket.AF_INET else ("ip6", "ipv6")
    side = "d" if hook == "input" else "s"
    rule = [match(field("tcp", f"{side}port"), opening.port)]
    if opening.destination:
        rule.append(match(field(protocol, f"{side}addr"), opening.destination))
    elif family == "inet":
        rule.append(match({"meta": {"key": "nfproto"}}, version))
    if hook == "output":
        # Answers only, as above.
        rule.append(match({"&": [field("tcp", "flags"), {"|": ["syn", "ack"]}]}, "syn", "!="))
    return [*rule, {"accept": None}]
