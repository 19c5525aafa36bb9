"""Which files say what certificates are wanted."""

import os
from collections.abc import Sequence

from ...common import inifile, log, trusted
from ...common.errors import ConfigError, Error
from ...common.inifile import Settings
from . import values

Candidate = tuple[str, str]    # path and text of a file that is to be written, if it is good


def read(file: str, lacme: bool | None, candidate: Candidate | None) -> dict[str, Settings]:
    """Read one of the files, as inifile.read does.  Raises ConfigError."""
    log.debug(f"reading {file}")
    if candidate is None or file != candidate[0]:
        return inifile.read(file, lacme, values.open_own)
    return inifile.parse(candidate[1], file, inifile.is_lacme(file) if lacme is None else lacme)


def files(wanted: Sequence[str], optional: bool, candidate: Candidate | None = None) -> list[str]:
    """Return the files to read of files and directories; of those that are ``optional`` what is
    there.  A ``candidate`` is in its directory.  Raises ConfigError."""
    found: list[str] = []
    for path in wanted:
        if path.endswith("/") or os.path.isdir(path):
            new = [os.path.basename(candidate[0])] if candidate is not None \
                and os.path.dirname(candidate[0]) == (path.rstrip("/") or "/") else []
            try:
                entries = sorted({*_list(path), *new})
            except FileNotFoundError:
                if not optional and not new:
                    raise ConfigError(f"{path}: no such directory") from None
                entries = new
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
            return os.listdir(directory)
        finally:
            os.close(directory)
    except Error as exc:
        raise ConfigError(str(exc)) from exc
