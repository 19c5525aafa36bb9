"""check --online: names are looked at as the CA would, by the client; nothing is ordered.

Responders are opened as for a run, and answer for a key that was made up for the purpose; no
signer is needed, and nothing is written down.
"""

import base64
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import when
from ...common.errors import ConfigError, Error, UsageError, did_you_mean
from ...common.names import Identifier, is_identifier
from ...common.wire.order import Answer, Failed
from ...common.wire.probe import Finding, Probe, Probed
from ..peers.conversation import Answered, Conversation, Ended
from ..peers.identity import identity
from ..peers.loop import Loop, Tick
from ..peers.messages import Messages
from ..peers.watchdog import Crowd
from ..plan import challenges, issuers, renewal
from ..plan.issuers import Issuer
from ..report.online import Said, document, line
from ..responders.table import Responder, responders_for, working_directories
from ..settings import certificates, proofs
from ..settings.certificates import Certificates, Section
from ..settings.challenges import zone_of
from ..settings.identifiers import is_public, parse_identifier
from ..settings.main import Config
from ..store.journal import Journal

PRESENTED = ("http-01", "tls-alpn-01")   # challenges that a token is presented for, and asked


class Target(NamedTuple):
    """A name to look at, and by which challenge it is to be proved."""

    identifier: Identifier
    kind: str
    issuer: str


class Findings:
    """What is told: as it comes, or at the end as one document."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._said: list[Said] = []

    def add(self, said: Said) -> None:
        """Tell it, once; what is as it should be, not to those who want --quiet."""
        if said in self._said:   # of several CAs, about a name that is the same to all
            return
        self._said.append(said)
        if not self._as_json and (said.verdict != "ok" or log.level > log.QUIET):
            print(line(said), flush=True)

    def end(self) -> int:
        """Return the exit status: 1 if something keeps a name from being certified."""
        if self._as_json:
            print(document(self._said))
        return int(any(said.verdict == "error" for said in self._said))


def online(config: Config, names: Sequence[str], as_json: bool) -> int:
    """Look at ``names``, of which a section's stands for all of its own; none: at all there are.

    Prints a line for each thing that was looked at, or JSON; returns the exit status.  Raises
    Error if there is nothing to look at, ConfigError.
    """
    found = certificates.load(config)
    findings, journal = Findings(as_json), Journal(config.state_directory)
    names = [_canonical(name, found) for name in names]
    sections = _sections(found, names, findings)
    targets = _targets(found, sections, names, config)
    if not targets and found.empty:
        raise Error(found.hint)
    for section in sections:
        _tell_of_waits(section, journal, findings)
    try:
        if targets:
            _Look(config, journal, findings, targets).execute()
    except ConfigError:
        raise
    except Error as exc:
        findings.add(Said("letsencrypt-tiny", "run", "error", str(exc)))
    return findings.end()


def _sections(found: Certificates, names: Sequence[str], findings: Findings) -> list[Section]:
    """Return those that ``names`` concern; tell of the ones that cannot be."""
    for name, fault in found.faults.items():
        if not names or name in names:
            findings.add(Said(name, "configuration", "error", str(fault)))
    return [section for section in found.sections.values() if not names or section.name in names
            or any(value in names for _, value in section.identifiers)]


def _targets(found: Certificates, sections: Sequence[Section], names: Sequence[str],
             config: Config) -> list[Target]:
    """Return what to look at, each once.  Raises UsageError for what is no name."""
    targets: dict[Target, None] = {}
    for section in sections:
        for identifier in section.identifiers:
            if not names or section.name in names or identifier[1] in names:
                kind = next((kind for kind in challenges.types(section, config)
                             if proofs.proves(kind, identifier, config)), "http-01")
                targets.update(dict.fromkeys(Target(identifier, kind, name)
                                             for name in section.issuers))
    known = {*found.faults, *found.sections, *(target.identifier[1] for target in targets)}
    for name in names:
        if name not in known:
            targets[_other(name, known, config)] = None
    return list(targets)


def _canonical(name: str, found: Certificates) -> str:
    """Return a name as a certificate has it, unless it is a section's."""
    try:
        return name if name in found.sections else parse_identifier(name, public=False)[1]
    except ValueError:
        return name


def _other(name: str, known: set[str], config: Config) -> Target:
    """A name that is not configured (yet) is looked at as a section without “challenge” would have
    it."""
    for kind in ("dns", "ip"):
        if is_identifier((kind, name)) and set(name) & {".", ":"}:
            fault = proofs.fault((), [(kind, name)], config)
            if fault:
                raise Error(fault)
            return Target((kind, name), next(
                how for how in proofs.wished((), [(kind, name)], config)
                if proofs.proves(how, (kind, name), config)), "")
    raise UsageError(f"“{log.printable(name)}” is neither configured nor a name that can be "
                     f"looked at{did_you_mean(name, known)}")


def _tell_of_waits(section: Section, journal: Journal, findings: Findings) -> None:
    state = journal.section(section.name)
    if renewal.waits(state, time.time()):
        findings.add(Said(section.name, "wait", "warning", "the CA asked not to order again before "
                          f"{when(state.not_before)}", f"“newOrder {section.name}” tries all the "
                          "same"))


def _random() -> str:
    """Return 256 bits as a token (RFC 8555 §8.1), which is how a thumbprint looks, too."""
    return base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode("ascii")


