"""Private keys and the signing requests made with them."""

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from ...common import log, trusted
from ...common.errors import Error, reason
from ...common.x509.csr import CSR, parse_csr
from ..peers import parallel
from ..plan.keytype import key_type
from ..settings.certificates import Section
from ..settings.main import Config
from ..store import files, keys, pending, placing
from ..store.journal import Journal
from ..store.requests import Requests
from . import check, openssl


class Want(NamedTuple):
    """What a CSR is made for."""

    section: Section
    certificate: bool = False    # there is one already, and a pair with its key
    new_key: bool = False        # the key that there is is not wanted any more
    kept_key: str = ""           # digest of the key that a chain has been issued for, and kept
    spent: bytes = b""           # SubjectPublicKeyInfo that is not to be certified once more


class Made(NamedTuple):
    """A CSR, and the key that is to be installed with the certificate if it is a new one."""

    csr: CSR
    new_key: bytes | None = None   # PEM
    seen: bytes = b""              # fingerprint of the key in its place, otherwise


def digest(spki: bytes) -> str:
    """Return what stands for a public key in the journal."""
    from hashlib import sha256
    return sha256(spki).hexdigest()


def make_all(config: Config, wanted: Sequence[Want], compromised: frozenset[str]
             ) -> list[Made | Error]:
    """Return a CSR for each of ``wanted``, or why there is none; none for a ``compromised`` key.

    Several are made at once; sections with one key take turns.
    """
    by_key: dict[str, list[int]] = {}
    for index, want in enumerate(wanted):
        by_key.setdefault(want.section.key, []).append(index)
    made: dict[int, Made | Error] = {}

    def work(group: list[int]) -> None:
        new = ""   # digest of a key that was made: who shares it takes it, whatever his key-type
        for index in group:
            want = wanted[index]
            try:
                one = made[index] = make(config, want if want.kept_key else want._replace(
                    kept_key=new), compromised)
                new = digest(one.csr.spki) if one.new_key else ""
            except Error as exc:
                made[index] = exc
            except OSError as exc:   # nobody else's failure
                made[index] = Error(f"cannot make a signing request with "
                                    f"{wanted[index].section.key}: {reason(exc)}")

    groups = list(by_key.values())
    parallel.each(work, groups)
    for group in groups:    # beside another's trial there was no room: alone there may be
        if any(_lacks_room(made[index]) for index in group):
            work(group)
    return [made[index] for index in range(len(wanted))]


def _lacks_room(made: Made | Error) -> bool:
    cause: object = made
    while isinstance(cause, Error):
        cause = cause.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def make(config: Config, want: Want, compromised: frozenset[str] = frozenset()) -> Made:
    """Make the CSR, and before it the key if there is none yet.  Raises Error.

    A new key waits in the state directory until its certificate is installed: whatever happens
    meanwhile, the old pair stays whole, and at its place is no key without a certificate.
    """
    section = want.section
    for path in section.outputs:   # rather now than with a certificate in hand
        _make_parent(config, path)
    files.rehearse(section.outputs, section.owner, section.trusted)
    placing.rehearse(config.certs_directory, section.outputs)
    if section.in_token:
        return _in_token(config, want, compromised)
    keys.tidy(section.key, section.trusted)
    waiting = Journal(config.state_directory).pending_key(section.key)
    keys.tidy(waiting)
    csr, seen = _with_its_key(config, section)
    stays = csr is not None and _stays(csr, want, compromised)
    old = None if stays else {want.spent, csr.spki if csr else b""}
    made = _waiting(config, want, waiting, old, compromised)
    if made is not None:
        _try_place(config, section)
        return made
    if csr is not None and stays:
        return Made(csr, seen=seen)
    usual = csr is not None and csr.spki == want.spent and not want.new_key
    (log.debug if usual else log.info)(
        f"{section.name}: generating the private key {section.key} ({section.key_type})")
    return _with_new_key(config, section, waiting)


def keep(config: Config, section: Section, made: Made) -> None:
    """A CA has certified what was asked for: renewals with the same key ask for the same."""
    if section.reuse_key and not section.in_token:
        seen = made.seen if made.new_key is None else keys.fingerprint_of(made.new_key)
        Requests(config.state_directory).keep(
            section.name, seen, openssl.request_arguments(section), made.csr.der)


def rehearse(config: Config, section: Section, compromised: frozenset[str] = frozenset()) -> CSR:
    """Return a CSR as ``make`` would make it, and leave nothing behind: where another key would be
    made, it is for one that nobody keeps.  Raises Error."""
    if section.in_token:
        return _in_token(config, Want(section), compromised).csr
    try:
        csr = _request(config, section, keys.open_key(section.key, section.trusted,
                                                      section.group), section.key)
        if section.reuse_key and digest(csr.spki) not in compromised:
            return csr
    except FileNotFoundError:
        pass
    return _new(config, section)[1]


