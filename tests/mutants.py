"""make mutants: what SECURITY.md claims, taken out of the code line by line, must be missed.

For each row of TABLE the tree is copied, one text in one file replaced, and the tests run that
the row names: each of them must fail (an error of a fixture's is no failure).  Two copies at a
time at most.  First all these tests must pass in an unchanged copy.

    mutants.py [--jobs=N] [WORD …]     only rows whose claim or file has one of the words
"""

import argparse
import concurrent.futures
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import proc
from harness.claims import ACCOUNTS, CHALLENGES, CONFINE, REDTEAM, Mutant, row as _row
from harness.claims_import import IMPORTED
from harness.claims_keys import SERVER_KEYS
from harness.claims_renewal import RENEWAL
from harness.claims_signer import FLEET
from harness.claims_told import SAID
from harness.claims_webserver import SERVED

TREE = Path(__file__).resolve().parents[1]
MODULES = "letsencrypt_tiny"
PARENT = Path("/srv")      # many tests become users who can't enter others' directories in /tmp
SECONDS = 600              # for the tests of a row
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
LITTLE, MODES = "integration/test_little.py", "unit/test_confine_modes.py"
PRIVILEGES, THREATS = "integration/test_privileges.py", "integration/test_threats_a.py"
BAD_FILES, TRUSTED = "integration/test_bad_files.py", "unit/test_trusted.py"
REQUESTS, TALK = "unit/test_policy_requests.py", "unit/test_signer_conversation.py"
NEIGHBOURS, KEYS = "integration/test_neighbours.py", "unit/test_keys.py"
FILES = "unit/test_trusted_files.py"
SOCKET, REFUSALS = "unit/test_signer_socket.py", "unit/test_signer_refusals.py"