class _Look:
    """One client for each CA, and the responders."""

    def __init__(self, config: Config, journal: Journal, findings: Findings,
                 targets: Sequence[Target]) -> None:
        self._config = config
        self._journal = journal
        self._findings = findings
        self._targets = list(targets)
        self._client = identity(config.client.program)
        self._key = _random()    # nobody's thumbprint
        self._loop = Loop()
        self._messages = Messages(self._loop)
        self._conversations: dict[Conversation, Issuer] = {}
        self._responders: list[Responder] = []
        self._heard: dict[tuple[Conversation, str], list[Said]] = {}   # by whom, of which name

    def execute(self) -> None:
        """Look; raises Error."""
        try:
            self._open_responders()
            known = issuers.configured(self._config)
            names = list(dict.fromkeys(target.issuer for target in self._targets))
            directories = working_directories(self._responders, len(names))
            crowds = [Crowd(directory, len(self._targets)) for directory in dict.fromkeys(
                directories)]
            for name, directory in zip(names, directories):
                self._start_client(known[name], directory)
            for responder in self._responders:
                responder.serve([self._key])
            for conversation, issuer in self._conversations.items():
                accounts = self._journal.accounts(issuer.directory)
                conversation.begin(
                    next(iter(accounts.values())) if len(accounts) == 1 else "",
                    issuers.names(issuer, self._journal.issuers(issuer.directory)))
            self._listen(crowds)
        finally:
            for responder in self._responders:
                responder.close()
            for conversation in self._conversations:
                conversation.close()
            self._messages.close()

    def _open_responders(self) -> None:
        wanted: dict[str, set[Identifier]] = {}
        for target in self._targets:
            if target.kind in PRESENTED:
                wanted.setdefault(target.kind, set()).add(target.identifier)
        for responder in responders_for(wanted, self._config, self._client, self._messages.pipe):
            self._responders.append(responder)
            try:
                responder.open(set().union(*(wanted.get(kind, ()) for kind in responder.types)))
            except ConfigError:
                raise
            except Error as exc:
                self._give_up(responder)
                self._go_without(responder.types, exc)

    def _give_up(self, responder: Responder) -> None:
        self._responders.remove(responder)
        responder.close()

    def _go_without(self, types: Sequence[str], error: Error) -> None:
        """Nobody answers challenges of ``types``: what needs that is not looked at."""
        for target in [target for target in self._targets if target.kind in types]:
            self._targets.remove(target)
            self._findings.add(Said(target.identifier[1], "responder", "error", str(error),
                                    f"mend that: no {target.kind} challenge can be answered"))

    def _start_client(self, issuer: Issuer, directory: str) -> None:
        conversation = Conversation(self._loop, self._messages, self._config, issuer)
        self._conversations[conversation] = issuer
        doors = [door for responder in self._responders for door in responder.doors()]
        conversation.start_client(self._probes(issuer), self._client, directory, doors)

    def _probes(self, issuer: Issuer) -> list[Probe]:
        """Return the requests: the CA itself, then each name."""
        accounts = tuple(self._journal.accounts(issuer.directory))
        probes = {"": Probe("")}
        for target in self._targets:
            if target.issuer != issuer.name:
                continue
            value, kind = target.identifier[1], target.kind
            label = value if value not in probes else f"{value} by {kind}"
            zone = zone_of(value, self._config.dns) if kind == "dns-01" else None
            presented = kind in PRESENTED
            probes[label] = Probe(
                label, target.identifier, kind, _random(), self._key if presented else "",
                (self._key,) if presented else accounts,
                zone.nameservers if zone is not None else (), is_public(issuer.directory))
        return list(probes.values())

    def _listen(self, crowds: Sequence[Crowd]) -> None:
        """What is found, until no client runs any more."""
        for event in self._loop.events(lambda: any(
                conversation.runs for conversation in self._conversations)):
            if isinstance(event, Tick):
                for crowd in crowds:
                    crowd.check(event.now)
                self._check_responders()
            elif isinstance(event, Answered):
                self._answered(event.conversation, event.answer)
            elif isinstance(event, Ended) and event.error is not None:
                self._tell(event.conversation, list(self._heard))
                self._findings.add(Said(self._name(event.conversation, ""), "client", "error",
                                        str(event.error)))

    def _check_responders(self) -> None:
        """One that has ended is one thing more to be told of."""
        for responder in list(self._responders):
            try:
                responder.check()
            except Error as exc:
                self._give_up(responder)
                self._findings.add(Said("letsencrypt-tiny", "run", "error", str(exc)))

    def _answered(self, conversation: Conversation, answer: Answer) -> None:
        """Keep what is found of a name until it is all there: its lines stand together."""
        if isinstance(answer, Finding):
            self._heard.setdefault((conversation, answer.section), []).append(
                Said(self._name(conversation, answer.section), *answer[1:]))
        elif isinstance(answer, Failed):
            self._heard.setdefault((conversation, answer.section), []).append(
                Said(self._name(conversation, answer.section), "client", "error", answer.message))
        if isinstance(answer, (Failed, Probed)):
            self._tell(conversation, [(conversation, answer.section)])

    def _tell(self, conversation: Conversation, keys: Sequence[tuple[Conversation, str]]) -> None:
        for key in keys:
            if key[0] is conversation:
                for said in self._heard.pop(key, ()):
                    self._findings.add(said)

    def _name(self, conversation: Conversation, section: str) -> str:
        """Return whom an answer is about: a name, or the CA by its host."""
        directory = self._conversations[conversation].directory
        return section or directory.partition("://")[2].partition("/")[0]
