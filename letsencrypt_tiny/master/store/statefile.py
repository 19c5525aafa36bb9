"""One small JSON object in the state directory, replaced atomically.

One that can't be read is as good as none; one that somebody else could have written is an Error.
"""

from ...common import log, trusted
from ...common.errors import Error
from ...common.wire.jsonfields import JsonObject, dump, parse_object
from . import files


class StateFile:
    """A file below the state ``directory``, of ``limit`` bytes at most."""

    def __init__(self, directory: str, name: str, limit: int) -> None:
        self.path = f"{directory}/{name}"
        self._directory = directory
        self._limit = limit

    def read(self) -> JsonObject:
        """Return what it holds, {} if nothing that can be read.  Raises trusted.Untrusted."""
        try:
            with open(trusted.open_unchangeable(self.path), "rb") as file:
                text = file.read(self._limit + 1)
            return parse_object(text, self.path, self._limit) if text else {}
        except FileNotFoundError:
            pass
        except trusted.Untrusted:
            raise
        except (OSError, Error) as exc:   # status may be asked for by anybody
            log.debug(f"{self.path}: ignored: {exc}")
        return {}

    def write(self, values: JsonObject) -> None:
        """Replace what it holds; raises Error."""
        try:
            trusted.make_directory(self._directory, 0o700)
        except FileNotFoundError as exc:
            raise Error(f"{exc.filename}: no such directory") from exc
        # not durable: after a power cut the old state, or none, is as good
        files.install([files.File(self.path, dump(values) + b"\n", None, 0o600)], durable=False)
