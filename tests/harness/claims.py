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
PARTS, PRESENTING = "unit/test_dns_parts.py", "unit/test_dns_presenting.py"

CHALLENGES = (
    # The updater of DNS records
    row("no name or key but the run's", "dns/doors.py", "return self._duty.faults(about)",
        'return ""', f"{DOORS}::test_foreign_names_and_keys"),
    row("a client has limits", "dns/doors.py", "if len(door.held) >= ", "if False and 0 >= ",
        f"{DOORS}::test_limits"),
    row("… and who does not listen no door", "dns/doors.py", "if len(door.output) > MAX_OUTPUT:",
        "if False:", f"{DOORS}::test_who_does_not_listen_loses_its_door"),
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
        "return _KNOWN.get(", "return {}.get(",
        "unit/test_records.py::test_names_of_a_ca"),
    row("each CA's client has a directory of its own", "master/responders/http01.py",
        "if clients < 2 or self", "if True or self",
        "integration/test_apart.py::test_the_answers_of_another"),
    row("the web server looks into all of them", "webserver/challenges.py",
        "for room in range(rooms)]", "for room in range(min(rooms, 1))]",
        "unit/test_webserver.py::test_rooms_of_several_clients"),
    row("a client's files are its own CA's matter", "master/commands/ordering.py",
        "                self._ended(conversation, exc)", "                raise",
        "integration/test_apart.py::test_a_client_that_makes_files_without_end"),
    row("a challenge that fails is no reason to ask another CA", "client/outcome.py",
        '"caa", "invalidProfile"})', '"caa", "invalidProfile", "dns", "unauthorized"})',
        "integration/test_failover.py::test_not_where_the_challenge_fails"),
    row("whichever CA of the list has issued is as good", "master/commands/due.py",
        "for name in section.issuers}", "for name in section.issuers[:1]}",
        "integration/test_failover.py::test_back_to_the_first"),
    row("no certificate without the profile that is required", "client/profiles.py",
        "if request.profile_required:", "if False:",
        "integration/test_profiles.py::test_one_that_is_required"),
    row("a message of a CA's takes no time", "common/names.py",
        'if "xn--" not in name or not is_dns(name):', 'if "xn--" not in name:',
        "unit/test_names.py::test_no_message_takes_long"),
    row("a responder that can't be opened stops those who need it alone",
        "master/responders/dns01.py", "                zone.close()\n                unable",
        "                raise\n                unable",
        "unit/test_master_dns01.py::test_a_zone_without_its_secret"),
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
)