TABLE = (
    # Who distrusts whom
    _row("a child has one supplementary group", "master/peers/identity.py",
         "os.setgroups([who.gid])", "pass", f"{PRIVILEGES}::test_identity"),
    _row("… and can't gain a privilege", "common/sandbox/confine.py",
         "_prctl(_PR_SET_NO_NEW_PRIVS, 1)", "pass", f"{MODES}::test_no_still_limits"),
    _row("… an environment that is rebuilt", "master/peers/spawn.py",
         "environment = {**_environment(who),", "environment = {**os.environ, **_environment(who),",
         f"{PRIVILEGES}::test_environment"),
    _row("each program makes its environment anew", "common/environment.py",
         "        os.environ.clear()", "        pass",
         "unit/test_environment.py::test_nothing_that_is_not_on_the_list",
         "integration/test_environment.py::test_the_signer_loads_nothing"),
    _row("the signer gives the terminal up", "signer/main.py", "        os.setsid()",
         "        pass", f"{PRIVILEGES}::test_session",
         f"{REDTEAM}::test_nobody_types_on_the_terminal"),
    _row("nobody reads a process's memory", "common/sandbox/confine.py",
         "_prctl(_PR_SET_DUMPABLE, 0)", "_prctl(_PR_SET_DUMPABLE, 1)",
         f"{PRIVILEGES}::test_nobody_looks_into_them", f"{MODES}::test_not_dumpable_is_ours"),
    _row("a child does not outlive the master", "master/peers/spawn.py",
         "signal.SIGKILL if birth.signer else signal.SIGTERM,", "0,",
         "unit/test_spawn.py::test_who_kills_the_master_kills_its_children",
         "::test_not_even_a_signer_that_ignores_sigterm_outlives_the_master"),
    _row("… nor what a client forks the run", "master/peers/orphans.py",
         "_PR_SET_CHILD_SUBREAPER, 1", "_PR_SET_CHILD_SUBREAPER, 0",
         f"{REDTEAM}::test_it_leaves_no_process"),
    _row("signer and web server have no network", "master/peers/spawn.py",
         "            birth.unshare(_CLONE_NEWNET)", "            pass",
         f"{PRIVILEGES}::test_network", "unit/test_spawn.py::test_without_network"),
    _row("required refuses what can't be confined", "common/sandbox/confine.py",
         'if plan.mode == "required" and missing:', "if False:",
         f"{MODES}::test_required_names_what_is_missing", f"{LITTLE}::test_the_signer_without",
         "::test_the_webserver_without", "::test_the_client_without"),
    _row("auto says what is missing", "common/sandbox/confine.py",
         'return done + [f"no {what}" for what in missing]', "return done",
         f"{MODES}::test_auto_says_what_is_missing"),
    _row("auto goes on where seccomp(2) is refused", "common/sandbox/seccomp.py",
         "except (RuntimeError, ValueError) as exc:", "except RuntimeError as exc:",
         f"{LITTLE}::test_the_signer_without", "::test_the_webserver_without",
         "::test_the_client_without"),
    _row("too little memory is told in one line", "common/shortage.py",
         "    sys.excepthook = _uncaught", "    pass", f"{LITTLE}::test_little_memory"),

    # The master
    _row("openssl gets nothing of the environment", "master/pki/openssl.py",
         "{**_ENVIRONMENT, **(environment or {})}, descriptors", "os.environ, descriptors",
         "unit/test_openssl.py::test_nothing_of_the_environment"),
    _row("no strange name reaches openssl", "common/names.py",
         "and _NAME.match(value) is not None", "and bool(value)",
         "unit/test_settings_certificates.py::test_names_that_are_refused"),
    _row("a certificate is for its own key", "master/pki/verification.py",
         "if item.spki == one.spki), None)", "if True), None)",
         f"{REDTEAM}::test_certificates_that_are_not_the_sections"),
    _row("… which is still there when it is installed", "master/pki/keys.py",
         "if fingerprint(key) != seen and", "if False and",
         "integration/test_keys_meanwhile.py::test_a_key_that_is_replaced"),
    _row("… for the names asked for", "master/pki/verification.py",
         "if set(leaf.names) != set(one.identifiers):", "if False:",
         f"{REDTEAM}::test_certificates_that_are_not_the_sections"),
    _row("… not expired", "master/pki/verification.py", "if leaf.not_after <= now:", "if False:",
         f"{THREATS}::test_section"),
    _row("… valid already", "master/pki/verification.py",
         "if leaf.not_before > now + CLOCK_SKEW:", "if False:", f"{THREATS}::test_section"),
    _row("… chaining to CAfile", "master/pki/verification.py", "if problem is None:",
         "if True:", f"{REDTEAM}::test_certificates_that_are_not_the_sections"),
    _row("… and nothing else of what came", "master/pki/verification.py",
         "    found = chains.candidates(chain, one.alternates, leaf, one.preferred)",
         "    found = [chain]",
         "integration/test_chains.py::test_strangers_and_repeats"),
    _row("… of several the one that is preferred", "master/pki/chains.py",
         "        found.sort(key=lambda chain: _rank(chain, preferred))", "        pass",
         "integration/test_preferred_chain.py::test_by_the_name_of_any_issuer"),
    _row("what is revoked is written down first", "master/commands/revoke.py",
         "    note.take(chosen)", "    pass",
         "integration/test_revoke.py::test_killed_while_the_ca_is_asked"),
    _row("nothing is revoked that is nobody's here", "master/commands/revocable.py",
         "if target.section is None and not anything:", "if False:",
         "integration/test_revoke.py::test_what_is_ours"),
    _row("a trial leaves nothing", "master/commands/dry_run.py",
         "_Trial(config.state_directory), Report()", "Journal(config.state_directory), Report()",
         "integration/test_dry_run.py::test_nothing_is_left"),
    _row("a client that falls silent is ended", "master/peers/watchdog.py",
         "return min(self._silent, self._end)", "return self._end",
         "unit/test_conversation.py::test_silence"),
    _row("… that talks on and on, too", "master/peers/answers.py", "if self._lines < 0:",
         "if False:", f"{REDTEAM}::test_a_gigabyte"),
    _row("… in however few lines", "master/peers/answers.py", "if self._bytes < 0:", "if False:",
         f"{REDTEAM}::test_a_gigabyte"),
    _row("… or to standard error", "master/peers/messages.py", "self._total > MAX_CHATTER or",
         "False or", f"{REDTEAM}::test_a_gigabyte"),
    _row("what others say is shown printable", "common/log.py",
         "    line = printable(text)\n    delivered", "    line = str(text)\n    delivered",
         "unit/test_log.py::test_one_line_each", "unit/test_log.py::test_log_file"),
    _row("directories of others are not trusted", "common/trusted.py",
         "if info.st_uid not in trusted:\n        fault =", "if False:\n        fault =",
         f"{TRUSTED}::test_component_of_somebody_else", f"{BAD_FILES}::test_output_directory"),
    _row("… nor those where others may write", "common/trusted.py",
         "if info.st_mode & stat.S_IWOTH:\n        fault =",
         "if False:\n        fault =", f"{TRUSTED}::test_component_that_others_can_write",
         f"{BAD_FILES}::test_output_directory"),
    _row("… also by an access control list", "common/acl.py",
         "if tag == _USER:", "if False:",
         f"{TRUSTED}::test_access_control_list"),
    _row("configuration of others is not believed", "master/settings/values.py",
         "trusted.open_unchangeable(", "trusted.open_file(",
         f"{NEIGHBOURS}::test_configuration_of_others", "::test_the_main_files_of_others"),
    _row("… not even below a sticky directory of theirs", "common/trusted.py",
         "        if not anybody:\n            raise", "        if False:\n            raise",
         f"{FILES}::test_a_sticky_directory_of_others"),
    _row("… also where many are looked at", "master/store/vicinity.py",
         "and not info.st_mode & 0o022 \\\n", "\\\n",
         "unit/test_vicinity.py::test_what_changes_is_seen"),
    _row("… nor their CAfile", "master/store/installed.py", "trusted.open_unchangeable(path,",
         "trusted.open_file(path,", f"{NEIGHBOURS}::test_ca_files_of_others"),
    _row("… nor their state", "master/store/statefile.py",
         "trusted.open_unchangeable(self.path)", "self.path",
         "unit/test_journal.py::test_state_of_others",
         f"{NEIGHBOURS}::test_a_fifo_in_our_own_state"),
    _row("… nor are their programs run", "common/trusted.py",
         "    except Untrusted:\n        raise", "    except Untrusted:\n        pass",
         f"{NEIGHBOURS}::test_programs_of_others", f"{FILES}::test_programs"),
    _row("… nor their links followed", "common/trusted.py",
         "theirs = os.fstat(self.current).st_uid not in self._ours", "theirs = False",
         f"{TRUSTED}::test_no_race_wins", f"{FILES}::test_no_link_of_others_is_followed",
         f"{NEIGHBOURS}::test_traps_in_the_place_of_a_certificate"),
    _row("a directory that others may change by now is not gone on from", "common/ways.py",
         "_seen(os.stat(place)) == way.seen", "os.stat(place)",
         "unit/test_ways.py::test_a_directory_that_others_may_change_by_now",
         "::test_a_path_that_leads_elsewhere_is_walked"),
    _row("what is no plain file is not opened", "common/trusted.py",
         "if not stat.S_ISREG(os.fstat(place).st_mode):", "if False:",
         f"{FILES}::test_nothing_is_waited_for",
         "unit/test_master_installed.py::test_read_certificate"),
    _row("no lease is waited for", "common/trusted.py",
         "os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)", "os.O_RDONLY | os.O_CLOEXEC)",
         f"{FILES}::test_nothing_is_waited_for", f"{NEIGHBOURS}::test_leases_on_what_is_his"),
    _row("the signer's socket is not a stranger's", "master/peers/signer.py",
         "if info.st_uid not in users:", "if False:",
         f"{NEIGHBOURS}::test_the_signer_of_a_stranger"),
    _row("… nor does one listen on it", "master/peers/signer.py", "if listener not in users:",
         "if False:", f"{NEIGHBOURS}::test_the_signer_of_a_stranger"),
    _row("a key of others is not used", "master/store/keys.py", "if info.st_uid not in users:",
         "if False:", f"{KEYS}::test_a_key_that_others_can_use",
         f"{NEIGHBOURS}::test_keys_of_others"),
    _row("… nor one that their group can read", "master/store/keys.py",
         "for party in acl.others(descriptor, info, acl.READ | acl.WRITE):", "for party in ():",
         f"{KEYS}::test_a_key_that_others_can_use", "::test_access_control_lists_of_a_key",
         f"{NEIGHBOURS}::test_keys_of_others"),
    _row("openssl reads a copy of the key", "master/store/keys.py",
         'copy = os.memfd_create("key", os.MFD_CLOEXEC)\n    os.write(copy, key)',
         "copy = _open(path, owner)",
         f"{KEYS}::test_what_is_read_of_a_key_nobody_changes_any_more"),
    _row("a default list lets nobody read a key", "master/store/written.py",
         'os.removexattr(descriptor, "system.posix_acl_access")', "pass",
         f"{KEYS}::test_a_default_list_lets_nobody_read_what_is_private"),
    _row("a symbolic link is replaced", "master/store/written.py",
         "        os.rename(self.temporary, self.name,",
         "        from letsencrypt_tiny.common.steps import link\n"
         "        os.rename(self.temporary, link(self.name, self.directory) or self.name,",
         "unit/test_files.py::test_a_link_is_replaced_and_its_victim_untouched",
         f"{BAD_FILES}::test_a_symbolic_link_is_replaced_not_followed"),
    _row("a key is 0600 from birth", "master/store/written.py", "waiting, file.mode & 0o600,",
         "waiting, 0o644,", "unit/test_files.py::test_a_key_is_0600_from_birth",
         f"{BAD_FILES}::test_umask"),
    _row("the lock is no link", "master/store/lock.py", "os.O_CREAT | os.O_NOFOLLOW |",
         "os.O_CREAT |", f"{BAD_FILES}::test_a_lock_that_is_a_link"),
    _row("a killed run leaves nothing", "master/commands/locked.py",
         "        remove_stale(self._config)",
         "        pass", "integration/test_renewal.py::test_killed_master",
         "integration/test_listen.py::test_the_firewall_is_closed", "::test_a_socket_is_removed"),
    _row("nothing comes back in the challenge directory",
         "master/responders/challenge_directory.py",
         "        os.fchown(descriptor, os.geteuid(), os.getegid())\n"
         "        os.fchmod(descriptor, 0o700)", "        pass",
         "unit/test_master_challenge_directory.py::test_nothing_comes_back_while_it_is_removed"),

    # The account key manager
    _row("its own alg", "signer/request.py", 'if get_str(header, "alg", 16) != own.alg:',
         "if False:", f"{TALK}::test_refusal"),
    _row("a nonce", "signer/request.py", 'if not _NONCE.match(get_str(header, "nonce")):',
         "if False:", f"{TALK}::test_refusal"),
    _row("its own jwk", "signer/request.py", 'elif get_object(header, "jwk") != own.jwk:',
         "elif False:", f"{TALK}::test_refusal"),
    _row("the kid of keyid", "signer/request.py", "if own.kid is not None and kid != own.kid:",
         "if False:", f"{TALK}::test_keyid"),
    _row("no CSR but the master's", "master/plan/signing.py", 'frozenset(only), "any")',
         'None, "any")',
         "unit/test_policy_derived.py::test_derived_for_orders",
         "integration/test_policy_betrayed.py::test_a_client_gone_over_to_somebody_else"),
    _row("exact key sets", "signer/policy.py",
         "or row.required <= keys <= row.required | row.optional:", "or row.required <= keys:",
         f"{REQUESTS}::test_every_mutation_of_a_row"),
    _row("listed origins", "signer/policy.py",
         'if good and found.origin in policy.origins else ""', 'if good else ""',
         f"{REQUESTS}::test_other_urls"),
    _row("canonical URLs", "signer/policy.py",
         'good = policy.urls == "any" or (', "good = True or (", f"{REQUESTS}::test_other_urls"),
    _row("listed names", "signer/policy.py", "if not covers(policy.identifiers, kind, value):",
         "if False:", f"{REQUESTS}::test_identifiers_beyond_the_globs",
         "unit/test_policy_derived.py::test_derived_for_orders"),
    _row("no CA's rights", "signer/payloads.py", "    if csr.is_ca:", "    if False:",
         "unit/test_policy_csr.py::test_a_cas_rights_in_disguise"),
    _row("so many requests an hour", "signer/policy.py",
         "if policy.per_hour and len(allowed) == policy.per_hour", "if False",
         "unit/test_policy_audit.py::test_rate_limit"),
    _row("no revocation as the certificate's key", "signer/policy.py",
         'if row.operation == "revoke" and "jwk" in checked.header', "if False",
         f"{REQUESTS}::test_no_policy_lets_an_account_key_revoke_as_the_certificates_own",
         "unit/test_policy_derived.py::test_derived_for_revocation"),
    _row("audit lines can't be forged", "signer/policy.py", """self.why.replace('"', "'")""",
         "self.why", "unit/test_policy_audit.py::test_audit_lines_cannot_be_forged"),
    _row("the log does not fill the disk", "signer/conversation.py",
         "if len(self._logged) == LOGGED and now - self._logged[0] < HOUR:", "if False:",
         f"{SOCKET}::test_connections_beyond_those_that_are_logged",
         f"{REFUSALS}::test_refusals_count_with_connections"),
    _row("refusals end", "signer/conversation.py", "if self._in_vain >= MAX_REFUSALS:",
         "if False:", f"{REFUSALS}::test_refusals_end", "::test_explanations_end"),
    _row("a refusal is no signature", "signer/conversation.py",
         'return format_refusal(why) if self._knows_refusals else b""',
         "return format_refusal(why)",
         f"{REFUSALS}::test_who_does_not_is_left_without_a_word",
         "integration/test_interop.py::test_a_refusal_never_reaches_the_ca"),
    _row("who asks uses no rate up", "signer/conversation.py",
         "judge = signer.guard.explain if explain else signer.guard.judge",
         "judge = signer.guard.judge", f"{REFUSALS}::test_explain_uses_no_rate_up"),
    _row("a line has an end", "common/wire/signer.py",
         'if len(self._data) > self._limit + 2 and self._data.find(b"\\r\\n", self._scanned) < 0:',
         "if False:", f"{SOCKET}::test_endless_line"),
    _row("… within a time", "signer/server.py",
         "self._due.setdefault(conn, now + conversation.LINE_TIME)", "pass",
         f"{SOCKET}::test_limits"),
    _row("its socket is for its user", "signer/place.py", "os.umask(0o177)", "os.umask(0o111)",
         f"{SOCKET}::test_socket", "::test_socket_is_for_its_owner_only"),
    _row("… nor below one of others", "signer/place.py",
         "os.close(trusted.open_directory(trusted.absolute(directory)))", "pass",
         f"{SOCKET}::test_directory_below_one_of_others"),
    _row("… in a directory of its own", "signer/place.py", "if info.st_mode & 0o022:",
         "if False:", f"{SOCKET}::test_directory_that_others_may_write"),
    _row("a new key is never readable by others", "signer/keyfile.py",
         "0o600, dir_fd=directory_fd)", "0o644, dir_fd=directory_fd)", f"{BAD_FILES}::test_umask"),
    _row("a new key never replaces a file", "signer/keyfile.py",
         "os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,\n                     0o600",
         "os.O_CREAT | os.O_CLOEXEC,\n                     0o600",
         "unit/test_signer_keys.py::test_genkey_of_one_that_comes_meanwhile"),
    _row("signatures are never logged", "signer/request.py",
         '_NOT_LOGGED = frozenset(("signature", "jwk"))', "_NOT_LOGGED = frozenset(())",
         f"{TALK}::test_log"),
    _row("its memory is locked", "common/sandbox/confine.py",
         "if _libc.mlockall(_MCL_CURRENT | _MCL_ONFAULT) == 0:", "if True:",
         f"{MODES}::test_locked_memory"),
    _row("confined: no file", "common/sandbox/landlock.py",
         "        _call(_RESTRICT_SELF, ruleset, 0)", "        pass",
         f"{CONFINE}::test_signer", "::test_client", "::test_webserver"),
    _row("confined: no call beyond the list", "common/sandbox/confine.py",
         "            syscalls.load()", "            pass", f"{CONFINE}::test_signer",
         "::test_client", "::test_webserver", f"{REDTEAM}::test_fatal"),
    _row("to execute a program is fatal", "common/sandbox/seccomp.py", "    execve execveat ptrace",
         "    ptrace", f"{CONFINE}::test_an_attack_is_fatal", f"{REDTEAM}::test_fatal"),

    # The client
    _row("no call by another number", "common/sandbox/seccomp.py",
         "    syscalls.set_attr(module.Attr.ACT_BADARCH, module.KILL_PROCESS)", "    pass",
         f"{CONFINE}::test_calls_by_other_numbers_are_fatal"),
    _row("no connection beside Landlock", "common/sandbox/seccomp.py",
         "yield name, ((3, _MSG_FASTOPEN, 0),)", "yield name, ()", f"{CONFINE}::test_client"),
    _row("it makes files in the challenge directory alone", "client/main.py",
         'create=() if os.getcwd() == "/" else (".",),', 'create=(".",),',
         "unit/test_confine.py::test_a_client_that_has_no_challenge_directory"),
    _row("it fills no memory", "client/main.py", "memory=MEMORY + jobs * STACK)", "memory=0)",
         f"{MODES}::test_memory_has_a_limit"),
    _row("… nor the file system", "client/main.py", "file_size=MAX_FILE,", "",
         f"{REDTEAM}::test_reach"),
    _row("… by however many files", "master/peers/watchdog.py", "        if now < self._next or",
         "        if True or", "unit/test_watchdog.py::test_files_without_end"),
    _row("what it plants harms no later run", "client/session.py", "or not exc.verdict or",
         'or exc.problem.type not in ("accountDoesNotExist", "unauthorized") or',
         "unit/test_client_session.py::test_whatever_is_refused_the_account_is_looked_up_once"),
    _row("… an order that is none", "client/ordering.py", "except (Gone, NoOrder, OtherProfile) as",
         "except (Gone, OtherProfile) as",
         f"{REDTEAM}::test_what_is_remembered_of_it_harms_no_later_run"),
    _row("it sends nothing to another origin", "client/session.py",
         "if parse_url(url, what).origin not in self.connections:", "if False:",
         "integration/test_client_hostile.py::test_a4_a5_urls"),
    _row("it trusts no TLS but the CA's", "client/transport.py", "    if not access.verify:",
         "    if True:", f"{THREATS}::test_a19_untrusted_tls"),
    _row("… nor by a common name", "client/transport.py",
         "    context.hostname_checks_common_name = False", "    pass",
         "integration/test_client_hostile.py::test_a19_a_common_name_is_no_name"),
    _row("an answer has a size", "client/stream.py", "if self._left < 0:", "if False:",
         "unit/test_client_protocol.py::test_ambiguous_or_oversized_responses_are_refused"),
    _row("… its body, too", "client/connection.py", "if len(found.body) > limit:", "if False:",
         "integration/test_client_hostile.py::test_a7_endless_answers"),
    _row("… and one meaning", "client/http.py", "if lengths or not", "if not",
         "unit/test_client_http.py::test_what_makes_no_sense"),
    _row("… and a time", "client/stream.py", "remaining = self._deadline - time.monotonic()",
         "remaining = 5.0", "unit/test_client_session.py::test_a8_a_request_has_a_time_limit"),

    *ACCOUNTS, *SERVER_KEYS, *CHALLENGES, *RENEWAL, *FLEET, *IMPORTED, *SAID, *SERVED,
)


