"""The remove command, the opposite of “add”: a section is given up.

    its file → revocation, if somebody wants it → the file goes → what “add --web-server” has
    written for it → with --purge key, certificates and what was remembered of them

Until the file is gone everything is as it was; who serves the certificate is for its owner to tell.
"""

import os
import sys
from collections.abc import Sequence

from ...common import inifile, log
from ...common.clock import when
from ...common.errors import Error, UsageError
from ...common.x509.certificate import Certificate
from ..settings import certificates, keys, values
from ..settings.certificates import Certificates, Section
from ..settings.main import Config
from ..store import forgetting, sectionfile
from ..store.installed import read_certificate
from .due import select
from .locked import Locked


def remove(config: Config, names: Sequence[str], purge: bool) -> int:
    """Give up the sections of these names; returns the exit status.  Raises UsageError before
    anything is touched, and Error."""
    if not names:
        raise UsageError("remove: name the section (“letsencrypt-tiny status” shows them)")
    found = certificates.load(config)
    chosen = [(section, _file(found, section)) for section in _sections(found, names)]
    revoked = [section for section, _ in chosen if _wants_revocation(section)]
    with Locked(config):
        if revoked and _revoke(config, revoked) != 0:
            log.error("nothing is removed")
            return 1
        for path in dict.fromkeys(path for _, path in chosen):
            sectionfile.remove(path)
            log.info(f"configuration: {path} removed")
        status = 0
        for section, _ in chosen:
            status |= _tell_web_server(section)
            if purge:
                others = {other.key for other in found.sections.values()
                          if other.name != section.name}
                gone = forgetting.remove(config, section, others)
                forgetting.forget(config, section)
                log.info(f"{section.name}: {', '.join(gone) or 'nothing more'} removed")
            elif any(map(os.path.lexists, [*section.outputs, section.key])):
                log.info(f"{section.name}: {os.path.dirname(section.outputs[0])} stays as it is, "
                         "and is not renewed any more (--purge removes it, too)")
    return status


def _tell_web_server(section: Section) -> int:
    from . import frontend
    try:
        frontend.take_back(section)
    except Error as exc:
        log.error(f"{section.name}: {exc}")
        return 1
    return 0


def _sections(found: Certificates, names: Sequence[str]) -> list[Section]:
    """Return them, with their twins.  Raises UsageError if one is not there, or wrong."""
    chosen = select(found, names)
    for name, fault in chosen.faults.items():
        raise fault if isinstance(fault, UsageError) else UsageError(
            f"remove: [{name}] can't be read ({fault}): take it out of its file by hand")
    return chosen.sections


def _file(found: Certificates, section: Section) -> str:
    """Return the file that a section has for itself.  Raises UsageError if there is more in it, or
    it isn't called after the section: such a file is the administrator's."""
    name, path = keys.written(section), section.source
    inside = inifile.read(path, None, values.open_own)
    own = [other for other in inside if other] == [name] and not inside[""].values
    if not own or os.path.basename(path) != f"{name}.conf":
        raise UsageError(f"remove: {path} is not the file of [{name}] alone: take the section out "
                         f"of it, and there is no more to do (its certificate: revokeCert {name})")
    return path


def _installed(section: Section) -> Certificate | None:
    try:
        return read_certificate(section.outputs[0], section.trusted)
    except (OSError, Error):
        return None


def _wants_revocation(section: Section) -> bool:
    """Ask at the terminal whether a section's certificate is to be revoked; tell of it where
    nobody can be asked."""
    certificate = _installed(section)
    if certificate is None:
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        log.info(f"{section.name}: its certificate is not revoked, and valid until "
                 f"{when(certificate.not_after)}")
        return False
    print(f"{log.printable(section.name)}: revoke its certificate, too?  That is needed only if "
          f"its key is in others' hands; else it ends {when(certificate.not_after)}.  [yes/no] ",
          end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _revoke(config: Config, sections: Sequence[Section]) -> int:
    from . import revoke
    options = revoke.Options([section.name for section in sections],
                             reason=revoke.REASONS["cessationOfOperation"])
    return revoke.revoke(config, options, revoke.targets(config, options))
