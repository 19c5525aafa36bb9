"""Is there room for what is to be ordered?  Each section's place is tried when its CSR is made
(``files.rehearse``), by itself; here all are counted together.

A section that renews replaces its files.  One that has none yet adds to those that there are, and
a run with many may fill what each of them finds room in: then those are ordered that there is room
for.
"""

import os
from collections.abc import Mapping, Sequence

from ...common import log
from ..report.run import Report
from ..settings.main import Config
from . import twins
from .life import Life

FILE = 8 << 10   # bytes of a chain, rounded up to blocks; keys and what is remembered need less
STATE = 3        # files in the state directory: what is known of it, its chain, its key


class _Room:
    """What is left of a file system."""

    def __init__(self, directory: str) -> None:
        info = os.statvfs(directory)
        self.directory = directory
        self._bytes = info.f_bavail * info.f_frsize
        # some have no number of inodes, but make them as they are needed (btrfs): 0 of 0
        self._files = info.f_favail if info.f_files else None
        self._taken = 0

    def __str__(self) -> str:
        files = "" if self._files is None else f" and {self._files} files"
        return f"{self._bytes >> 10} KiB{files}"

    def has(self, count: int) -> bool:
        """Say whether so many new files find room."""
        taken = self._taken + count
        return self._bytes >= taken * FILE and (self._files is None or self._files >= taken)

    def take(self, count: int) -> None:
        """They are to come."""
        self._taken += count


def with_room(config: Config, lives: Sequence[Life], report: Report) -> list[Life]:
    """Return those whose files there is room for, beside those of the others before them; the
    others are told of, in one line."""
    rooms: dict[int, _Room] = {}
    failed: set[str] = set()
    for life in lives:
        try:
            short = _take(rooms, _new_files(config, life))
        except OSError as exc:   # whoever writes there is told
            log.debug(f"{life.name}: cannot tell whether there is room for its files: {exc}")
            continue
        if short is not None:
            failed.add(life.name)
            report.failed_alike(life.name, f"{short.directory}: no room for its files beside "
                                f"those of the other sections of this run ({short} are left): "
                                "nothing is ordered for it", short.directory)
    if not failed:
        return list(lives)
    report.end()
    failed |= twins.without(failed, lives, report)
    return [life for life in lives if life.name not in failed]


def _take(rooms: dict[int, _Room], wanted: Mapping[str, int]) -> _Room | None:
    """Take room for so many new files in each directory, or none; return where it is short."""
    counts: dict[int, int] = {}
    for directory, count in wanted.items():
        device = os.stat(directory).st_dev
        if device not in rooms:
            rooms[device] = _Room(directory)
        counts[device] = counts.get(device, 0) + count
    for device, count in counts.items():
        if not rooms[device].has(count):
            return rooms[device]
    for device, count in counts.items():
        rooms[device].take(count)
    return None


def _new_files(config: Config, life: Life) -> dict[str, int]:
    """Return how many files a section adds, by the directory, or what there is of the way to it.
    """
    section = life.section
    if life.certificate is not None:
        return {}
    found = {_existing(config.state_directory): STATE}
    for path in [*section.outputs, *([] if section.in_token else [section.key])]:
        if not os.path.lexists(path):
            directory = _existing(os.path.dirname(path))
            found[directory] = found.get(directory, 0) + 1
    return found


def _existing(directory: str) -> str:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory
