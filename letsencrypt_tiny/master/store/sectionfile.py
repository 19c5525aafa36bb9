"""The file of one section, SECTION.conf: as “add” writes it, and as “remove” takes it away.

It is the administrator's from the moment it is there.  What was changed in it by hand is nobody
else's to write anew: a file is replaced only as long as it is, byte for byte, what we would write.
"""

import os
from collections.abc import Mapping

from ...common import inifile, trusted
from ...common.errors import ConfigError, Error
from ..settings import values
from ..settings.certificates import Certificates
from . import files

_HEADER = """\
# Written by “letsencrypt-tiny add”, and yours to change: see letsencrypt-tiny-certs.conf(5).
# “letsencrypt-tiny remove {name}” takes it away.
"""
SETTINGS = ("names", "notify", "challenge", "ca")   # in this order


def name_for(identifier: str) -> str:
    """Return what a section is called after its first name: without “*.”, and with what may name a
    directory."""
    return identifier.removeprefix("*.").replace(":", "-")


def place(found: Certificates) -> str:
    """Return the directory of sections, the last one that the configuration names.

    Raises ConfigError if it names none.
    """
    places = [path for path in found.files if path.endswith("/") or os.path.isdir(path)]
    if not places:
        raise ConfigError(f"config-certs = {' '.join(found.files)}: names no directory: add one, "
                          "such as certs.conf.d/, to it, or write the section into "
                          f"{found.files[-1]}")
    return places[-1].rstrip("/") or "/"


def text_of(name: str, settings: Mapping[str, str]) -> str:
    """Return the text of the file for a section with these settings; empty ones are left out."""
    lines = [f"{key} = {settings[key]}" for key in SETTINGS if settings.get(key)]
    return _HEADER.format(name=name) + "\n".join([f"[{name}]", *lines]) + "\n"


def read(path: str, name: str) -> dict[str, str] | None:
    """Return the settings of a file that is as ``text_of`` writes it; None for any other one.

    Raises Error for a file that is not to be believed, and FileNotFoundError.
    """
    try:
        with open(values.open_own(path), "rb") as file:
            text = file.read(inifile.MAX_SIZE).decode("utf-8", "replace")
        sections = inifile.parse(text, path)
    except ConfigError:
        return None
    if name not in sections:
        return None
    settings = dict(sections[name].items())
    return settings if text == text_of(name, settings) else None


class Written:
    """A file that was written, as long as it isn't sure that it stays."""

    def __init__(self, path: str, text: str, before: str | None) -> None:
        """Write it: a new one, unless ``before`` is what it replaces.  Raises Error."""
        self._path = path
        self._before = before
        if before is None:
            trusted.make_directory(os.path.dirname(path))
            files.create(_file(path, text))
        else:
            files.install([_file(path, text)])

    def take_back(self) -> None:
        """Have it as it was.  Raises Error."""
        if self._before is None:
            remove(self._path)
        else:
            files.install([_file(self._path, self._before)])


def tidy(directory: str) -> None:
    """Remove what a run that was killed has left beside files of sections that it had just put in
    place; ``directory`` is theirs."""
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".conf")]
        for name in names:
            left = f"{directory}/{files.temporary(name)}"
            if os.path.lexists(left) and os.path.samefile(left, f"{directory}/{name}"):
                files.remove(left)
    except OSError:
        pass   # it does no harm


def remove(path: str, owner: int = 0) -> None:
    """Remove a file; ``owner`` is a uid that may, besides root, own directories on the way.
    Raises Error if it can't be removed."""
    directory, name = trusted.open_parent(path, owner)
    try:
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)
    except OSError as exc:
        raise Error(f"{path}: cannot remove it: {exc.strerror}") from exc
    finally:
        os.close(directory)


def _file(path: str, text: str) -> files.File:
    return files.File(path, text.encode("utf-8"))
