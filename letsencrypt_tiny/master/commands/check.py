"""The check command: all that can be known without asking the CA."""

import os
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import NamedTuple

from ...common import log, trusted
from ...common.errors import ConfigError, Error
from ...common.wire.order import Order
from ...common.wire.policy import origin_of
from ...common.wire.signer import MAX_REFUSALS, Greeting, explanations
from ...common.x509.csr import CSR, parse_csr
from ..peers.conversation import Conversation, greet
from ..peers.identity import identity
from ..peers.loop import Loop
from ..peers.messages import Messages
from ..pki import openssl, token
from ..plan import challenges, issuers, signing
from ..plan.issuers import Issuer
from ..responders.neighbours import advice, holder
from ..responders.table import responders_for
from ..settings import certificates, presets
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..settings.network import HTTP_PORT, TLS_PORT
from ..settings.presets import Preset
from ..settings.program import Program
from ..store import installed, keys
from ..store.installed import check_authorities
from . import account, programs, surroundings
from .locked import Locked


class Wanted(NamedTuple):
    """A section, and the CSR that would be sent if its key is there."""

    section: Section
    csr: CSR | None

    def order(self) -> Order:
        """What would be asked for."""
        return Order(self.section.name, self.section.identifiers,
                     self.csr.der if self.csr else b"", profile=self.section.profile or None)