class Outcome(NamedTuple):
    """What became of a row."""

    word: str                # killed, SURVIVED or BROKEN
    details: tuple[str, ...]
    seconds: float


class copied:
    """A copy of the tree, for the time of a with statement."""

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix="mutant-", dir=PARENT))
        self._path.chmod(0o755)
        tree = self._path / "tree"
        shutil.copytree(TREE, tree, symlinks=True, ignore=shutil.ignore_patterns(
            ".git", "build", "__pycache__", ".*_cache"))
        return tree

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path)


def failures(tree: Path, tests: Sequence[str]) -> tuple[set[str], int, str]:
    """Run tests in a copy; return which FILE::TEST failed, the worst status, pytest's last words.

    What takes too long has status -1 and nothing that failed.
    """
    found: set[str] = set()
    worst, last = 0, []
    # in the way of check.sh: files of different directories may have the same name
    for _, group in itertools.groupby(sorted(tests), lambda test: test.partition("/")[0]):
        failed, status, words = _pytest(tree, list(group))
        found |= failed
        worst = status if status not in (0, 1) or not worst else worst
        last.append(words)
    return found, worst, "; ".join(last)


def _pytest(tree: Path, tests: Sequence[str]) -> tuple[set[str], int, str]:
    argv = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "--tb=no", "-rfE", "-p",
            "no:cacheprovider", *(f"tests/{test}" for test in tests)]
    # a file: what a test leaves behind could keep a pipe open
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(
            argv, cwd=tree, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True) as process:
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            proc.kill_tree(process.pid)
            return set(), -1, f"more than {SECONDS} seconds"
        output.seek(0)
        text = output.read()
    failed = re.findall(r"^FAILED tests/([^ \[\n]*)", text, re.M)
    errors = re.findall(r"^ERROR tests/.*", text, re.M)
    if errors:
        return set(failed), 1, f"{text.strip().rpartition(chr(10))[2]}; {errors[0][:300]}"
    return set(failed), process.returncode, text.strip().rpartition("\n")[2]


