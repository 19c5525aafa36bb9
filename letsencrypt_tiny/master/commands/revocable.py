"""What may be revoked: certificates of sections, or in files, as far as they are ours."""

import sys
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ...common import log, trusted
from ...common.clock import when
from ...common.errors import ConfigError, Error, did_you_mean
from ...common.names import shown
from ...common.x509.certificate import Certificate
from ..settings import certificates
from ..settings.certificates import Certificates, Section
from ..settings.keys import written
from ..settings.main import Config
from ..store.installed import read_certificate


class Target(NamedTuple):
    """A certificate to revoke."""

    name: str                    # what it is called in messages: its section's name, or its file's
    certificate: Certificate
    section: Section | None      # that it is installed for, or is for names of


def choose(config: Config, arguments: Sequence[str], config_certs: Sequence[str] | None,
           anything: bool) -> list[Target]:
    """Return what ``arguments`` mean, each certificate once, and show it.

    An argument with a slash is a file; another one the section of that name, with both its
    certificates if it has two, or, if there is none, a file.  Raises Error for what can't be read,
    and what is nobody's here, unless ``anything`` may be revoked.
    """
    try:
        known = certificates.load(config, config_certs)
    except ConfigError as exc:
        if not anything or not all("/" in argument for argument in arguments):
            raise
        log.warning(f"{exc} (no hindrance: what is revoked is named by its file)")
        known = Certificates({}, {}, ())
    found: dict[bytes, Target] = {}
    for argument in dict.fromkeys(name for given in arguments for name in _both(known, given)):
        target = _target(known, argument)
        if target.section is None and not anything:
            raise Error(f"{argument}: it is for {_names(target.certificate)}, and no section has "
                        "this certificate, its key or all of these names: --force revokes it all "
                        "the same")
        if target.certificate.der not in found:
            log.info(f"revoking {target.name}: serial {target.certificate.serial.hex()}, valid "
                     f"until {when(target.certificate.not_after)}")
            found[target.certificate.der] = target
    return list(found.values())


def _both(known: Certificates, argument: str) -> list[str]:
    section = known.sections.get(argument) if "/" not in argument else None
    twin = section.twin if section is not None and written(section) == argument else ""
    return [argument, twin] if twin else [argument]


def _target(known: Certificates, argument: str) -> Target:
    section = known.sections.get(argument) if "/" not in argument else None
    try:
        if section is not None:
            return Target(section.name, read_certificate(section.outputs[0], section.trusted),
                          section)
        if "/" not in argument and argument in known.faults:
            raise known.faults[argument]
        # whose directory it is in is for the administrator to judge, who is shown what it is
        certificate = read_certificate(trusted.absolute(argument), anybody=True)
    except OSError as exc:
        hint = "" if section is not None or "/" in argument else (
            " (and there is no section of this name"
            + did_you_mean(argument, [*known.sections, *known.faults]) + ")")
        raise Error(f"{argument}: cannot read the certificate: {exc.strerror}{hint}") from exc
    return Target(argument, certificate, _section_of(known.sections.values(), certificate))


def _section_of(sections: Collection[Section], certificate: Certificate) -> Section | None:
    """Return the section that a certificate is of: installed for it, for the same key as what is,
    or for names that sections ask for; None if it is nobody's."""
    same_key: Section | None = None
    for section in sections:
        try:
            installed = read_certificate(section.outputs[0], section.trusted)
        except (OSError, Error):
            continue
        if installed == certificate:
            return section
        if installed.spki == certificate.spki:
            same_key = same_key or section
    if same_key is not None:
        return same_key
    wanted = {name for section in sections for name in section.identifiers}
    if not certificate.names or not wanted.issuperset(certificate.names):
        return None
    return max(sections, key=lambda section: len(
        set(section.identifiers).intersection(certificate.names)))


def confirm(targets: Sequence[Target]) -> None:
    """Have somebody at the terminal say that they are to be revoked; raises Error."""
    for target in targets:
        print(f"{log.printable(target.name)}: {_names(target.certificate)}", file=sys.stderr)
    what = "this certificate" if len(targets) == 1 else f"these {len(targets)} certificates"
    print(f"Revoke {what} for ever?  [yes/no] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Error("nothing is revoked")


def _names(certificate: Certificate) -> str:
    return ", ".join(log.printable(shown(value), 100) for _, value in certificate.names[:10]) or (
        "no name")