class Findings:
    """What is wrong, each thing told once."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self.exit_status = 0

    def attempt(self, action: Callable[[], object]) -> None:
        """Do something that raises Error if something is wrong."""
        try:
            action()
        except Error as exc:
            self.add(exc)
        except FileNotFoundError as exc:
            self.add(Error(f"{exc.filename}: no such file or directory"))

    def add(self, fault: Error) -> None:
        """Tell of a fault, unless several checks stumble over one."""
        self.exit_status = max(self.exit_status, fault.exit_status)
        if str(fault) not in self._told:
            self._told.append(str(fault))
            log.error(fault)


def check(config: Config, only: Collection[str] = ()) -> int:
    """Check everything, one line for each fault; returns the exit status.

    Or what the sections ``only`` need: for whoever has the lock, and is about to order them.
    """
    findings = Findings()
    sections: dict[str, Section] = {}
    wanted: list[Wanted] = []
    findings.attempt(lambda: sections.update(
        _check_certificates(config, findings, only)))
    for program in config.programs:
        findings.attempt(partial(_check_program, config, program))
    actions: tuple[Callable[[], object], ...] = (
        surroundings.check_null,
        lambda: programs.check_executable(config.openssl, f"{config.file}: openssl"),
        lambda: os.close(trusted.open_directory(config.library_directory)),
        lambda: trusted.make_directory(config.run_directory),
        *(partial(_check_ca_file, config, issuer)
          for issuer in issuers.configured(config).values()),
        lambda: _check_responders(config, sections.values(), findings, bool(only)))
    for action in actions:
        findings.attempt(action)
    for section in sections.values():
        for action in _section_checks(config, section, wanted):
            findings.attempt(action)
    used = issuers.used(config, [section.issuers for section in sections.values()])
    for issuer in used:
        if preset := presets.of_directory(issuer.directory):
            _tell_of_preset(preset, issuer, findings)
        mine = [item for item in wanted if issuer.name in item.section.issuers]
        findings.attempt(lambda: _check_signer(config, issuer, mine, findings, len(used) > 1))
    if only and not findings.exit_status:
        log.info(f"{', '.join(only)}: nothing wrong was found")
    elif not findings.exit_status:
        count = f"{len(sections)} certificate{'' if len(sections) == 1 else 's'}"
        log.info(f"{count} configured; nothing wrong was found")
    return findings.exit_status


def _check_program(config: Config, program: Program) -> None:
    signers = config.accountd is not None and program is config.accountd.program
    programs.check(program, identity(program), expanded=signers)


def _check_certificates(config: Config, findings: Findings, only: Collection[str]
                        ) -> dict[str, Section]:
    """Read what is wanted, and tell of what can't be; return the rest, or those that are looked at
    ``only``."""
    found = certificates.load(config)
    if only:
        return {name: found.sections[name] for name in only if name in found.sections}
    for fault in found.faults.values():
        findings.add(fault)
    if found.empty:
        findings.add(Error(found.hint))
    _tell_of_lacme(config, found)
    from .importing import rivals
    rivals.warn(config, found.sections.values())
    return found.sections


def _tell_of_lacme(config: Config, found: Certificates) -> None:
    """Say which files have their names from lacme and are not read."""
    directory = os.path.dirname(config.file)
    read = {config.file, *(path.rstrip("/") for path in found.files)}
    for name in ("lacme.conf", "lacme-certs.conf", "lacme-certs.conf.d"):
        path = os.path.join(directory, name)
        if path not in read and os.path.exists(path) and not _is_empty(path):
            log.info(f"{path} is not read" + (
                " (--config names another main configuration)" if name == "lacme.conf" else
                f": {', '.join(found.files)} have sections"))


def _is_empty(path: str) -> bool:
    """True for a directory, as the package makes it, in which there is nothing."""
    try:
        return not os.listdir(path)
    except OSError:
        return False   # a file


def _tell_of_preset(preset: Preset, issuer: Issuer, findings: Findings) -> None:
    if preset.ended and issuer.directory == preset.directory:
        findings.add(Error(f"{issuer.where}: {preset.name} issues no certificates since "
                           f"{preset.ended}: choose another CA"))
    elif preset.eab and not issuer.eab_kid:
        log.info(f"{issuer.where}: {preset.name} ties new accounts to those of its customers: "
                 "set eab-kid before “letsencrypt-tiny account --register”")


def _check_ca_file(config: Config, issuer: Issuer) -> None:
    path = issuer.access.ca_file
    if path and not programs.readable_by(path, identity(config.client.program)):
        raise ConfigError(f"{issuer.where}: ca-file = {path}: "
                          f"{config.client.program.user or 'the ACME client'} cannot read it")
    if path:   # it says whom the client believes
        os.close(trusted.open_unchangeable(path))


def _check_responders(config: Config, sections: Collection[Section], findings: Findings,
                      locked: bool) -> None:
    types = {kind for section in sections
             for kind in challenges.types(section, config)}
    types = types or {"http-01"}   # what most will need
    tried = _tried_port(config, sections, findings, locked)
    _tell_of_ports(config, types - {"http-01"} if tried else types)
    for responder in responders_for(types, config, identity(config.client.program), _no_pipe):
        for fault in responder.faults():
            findings.add(fault)


def _tried_port(config: Config, sections: Collection[Section], findings: Findings, locked: bool
                ) -> bool:
    """Try a challenge through the web server at the port of HTTP, if there is one and nobody has
    the lock; say whether it was tried."""
    from . import through
    names = through.concerned(config, sections)
    if not names or os.geteuid() != 0:
        return False
    try:
        if locked:
            fault = through.fault(config, names)
        else:
            with Locked(config):
                fault = through.fault(config, names)
    except Error as exc:
        log.debug(f"no challenge is tried: {exc}")
        return False
    if fault is not None:
        findings.add(fault)
    return True


def _tell_of_ports(config: Config, types: Collection[str]) -> None:
    """Say what the servers at our ports, if there are any, have to do for us."""
    if "http-01" in types and config.webserver.listen is None \
            and not config.webserver.challenge_directory and holder(HTTP_PORT)[1]:
        log.info(advice(HTTP_PORT, f"{config.run_directory}/www.socket"))
    if "tls-alpn-01" in types and holder(TLS_PORT)[1] and (
            config.tlsserver is None or config.tlsserver.listen is None):
        log.info(advice(TLS_PORT, f"{config.run_directory}/tls.socket"))


def _no_pipe(name: str) -> int:
    raise AssertionError(f"{name} is not started")


def _section_checks(config: Config, section: Section, wanted: list[Wanted]
                    ) -> Iterator[Callable[[], object]]:
    yield lambda: check_authorities(section)
    yield partial(_check_key, config, section, wanted)
    for path in section.outputs:
        parent = os.path.dirname(path)
        if not parent.startswith(config.certs_directory + "/"):   # those are made when needed
            yield lambda p=parent: os.close(       # type: ignore[misc]
                trusted.open_directory(p, section.trusted))


def _check_key(config: Config, section: Section, wanted: list[Wanted]) -> None:
    """It is of use, and it is that of the certificate that is installed."""
    csr = _csr(config, section)
    wanted.append(Wanted(section, csr))
    try:
        certificate = installed.read(section).certificate
    except installed.Busy:
        return
    if csr is not None and certificate is not None and certificate.spki != csr.spki:
        raise Error(f"{section.where}: {section.outputs[0]} is not for the private key "
                    f"{section.key}: no server can use both (newOrder has it renewed)")


def _csr(config: Config, section: Section) -> CSR | None:
    """Return what would be sent, if there is a key already; raises Error if it is of no use."""
    if section.in_token:
        return token.request(config.openssl, section)
    try:
        descriptor = keys.open_key(section.key, section.trusted, section.group)
    except FileNotFoundError:
        return None   # it is generated when needed
    try:
        return parse_csr(openssl.request(config.openssl, descriptor, section))
    except Error as exc:
        raise Error(f"{section.where}: certificate-key = {section.key}: cannot be used: "
                    f"{exc}") from exc
    finally:
        os.close(descriptor)


def _check_signer(config: Config, issuer: Issuer, wanted: list[Wanted], findings: Findings,
                  several: bool) -> None:
    """It greets; and says what it would sign of what would be ordered of a CA."""
    about = f"{issuer.called}: " if several else ""
    loop = Loop()
    messages = Messages(loop)
    conversation = Conversation(loop, messages, config, issuer)
    try:
        conversation.start_signer(signing.derive(issuer.access,
                                                 [item.order() for item in wanted], issuer.name))
        greet(loop, [conversation])
        greeting = conversation.heard
        if greeting is None:
            raise conversation.error or Error("the account key manager does not greet")
        log.info(f"{about}the account key manager answers: {greeting.alg}, thumbprint "
                 f"{greeting.thumbprint}" + (f", account {greeting.kid}" if greeting.kid else ""))
        for fault in account.faults(config, issuer, greeting):
            findings.add(fault)
        _check_orders(conversation, greeting, wanted, findings)
    finally:
        conversation.close()
        messages.close()


def _check_orders(conversation: Conversation, greeting: Greeting, wanted: list[Wanted],
                  findings: Findings) -> None:
    """Tell which sections the signer's key or policy would make fail."""
    explainer = conversation.explainer() if wanted else None
    origin = origin_of(conversation.issuer.directory)
    for section, csr in wanted[:MAX_REFUSALS // 2]:   # it answers no more questions than that
        if csr is not None and signing.is_account_key(greeting, csr):
            findings.add(ConfigError(f"{section.where}: certificate-key = {section.key}: is the "
                                     "account key, which no CA certifies (RFC 8555 §11.1)"))
        elif explainer is not None:
            lines = explanations(greeting, origin, section.identifiers, csr.der if csr else b"")
            why = explainer.why_not(lines if csr else lines[:1])   # finalize comes with a CSR
            if why:
                findings.add(Error(f"{section.where}: the account key manager would refuse it: "
                                   f"{why}" + (
                                       f" (for {conversation.issuer.called})"
                                       if len(section.issuers) > 1 else "")))