def _in_token(config: Config, want: Want, compromised: frozenset[str]) -> Made:
    from . import token
    section = want.section
    if want.new_key:
        raise Error(f"{section.where}: another key is not made in a token: make one there, and "
                    "name it in certificate-key")
    csr = token.request(config.openssl, section)
    if digest(csr.spki) in compromised:
        raise Error(f"{section.where}: certificate-key = {section.key}: this key was compromised: "
                    "make another one in the token, and name it there")
    return Made(csr)


def _with_its_key(config: Config, section: Section) -> tuple[CSR | None, bytes]:
    """Return a CSR for the key that is in its place, if there is one, and that's fingerprint: the
    CSR that a CA knows, if that was for the same."""
    try:
        key = keys.open_key(section.key, section.trusted, section.group)
    except FileNotFoundError:
        return None, b""
    seen = keys.fingerprint(key)
    kept = Requests(config.state_directory).kept(section.name, seen,
                                                 openssl.request_arguments(section))
    if not kept:
        return _request(config, section, key, section.key), seen
    os.close(key)
    return parse_csr(kept), seen


def _stays(csr: CSR, want: Want, compromised: frozenset[str]) -> bool:
    """Say whether the key that is in its place is the one to order for."""
    known = digest(csr.spki)
    return not want.new_key and known not in compromised and (
        csr.spki != want.spent or known == want.kept_key)


def _waiting(config: Config, want: Want, waiting: str, old: set[bytes] | None,
             compromised: frozenset[str]) -> Made | None:
    """Return a CSR for the key that waits, if there is one and it is wanted.

    A new one is wanted unless ``old`` is None, and none of those.
    """
    try:
        made = _pending(config, want.section, waiting)
        found = digest(made.csr.spki)
        if found not in compromised and (found == want.kept_key or (
                old is not None and made.csr.spki not in old
                # one that was told of beforehand is taken as it is
                and (want.section.next_key
                     or key_type(made.csr.spki) == want.section.key_type))):
            return made
    except FileNotFoundError:
        return None
    except Error as exc:
        log.debug(f"{waiting}: {exc}")
    if old is not None:
        files.remove(waiting)   # another one is made
    return None


def _pending(config: Config, section: Section, waiting: str) -> Made:
    key = keys.open_key(waiting, 0, section.group)
    pem = os.pread(key, keys.MAX_KEY, 0)
    return Made(_request(config, section, key, waiting), pending.private_key(pem))


def _with_new_key(config: Config, section: Section, path: str) -> Made:
    """Make a key that waits at ``path``, and a CSR with it."""
    _try_place(config, section)
    # before it is in place: what isn't a key would be in the way of the next run's
    pem, csr = _new(config, section)
    pending.create(path, pem, csr.spki)
    return Made(csr, pem)


def _new(config: Config, section: Section) -> tuple[bytes, CSR]:
    try:
        pem, der = openssl.request_with_new_key(config.openssl, section)
        csr = parse_csr(der)
        check.check_request(csr, section, pem)
        check.check_new_key(csr, section, pem)
        return pem, csr
    except Error as exc:
        raise Error(f"cannot make the private key {section.key} and a signing request with it: "
                    f"{exc}") from exc


def _request(config: Config, section: Section, key: int, path: str) -> CSR:
    """Make a CSR with the key on a descriptor, which is closed; ``path`` is for the message."""
    try:
        csr = parse_csr(openssl.request(config.openssl, key, section))
        check.check_request(csr, section, os.pread(key, keys.MAX_KEY, 0))
        return csr
    except Error as exc:
        raise Error(f"cannot make a signing request with {path}: {exc}") from exc
    finally:
        os.close(key)


def _try_place(config: Config, section: Section) -> None:
    """Raise Error if no key could be installed: rather now than with its certificate in hand."""
    _make_parent(config, section.key)
    files.rehearse([section.key, section.key + ".old"], None, section.trusted)


def _make_parent(config: Config, path: str) -> None:
    """Make the directory of ``path`` if it is one of the short form's: whoever writes there looks
    at whose it is."""
    parent = os.path.dirname(path)
    if not parent.startswith(config.certs_directory + "/") or os.path.isdir(parent):
        return
    if os.path.islink(parent):   # somebody removed what it leads to
        from ..store.versions import Versions
        with Versions(parent) as known:
            known.mend()
    for directory in (config.certs_directory, parent):
        try:
            trusted.make_directory(directory)
        except FileNotFoundError as exc:
            raise Error(f"{exc.filename}: no such directory; create it, or set "
                        "library-directory") from exc
