"""The rules of nft, in every base chain that iptables doesn't look after.

See libnftables-json(5): JSON needs no quoting of names, and means the same to every version.
"""

import os
from collections.abc import Iterator, Sequence

from ...common import log
from ...common.errors import Error
from . import firewall_tools as tools
from .firewall_tools import Command, Opening

Object = dict[str, object]


def insertions(openings: Sequence[Opening], managed: set[str], comment: str,
               section: str) -> list[Command]:
    """Return the commands that open the base chains; ``managed``: families of iptables' tables.

    ``section`` is where the administrator can say that the firewall is to be left alone.
    Changes nothing; what can't be inspected is warned about and left alone.
    """
    if not os.path.exists(tools.NFT):
        log.debug(f"{tools.NFT} is not installed")
    elif openings:
        try:
            return _chains(openings, managed, comment, section)
        except Error as exc:
            log.warning(f"cannot inspect the firewall: {exc}")
    return []


def deletions(comment: str) -> Iterator[tuple[str, Command]]:
    """Yield our rules, and for each the command that deletes it.  Raises Error."""
    for kind, item in _ruleset():
        if kind == "rule" and item.get("comment") == comment:
            place = {key: item[key] for key in ("family", "table", "chain", "handle")}
            yield " ".join(map(str, place.values())), _command("delete", place)


def _ruleset() -> list[tuple[str, Object]]:
    """Return all that exists, as (kind, properties); sets without elements.  Raises Error."""
    import json
    try:
        items = json.loads(tools.run([tools.NFT, "-j", "-t", "list", "ruleset"]))["nftables"]
        return [pair for item in items for pair in item.items()]
    except (ValueError, KeyError, AttributeError) as exc:
        raise Error(f"{tools.NFT}: cannot understand its JSON output") from exc


def _command(verb: str, rule: Object) -> Command:
    import json
    return [tools.NFT, "-j", json.dumps({"nftables": [{verb: {"rule": rule}}]})]


def _chains(openings: Sequence[Opening], managed: set[str], comment: str,
            section: str) -> list[Command]:
    """Return the commands for the base chains that don't just accept everything.  Raises Error."""
    ruleset = _ruleset()
    used = {(item["family"], item["table"], item["chain"])
            for kind, item in ruleset if kind == "rule"}
    owned = _owned(ruleset)
    commands: list[Command] = []
    for kind, chain in ruleset:
        if kind != "chain" or not _drops(chain, used, managed):
            continue
        family, table, name, hook = (str(chain[key])
                                     for key in ("family", "table", "name", "hook"))
        wanted = [o for o in openings if family in ("inet", "ip" if o.ipv4 else "ip6")]
        if wanted and (family, table) in owned:
            # firewalld's, for instance: nobody else may change the table.
            log.warning(f"nft table {family} {table} can only be changed by the program that owns "
                        f"it: open TCP port {wanted[0].port} there, and set iptables = no in "
                        f"[{section}]")
            continue
        commands += [_command("insert", {"family": family, "table": table, "chain": name,
                                         "comment": comment, "expr": _rule(o, family, hook)})
                     for o in wanted]
    return commands


def _owned(ruleset: Sequence[tuple[str, Object]]) -> set[tuple[object, object]]:
    """Return family and name of the tables that only another program may change."""
    # Besides "dormant" there is only "owner" (with "persist"), which nft 1.0.6 prints as junk.
    return {(item["family"], item["name"]) for kind, item in ruleset
            if kind == "table" and item.get("flags") not in (None, "dormant", ["dormant"])}


def _drops(chain: Object, used: set[tuple[object, object, object]], managed: set[str]) -> bool:
    """Whether a chain could drop what comes in, or our answers, and is ours to open.

    ``used``: the chains that have rules, by family, table and name.
    """
    family, table, name, hook = (chain.get(key) for key in ("family", "table", "name", "hook"))
    if chain.get("type") != "filter" or family not in ("inet", "ip", "ip6"):
        return False
    if hook not in ("input", "output"):
        return False
    if chain.get("policy") == "accept" and (family, table, name) not in used:
        return False
    return not (family in managed and name == str(hook).upper()
                and table in ("filter", "mangle", "raw", "security"))


def _rule(opening: Opening, family: str, hook: str) -> list[Object]:
    """Return the rule for one opening in a chain of that family and hook."""
    def match(left: Object, right: object, operator: str = "==") -> Object:
        return {"match": {"op": operator, "left": left, "right": right}}

    def field(protocol: str, name: str) -> Object:
        return {"payload": {"protocol": protocol, "field": name}}

    protocol, version = ("ip", "ipv4") if opening.ipv4 else ("ip6", "ipv6")
    side = "d" if hook == "input" else "s"
    rule = [match(field("tcp", f"{side}port"), opening.port)]
    if opening.destination:
        rule.append(match(field(protocol, f"{side}addr"), opening.destination))
    elif family == "inet":
        rule.append(match({"meta": {"key": "nfproto"}}, version))
    if hook == "output":
        # Answers only: whatever opens a connection has SYN without ACK.
        rule.append(match({"&": [field("tcp", "flags"), {"|": ["syn", "ack"]}]}, "syn", "!="))
    return [*rule, {"accept": None}]
