"""A small file in the state directory, replaced atomically; most hold one JSON object.

One that can't be read is as good as none; one that somebody else could have written is an Error.
"""

import os

from ...common import log, trusted
from ...common.errors import Error, ProtocolError
from ...common.wire.jsonfields import JsonObject, dump, parse_object
from . import files
from .vicinity import Directory


class StateFile:
    """A file below the state ``directory``, of ``limit`` bytes at most."""

    def __init__(self, directory: str, name: str, limit: int, near: Directory | None = None
                 ) -> None:
        """``near`` is the directory, if several files in it are read one after the other."""
        self._near = near
        self.path = f"{directory}/{name}"
        self._directory = directory
        self._limit = limit

    def text(self) -> bytes:
        """Return what it holds, b"" if nothing that can be read.  Raises trusted.Untrusted."""
        try:
            with open(trusted.open_unchangeable(self.path) if self._near is None else
                      self._near.open_unchangeable(self.path), "rb", buffering=0) as file:
                # with room for what it is, not for what it may be
                size = min(os.fstat(file.fileno()).st_size, self._limit)
                return file.read(size + 1) or b""
        except FileNotFoundError:
            pass
        except trusted.Untrusted:
            raise
        except (OSError, Error) as exc:   # status may be asked for by somebody else than root
            log.debug(f"{self.path}: {exc}")
        return b""

    def read(self) -> JsonObject:
        """Return the object that it holds, {} for none.  Raises trusted.Untrusted."""
        text = self.text()
        try:
            return parse_object(text, self.path, self._limit) if text else {}
        except ProtocolError as exc:
            log.debug(f"{self.path}: ignored: {exc}")
        return {}

    def write(self, values: JsonObject, durable: bool = False) -> None:
        """Replace the object that it holds; raises Error.

        Not ``durable``: after a power cut the old one, or none, is as good.
        """
        self.write_text(dump(values) + b"\n", durable)

    def write_text(self, text: bytes, durable: bool = False) -> None:
        """The same of what is no object."""
        make_directory(self._directory)
        files.install([files.File(self.path, text, None, 0o600)], durable=durable)

    def try_to_write(self, values: JsonObject, quiet: bool = False) -> None:
        """The same of what is no loss: a failure is a warning, unless others tell (``quiet``)."""
        try:
            self.write(values)
        except Error as exc:
            if quiet:
                log.debug(exc)
            else:
                log.warning(exc)


class Remembered:
    """What a file holds, read once; whatever is no loss if it can't be written."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._known: JsonObject | None = None

    def _all(self) -> JsonObject:
        if self._known is None:
            self._known = self._file.read()
        return self._known

    def _remember(self, known: JsonObject, quiet: bool = False) -> None:
        self._known = known
        self._file.try_to_write(known, quiet)

    def _forget(self) -> None:
        """There is nothing to be remembered any more: nor is there a file, if it can be removed."""
        self._known = {}
        files.remove(self._file.path)


def make_directory(path: str) -> None:
    """Make the state directory, unless it is there: whoever writes into it looks at whose it is.

    Raises Error.
    """
    if os.path.isdir(path):
        return
    try:
        trusted.make_directory(path, 0o700)
    except FileNotFoundError as exc:
        raise Error(f"{exc.filename}: no such directory; create it (mkdir {exc.filename}) or "
                    "set library-directory") from exc
