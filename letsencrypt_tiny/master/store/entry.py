"""What is about to take its place, as the journal has it: ``installing.json``.

It is written before anything is touched and removed when all is done: what is in it when a run
begins was left by one that was killed.
"""

import os
from typing import NamedTuple

from ...common.errors import ProtocolError
from ...common.wire.jsonfields import JsonObject, get_bool, get_int, get_str
from . import files, stamps
from .statefile import StateFile

_NAME = "installing.json"
_MAX_SIZE = 4 << 20    # bytes
MAX_KEPT = 1000        # versions
_MAX_UID = (1 << 32) - 1


class Step(NamedTuple):
    """A file or a directory takes its place."""

    place: str             # its path
    version: str = ""      # of a directory that is a link to one; "": it is a plain one still
    digest: str = ""       # SHA-256, in hexadecimal, of the file that waits beside the place


class Entry(NamedTuple):
    """Steps of one section, in order."""

    steps: tuple[Step, ...] = ()
    owner: int = 0         # uid that may, besides root, own directories of its files
    keep: int = 1          # versions of what is switched
    ready: bool = False    # all is written and waits: they are to be finished, else taken back


class Entries:
    """Those of all sections, by name."""

    def __init__(self, directory: str) -> None:
        """``directory`` is the state directory."""
        self._file = StateFile(directory, _NAME, _MAX_SIZE)

    def all(self) -> dict[str, Entry]:
        """Return what there is.  Raises trusted.Untrusted."""
        found: dict[str, Entry] = {}
        for name, value in self._file.read().items():
            try:
                found[name] = _parse(value)
            except ProtocolError:
                found[name] = Entry()
        return found

    def write(self, name: str, entry: Entry) -> None:
        """Write down what is about to happen: durably what is ready.  Raises Error."""
        steps = [{key: value for key, value in step._asdict().items() if value}
                 for step in entry.steps]
        self._file.write({**self._file.read(), name: {
            **entry._asdict(), "steps": steps}}, durable=entry.ready)

    def tidy(self) -> None:
        """Remove what a run left that was killed while it wrote an entry: nothing had begun."""
        files.tidy(self._file.path)

    def remove(self, name: str) -> None:
        """It is done.  Raises Error."""
        left = self._file.read()
        left.pop(name, None)
        if left:
            self._file.write(left)
        else:
            files.remove(self._file.path)


def is_there(directory: str) -> bool:
    """Say whether a run was killed while something took its place; ``directory`` is that of the
    state."""
    return any(os.path.lexists(f"{directory}/{name}") for name in (_NAME, files.temporary(_NAME)))


def _parse(value: object) -> Entry:
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        raise ProtocolError("no entry")
    steps = []
    for step in value["steps"]:
        if not isinstance(step, dict):
            raise ProtocolError("no step")
        known: JsonObject = {"version": "", "digest": "", **step}
        steps.append(_checked(Step(*(get_str(known, field) for field in Step._fields))))
    return Entry(tuple(steps), get_int(value, "owner", 0, _MAX_UID),
                 get_int(value, "keep", 1, MAX_KEPT), get_bool(value, "ready"))


def _checked(step: Step) -> Step:
    """Return a step that can be taken; raises ProtocolError."""
    if not step.place.startswith("/") or "\0" in step.place or \
            step.version and not stamps.is_one(step.version):
        raise ProtocolError("no step")
    return step
