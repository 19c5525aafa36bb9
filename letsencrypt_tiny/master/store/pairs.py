"""Which certificates were seen to be for their private keys: ``pairs.json``.

A certificate is of use with its own key only, and whoever replaces the key tells nobody.  That one
file is younger than the other says nothing: files come from backups, clocks are put right, a key is
replaced in the moment in which its certificate is.  So they are compared; but not each time, for
that is to read, and to judge, one more file of each section.

What was compared is remembered by device, inode, size, modification and change of both files.  The
kernel alone sets the last one, and by the clock: so two that have all of them alike hold the same,
but where both were written within one tick of it.  What changed a moment ago, or lies ahead of the
clock, is therefore not remembered, and compared again.  One who sets the clock and writes into the
very same file within the same tick is root.
"""

import os
from typing import TYPE_CHECKING

from ...common import log
from ...common.errors import Error

if TYPE_CHECKING:
    from ...common.wire.jsonfields import JsonObject

SETTLED = 10          # seconds: more than the tick of any clock that a file system has (FAT: 2)
MAX_PAIRS = 16_000    # those beyond are compared at each run
MAX_SIZE = 8 << 20    # bytes


class Pairs:
    """Those of all sections, by the path of the certificate."""

    def __init__(self, directory: str) -> None:
        from .statefile import StateFile   # with json, for whoever looks at one certificate only
        self._file = StateFile(directory, "pairs.json", MAX_SIZE)
        self._known: "JsonObject | None" = None
        self._new: "JsonObject" = {}

    def fits(self, path: str, pair: str) -> bool:
        """Say whether the certificate at ``path`` and its key were seen to fit, as they are now.

        ``pair`` is what ``identity`` says of both.
        """
        return bool(pair) and self._all().get(path) == pair

    def seen(self, path: str, pair: str, changed: float, now: float) -> None:
        """They fit.  ``changed`` is when one of both files was last (st_ctime), ``now`` is now."""
        if pair and changed < now - SETTLED:
            self._new[path] = pair

    def keep(self) -> None:
        """Write down what is new; that it can't be is no loss, and told by what is one."""
        if not self._new:
            return
        known = {path: pair for path, pair in self._all().items() if path not in self._new}
        known.update(self._new)
        self._known, self._new = dict([*known.items()][-MAX_PAIRS:]), {}
        try:
            self._file.write(self._known)
        except Error as exc:
            log.debug(exc)

    def _all(self) -> "JsonObject":
        if self._known is None:
            try:
                self._known = self._file.read()
            except Error as exc:   # somebody else could have written it: who writes there tells
                log.debug(exc)
                self._known = {}
        return self._known


def identity(*files: os.stat_result) -> str:
    """Return what changes when one of ``files`` does."""
    return " ".join([f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} "
                     f"{info.st_ctime_ns}" for info in files])
