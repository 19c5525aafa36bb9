"""The key that is to take the account key's place (RFC 8555 §7.3.5): FILE.next beside FILE.

It is made before the CA hears of it, and takes its place when no CA knows the old one any more;
in between both are there, and either can sign.  So nobody has to know at which moment the change
happens: whatever is killed, the one that the CA knows is found by asking.  The old key is kept
as FILE.old.
"""

import os
import stat

from ..common import log
from ..common.errors import Error, UsageError
from . import account_key, keyfile
from .account_key import AccountKey
from .config import KeySource

NEXT, OLD = ".next", ".old"
_PART = ".part"     # of what is not there yet


def load(source: KeySource, gpg: list[str], inherit_stdin: bool) -> AccountKey | None:
    """Return the next key, if there is one; the arguments are those of ``keyfile.read``.

    One that is of no use is told of, and no reason to do without the account key.
    """
    if source.method not in ("file", "gpg") or not os.path.lexists(source.where + NEXT):
        return None
    following = KeySource(source.method, source.where + NEXT)
    try:
        return account_key.load(keyfile.read(following, gpg, inherit_stdin), str(following),
                                keyfile.ask_passphrase)
    except Error as exc:
        log.warning(f"the next account key is not used: {exc}")
        return None


def check(source: KeySource, kind: str) -> int:
    """Return a descriptor of the directory in which the next key may be created.

    Raises Error if there is one already, or no key yet of which it would take the place.
    """
    path = _path(source)
    if not os.path.exists(path):
        raise Error(f"{path}: there is no account key to take the place of; make the first one "
                    "without --next")
    if _is_encrypted(path):
        raise Error(f"{path} is encrypted, which a new key would not be: make {path}{NEXT} with "
                    "openssl genpkey -aes256")
    return keyfile.check_new(path + NEXT, f"--genkey={kind} --next")


def write(directory: int, source: KeySource, text: bytes) -> str:
    """Write the next key's PEM text; return its path.  It is there in whole or not at all.

    ``directory`` is what ``check`` returned.  Raises Error.
    """
    path = _path(source) + NEXT
    name = os.path.basename(path)
    _remove(name + _PART, directory)
    keyfile.write_new(directory, path + _PART, text)
    try:   # a rename could replace what somebody else has just made
        os.link(name + _PART, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as exc:
        raise Error(f"{path}: cannot create the next key: {exc.strerror}") from exc
    finally:
        _remove(name + _PART, directory)
    keyfile.sync_directory(directory)
    return path


def adopt(source: KeySource) -> str:
    """Have the next key take the account key's place; return the path of the old one.

    At every instant there is a key at either path, and the old one at a path.  Raises Error.
    """
    path = _path(source)
    directory, name = os.path.split(path)
    try:
        place = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise Error(f"{directory}: {exc.strerror}") from exc
    try:
        for each in (name, name + NEXT):
            if not stat.S_ISREG(os.lstat(each, dir_fd=place).st_mode):
                raise Error(f"{directory}/{each}: not a file of its own, so it has to be put in "
                            "its place by hand")
        _remove(name + OLD + _PART, place)
        os.link(name, name + OLD + _PART, src_dir_fd=place, dst_dir_fd=place)
        os.rename(name + OLD + _PART, name + OLD, src_dir_fd=place, dst_dir_fd=place)
        _remove(name + OLD + _PART, place)   # two names of one file stay as they are (rename(2))
        os.fsync(place)
        os.rename(name + NEXT, name, src_dir_fd=place, dst_dir_fd=place)
        os.fsync(place)
    except FileNotFoundError as exc:
        raise Error(f"{directory}/{exc.filename}: there is no such key") from exc
    except OSError as exc:
        raise Error(f"{path}: cannot put the next key in its place: {exc.strerror}") from exc
    finally:
        os.close(place)
    log.debug(f"{path}{NEXT} is {path} now, which was {path}{OLD}")
    return path + OLD


def _path(source: KeySource) -> str:
    if source.method not in ("file", "gpg"):
        raise UsageError(f"--next and --adopt-next are for --privkey=file:PATH and gpg:PATH, not "
                         f"for {source}")
    return source.where


def _is_encrypted(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"ENCRYPTED" in file.read(keyfile.MAX_SIZE)
    except OSError as exc:
        raise Error(f"{path}: cannot read the account key: {exc.strerror}") from exc


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise Error(f"{name}: cannot remove it: {exc.strerror}") from exc
