"""Key and certificate that another client has, copied to where the section's are.

The key stays the one that it was until it is renewed, so nothing has to be ordered at once, and
what is pinned to it holds.  The files of the other client are read, and no more.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from ....common import trusted
from ....common.errors import Error
from ....common.x509.certificate import Certificate, parse_chain
from ....common.x509.der import X509Error, encode_pem
from ...pki import check, openssl
from ...plan.keytype import key_type
from ...settings.certificates import Section
from ...settings.main import Config
from ...store import files, forgetting
from ...store.keys import MAX_KEY, in_memory
from ...store.written import File
from . import reading
from .model import Found


class Pair(NamedTuple):
    """A private key, and the certificate for it with its chain."""

    key: bytes                  # PEM
    chain: list[Certificate]

    @property
    def key_type(self) -> str:
        """Its type, as the setting has it; "" for none that there is a word for."""
        return key_type(self.chain[0].spki)


def read(config: Config, found: Found) -> Pair:
    """Return key and certificate of what was ``found``.  Raises Error, saying why there are none.
    """
    if not found.key or not found.chain:
        raise Error("there is no key" if not found.key else "there is no certificate yet")
    key = reading.read(found.key, MAX_KEY)
    try:
        chain = parse_chain(reading.read(found.chain))
    except X509Error as exc:
        raise Error(f"{found.chain}: {exc}") from exc
    public = check.public_key(key)
    if public is None:
        descriptor = in_memory(key)
        try:
            public = openssl.public_key(config.openssl, descriptor)
        finally:
            os.close(descriptor)
    if public != chain[0].spki:
        raise Error(f"{found.chain} is not for the key {found.key}")
    return Pair(key, chain)


def contents(config: Config, section: Section, pair: Pair) -> list[File]:
    """Return the files of a section; none if they are not where the short form has them."""
    own = f"{config.certs_directory}/"
    if section.in_token or not all(path.startswith(own) for path in
                                   (section.key, *section.outputs)):
        return []
    pem = [encode_pem(certificate.der) for certificate in pair.chain]
    texts = ((section.fullchain, b"".join(pem)), (section.certificate, pem[0]),
             (section.chain, b"".join(pem[1:])))
    return [File(section.key, pair.key, None, 0o600),
            *(File(path, text, section.owner, section.mode) for path, text in texts if path)]


def write(config: Config, section: Section, wanted: list[File]) -> None:
    """Write the files, the key first; none replaces another one.

    Raises Error, with nothing left of what was written; what a run that was killed has written is
    gone on with.
    """
    missing = list(_missing(section, wanted))
    done: list[File] = []
    is_new = not os.path.lexists(os.path.dirname(section.key))
    try:
        for directory in (config.certs_directory, os.path.dirname(section.key)):
            trusted.make_directory(directory)
        for file in missing:
            files.create(file, section.trusted)
            done.append(file)
    except BaseException:
        if is_new:
            forgetting.remove(config, section)
        for file in done:
            files.remove(file.path)
        raise


def _missing(section: Section, wanted: list[File]) -> Iterator[File]:
    for file in wanted:
        if not os.path.lexists(file.path):
            yield file
            continue
        try:
            with open(trusted.open_file(file.path, section.trusted), "rb") as there:
                same = there.read(len(file.data) + 1) == file.data
        except OSError as exc:
            raise Error(f"{file.path}: {exc.strerror}") from exc
        if not same:
            raise Error(f"{file.path} is there already, and stays")
        files.tidy(file.path, section.trusted)   # should it be of a run that was killed
