"""Wishes that changed and need no order: owner and mode of a section's files."""

from ...common import log
from ...common.errors import Error
from ...common.x509.der import encode_pem
from ..plan import lifecycle
from ..plan.lifecycle import Facts
from ..settings.certificates import Section
from ..store import files, installed
from ..store.installed import Access
from ..store.vicinity import Vicinity
from .life import Life


def settle(life: Life, found: Access, vicinity: Vicinity) -> None:
    """Bring the files of a section that is not due, which were ``found`` to be so, in line with
    its settings.

    What was settled once is left alone, should somebody change it by hand.
    """
    life.tidy()
    section, state = life.section, life.state
    access = ca_file = ""
    wanted = _access(section)
    if state.access != wanted and (
            state.access or not installed.is_wanted(section, found)):
        try:
            _apply(section)
        except (OSError, Error) as exc:
            life.report.failed(life.name, f"owner and mode are not changed: {exc}")
        else:
            access = wanted
    if state.ca_file:   # it chains to this one as well
        ca_file = vicinity.remembered(installed.authorities, section.ca_file)
    preferred = section.preferred_chain
    if access or ca_file not in ("", state.ca_file) \
            or preferred not in ("", state.preferred_chain):   # nearly never, of a thousand
        life.happens(lifecycle.SETTLED, Facts(access=access, ca_file=ca_file,
                                              preferred_chain=preferred))


def facts(section: Section) -> Facts:
    """Return what to remember of the wishes that a certificate was installed under."""
    return Facts(key_type=section.key_type, ca_file=installed.authorities(section.ca_file),
                 access=_access(section), profile_wish=section.profile,
                 preferred_chain=section.preferred_chain,
                 key=section.key if section.in_token else "")


def _access(section: Section) -> str:
    """Return what stands in the journal for owner and mode of the files."""
    uid, gid = section.owner or (-1, -1)
    return f"{uid}:{gid} {section.mode:04o}"


def _apply(section: Section) -> None:
    """Replace each file by its own content, with the owner and mode that are wanted.

    To change what is there would follow what the directory's owner may have put there; and what
    is written is certificates, whatever was read.
    """
    if installed.is_wanted(section, installed.access(section)):
        return
    contents = [files.File(path, b"".join(encode_pem(item.der)
                                          for item in installed.read_chain(path, section.trusted)),
                           section.owner, section.mode) for path in section.outputs]
    files.install(contents)
    log.info(f"{section.name}: its files have the owner and mode that are wanted now")
