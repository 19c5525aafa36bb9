"""Where the account key is kept: reads its PEM text, asks for a passphrase, writes a new one.

Nothing here knows what is in the text; that is account_key.py's.
"""

import os
import shlex
import stat

from ..common import log, specifiers
from ..common.environment import kept
from ..common.errors import Error
from .config import KeySource

MAX_SIZE = 65536  # bytes of PEM text; 8192 bits of RSA are 6.3 kB


def read(source: KeySource, gpg: list[str], inherit_stdin: bool) -> bytes:
    """Return the PEM text of the account key.

    ``gpg`` is the command that decrypts ``gpg:PATH``; it gets this process's standard input
    only if ``inherit_stdin``.  Raises Error.
    """
    try:
        if source.method == "gpg":
            text = _read_gpg(source.where, gpg, inherit_stdin)
        elif source.method == "fd":
            text = _read_descriptor(int(source.where))
        else:
            fd = os.open(source.where, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
            info = os.fstat(fd)
            # A group of administrators may be meant to read it: not our decision
            # … and a credential of systemd's is what it makes it: ours by its ACL
            if stat.S_ISREG(info.st_mode) and info.st_mode & 0o077 \
                    and os.path.dirname(source.where) != (specifiers.credentials() or None):
                log.warning(f"{source.where}: the account key is open to others than its owner "
                            f"(mode {stat.S_IMODE(info.st_mode):04o}; chmod 0600 it)")
            text = _read_descriptor(fd)
    except OSError as exc:
        hint = (" (“letsencrypt-tiny add NAME” makes one, and so does --genkey=ec:P-256)"
                if isinstance(exc, FileNotFoundError) else "")
        raise Error(f"{source}: cannot read the account key: {exc.strerror}{hint}") from exc
    if len(text) > MAX_SIZE:
        raise Error(f"{source}: larger than {MAX_SIZE} bytes, not a key in PEM format")
    return text


def _read_descriptor(fd: int) -> bytes:
    """Read no more than it takes to see that there is too much; closes ``fd``."""
    with open(fd, "rb", buffering=0) as file:
        text = bytearray()
        while len(text) <= MAX_SIZE:
            data = file.read(MAX_SIZE + 1 - len(text))
            if not data:
                break
            text += data
    return bytes(text)


def _read_gpg(path: str, command: list[str], inherit_stdin: bool) -> bytes:
    import subprocess
    environment = {**kept("signer"), "PATH": "/usr/bin:/bin"}
    try:
        done = subprocess.run([*command, "-o", "-", "--decrypt", "--", path], env=environment,
                              stdin=None if inherit_stdin else subprocess.DEVNULL,
                              stdout=subprocess.PIPE)
    except OSError as exc:
        raise Error(f"gpg = {' '.join(command)}: cannot run it: {exc.strerror}") from exc
    if done.returncode != 0:
        raise Error(f"gpg:{path}: cannot decrypt the account key: {command[0]} ended with status "
                    f"{done.returncode}")
    return done.stdout


def ask_passphrase(prompt: str) -> bytes:
    """Ask on the terminal, never on the standard input, which may be a client's.

    Raises Error if there is no terminal.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as exc:
        raise Error("the account key is encrypted, and there is no terminal to ask for its "
                    "passphrase on") from exc
    import getpass
    try:
        return getpass.getpass(prompt).encode("utf-8", "surrogateescape")
    except EOFError as exc:
        raise Error("no passphrase for the account key was given") from exc


def check_new(path: str, option: str) -> int:
    """Return a descriptor of the directory in which ``path`` may be created.

    ``option``, which has it made, is for the message.  Raises Error if the path exists, or if
    this user must not write there.
    """
    directory, name = os.path.split(path)
    if not name:
        raise Error(f"{path}: names a directory, not a file")
    try:
        fd = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise Error(f"{directory}: no directory for the account key: {exc.strerror}") from exc
    try:
        owner = os.fstat(fd).st_uid
        # root would be led by whoever may rename things there
        if os.getuid() == 0 and owner != 0:
            raise Error(f"{directory or '.'} belongs to another user, who has to create the key: "
                        f"runuser -u {_user(owner)} -- letsencrypt-tiny-accountd "
                        f"{option} --privkey={shlex.quote(f'file:{path}')}")
        _refuse_existing(fd, name, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_new(directory_fd: int, path: str, text: bytes) -> None:
    """Write ``text`` to the new file at ``path``, mode 0600 from its first moment, and to disk.

    ``directory_fd`` is what ``check_new`` returned.  Raises Error; no part of a file remains.
    """
    name = os.path.basename(path)
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                     0o600, dir_fd=directory_fd)
    except FileExistsError as exc:
        raise _exists(path) from exc
    except OSError as exc:
        raise Error(f"{path}: cannot create the account key: {exc.strerror}") from exc
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o600)  # a umask may have taken the owner's bits too
            file.write(text)
            file.flush()
            os.fsync(fd)
    except BaseException as exc:
        os.unlink(name, dir_fd=directory_fd)
        if isinstance(exc, OSError):
            raise Error(f"{path}: cannot write the account key: {exc.strerror}") from exc
        raise
    sync_directory(directory_fd)


def _refuse_existing(directory_fd: int, name: str, path: str) -> None:
    try:
        os.lstat(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise Error(f"{path}: {exc.strerror}") from exc
    raise _exists(path)


def _exists(path: str) -> Error:
    return Error(f"{path}: exists already; an account key is never overwritten")


def sync_directory(directory_fd: int) -> None:
    """Have the new name on disk as well; O_PATH descriptors can't be synced themselves."""
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
    except OSError:
        return  # writable, not readable: the file itself is safe
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _user(uid: int) -> str:
    import pwd
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
