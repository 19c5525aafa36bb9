"""What was issued and what failed, as far as a CA's limits count it: ``tally.json``."""

from ...common.wire.jsonfields import JsonObject
from .statefile import StateFile

MAX_SIZE = 16 << 20   # bytes


class Tally:
    """By directory, what is counted, and whom it is counted for: a moment (plan/limits.py)."""

    def __init__(self, directory: str) -> None:
        self._file = StateFile(directory, "tally.json", MAX_SIZE)
        self._content: JsonObject | None = None    # read once it is needed

    def of(self, directory: str, what: str, key: str) -> float:
        """Return the moment; 0 if there is none."""
        return _moment(_part(self._all(), directory, what).get(key))

    def set(self, directory: str, what: str, key: str, moment: float, now: float) -> None:
        """Remember the moment, and none that is past.

        Not to know costs the CA's refusal, no more: a failure is a warning.
        """
        content = self._all()
        part = _part(content, directory, what)
        for name in [name for name in part if _moment(part[name]) <= now]:
            del part[name]
        part[key] = int(moment)
        self._file.try_to_write(content)

    def _all(self) -> JsonObject:
        if self._content is None:
            self._content = self._file.read()
        return self._content


def _part(content: JsonObject, *names: str) -> JsonObject:
    for name in names:
        part = content.get(name)
        if not isinstance(part, dict):
            part = content[name] = {}
        content = part
    return content


def _moment(value: object) -> float:
    return value if isinstance(value, int) and 0 <= value < 1 << 40 else 0
