"""What is done to the files of account keys, instead of signing: --genkey and --adopt-next."""

import os
import sys

from ..common.errors import UsageError
from . import account_key, keyfile, nextkey
from .config import KeySource


def exists(source: KeySource) -> bool:
    """True if there is an account key, or it is where none can be made.

    Anything at its path counts, a link that leads nowhere, too: whoever has put it there meant it.
    """
    return source.method != "file" or os.path.lexists(source.where)


def generate(kind: str, source: KeySource, following: bool) -> int:
    """Make a new key where ``source`` says, and tell of it; return the exit status.

    ``following``: it is to take the place of the one there, beside which it waits.  Raises Error,
    UsageError.
    """
    if source.method != "file":
        raise UsageError("--genkey writes to the path of --privkey=file:PATH, not to "
                         f"{source}")
    path = source.where
    account_key.check_kind(kind)
    directory = nextkey.check(source, kind) if following else keyfile.check_new(
        path, f"--genkey={kind}")
    text = account_key.generate(kind)
    key = account_key.load(text, path, keyfile.ask_passphrase)
    if following:
        path = nextkey.write(directory, source, text)
    else:
        keyfile.write_new(directory, path, text)
    sys.stdout.write(f"{path}: {key.kind}, thumbprint {key.thumbprint}\n")
    return 0


def adopt(source: KeySource) -> int:
    """Have the next key take the account key's place, and tell so; return the exit status.

    Raises Error.
    """
    old = nextkey.adopt(source)
    sys.stdout.write(f"{source.where}: the next key has taken this place; the old one is {old}\n")
    return 0
