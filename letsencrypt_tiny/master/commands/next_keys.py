"""Keys that are made ahead: whoever publishes what they are can do so long before they are used.

They wait where every key does that is to be installed with its certificate.
"""

import os

from ...common import log, trusted
from ...common.errors import Error
from ..pki import csr, openssl
from ..plan.keytype import key_type
from ..settings.certificates import Section
from ..settings.main import Config
from ..store import files, keys, pending
from ..store.journal import Journal
from .life import Life


def make(config: Config, life: Life) -> None:
    """Make the key of a section's next certificate, unless one waits already that will do.

    What goes wrong is told.
    """
    section, journal = life.section, Journal(config.state_directory)
    path = journal.pending_key(section.key)
    try:
        trusted.look(section.key, section.trusted)
        spki = pending.public_key(path)
        if spki and csr.digest(spki) not in journal.revoked().keys and (
                key_type(spki) == section.key_type or _is_ordered(life, spki)):
            return
        if not spki and os.path.exists(path):
            return   # made for an order, by another release
        journal.check()
        files.remove(path)
        pem = openssl.generate_key(config.openssl, section.key_type)
        key = keys.in_memory(pem)
        try:
            pending.create(path, pem, openssl.public_key(config.openssl, key))
        finally:
            os.close(key)
        log.info(f"{life.name}: the key of the next certificate is made ({section.key_type}; see "
                 f"“letsencrypt-tiny records {life.name}”)")
    except FileNotFoundError:
        pass   # a first key is as good as a next one
    except Error as exc:
        life.report.failed(life.name, f"the key of the next certificate is not made: {exc}")


def digest(config: Config, section: Section) -> str | None:
    """Return the data of TLSA 3 1 1 of the next key, if one was made ahead (RFC 7671 §5.1)."""
    if not section.next_key:
        return None
    try:
        spki = pending.public_key(Journal(config.state_directory).pending_key(section.key))
    except Error as exc:   # status may be asked for by somebody else than root
        log.debug(exc)
        return None
    return csr.digest(spki) if spki else None


def _is_ordered(life: Life, spki: bytes) -> bool:
    """True for a key that an order is under way for, or a certificate waits for."""
    state = life.state
    return bool(state.order or state.kept) and state.order_key == csr.digest(spki)
