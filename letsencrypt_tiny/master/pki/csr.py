"""Private keys and the signing requests made with them."""

import os
from collections.abc import Sequence

from ...common import log
from ...common.errors import Error
from ...common.x509.csr import CSR, parse_csr
from ..peers import parallel
from ..settings.certificates import Section
from ..settings.main import Config
from ..store import files, keys, trusted
from . import openssl


def make_all(config: Config, sections: Sequence[Section]) -> list[CSR | Error]:
    """Return a CSR for each of ``sections``, or why there is none.

    Several are made at once; sections with one key take turns.
    """
    by_key: dict[str, list[int]] = {}
    for index, section in enumerate(sections):
        by_key.setdefault(section.key, []).append(index)
    made: dict[int, CSR | Error] = {}

    def work(group: list[int]) -> None:
        for index in group:
            try:
                made[index] = make(config, sections[index])
            except Error as exc:
                made[index] = exc

    parallel.each(work, list(by_key.values()))
    return [made[index] for index in range(len(sections))]


def make(config: Config, section: Section) -> CSR:
    """Make the CSR, and before it the key if there is none yet.  Raises Error."""
    for path in section.outputs:
        _make_parent(config, path)
        files.check(path, section.owner)   # rather now than with a certificate in hand
    keys.tidy(section.key, section.trusted)
    try:
        key = keys.open_key(section.key, section.trusted)
    except FileNotFoundError:
        key = _new_key(config, section)
    try:
        der = openssl.request(config.openssl, key, section)
    except Error as exc:
        raise Error(f"cannot make a signing request with {section.key}: {exc}") from exc
    finally:
        os.close(key)
    return parse_csr(der)


def _new_key(config: Config, section: Section) -> int:
    _make_parent(config, section.key)
    log.info(f"{section.name}: generating the private key {section.key} ({section.key_type})")
    keys.create(section.key, openssl.generate_key(config.openssl, section.key_type),
                section.trusted)
    return keys.open_key(section.key, section.trusted)


def _make_parent(config: Config, path: str) -> None:
    """Make the directory of ``path`` if it is one of the short form's."""
    parent = os.path.dirname(path)
    if not parent.startswith(config.certs_directory + "/"):
        return
    for directory in (config.certs_directory, parent):
        try:
            trusted.make_directory(directory)
        except FileNotFoundError as exc:
            raise Error(f"{exc.filename}: no such directory; create it, or set "
                        "library-directory") from exc
