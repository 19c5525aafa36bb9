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

Each section whose process listens has a marker and a comment of its own (``-SECTION`` at the end),
so that what one has opened is closed by no other of the same run.
"""

import os
from collections.abc import Iterable, Sequence

from ...common import log, paths
from ...common.errors import Error
from . import firewall_tools as tools, iptables, nftables
from .firewall_tools import Command, Opening

COMMENT = paths.PROGRAM
# Section -> in the run directory, while there are rules for it
MARKERS = {"webserver": "firewall", "tlsserver": "firewall-tlsserver"}


class Firewall:
    """The rules of this run for one section.  Only one run at a time may have any: the lock sees
    to that."""

    def __init__(self, run_directory: str | None = None, section: str = "webserver") -> None:
        """``run_directory`` is where the lock is; None is the usual one."""
        self._run_directory = run_directory or paths.RUN_DIR
        self._section = section
        self._opened = False

    def open(self, openings: Sequence[Opening]) -> None:
        """Let connections to ``openings`` in.

        What can't be inspected is warned about and left alone.  Raises Error if a rule can't be
        inserted; the others are removed then, as with any exception (a signal's, say).
        """
        commands = _insertions(list(dict.fromkeys(openings)),
                               _comment(self._run_directory, self._section), self._section)
        if not commands:
            log.debug("the firewall needs no rule")
            return
        try:
            self._opened = True
            _write_marker(_marker(self._run_directory, self._section),
                          (command[0] for command in commands))
            for command in commands:
                log.debug(" ".join(command))
                tools.run(command)
        except Error as exc:
            self.close()
            raise Error(f"cannot open the firewall: {exc}; "
                        "or open the port yourself and set iptables = no in "
                        f"[{self._section}]") from exc
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the rules, if there are any; may be called again.

        Raises nothing: a rule that stays is warned about, and the next run tries again.
        """
        if self._opened:
            _remove_rules(self._run_directory, self._section)
            self._opened = False


def remove_stale(run_directory: str | None = None) -> int:
    """Remove the rules that a run left, and return how many there were.

    To be called at the start of a run, which must hold the lock.  Raises nothing, as close().
    """
    return sum(_remove_rules(run_directory or paths.RUN_DIR, section) for section in MARKERS)


def _remove_rules(run_directory: str, section: str) -> int:
    path = _marker(run_directory, section)
    try:
        with open(path, encoding="utf-8") as marker:
            used = marker.read().split()
    except OSError as exc:
        if not isinstance(exc, FileNotFoundError):
            log.warning(f"{path}: {exc.strerror}; firewall rules may be left")
        return 0
    removed, failed = 0, 0
    for tool in (tools.IPTABLES, tools.IP6TABLES, tools.NFT):
        if tool in used:
            gone, left = _remove(tool, _comment(run_directory, section))
            removed, failed = removed + gone, failed + left
    try:
        if not failed:
            os.unlink(path)
    except OSError as exc:
        log.warning(f"{path}: {exc.strerror}")
    return removed


def _remove(tool: str, comment: str) -> tuple[int, int]:
    """Remove our rules of one tool; return how many are gone, and how many attempts failed."""
    try:
        deletions = list(nftables.deletions(comment) if tool == tools.NFT
                         else iptables.deletions(tool, comment))
    except Error as exc:
        log.warning(f"cannot look for firewall rules to remove: {exc}")
        return 0, 1
    removed, failed = 0, 0
    for rule, command in deletions:
        try:
            tools.run(command)
            removed += 1
        except Error as exc:
            log.warning(f"cannot remove the firewall rule {rule}: {exc}")
            failed += 1
    return removed, failed


def _marker(run_directory: str, section: str) -> str:
    return f"{run_directory}/{MARKERS[section]}"


def _comment(run_directory: str, section: str) -> str:
    """What our rules are tagged with: those of another lock are none of ours."""
    comment = COMMENT
    if run_directory != paths.RUN_DIR:
        import hashlib
        comment += f"-{hashlib.sha256(os.fsencode(run_directory)).hexdigest()[:16]}"
    return comment if section == "webserver" else f"{comment}-{section}"


def _write_marker(path: str, used: Iterable[str]) -> None:
    """Raises Error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        fd = os.open(path, flags, 0o600)
        try:
            os.write(fd, "".join(f"{tool}\n" for tool in dict.fromkeys(used)).encode())
        finally:
            os.close(fd)
    except OSError as exc:
        raise Error(f"{path}: {exc.strerror}") from exc


def _insertions(openings: Sequence[Opening], comment: str, section: str) -> list[Command]:
    """Return the commands that open the firewall for ``openings``; changes nothing."""
    commands, managed = iptables.insertions(openings, comment)
    return commands + nftables.insertions(openings, managed, comment, section)
