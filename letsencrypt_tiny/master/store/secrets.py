"""Files that hold what one child alone may know: the master opens them, and hands them on."""

import os
import stat

from ...common import trusted
from ...common.errors import ConfigError, Error

MAX_SECRET = 64 << 10   # bytes


def open_secret(path: str, where: str) -> int:
    """Return a descriptor of the file at ``path``, which nobody but root may read.

    ``where`` is the section, for messages.  Raises Error, ConfigError.
    """
    try:
        descriptor = trusted.open_file(path)
    except FileNotFoundError:
        raise ConfigError(f"{where}: {path}: no such file") from None
    info = os.fstat(descriptor)
    if info.st_uid not in (0, os.geteuid()) or info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        os.close(descriptor)
        raise Error(f"{where}: {path}: others than root can read it "
                    f"(chown root {path}; chmod 0600 {path})")
    if info.st_size > MAX_SECRET:
        os.close(descriptor)
        raise Error(f"{where}: {path}: larger than {MAX_SECRET} bytes")
    return descriptor