def fault(mutant: Mutant) -> str:
    """Return why a row can't be tried, "" if it can."""
    path = TREE / MODULES / mutant.file
    count = path.read_text().count(mutant.old) if path.is_file() else -1
    if count != 1:
        return f"{mutant.file} has it {count} times" if count >= 0 else f"no {mutant.file}"
    missing = [test for test in mutant.tests if not re.search(
        rf"^def {re.escape(test.partition('::')[2])}\(",
        (TREE / "tests" / test.partition("::")[0]).read_text(), re.M)]
    return f"no test {missing[0]}" if missing else ""


def attempt(mutant: Mutant) -> Outcome:
    """Make the change, and run the row's tests."""
    began = time.monotonic()
    why = fault(mutant)
    if why:
        return Outcome("BROKEN", (why,), 0.0)
    with copied() as tree:
        path = tree / MODULES / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
        failed, status, words = failures(tree, mutant.tests)
    alive = tuple(test for test in mutant.tests if test not in failed)
    word = "killed" if not alive else "SURVIVED" if status in (0, 1) else "BROKEN"
    return Outcome(word, alive + ((words,) if alive else ()), time.monotonic() - began)


def parsed(argv: Sequence[str]) -> tuple[int, list[Mutant]]:
    parser = argparse.ArgumentParser(usage="mutants.py [--jobs=N] [WORD ...]")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args(argv)
    rows = [row for row in TABLE if not options.words or any(
        word in f"{row.claim} {row.file}" for word in options.words)]
    return options.jobs, rows


def outcomes(rows: Sequence[Mutant], jobs: int, tell: Callable[[str], object]
             ) -> Iterator[Outcome]:
    """Try each row; ``tell`` of it."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for row, outcome in zip(rows, pool.map(attempt, rows)):
            tell(f"{outcome.word:8} {outcome.seconds:5.1f} s  {row.file}: {row.claim}")
            for line in outcome.details:
                tell(f"                  {line}")
            yield outcome


def main(argv: Sequence[str]) -> int:
    """Run it; status 1 if something survived."""
    def tell(text: str) -> None:
        print(text, flush=True)

    jobs, rows = parsed(argv)
    tests = sorted({test for row in rows for test in row.tests if not fault(row)})
    with copied() as tree:
        failed, status, words = failures(tree, tests)
    tell(f"unchanged: {words}")
    if status != 0:
        tell("these must pass first: " + (", ".join(sorted(failed)) or words))
        return 2
    found = list(outcomes(rows, jobs, tell))
    bad = sum(outcome.word != "killed" for outcome in found)
    tell(f"{len(found)} claims taken out, {len(found) - bad} missed by their tests, {bad} not")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
