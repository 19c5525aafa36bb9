"""Rows of “make mutants”: what is claimed of challenges, and who answers them.

The other rows, and what is done with them, are in tests/mutants.py.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A claim, and the change that makes it false."""

    claim: str
    file: str                # below letsencrypt_tiny
    old: str                 # there once
    new: str
    tests: tuple[str, ...]   # FILE::TEST below tests; FILE of the one before if that is empty


def row(claim: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """Return one; a test “::NAME” is in the file of the one before."""
    found: list[str] = []
    for test in tests:
        path, _, name = test.partition("::")
        found.append(f"{path or found[-1].partition('::')[0]}::{name}")
    return Mutant(claim, file, old, new, tuple(found))


CONFINE, REDTEAM = "unit/test_confine.py", "integration/test_redteam.py"
TLS, TLS_SERVER = "unit/test_tlsserver.py", "unit/test_tlsserver_server.py"
DNS, DOORS = "integration/test_dns.py", "integration/test_dns_doors.py"
ONLINE, REACH = "integration/test_online.py", "unit/test_online_reach.py"
ASKING = "unit/test_online_asking.py"
PARTS, PRESENTING = "unit/test_dns_parts.py", "unit/test_dns_presenting.py"
HOSTILE, UPDATES = "integration/test_dns_hostile.py", "integration/test_dns_updates.py"

CHALLENGES = (
    # The updater of DNS records
    row("no name or key but the run's", "dns/doors.py", "return self._duty.faults(about)",
        'return ""', f"{DOORS}::test_foreign_names_and_keys"),
    row("a client has limits", "dns/doors.py", "if len(door.held) >= ", "if False and 0 >= ",
        f"{DOORS}::test_limits"),
    row("… and who does not listen no door", "dns/doors.py", "if len(door.output) > MAX_OUTPUT",
        "if False and MAX_OUTPUT", f"{DOORS}::test_who_does_not_listen_loses_its_door"),
    row("with a door go its records", "dns/doors.py", "        presenter.leave(number)\n", "",
        f"{DOORS}::test_two_want_the_same", "::test_who_talks_nonsense_loses_its_door"),
    row("nothing but a digest", "dns/records.py", "if not is_thumbprint(value):", "if False:",
        f"{PARTS}::test_what_is_no_record"),
    row("dns: remembered first", "dns/presenting.py",
        "self._journal.publishing(record, entry.zone, self._update.how)", "pass",
        f"{PRESENTING}::test_a_record_is_remembered_before_it_is_published",
        f"{DNS}::test_everything_is_killed"),
    row("removed after a failure", "dns/presenting.py",
        "            self._remove(entry)\n        with", "            pass\n        with",
        f"{PRESENTING}::test_what_fails"),
    row("dns: the secret is closed", "dns/main.py", 'open(descriptor, "rb", 0)',
        'open(descriptor, "rb", 0, closefd=False)', f"{DOORS}::test_the_secret_is_not_kept_open"),
    row("dns: an answer is signed", "dns/asking.py", "if query.keyring and not reply.had_tsig:",
        "if False:", f"{PARTS}::test_an_unsigned_answer"),
    row("dns: … and to the question", "dns/asking.py", "if not query.is_response(reply):",
        "if False:", f"{PARTS}::test_an_answer_to_something_else"),
    row("dns: circles are noticed", "dns/places.py", "if target in way:", "if False:",
        f"{DNS}::test_a_circle_of_aliases"),

    row("dns: other values stay", "dns/updates/rfc2136.py", """dns.rdatatype.TXT,
                      f'"{record.value}"')
        self._send""", "dns.rdatatype.TXT)\n        self._send",
        f"{DNS}::test_a_wildcard_and_its_base"),
    row("dns: SIGTERM takes back", "dns/main.py",
        "    signal.signal(signal.SIGTERM, lambda *_: at_doors.stop())\n", "",
        f"{DOORS}::test_sigterm", f"{DNS}::test_the_run_is_ended", "::test_the_master_is_killed"),
    row("dns: … and the next run what was killed", "dns/main.py", "    presenter.recover(",
        "    max(", f"{DOORS}::test_without_doors_it_tidies_up",
        f"{DNS}::test_everything_is_killed"),
    row("dns: whole lines are remembered", "dns/journal.py",
        "        self._cut()\n\n    def _locked", "\n    def _locked",
        f"{PARTS}::test_what_follows_a_line_that_was_cut_off"),
    row("dns: … also on a full disk", "dns/journal.py",
        "            self._cut()\n            raise", "            raise",
        f"{PARTS}::test_what_follows_a_line_that_found_no_room"),
    row("dns: nobody speaks for another zone", "dns/places.py",
        "if zone is None or not in_zone(name, zone):", "if zone is None:",
        f"{HOSTILE}::test_who_speaks_for_another_zone"),
    row("dns: nobody has a thousand servers", "dns/places.py", "names[:MAX_SERVERS]", "names",
        f"{HOSTILE}::test_a_thousand_name_servers"),
    row("dns: aliases end", "dns/places.py", "if len(way) > MAX_ALIASES:", "if False:",
        f"{HOSTILE}::test_aliases_without_end"),
    row("dns: no odd type needs a module", "dns/main.py", "    load_types()\n", "",
        f"{HOSTILE}::test_records_of_other_types"),
    row("dns: who is stuck is left", "dns/presenting.py",
        "lost = silence > ", "lost = False and silence > ",
        f"{PRESENTING}::test_what_is_stuck_is_given_up"),
    row("dns: a hoster has a limit", "dns/updates/lexicon.py",
        "requests.sessions.HTTPAdapter = Limited", "pass",
        f"{UPDATES}::test_a_hoster_that_is_slow"),
    row("dns: credentials are not told", "dns/updates/lexicon.py",
        "text = text.replace(form, ", "str.replace(text, form, ",
        f"{PARTS}::test_credentials_are_not_told"),
    row("dns: a command has an environment of its own", "dns/updates/executor.py",
        "env=_environment()", "env=None", f"{UPDATES}::test_hooks_of_others"),
    row("dns: … is killed with what it started", "dns/updates/executor.py",
        "                _kill(process.pid)\n                process.wait()",
        "                process.kill()\n                process.wait()",
        f"{UPDATES}::test_a_command_that_does_not_end"),
    row("dns: … and leaves nothing", "master/responders/dns01.py",
        "            orphans.end(uid)\n        self._used", "            pass\n        self._used",
        f"{UPDATES}::test_what_a_command_leaves"),
    row("dns: a secret is nobody else's", "master/store/secrets.py",
        "if info.st_uid not in (0, os.geteuid()) or", "if False and",
        "unit/test_master_dns01.py::test_a_secret_of_others"),

    # The TLS server
    row("nothing of TLS without acme-tls/1", "tlsserver/server.py",
        "if PROTOCOL not in hello.protocols:", "if False:", f"{TLS_SERVER}::test_everybody_else",
        "integration/test_tls.py::test_who_gets_what"),
    row("… or for another name", "tlsserver/server.py",
        "self._presented.find(hello.server_name)", 'self._presented.find("a.example")',
        f"{TLS_SERVER}::test_everybody_else"),
    row("a ClientHello has a limit", "tlsserver/hello.py", "if records == MAX_RECORDS:",
        "if False:", "unit/test_tlsserver_hello.py::test_fragments",
        "::test_nothing_is_waited_for_without_end"),
    row("names and keys of the run only", "tlsserver/presented.py",
        "why = self._duty.faults(about) if", 'why = "" if',
        f"{TLS}::test_what_is_none_of_its_business", f"{TLS_SERVER}::test_what_is_refused"),
    row("one challenge of a name at a time", "tlsserver/presented.py",
        "if next(iter(queue.entries)) == (who, about):", "if True:", f"{TLS}::test_one_at_a_time",
        f"{TLS_SERVER}::test_a_turn_comes_with_the_end_of_another"),
    row("… for a while only", "tlsserver/server.py", "        tell(self._presented.turns())",
        "        pass", f"{TLS_SERVER}::test_a_turn_comes_by_the_clock"),
    row("whoever ends leaves nothing", "tlsserver/doors.py",
        "tell(self._presented.remove_all(self))", "pass",
        f"{TLS_SERVER}::test_who_breaks_the_protocol_is_served_no_more"),
    row("who doesn't listen is not listened to", "tlsserver/doors.py",
        "            self._server.watch(self._sock, self.ready, writing=bool(self._answers))",
        "            pass", f"{TLS_SERVER}::test_who_does_not_listen_is_not_listened_to"),
    row("… nor told without end", "tlsserver/doors.py", "if len(self._answers) > MAX_UNSENT:",
        "if False:", f"{TLS_SERVER}::test_who_listens_to_no_turn"),
    row("a client presents only so much", "tlsserver/presented.py", ">= MAX_PRESENTED:", "< 0:",
        f"{TLS}::test_there_is_a_limit"),
    row("the handshake is all", "tlsserver/handshake.py",
        "            over = True\n            self._tls.unwrap()",
        "            self._tls.read()", f"{TLS_SERVER}::test_a_validation"),
    row("the TLS server has no network", "master/responders/tlsalpn01.py",
        'network=program.confine == "no")', "network=True)",
        "integration/test_tls.py::test_what_it_is"),
    row("no key is left in the file", "tlsserver/handshake.py", '            self._write(b"")',
        "            pass", f"{TLS}::test_the_key_is_in_no_file"),
    row("the digest is critical", "tlsserver/certificate.py",
        "encode(der.BOOLEAN, der.TRUE),", 'b"",', f"{TLS}::test_certificate"),
    row("the TLS server reads no file", "tlsserver/main.py", "reopen=True,",
        'read=("/",),', f"{CONFINE}::test_tlsserver", f"{REDTEAM}::test_reach"),
    row("records name no account of another server's", "master/commands/records.py",
        "    elif not _is_good(account, issuer):", "    elif False:",
        "unit/test_records.py::test_an_account_that_a_client_made_up"),
    row("records call a well-known CA as it is known", "master/plan/issuers.py",
        'if host.endswith("." + end)), told)', "if False), told)",
        "unit/test_records.py::test_names_of_a_ca"),
    row("a message of a CA's takes no time", "common/names.py",
        'if "xn--" not in name or not is_dns(name):', 'if "xn--" not in name:',
        "unit/test_names.py::test_no_message_takes_long"),
    row("a responder that can't be opened stops those who need it alone",
        "master/responders/dns01.py", "                zone.close()\n                unable",
        "                raise\n                unable",
        "unit/test_master_dns01.py::test_a_zone_without_its_secret"),
    row("… and so does one that ends", "master/commands/answering.py",
        "if all(error is not None\n                       for _, error in "
        "self._without(responder.types, unable).values()):", "if True:",
        "integration/test_answering.py::test_only_who_needs_it_fails"),
    row("dns-persist-01 is for the account's own records", "client/challenges/persist.py",
        "        if asked and asked != account:", "        if False:",
        "unit/test_client_persist.py::test_what_fits_not"),
    row("what nobody asked a responder is not kept", "client/challenges/responders.py",
        "                    if said.challenge in self._heard:", "                    if True:",
        "unit/test_client_responders.py::test_what_nobody_asked_for_is_not_kept"),
    row("a type that proves no name starts nothing", "master/plan/challenges.py",
        "                 if any(proofs.proves(kind, name, config) for name in wanted))",
        "                 )",
        "unit/test_settings_proofs.py::test_what_is_asked_for"),
    row("a client without challenge files makes none", "client/main.py",
        'create=() if os.getcwd() == "/" else (".",),', 'create=(".",),',
        f"{CONFINE}::test_a_client_without_challenge_files_makes_none"),
    row("what one has opened no other closes", "master/responders/firewall.py",
        'return comment if section == "webserver" else f"{comment}-{section}"', "return comment",
        "unit/test_firewall_accidents.py::test_what_one_has_opened_no_other_closes"),

    # check --online
    row("the ports of check --online are of no other run", "client/main.py",
        "    if not probes:\n", "    if False:\n",
        "unit/test_online_prober.py::test_no_other_run_has_them"),
    row("… and no others", "client/online/prober.py", "return {asking.PORT, ",
        "return {22, asking.PORT, ", "unit/test_online_prober.py::test_ports"),
    row("a redirect leads to no neighbour", "client/online/reach.py",
        "if ipaddress.ip_address(address).is_global:", "if True:",
        f"{REACH}::test_redirects_lead_to_the_internet_only",
        f"{ONLINE}::test_another_web_server"),
    row("… and to no other port", "client/online/reach.py", "or port not in (", "or 0 in (",
        f"{REACH}::test_redirects_that_no_ca_follows"),
    row("check --online fetches the directory alone", "client/online/prober.py",
        "            response = session.get(", "            response = session.get("
        "session.directory_url, what) and session.get(",
        f"{ONLINE}::test_nothing_is_signed_or_written"),
    row("… and presents what is for nobody's key", "master/commands/online.py",
        "responder.serve([self._key])", "responder.serve([])",
        f"{ONLINE}::test_nothing_is_signed_or_written"),
    row("… and goes on without who can't answer", "master/commands/online.py",
        "                self._go_without(responder.types, exc)", "                raise",
        f"{ONLINE}::test_who_cannot_be_answered_for"),
    row("of a resolver's answer there is an end", "client/online/asking.py",
        "records[:MAX_RECORDS]", "records", f"{ASKING}::test_many_records"),
    row("… also in time", "client/online/asking.py",
        "        hurry(sock, deadline)\n        part", "        part", f"{ASKING}::test_junk"),
    row("what answers is not shown", "client/online/reach.py",
        'f"{who} answers, but something else than', 'f"{who} answers {text}, something else than',
        f"{REACH}::test_somebody_else", f"{ONLINE}::test_another_web_server"),
    row("findings are of a kind", "common/wire/probe.py", "if finding.topic not in TOPICS or",
        "if False and", "unit/test_probe_wire.py::test_findings_that_are_none"),
    row("… and printable", "master/report/online.py", "return printable(", "return str(",
        "integration/test_online_betrayed.py::test_a_client_that_is_right"),
)
