"""Opens listening ports in the firewall for the time of a run, and closes them again.

Where nothing filters, nothing is done.  Otherwise each chain that could drop the packets gets an
accept rule of its own in front, tagged with a comment; it is deleted one by one.  A rule set is
never saved and restored: others (fail2ban, docker, the administrator) change it meanwhile.

* iptables and ip6tables look after their own tables, be they nf_tables or legacy ones.
* nft looks after all other base chains.  Each of them needs the rule: to accept a packet in one
  doesn't keep the next from dropping it.

Before the first rule, a marker file is written that names the tools used; it is removed when the
last rule is gone.  So rules of a run that was killed are found by the next one, and a run without
such a past costs no process.  Every rule with the comment ``letsencrypt-tiny`` counts as ours
(``letsencrypt-tiny-HASH`` with another run directory than the usual: the lock is there, too).
"""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ...common import log, paths
from ...common.errors import Error

IPTABLES = "/usr/sbin/iptables"
IP6TABLES = "/usr/sbin/ip6tables"
NFT = "/usr/sbin/nft"

COMMENT = paths.PROGRAM
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


class Firewall:
    """The rules of this run.  Only one run at a time may have any: the lock sees to that."""

    def __init__(self, run_directory: str | None = None) -> None:
        """``run_directory`` is where the lock is; None is the usual one."""
        self._run_directory = run_directory or paths.RUN_DIR
        self._opened = False

    def open(self, openings: Sequence[Opening]) -> None:
        """Let connections to ``openings`` in.

        What can't be inspected is warned about and left alone.  Raises Error if a rule can't be
        inserted; the others are removed then, as with any exception (a signal's, say).
        """
        commands = _insertions(list(dict.fromkeys(openings)), _comment(self._run_directory))
        if not commands:
            log.debug("the firewall needs no rule")
            return
        try:
            self._opened = True
            _write_marker(self._run_directory, (command[0] for command in commands))
            for command in commands:
                log.debug(" ".join(command))
                _run(command)
        except Error as exc:
            self.close()
            raise Error(f"cannot open the firewall: {exc}; "
                        "or open the port yourself and set iptables = no in [webserver]") from exc
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the rules, if there are any; may be called again.

        Raises nothing: a rule that stays is warned about, and the next run tries again.
        """
        if self._opened:
            remove_stale(self._run_directory)
            self._opened = False


def remove_stale(run_directory: str | None = None) -> int:
    """Remove the rules that a run left, and return how many there were.

    To be called at the start of a run, which must hold the lock.  Raises nothing, as close().
    """
    run_directory = run_directory or paths.RUN_DIR
    path = _marker(run_directory)
    try:
        with open(path, encoding="utf-8") as marker:
            tools = marker.read().split()
    except OSError as exc:
        if not isinstance(exc, FileNotFoundError):
            log.warning(f"{path}: {exc.strerror}; firewall rules may be left")
        return 0
    removed, failed = 0, False
    for tool in (IPTABLES, IP6TABLES, NFT):
        if tool not in tools:
            continue
        try:
            deletions = list(_deletions(tool, _comment(run_directory)))
        except Error as exc:
            log.warning(f"cannot look for firewall rules to remove: {exc}")
            failed = True
            continue
        for rule, command in deletions:
            try:
                _run(command)
                removed += 1
            except Error as exc:
                log.warning(f"cannot remove the firewall rule {rule}: {exc}")
                failed = True
    try:
        if not failed:
            os.unlink(path)
    except OSError as exc:
        log.warning(f"{path}: {exc.strerror}")
    return removed


def _marker(run_directory: str) -> str:
    return f"{run_directory}/firewall"


def _comment(run_directory: str) -> str:
    """What our rules are tagged with: those of another lock are none of ours."""
    if run_directory == paths.RUN_DIR:
        return COMMENT
    import hashlib
    return f"{COMMENT}-{hashlib.sha256(os.fsencode(run_directory)).hexdigest()[:16]}"


def _write_marker(run_directory: str, tools: Iterable[str]) -> None:
    """Raises Error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.makedirs(run_directory, 0o755, exist_ok=True)
        fd = os.open(_marker(run_directory), flags, 0o600)
        try:
            os.write(fd, "".join(f"{tool}\n" for tool in dict.fromkeys(tools)).encode())
        finally:
            os.close(fd)
    except OSError as exc:
        raise Error(f"{_marker(run_directory)}: {exc.strerror}") from exc


def _run(command: Command) -> str:
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


def _insertions(openings: Sequence[Opening], comment: str) -> list[Command]:
    """Return the commands that open the firewall for ``openings``; changes nothing."""
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
                commands += _iptables_insertions(tool, wanted, comment)
            except Error as exc:
                log.warning(f"cannot inspect the firewall: {exc}")
    if not os.path.exists(NFT):
        log.debug(f"{NFT} is not installed")
    elif openings:
        try:
            commands += _nft_insertions(openings, managed, comment)
        except Error as exc:
            log.warning(f"cannot inspect the firewall: {exc}")
    return commands


def _deletions(tool: str, comment: str) -> Iterator[tuple[str, Command]]:
    """Yield our rules, and for each the command that deletes it.  Raises Error."""
    if tool != NFT:
        for line in _run([tool, "-w", "-S"]).splitlines():
            if line.startswith("-A ") and f" --comment {comment} -j ACCEPT" in line:
                yield line, [tool, "-w", "-D", *line.split()[1:]]
        return
    for kind, item in _nft_ruleset():
        if kind == "rule" and item.get("comment") == comment:
            place = {key: item[key] for key in ("family", "table", "chain", "handle")}
            yield " ".join(map(str, place.values())), _nft_command("delete", place)


# --- iptables, ip6tables ---

def _has_filter(names: str) -> bool:
    """Whether the legacy table ``filter`` exists, by that file in /proc."""
    try:
        with open(names, encoding="ascii") as file:
            return "filter" in file.read().split()
    except OSError:
        return False


def _iptables_insertions(tool: str, openings: Sequence[Opening],
                         comment: str) -> list[Command]:
    """Return the commands for the chains that don't just accept everything.  Raises Error."""
    commands: list[Command] = []
    listing = _run([tool, "-w", "-S"]).splitlines()
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


# --- nft: see libnftables-json(5) ---

def _nft_ruleset() -> list[tuple[str, dict[str, Any]]]:
    """Return all that exists, as (kind, properties); sets without elements.  Raises Error."""
    import json
    try:
        items = json.loads(_run([NFT, "-j", "-t", "list", "ruleset"]))["nftables"]
        return [pair for item in items for pair in item.items()]
    except (ValueError, KeyError, AttributeError) as exc:
        raise Error(f"{NFT}: cannot understand its JSON output") from exc


def _nft_command(verb: str, rule: dict[str, Any]) -> Command:
    """JSON needs no quoting of names, and means the same to every version."""
    import json
    return [NFT, "-j", json.dumps({"nftables": [{verb: {"rule": rule}}]})]


def _nft_insertions(openings: Sequence[Opening], managed: set[str],
                    comment: str) -> list[Command]:
    """Return the commands for the base chains that don't just accept everything.

    ``managed``: the families whose usual tables iptables and ip6tables look after.  Raises Error.
    """
    ruleset = _nft_ruleset()
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
        commands += [_nft_command("insert", {"family": family, "table": table, "chain": name,
                                             "comment": comment,
                                             "expr": _nft_rule(o, family, hook)})
                     for o in wanted]
    return commands


def _nft_rule(opening: Opening, family: str, hook: str) -> list[dict[str, Any]]:
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
