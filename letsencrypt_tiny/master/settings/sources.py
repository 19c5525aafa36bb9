"""Which files say what certificates are wanted."""

import os
from collections.abc import Sequence

from ...common import trusted
from ...common.errors import ConfigError, Error


def files(wanted: Sequence[str], optional: bool) -> list[str]:
    """Return the files to read of files and directories; of those that are ``optional`` what is
    there.  Raises ConfigError."""
    found: list[str] = []
    for path in wanted:
        if path.endswith("/") or os.path.isdir(path):
            try:
                entries = _list(path)
            except FileNotFoundError:
                if optional:
                    continue
                raise ConfigError(f"{path}: no such directory") from None
            # hidden files and editors' locks and copies are nobody's wishes
            found += [os.path.join(path, entry) for entry in entries
                      if entry.endswith(".conf") and not entry.startswith((".", "#"))]
        elif not optional or os.path.lexists(path):
            found.append(path)
    return found


def _list(path: str) -> list[str]:
    """Return what is in a directory where nobody else can write."""
    try:
        directory = trusted.open_directory(trusted.absolute(path))
        try:
            return sorted(os.listdir(directory))
        finally:
            os.close(directory)
    except Error as exc:
        raise ConfigError(str(exc)) from exc
